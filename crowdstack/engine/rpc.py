"""What our gRPC servers have in common."""

from __future__ import annotations

from typing import Final

_LARGEST: Final = 400 * 1024 * 1024  # of a message, as Pulumi's own SDKs have it; gRPC's default is 4 MiB

OPTIONS: Final = (("grpc.max_receive_message_length", _LARGEST), ("grpc.max_send_message_length", _LARGEST))
