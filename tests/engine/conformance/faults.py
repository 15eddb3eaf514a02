"""Programs that fail in the middle, and what the same or another program makes of what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pulumi import ResourceOptions as Options

from tests.engine.conformance.moves import Case, Destroy, Outside, Statue, Up
from tests.engine.world import Thing

Body = Callable[[], None]
NO_PAINT = "no black paint"


def no_paint(colour: str = "black") -> Outside:
    """What has this colour cannot be made or painted."""
    return Outside(change=lambda kind: kind.beside("broken").write_text(colour) and None)


def stuck(colour: str = "black") -> Outside:
    """What has this colour cannot be deleted."""
    return Outside(change=lambda kind: kind.beside("stuck").write_text(colour) and None)


def row(*colours: str) -> Body:
    """Each waits for the one before, so that all know what was done when one fails."""

    def body() -> None:
        above: list[Thing] = []
        for number, colour in enumerate(colours):
            above = [Thing(f"thing{number}", colour=colour, opts=Options(depends_on=above))]

    return body


def shaped(shape: str, colour: str, kind: type[Thing] = Thing, *, recast: bool = False) -> Body:
    def body() -> None:
        first = kind("first", colour=colour, shape=shape)
        if recast:
            Thing("second", colour="blue", shape=first.password)

    return body


def raising() -> None:
    Thing("first", colour="red")
    raise ValueError("the program is wrong")


def wrong(**properties: Any) -> Body:
    def body() -> None:
        Thing("first", **properties)

    return body


def twice() -> None:
    Thing("first", colour="red")
    Thing("first", colour="blue")


def nothing() -> None:
    pass


CASES = (
    Case(
        name="create-fails",
        shows="what was made before stays, what would come after is not begun; then it goes on",
        moves=(
            no_paint(),
            Up(body=row("red", "black", "blue"), fails=NO_PAINT),
            no_paint(""),
            Up(body=row("red", "black", "blue")),
            Destroy(),
        ),
        notices="writes only at the end",
    ),
    Case(
        name="create-fails-and-is-dropped",
        shows="what could not be made and is wanted no more leaves nothing",
        moves=(no_paint(), Up(body=row("red", "black"), fails=NO_PAINT), no_paint(""), Up(body=row("red"))),
        notices="takes a failed step for done",
    ),
    Case(
        name="update-fails",
        shows="what could not be changed is as it was, and can be changed later",
        moves=(
            Up(body=row("red", "red", "red")),
            no_paint(),
            Up(body=row("blue", "black", "blue"), fails=NO_PAINT),
            no_paint(""),
            Up(body=row("blue", "black", "blue")),
        ),
        notices="writes only at the end",
    ),
    Case(
        name="update-fails-and-is-taken-back",
        shows="the program goes back after a failed change: nothing is to do",
        moves=(Up(body=row("red")), no_paint(), Up(body=row("black"), fails=NO_PAINT), Up(body=row("red"))),
        notices="takes a failed step for done",
    ),
    Case(
        name="delete-fails",
        shows="what cannot be deleted stays in the state with all it needs",
        moves=(
            Up(body=row("red", "black", "blue")),
            stuck(),
            Up(body=nothing, fails=NO_PAINT),
            stuck(""),
            Up(body=nothing),
        ),
        notices="takes a failed step for done",
    ),
    Case(
        name="destroy-fails",
        shows="a stack whose destruction failed is destroyed by the next try",
        moves=(Up(body=row("red", "black", "blue")), stuck(), Destroy(fails=NO_PAINT), stuck(""), Destroy()),
        notices="writes only at the end",
    ),
    Case(
        name="replacement-fails",
        shows="when the new one cannot be made the old one stays what it was",
        moves=(
            Up(body=shaped("round", "red")),
            no_paint(),
            Up(body=shaped("square", "black"), fails=NO_PAINT),
            Up(body=shaped("round", "red")),
            no_paint(""),
            Up(body=shaped("square", "black")),
        ),
        notices="marks the old one too early",
    ),
    Case(
        name="replaced-one-stays",
        shows="a replaced one that cannot be deleted is deleted by the next run",
        moves=(
            Up(body=shaped("round", "black")),
            stuck(),
            Up(body=shaped("square", "red"), fails=NO_PAINT),
            stuck(""),
            Up(body=shaped("square", "red")),
        ),
        notices="keeps what was replaced",
    ),
    Case(
        name="deleted-first-and-failed",
        shows="the old one is gone and the new one could not be made: the next run makes it",
        moves=(
            Up(body=shaped("round", "red", Statue)),
            no_paint(),
            Up(body=shaped("square", "black", Statue), fails=NO_PAINT),
            no_paint(""),
            Up(body=shaped("square", "black", Statue)),
        ),
        notices="always makes the new one first",
    ),
    Case(
        name="deleted-first-failed-and-taken-back",
        shows="the old one is gone, the program goes back to it: it is made again",
        moves=(
            Up(body=shaped("round", "red", Statue)),
            no_paint(),
            Up(body=shaped("square", "black", Statue), fails=NO_PAINT),
            Up(body=shaped("round", "red", Statue)),
        ),
        notices="always makes the new one first",
    ),
    Case(
        name="deleted-first-failed-and-dropped",
        shows="the old one is gone, the program wants it no more: nothing is deleted twice",
        moves=(
            Up(body=shaped("round", "red", Statue, recast=True)),
            no_paint(),
            Up(body=shaped("square", "black", Statue, recast=True), fails=NO_PAINT),
            Up(body=nothing),
        ),
        notices="always makes the new one first",
    ),
    Case(
        name="deleted-first-failed-with-dependents",
        shows="dependents that went with it are made again by the next run",
        moves=(
            Up(body=shaped("round", "red", Statue, recast=True)),
            no_paint(),
            Up(body=shaped("square", "black", Statue, recast=True), fails=NO_PAINT),
            no_paint(""),
            Up(body=shaped("square", "black", Statue, recast=True)),
            Destroy(),
        ),
        notices="forgets dependents",
    ),
    Case(
        name="program-raises",
        shows="a program that raises deletes nothing",
        moves=(Up(body=row("red")), Up(body=raising, fails="the program is wrong"), Up(body=row("red"))),
        notices="takes a fault for the end",
    ),
    Case(
        name="wrong-inputs",
        shows="inputs that cannot be are refused before anything is done",
        moves=(
            Up(body=wrong(colour=3), fails="colour"),
            Up(body=wrong(colour="red")),
            Up(body=wrong(colour="red", weight=1), fails="weight"),
        ),
        notices="checks no inputs",
    ),
    Case(
        name="one-name-twice",
        shows="two resources cannot have one name",
        moves=(Up(body=twice, fails="two resources of one name|duplicate resource"),),
        notices="lets two have one name",
    ),
)
