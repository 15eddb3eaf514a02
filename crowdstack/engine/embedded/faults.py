"""How it is told that a step cannot be: what, of which resource, why, what now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from crowdstack.engine.embedded.state import Resource
from crowdstack.errors import CrowdstackError, StepFailed

T = TypeVar("T")


def protected(resource: Resource, fate: str) -> StepFailed:
    return StepFailed(
        f"{resource.type} {resource.name} is protected and would be {fate}",
        where=resource.urn,
        hint="take `protect` out of the program and run up first, if that is what you want",
    )


def attempt(what: str, resource: Resource, act: Callable[[], T]) -> T:
    try:
        return act()
    except CrowdstackError as fault:
        told, where, why, hint = fault.what, fault.where, fault.why, fault.hint
        cause: Exception = fault
    except OSError as fault:
        told, where, why = fault.strerror or str(fault), fault.filename, None
        hint, cause = "mend it and run the same command again", fault
    raise StepFailed(
        f"{what} {resource.type} {resource.name} failed: {told}",
        where=str(where or resource.urn),
        why=why,
        hint=hint,
    ) from cause
