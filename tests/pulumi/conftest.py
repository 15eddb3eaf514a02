from __future__ import annotations

from tests.pulumi.world import real

__all__ = ["real"]
