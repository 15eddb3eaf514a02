"""How it is told that a step cannot be: what, of which resource, why, what now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
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


def imported(wanted: Resource, properties: Collection[str]) -> StepFailed:
    return StepFailed(
        "what is imported cannot be replaced in the same step",
        where=wanted.urn,
        why=f"{', '.join(properties)} differ from what is there",
        hint="write them as they are there, or take out import_",
    )


def nothing_to_import(wanted: Resource) -> StepFailed:
    return StepFailed(f"there is no {wanted.type} to import with the id {wanted.import_id}", where=wanted.urn)


def wrong_inputs(wanted: Resource, wrong: Iterable[str]) -> StepFailed:
    what = f"{wanted.type} {wanted.name} has inputs that cannot be"
    return StepFailed(what, where=wanted.urn, why="; ".join(wrong))


def same_name(urn: str) -> StepFailed:
    return StepFailed("two resources of one name", where=urn, hint="give one of them another name")


def name_taken(urn: str, *, by: str) -> StepFailed:
    why = f"{by} says by an alias that it was called so"
    return StepFailed("another resource took over this name", where=urn, why=why, hint="take out that alias")


def alias_taken(urn: str, alias: str, *, by: str) -> StepFailed:
    why = f"{by} has it already"
    return StepFailed(f"an alias says that it was {alias}", where=urn, why=why, hint="take out the alias")


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
