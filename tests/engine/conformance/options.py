"""Programs of resource options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
from pulumi import ResourceOptions as Options

from tests.engine.conformance.moves import Case, Destroy, Outside, Up, urn
from tests.engine.world import Thing, ThingType

Body = Callable[[], None]


def thing(colour: str = "red", shape: str | None = None, parts: Any = None, **options: Any) -> Body:
    def body() -> None:
        Thing("first", colour=colour, shape=shape, parts=parts, opts=Options(**options))

    return body


def nothing() -> None:
    pass


def boxed(*, second: bool = True, **options: Any) -> Body:
    """Two things in a component that has the options."""

    def body() -> None:
        class Chest(pulumi.ComponentResource):
            def __init__(self) -> None:
                super().__init__("crowdstack:test:Chest", "chest", None, Options(**options))

        chest = Chest()
        Thing("first", colour="red", opts=Options(parent=chest))
        if second:
            Thing("second", colour="red", opts=Options(parent=chest, protect=False, retain_on_delete=False))

    return body


def kept_with(*, container: bool, content: bool = True) -> Body:
    def body() -> None:
        holder = Thing("holder", colour="red") if container else None
        if content:
            Thing("content", colour="blue", opts=Options(deleted_with=holder))

    return body


def secretive(colour: str) -> Body:
    def body() -> None:
        first = Thing("first", colour=colour, opts=Options(additional_secret_outputs=["size"]))
        Thing("second", colour="blue", parts={"size": first.size})
        pulumi.export("size", first.size)

    return body


def hiding(key: str | None, number: int, **options: Any) -> Body:
    def body() -> None:
        hidden = "open" if key is None else pulumi.Output.secret(key)
        Thing("first", colour="red", parts={"key": hidden, "number": number}, opts=Options(**options))

    return body


PARTS = {"a": {"b": 1, "c": 2}, "list": [1, 2, 3]}
OTHER = {"a": {"b": 9, "c": 8}, "list": [7, 8, 9]}


def _stray(colour: str, shape: str | None = None) -> Outside:
    """A thing that somebody made by hand."""

    def change(kind: ThingType) -> None:
        inputs = {"colour": colour} | ({} if shape is None else {"shape": shape})
        kind._keep("create", kind.folder / f"{colour.encode().hex():0<16}", urn(colour), inputs)

    return Outside(change=change)


def stray_id(colour: str) -> str:
    return f"{colour.encode().hex():0<16}"


CASES = (
    Case(
        name="ignore-changes",
        shows="what is ignored stays as it was, the rest changes",
        moves=(Up(body=thing("red", parts=PARTS)), Up(body=thing("blue", parts=OTHER, ignore_changes=["colour"]))),
        notices="takes every change",
    ),
    Case(
        name="ignore-changes-by-path",
        shows="a path ignores a part of a property: a field, an index, all of a list",
        moves=(
            Up(body=thing(parts=PARTS)),
            Up(body=thing(parts=OTHER, ignore_changes=["parts.a.b", 'parts["list"][1]'])),
            Up(body=thing(parts=PARTS, ignore_changes=["parts.list[*]", "parts.a"])),
            Up(body=thing(parts=OTHER, ignore_changes=["parts.nowhere.x", "parts.list[9]", "*"])),
        ),
        notices="takes every change",
    ),
    Case(
        name="ignore-changes-new-and-gone",
        shows="what was not there is not added, what is left out is kept",
        moves=(
            Up(body=thing(parts=PARTS)),
            Up(body=thing(parts={"a": {"c": 2, "new": 1}}, ignore_changes=["parts.a.new", "parts.list", "parts.a.b"])),
            Up(body=thing(shape="round", parts=PARTS, ignore_changes=["shape"])),
        ),
        notices="takes every change",
    ),
    Case(
        name="ignore-changes-of-a-secret",
        shows="a secret that is ignored stays one",
        moves=(Up(body=hiding("key", 1)), Up(body=hiding(None, 2, ignore_changes=["parts.key"]))),
        notices="takes every change",
    ),
    Case(
        name="ignore-changes-and-replaced",
        shows="a replacement is made as the program says, whatever is ignored",
        moves=(
            Up(body=thing("red", "round")),
            Up(body=thing("blue", "square", ignore_changes=["colour"])),
            Up(body=thing("green", "square", ignore_changes=["colour"])),
        ),
        notices="takes every change",
    ),
    Case(
        name="replace-on-changes",
        shows="a change that could be made in place makes a new one",
        moves=(
            Up(body=thing("red", replace_on_changes=["colour"])),
            Up(body=thing("blue", replace_on_changes=["colour"])),
            Up(body=thing("blue", parts=PARTS, replace_on_changes=["colour"])),
            Up(body=thing("blue", parts=OTHER, replace_on_changes=["*"])),
            Up(body=thing("blue", parts=PARTS, replace_on_changes=["parts.a.b"])),
        ),
        notices="drops replace_on_changes",
    ),
    Case(
        name="additional-secret-outputs",
        shows="an output that the program calls secret is one, and so is what is made of it",
        moves=(Up(body=secretive("red")), Up(body=secretive("green"))),
        notices="hides no output",
    ),
    Case(
        name="protect",
        shows="a protected thing is not deleted, nor with the stack, until the program lets go of it",
        moves=(
            Up(body=thing(protect=True)),
            Up(body=nothing, fails="protect"),
            Destroy(fails="protect"),
            Up(body=thing(protect=False)),
            Up(body=nothing),
        ),
        notices="drops protect",
    ),
    Case(
        name="protect-from-replacement",
        shows="a protected thing is not replaced; unprotected in the same step it is",
        moves=(
            Up(body=thing(shape="round", protect=True)),
            Up(body=thing(shape="square", protect=True), fails="protect"),
            Up(body=thing("blue", shape="round", protect=True)),
            Up(body=thing("blue", shape="square")),
        ),
        notices="drops protect",
    ),
    Case(
        name="protect-is-inherited",
        shows="what a component protects is protected in it, unless it says otherwise",
        moves=(Up(body=boxed(protect=True)), Up(body=boxed(protect=True, second=False)), Destroy(fails="protect")),
        notices="drops protect",
    ),
    Case(
        name="retain-on-delete",
        shows="what is retained leaves the state and stays in the world",
        moves=(Up(body=thing(retain_on_delete=True)), Up(body=nothing)),
        notices="drops retain_on_delete",
    ),
    Case(
        name="retain-on-replace",
        shows="what is retained stays in the world when it is replaced, whichever goes first",
        moves=(
            Up(body=thing(shape="round", retain_on_delete=True)),
            Up(body=thing(shape="square", retain_on_delete=True)),
            Up(body=thing(shape="oval", retain_on_delete=True, delete_before_replace=True)),
            Destroy(),
        ),
        notices="drops retain_on_delete",
    ),
    Case(
        name="retain-is-inherited",
        shows="what a component retains is retained in it, unless it says otherwise",
        moves=(Up(body=boxed(retain_on_delete=True)), Destroy()),
        notices="inherits no option",
    ),
    Case(
        name="deleted-with",
        shows="what goes with its container is not deleted itself; without it, it is",
        moves=(
            Up(body=kept_with(container=True)),
            Up(body=kept_with(container=True, content=False)),
            Up(body=kept_with(container=True)),
            Up(body=nothing),
        ),
        notices="drops deleted_with",
    ),
    Case(
        name="deleted-with-no-more",
        shows="the container goes, the content stays and is on its own",
        moves=(Up(body=kept_with(container=True)), Up(body=kept_with(container=False)), Destroy()),
        notices="drops deleted_with",
    ),
    Case(
        name="custom-timeouts",
        shows="timeouts are taken and kept",
        moves=(
            Up(body=thing(custom_timeouts=pulumi.CustomTimeouts(create="5m", update="90s", delete="1h30m"))),
            Up(body=thing(custom_timeouts=pulumi.CustomTimeouts(create="1.5s"))),
            Up(body=thing()),
        ),
        notices="drops custom_timeouts",
    ),
    Case(
        name="options-alone",
        shows="options change in the state though nothing changes in the world",
        moves=(
            Up(body=thing()),
            Up(body=thing(protect=True, ignore_changes=["parts"], replace_on_changes=["colour"])),
            Up(body=thing()),
        ),
        notices="drops protect",
    ),
    Case(
        name="import",
        shows="what is there already is taken over as it is, and then is as any other",
        moves=(
            _stray("red"),
            Up(body=thing("red", import_=stray_id("red"))),
            Up(body=thing("red", import_=stray_id("red"))),
            Up(body=thing("blue", import_=stray_id("red"))),
            Up(body=thing("blue")),
            Destroy(),
        ),
        notices="drops import_id",
    ),
    Case(
        name="import-and-change",
        shows="what is taken over and differs is changed in the same step",
        moves=(_stray("red"), Up(body=thing("blue", import_=stray_id("red"))), Up(body=thing("blue"))),
        notices="drops import_id",
    ),
    Case(
        name="import-of-another",
        shows="another one is taken over in its place, the one that was is deleted",
        moves=(Up(body=thing("red")), _stray("blue"), Up(body=thing("blue", import_=stray_id("blue")))),
        notices="drops import_id",
    ),
    Case(
        name="import-of-nothing",
        shows="what is not there cannot be taken over",
        moves=(Up(body=thing("red", import_="0000"), fails="import|does not exist"), Up(body=thing("red"))),
        notices="drops import_id",
    ),
)
