"""Programs of things that are called otherwise than before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
from pulumi import Alias
from pulumi import ResourceOptions as Options

from tests.engine.conformance.faults import no_paint
from tests.engine.conformance.lifecycle import Crate
from tests.engine.conformance.moves import Case, Destroy, Statue, Up, urn
from tests.engine.world import Thing

Body = Callable[[], None]


def named(name: str, *aliases: Alias | str, kind: type[Thing] = Thing, needed: bool = False, **properties: Any) -> Body:
    def body() -> None:
        first = kind(name, opts=Options(aliases=list(aliases)), **{"colour": "red", **properties})
        if needed:
            Thing("second", colour="blue", parts={"of": first.password}, opts=Options(depends_on=[first]))

    return body


def held(*, inside: bool, aliases: tuple[Any, ...] = ()) -> Body:
    """A thing that stands in a component, or on its own."""

    def body() -> None:
        holder = pulumi.ComponentResource("crowdstack:test:Holder", "holder")
        above = Options(parent=holder, aliases=list(aliases)) if inside else Options(aliases=list(aliases))
        Thing("first", colour="red", opts=above)
        Thing("other", colour="red", opts=Options(parent=holder))

    return body


def crated(name: str, colour: str, kind: str = "crowdstack:test:Crate", *aliases: Alias) -> Body:
    def body() -> None:
        Crate(name, colour, kind, Options(aliases=list(aliases)))

    return body


def both_claim() -> None:
    Thing("one", colour="red", opts=Options(aliases=[Alias(name="first")]))
    Thing("two", colour="red", opts=Options(aliases=[Alias(name="first")]))


def taken_over() -> None:
    Thing("first", colour="red")
    Thing("two", colour="red", opts=Options(aliases=[Alias(name="first")]))


CASES = (
    Case(
        name="renamed",
        shows="a thing of another name is the same thing, and what needs it follows",
        moves=(
            Up(body=named("first", needed=True)),
            Up(body=named("renamed", Alias(name="first"), needed=True)),
            Up(body=named("renamed", needed=True)),
            Destroy(),
        ),
        notices="knows no alias",
    ),
    Case(
        name="renamed-twice",
        shows="of several earlier names the one that is there counts",
        moves=(
            Up(body=named("a")),
            Up(body=named("c", Alias(name="b"), Alias(name="a"))),
            Up(body=named("d", Alias(name="b"), Alias(name="c"), Alias(name="a"))),
        ),
        notices="knows no alias",
    ),
    Case(
        name="renamed-by-urn",
        shows="an alias may be the whole earlier URN",
        moves=(Up(body=named("first")), Up(body=named("renamed", urn("first")))),
        notices="knows no alias",
    ),
    Case(
        name="renamed-and-changed",
        shows="a new name and a new colour come in one step",
        moves=(
            Up(body=named("first", needed=True)),
            Up(body=named("new", Alias(name="first"), needed=True, colour="blue")),
        ),
        notices="knows no alias",
    ),
    Case(
        name="renamed-and-replaced",
        shows="a new name and a new shape: the old one goes under the new name",
        moves=(
            Up(body=named("first", needed=True, shape="round")),
            Up(body=named("new", Alias(name="first"), needed=True, shape="square")),
        ),
        notices="keeps what was replaced",
    ),
    Case(
        name="renamed-and-deleted-first",
        shows="a new name and a new shape where two cannot stand side by side",
        moves=(
            Up(body=named("first", kind=Statue, needed=True, shape="round")),
            Up(body=named("new", Alias(name="first"), kind=Statue, needed=True, shape="square")),
        ),
        notices="knows no alias",
    ),
    Case(
        name="retyped",
        shows="a thing becomes a statue and stays the same",
        moves=(
            Up(body=named("first", needed=True)),
            Up(body=named("first", Alias(type_="crowdstack:index:Thing"), kind=Statue, needed=True)),
        ),
        notices="knows no alias",
    ),
    Case(
        name="taken-in",
        shows="a thing that stood alone is taken into a component",
        moves=(
            Up(body=held(inside=False)),
            Up(body=held(inside=True, aliases=(Alias(parent=pulumi.ROOT_STACK_RESOURCE),))),
        ),
        notices="knows no alias",
    ),
    Case(
        name="taken-out",
        shows="a thing of a component stands alone",
        moves=(
            Up(body=held(inside=True)),
            Up(body=held(inside=False, aliases=(Alias(parent=urn("holder", "crowdstack:test:Holder")),))),
        ),
        notices="knows no alias",
    ),
    Case(
        name="component-renamed",
        shows="what a component holds follows it, also what is called after it",
        moves=(
            Up(body=crated("old", "red")),
            Up(body=crated("new", "red", "crowdstack:test:Crate", Alias(name="old"))),
            Destroy(),
        ),
        notices="children inherit no alias",
    ),
    Case(
        name="component-retyped",
        shows="all that stands below a component of another type follows",
        moves=(
            Up(body=crated("crate", "red")),
            Up(body=crated("crate", "blue", "crowdstack:test:Chest", Alias(type_="crowdstack:test:Crate"))),
        ),
        notices="children stay behind",
    ),
    Case(
        name="component-renamed-and-retyped",
        shows="a component of another name and type keeps what it holds",
        moves=(
            Up(body=crated("old", "red")),
            Up(body=crated("new", "red", "crowdstack:test:Chest", Alias(type_="crowdstack:test:Crate", name="old"))),
        ),
        notices="children stay behind",
    ),
    Case(
        name="renamed-and-failed",
        shows="a failed change leaves the earlier name; the next run finds it",
        moves=(
            Up(body=named("first")),
            no_paint("black"),
            Up(body=named("new", Alias(name="first"), colour="black"), fails="no black paint"),
            no_paint(""),
            Up(body=named("new", Alias(name="first"), colour="black")),
        ),
        notices="knows no alias",
    ),
    Case(
        name="alias-claimed-twice",
        shows="two cannot have been the same",
        moves=(Up(body=named("first")), Up(body=both_claim, fails="alias")),
        notices="lets two claim one alias",
    ),
    Case(
        name="alias-of-what-is-there",
        shows="nothing can have been what still is",
        moves=(Up(body=named("first")), Up(body=taken_over, fails="alias")),
        notices="lets two claim one alias",
    ),
)
