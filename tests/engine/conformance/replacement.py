"""Programs of things that cannot change in place."""

from __future__ import annotations

from collections.abc import Callable

import pulumi
from pulumi import ResourceOptions as Options

from tests.engine.conformance.moves import Case, Destroy, Statue, Up
from tests.engine.world import TOKEN, Box, Thing

Body = Callable[[], None]


def cast(
    kind: type[Thing] = Thing, *, painted: bool = False, recast: bool = False, waits: bool = False, **options: object
) -> Callable[[str], Body]:
    """One resource of a shape, and what depends on it: painted (may change), recast (may not), waiting (no property)."""

    def of(shape: str) -> Body:
        def body() -> None:
            first = kind("first", colour="red", shape=shape, opts=Options(**options))  # type: ignore[arg-type]
            if painted:
                Thing("painted", colour="blue", parts={"of": first.password})
            if recast:
                second = kind("recast", colour="blue", shape=first.password)
                Thing("twice", colour="blue", shape=second.password)
            if waits:
                Thing("waits", colour="blue", shape="round", opts=Options(depends_on=[first]))

        return body

    return of


def both(make: Callable[[str], Body], *, then: Body | None = None) -> tuple[Up, ...]:
    last = () if then is None else (Up(body=then),)
    return (Up(body=make("round")), Up(body=make("square")), *last)


def boxed(shape: str) -> Body:
    def body() -> None:
        Box("box", colour="red", shape=shape)

    return body


def group() -> None:
    """A component that is called as a thing is."""
    pulumi.ComponentResource(TOKEN, "first")


def bereft(shape: str) -> Body:
    """Only the first one is left of a chain."""
    return cast(Statue)(shape)


CASES = (
    Case(
        name="replaced",
        shows="the new one is made before the old one goes",
        moves=both(cast()),
        notices="always updates in place",
    ),
    Case(
        name="replaced-under-another",
        shows="what is made of it moves to the new one before the old one goes",
        moves=both(cast(painted=True)),
        notices="deletes the old one at once",
    ),
    Case(
        name="replaced-in-a-row",
        shows="a new one makes new ones of all that is cast from it",
        moves=(*both(cast(recast=True, painted=True)), Destroy()),
        notices="keeps what was replaced",
    ),
    Case(
        name="replaced-in-a-component",
        shows="a component's thing is replaced where it stands",
        moves=both(boxed),
        notices="keeps what was replaced",
    ),
    Case(
        name="deleted-first",
        shows="where two cannot stand side by side the old one goes before the new one is made",
        moves=both(cast(Statue)),
        notices="always makes the new one first",
    ),
    Case(
        name="deleted-first-with-dependents",
        shows="with it go those that would have to be replaced, in reverse; those that can change stay",
        moves=(*both(cast(Statue, painted=True, recast=True)), Destroy()),
        notices="forgets dependents",
    ),
    Case(
        name="deleted-first-under-a-waiting-one",
        shows="who only waits for it is left alone",
        moves=both(cast(Statue, waits=True)),
        notices="always makes the new one first",
    ),
    Case(
        name="deleted-first-and-dependents-dropped",
        shows="dependents that went with it and are wanted no more stay away",
        moves=(Up(body=cast(Statue, recast=True)("round")), Up(body=bereft("square"))),
        notices="forgets dependents",
    ),
    Case(
        name="delete-before-replace",
        shows="the option makes a thing go first that could stand beside the new one",
        moves=both(cast(delete_before_replace=True, recast=True)),
        notices="drops delete_before_replace",
    ),
    Case(
        name="no-delete-before-replace",
        shows="the option makes a statue stand beside the new one",
        moves=both(cast(Statue, delete_before_replace=False, painted=True)),
        notices="drops delete_before_replace",
    ),
    Case(
        name="component-becomes-thing",
        shows="a component of the same name makes room for a thing, and the thing for a component",
        moves=(Up(body=group), Up(body=cast()("round")), Up(body=group), Destroy()),
        notices="keeps what was replaced",
    ),
    Case(
        name="replaced-and-back",
        shows="there and back again makes two new ones",
        moves=both(cast(painted=True), then=cast(painted=True)("round")),
        notices="keeps what was replaced",
    ),
)
