"""Targets: the only resources of a stack that a command may change. How it is told that it cannot be, whichever engine says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from crowdstack.errors import StepFailed


def refuse_unknown(targets: Collection[str], known: Collection[str]) -> None:
    """At the end: the same command after a kill still does the rest, though some of its targets are gone by then."""
    if names := set(targets).difference(known):
        raise unknown(min(names))


def unknown(urn: str) -> StepFailed:
    return StepFailed(
        "no resource has the name of this target; what the others asked for is done",
        where=urn,
        hint="name targets by their whole URN; it may be gone already",
    )


def missing(urn: str, needed: Iterable[str]) -> StepFailed:
    return StepFailed(
        "it needs a resource that is still to be made and is not among the targets",
        where=urn,
        hint=f"make {', '.join(sorted(needed))} a target too",
    )


def left_behind(urn: str) -> StepFailed:
    return StepFailed(
        "it needs a target that is to be deleted, and is not among the targets", where=urn, hint="make it a target too"
    )
