"""A stack's state in Pulumi's form (deployment version 3): what both engines and whoever moves a state ask of it. JSON in, JSON out.

A secret in it stands in clear (`plaintext`, as `pulumi stack export --show-secrets` has it), which is never written to a disk,
or sealed (`ciphertext`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from crowdstack.engine.urns import STACK_TYPE
from crowdstack.engine.values import SECRET, SIGNATURE, Properties, SecretValue, mapped, plain
from crowdstack.errors import StateMismatch

VERSION: Final = 3
CREATING, UPDATING, DELETING = "creating", "updating", "deleting"  # kinds of pending operations

Deployment = Mapping[str, Any]


def resources(deployment: Deployment) -> list[Mapping[str, Any]]:
    return list(deployment.get("resources") or ())


def pending(deployment: Deployment) -> list[Mapping[str, Any]]:
    return list(deployment.get("pending_operations") or ())


def outputs(deployment: Deployment) -> Properties | None:
    """The stack's outputs in clear; None when it has no resource."""
    stack = next((found for found in resources(deployment) if found["type"] == STACK_TYPE), None)
    return None if stack is None else plain(opened(stack.get("outputs") or {}))


def check_identity(deployment: Deployment, *, project: str, stack: str, where: str) -> None:
    """StateMismatch unless everything in it belongs to this stack."""
    begins = f"urn:pulumi:{stack}::{project}::"
    for resource in [*resources(deployment), *(found["resource"] for found in pending(deployment))]:
        urn = str(resource.get("urn", ""))
        if not urn.startswith(begins) or urn.count("::") < 3:
            raise StateMismatch(
                "this is the state of another stack",
                where=where,
                why=f"it holds {urn or 'something without a name'}, which is not of stack {stack}, project {project}",
                hint="put back the state that belongs here",
            )


# ---------------------------------------------------------------------------------------------------- secrets


def opened(value: Mapping[str, Any]) -> Properties:
    """Properties in clear -> values, with secrets marked."""

    def open_(part: Any) -> Any:
        if _is_secret(part):
            return SecretValue(mapped(json.loads(part["plaintext"]), open_))
        return part

    found: Properties = mapped(value, open_)
    return found


def closed(value: Mapping[str, Any]) -> Properties:
    """Values -> properties in clear."""

    def close(part: Any) -> Any:
        if isinstance(part, SecretValue):
            return {SIGNATURE: SECRET, "plaintext": json.dumps(mapped(part.value, close))}
        return part

    told: Properties = mapped(value, close)
    return told


def sealed(deployment: Deployment, seal: Callable[[str], str]) -> dict[str, Any]:
    def change(part: Any) -> Any:
        if _is_secret(part) and "plaintext" in part:
            return {SIGNATURE: SECRET, "ciphertext": seal(part["plaintext"])}
        return part

    told: dict[str, Any] = mapped(deployment, change)
    return told


def unsealed(deployment: Deployment, open_: Callable[[str], str]) -> dict[str, Any]:
    """The deployment in clear; a secret inside another may be sealed by itself."""

    def change(part: Any) -> Any:
        if _is_secret(part) and "ciphertext" in part:
            return {SIGNATURE: SECRET, "plaintext": json.dumps(mapped(json.loads(open_(part["ciphertext"])), change))}
        return part

    told: dict[str, Any] = mapped(deployment, change)
    return told


def _is_secret(part: Any) -> bool:
    return isinstance(part, dict) and part.get(SIGNATURE) == SECRET
