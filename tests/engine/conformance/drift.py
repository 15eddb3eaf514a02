"""Programs in a world that changes by itself, and runs of some targets only."""

from __future__ import annotations

import json
from collections.abc import Callable

import pulumi
from pulumi import ResourceOptions as Options

from tests.engine.conformance.moves import Case, Destroy, Outside, Refresh, Up, urn
from tests.engine.world import Box, Thing, ThingType

Body = Callable[[], None]


def repainted(name: str, colour: str) -> Outside:
    def change(kind: ThingType) -> None:
        for path, thing in kind.things().items():
            if thing["urn"].endswith(f"::{name}"):
                path.write_text(json.dumps({**thing, "inputs": {**thing["inputs"], "colour": colour}}))

    return Outside(change=change)


def lost(*names: str) -> Outside:
    def change(kind: ThingType) -> None:
        for path, thing in kind.things().items():
            if thing["urn"].split("::")[-1] in names:
                path.unlink()

    return Outside(change=change)


def three(first: str = "red", second: str = "red", third: str = "red") -> Body:
    """The second is made of the first, the third stands in a box."""

    def body() -> None:
        one = Thing("first", colour=first)
        Thing("second", colour=second, parts={"of": one.password})
        Box("box", colour=third)
        pulumi.export("size", one.size)

    return body


def ignoring() -> None:
    Thing("first", colour="red", opts=Options(ignore_changes=["colour"]))


def family() -> None:
    above = Thing("above", colour="red")
    Thing("below", colour="red", opts=Options(parent=above))


def kept_with() -> None:
    holder = Thing("holder", colour="red")
    Thing("content", colour="red", opts=Options(deleted_with=holder))


def without(*gone: str) -> Body:
    def body() -> None:
        for name in {"a", "b", "c"} - set(gone):
            Thing(name, colour="red")

    return body


BOX_THING = urn("box-thing", "crowdstack:test:Box$crowdstack:index:Thing")

CASES = (
    Case(
        name="refresh",
        shows="refresh takes into the state what changed and what is gone, and changes nothing in the world",
        moves=(
            Up(body=three()),
            Refresh(),
            repainted("first", "pink"),
            lost("box-thing"),
            Refresh(),
            Up(body=three()),
            Destroy(),
        ),
        notices="looks away",
    ),
    Case(
        name="drift",
        shows="up sets right what changed outside and makes again what is gone, with what is made of it",
        moves=(Up(body=three()), repainted("second", "pink"), lost("first"), Up(body=three()), Up(body=three())),
        notices="looks away",
    ),
    Case(
        name="drift-that-is-ignored",
        shows="what is ignored may change outside",
        moves=(Up(body=ignoring), repainted("first", "pink"), Up(body=ignoring), Refresh()),
        notices="takes every change",
    ),
    Case(
        name="drift-to-what-is-wanted",
        shows="what changed outside to what the program wants now needs no step",
        moves=(Up(body=three()), repainted("second", "blue"), Up(body=three(second="blue"))),
        notices="looks away",
    ),
    Case(
        name="parent-lost",
        shows="a lost parent leaves its child to its own parent, and takes it back",
        moves=(Up(body=family), lost("above"), Refresh(), Up(body=family), Destroy()),
        notices="looks away",
    ),
    Case(
        name="container-lost",
        shows="what went with a container that is lost is on its own",
        moves=(Up(body=kept_with), lost("holder"), Refresh(), Destroy()),
        notices="looks away",
    ),
    Case(
        name="lost-and-dropped",
        shows="what is lost and wanted no more needs no delete",
        moves=(Up(body=without()), lost("a", "b"), Up(body=without("a")), Destroy()),
        notices="looks away",
    ),
    Case(
        name="lost-all",
        shows="a world that is lost whole is made again",
        moves=(Up(body=three()), lost("first", "second", "box-thing"), Up(body=three())),
        notices="looks away",
    ),
    Case(
        name="targeted-up",
        shows="only the target changes; the rest follows with the next whole run",
        moves=(
            Up(body=three()),
            Up(body=three("blue", "blue", "blue"), targets=(urn("second"),)),
            Up(body=three("blue", "blue", "blue")),
        ),
        notices="takes all for targets",
    ),
    Case(
        name="targeted-create",
        shows="what is no target is not made, and the program goes on without it",
        moves=(Up(body=three(), targets=(urn("first"),)), Up(body=three())),
        notices="takes all for targets",
    ),
    Case(
        name="target-needs-more",
        shows="a target that needs what is not made is refused",
        moves=(
            Up(body=three(), targets=(urn("second"),), fails="target"),
            Up(body=three(), targets=(urn("first"), urn("second"))),
        ),
        notices="takes all for targets",
    ),
    Case(
        name="target-in-a-component",
        shows="what stands in a component can be a target once the component is there",
        moves=(Up(body=three()), Up(body=three("blue", "blue", "blue"), targets=(BOX_THING,))),
        notices="takes all for targets",
    ),
    Case(
        name="targeted-drop",
        shows="of what the program dropped only the target is deleted",
        moves=(
            Up(body=without()),
            Up(body=without("a", "b"), targets=(urn("a"),)),
            Up(body=without("a", "b")),
        ),
        notices="takes all for targets",
    ),
    Case(
        name="targeted-destroy",
        shows="destroy of a target leaves the rest; not while others need it",
        moves=(
            Up(body=three()),
            Destroy(targets=(urn("first"),), fails="target"),
            Destroy(targets=(urn("second"),)),
            Destroy(targets=(BOX_THING, urn("first"))),
            Destroy(),
        ),
        notices="takes all for targets",
    ),
    Case(
        name="targeted-refresh",
        shows="refresh of a target looks at nothing else",
        moves=(
            Up(body=three()),
            repainted("first", "pink"),
            repainted("second", "pink"),
            Refresh(targets=(urn("second"),)),
        ),
        notices="takes all for targets",
    ),
    Case(
        name="target-unknown",
        shows="a target that nobody knows is told",
        moves=(
            Up(body=three()),
            Refresh(targets=(urn("nobody"),), fails="target|no resource named"),
            Destroy(targets=(urn("nobody"),), fails="target|no resource named"),
        ),
        notices="knows every target",
    ),
)
