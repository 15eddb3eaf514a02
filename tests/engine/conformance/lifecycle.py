"""Programs of things that come, change and go."""

from __future__ import annotations

from collections.abc import Callable

import pulumi
from pulumi import ResourceOptions as Options

from tests.engine.conformance.moves import Case, Destroy, Statue, Up
from tests.engine.world import Box, Thing

Body = Callable[[], None]


def nothing() -> None:
    pass


def two(colour: str) -> Body:
    def body() -> None:
        first = Thing("first", colour=colour)
        Thing("second", colour="blue", parts={"of": first.password, "size": first.size})

    return body


def told(**outputs: object) -> Body:
    def body() -> None:
        thing = Thing("first", colour="red")
        for name, value in outputs.items():
            pulumi.export(name, thing.size if value == "size" else value)

    return body


def secretive(*, open_: bool) -> Body:
    def body() -> None:
        key = "key" if open_ else pulumi.Output.secret("key")
        first = Thing("first", colour="red", parts={"list": [1, key, {"deep": key}], "map": {"in": key, "out": 1}})
        Thing("second", colour=pulumi.Output.secret("blue"), parts={"of": first.password})
        pulumi.export("key", {"in": [key]})
        pulumi.export("password", first.password)

    return body


def values() -> None:
    Thing(
        "first",
        colour='ünïcode \u2028 "quotes" ${x}',
        parts={"none": None, "empty": {}, "list": [], "zero": 0, "half": 0.5, "no": False, "text": "", "big": 2**53},
    )
    pulumi.export("none", None)
    pulumi.export("list", [1, [2, {}], None])


def ordered(colour: str) -> Body:
    def body() -> None:
        a = Thing("a", colour=colour)
        b = Thing("b", colour=colour, opts=Options(depends_on=[a]))
        Thing("c", colour=colour, opts=Options(depends_on=[a, b]))

    return body


class Crate(pulumi.ComponentResource):
    """A component with a component inside."""

    def __init__(
        self, name: str, colour: str, kind: str = "crowdstack:test:Crate", opts: Options | None = None
    ) -> None:
        super().__init__(kind, name, {"colour": colour}, opts)
        self.box = Box(f"{name}-box", opts=Options(parent=self), colour=colour)
        self.lid = Thing(f"{name}-lid", opts=Options(parent=self, depends_on=[self.box.thing]), colour=colour)
        self.register_outputs({"size": self.box.thing.size, "colour": colour})


def crated(*colours: str) -> Body:
    def body() -> None:
        for number, colour in enumerate(colours):
            Crate(f"crate{number}", colour)

    return body


def namesakes(*, both: bool) -> Body:
    def body() -> None:
        Thing("same", colour="red")
        if both:
            Statue("same", colour="red")

    return body


def needing(*, still: bool) -> Body:
    def body() -> None:
        if still:
            first = Thing("first", colour="red")
            Thing("second", colour="blue", parts={"of": first.password})
        else:
            Thing("second", colour="blue", parts={"of": "none"})

    return body


def as_parent(*, child: bool) -> Body:
    def body() -> None:
        above = Thing("above", colour="red")
        if child:
            Thing("below", colour="blue", opts=Options(parent=above))

    return body


CASES = (
    Case(
        name="comes-and-goes",
        shows="things are made, stay as they are, are changed with what is made of them, and in the end are gone",
        moves=(Up(body=two("red")), Up(body=two("red")), Up(body=two("green")), Destroy()),
        notices="keeps what is deleted",
    ),
    Case(
        name="nothing",
        shows="an empty program makes a stack and nothing else",
        moves=(Up(body=nothing), Up(body=nothing), Destroy()),
        notices="tells nothing",
    ),
    Case(
        name="all-dropped",
        shows="what the program no longer names is deleted, dependents first",
        moves=(Up(body=ordered("red")), Up(body=nothing)),
        notices="deletes what others need first",
    ),
    Case(
        name="outputs",
        shows="stack outputs come, change and go with the program",
        moves=(Up(body=told(a=1, b="size")), Up(body=told(a=2, c=[1, {"x": None}])), Up(body=told())),
        notices="forgets outputs",
    ),
    Case(
        name="secrets",
        shows="secrets stay secret inside lists and maps, in what is made of them, and stop being so when the program says",
        moves=(Up(body=secretive(open_=False)), Up(body=secretive(open_=True)), Up(body=secretive(open_=False))),
        notices="tells secrets",
    ),
    Case(
        name="values",
        shows="every kind of value comes through: nothing, empty, zero, half, large, any letter",
        moves=(Up(body=values), Up(body=values)),
        notices="tells numbers as text",
    ),
    Case(
        name="depends-on",
        shows="depends_on orders making, changing and deleting",
        moves=(Up(body=ordered("red")), Up(body=ordered("blue")), Destroy()),
        notices="deletes what others need first",
    ),
    Case(
        name="components",
        shows="components hold components and things, change, come and go with all they hold",
        moves=(Up(body=crated("red")), Up(body=crated("blue", "red")), Up(body=crated("blue")), Destroy()),
        notices="keeps what is deleted",
    ),
    Case(
        name="namesakes",
        shows="resources of one name and two types are two",
        moves=(Up(body=namesakes(both=True)), Up(body=namesakes(both=False)), Up(body=namesakes(both=True))),
        notices="keeps what is deleted",
    ),
    Case(
        name="needed-no-more",
        shows="what is dropped goes after what had needed it has changed",
        moves=(Up(body=needing(still=True)), Up(body=needing(still=False))),
        notices="keeps what is deleted",
    ),
    Case(
        name="thing-as-parent",
        shows="a thing may be another's parent: the child goes first",
        moves=(
            Up(body=as_parent(child=True)),
            Up(body=as_parent(child=False)),
            Up(body=as_parent(child=True)),
            Destroy(),
        ),
        notices="deletes what others need first",
    ),
)
