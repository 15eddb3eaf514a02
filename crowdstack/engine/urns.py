"""Names of resources: `urn:pulumi:STACK::PROJECT::TYPES::NAME`. TYPES are those of the parents and the resource's own, joined by `$`."""

from __future__ import annotations

from typing import Final

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_TYPE: Final = "pulumi:providers:"  # and the package's name


def types_of(urn: str) -> str:
    return urn.split("::", 3)[2]


def type_of(urn: str) -> str:
    return types_of(urn).rpartition("$")[2]


def name_of(urn: str) -> str:
    return urn.split("::", 3)[3]
