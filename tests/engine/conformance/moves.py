"""What is done to a stack, one move after the other, whichever engine does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pulumi

from tests.engine.world import TOKEN, Thing, ThingType

PROJECT, STACK = "paint", "shop"
STATUE = "crowdstack:index:Statue"  # as a thing, but two of one name cannot stand side by side


def plugin_types(kind: ThingType) -> list[ThingType]:
    """What the plugin of both engines holds: things, and statues in the same folder."""
    return [kind, ThingType(kind.folder, delete_first=True, token=STATUE)]


class Statue(Thing):
    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None, **properties: Any) -> None:
        super().__init__(name, opts, STATUE, **properties)


def urn(name: str, types: str = TOKEN) -> str:
    return f"urn:pulumi:{STACK}::{PROJECT}::{types}::{name}"


@dataclass(frozen=True, kw_only=True)
class Up:
    """Preview the program, then make it so. `fails`: what the fault says, on either engine (a pattern)."""

    body: Callable[[], None]
    targets: tuple[str, ...] = ()
    fails: str = ""


@dataclass(frozen=True, kw_only=True)
class Refresh:
    targets: tuple[str, ...] = ()
    fails: str = ""


@dataclass(frozen=True, kw_only=True)
class Destroy:
    targets: tuple[str, ...] = ()
    fails: str = ""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Something happens in the world that no engine did."""

    change: Callable[[ThingType], None]


Move = Up | Refresh | Destroy | Outside


@dataclass(frozen=True, kw_only=True)
class Case:
    """One program: what it shows, the moves, and the operation that, broken on purpose, it must notice (mutants.py)."""

    name: str
    shows: str
    moves: tuple[Move, ...]
    notices: str
