"""The embedded engine, broken on purpose: one operation each. A program that does not notice its mutant shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from crowdstack.engine import structs
from crowdstack.engine.embedded import deployment
from crowdstack.engine.embedded import engine as embedded
from crowdstack.engine.embedded.deployment import Deployment
from crowdstack.engine.embedded.monitor import Monitor
from crowdstack.engine.embedded.names import Names
from crowdstack.engine.embedded.snapshot import Snapshot
from crowdstack.engine.embedded.state import Resource
from crowdstack.engine.plugin import Found
from crowdstack.engine.values import plain
from crowdstack.errors import StepFailed
from crowdstack.ports import Operation

Break = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Break] = {}


def mutant(what: str) -> Callable[[Break], Break]:
    def keep(break_: Break) -> Break:
        MUTANTS[what] = break_
        return break_

    return keep


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _none(*_: Any, **__: Any) -> Iterator[Any]:
    return iter(())


for what, place, name, instead in (
    ("keeps what is deleted", Deployment, "_let_go", _nothing),
    ("tells nothing", Deployment, "_did", _nothing),
    ("forgets outputs", Deployment, "register_outputs", _nothing),
    ("looks away", Deployment, "_look", _nothing),
    ("takes all for targets", Deployment, "_is_target", lambda self, urn: True),
    ("knows every target", Deployment, "refuse_unknown_targets", _nothing),
    ("always makes the new one first", Deployment, "_make_way", lambda self, old: old),
    ("tells secrets", deployment, "marked", lambda found, **_: dict(found)),
    ("takes every change", deployment, "ignoring", lambda old, wanted: wanted),
    ("hides no output", deployment, "hidden", lambda resource: resource.outputs),
    ("checks no inputs", deployment, "check", lambda kind, inputs: []),
    ("knows no alias", Names, "earlier", lambda *_: ()),
    ("children inherit no alias", Names, "_inherited", _none),
    ("forgets dependents", Snapshot, "dependents", _none),
):
    MUTANTS[what] = lambda patch, at=(place, name, instead): patch.setattr(*at)  # type: ignore[misc]

for option, unset in (
    ("protect", False),
    ("retain_on_delete", False),
    ("deleted_with", ""),
    ("import_id", ""),
    ("replace_on_changes", ()),
    ("custom_timeouts", {}),
):

    def _drop(patch: pytest.MonkeyPatch, option: str = option, unset: Any = unset) -> None:
        real = Monitor._wanted
        patch.setattr(Monitor, "_wanted", lambda *at: replace(real(*at), **{option: unset}))

    MUTANTS[f"drops {option}"] = _drop


@mutant("drops delete_before_replace")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Deployment.register
    patch.setattr(
        Deployment, "register", lambda self, wanted, aliases, delete_first: real(self, wanted, aliases=aliases)
    )


@mutant("inherits no option")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Monitor._wanted

    def wrong(self: Monitor, request: Any) -> Resource:
        self._registered.clear()
        return real(self, request)

    patch.setattr(Monitor, "_wanted", wrong)


@mutant("deletes what others need first")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Deployment.finish

    def wrong(self: Deployment) -> None:
        self._stack.there.reverse()
        real(self)

    patch.setattr(Deployment, "finish", wrong)


@mutant("deletes the old one at once")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Deployment._arrive

    def wrong(self: Deployment, verb: Operation, *at: Any, **more: Any) -> Resource:
        arrived = real(self, verb, *at, **more)
        for old in [old for old in self._stack.there if old.delete]:
            self._delete(old, ())
        return arrived

    patch.setattr(Deployment, "_arrive", wrong)


@mutant("keeps what was replaced")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Deployment._let_go
    patch.setattr(Deployment, "_let_go", lambda self, old, doomed: None if old.delete else real(self, old, doomed))


@mutant("always updates in place")
def _(patch: pytest.MonkeyPatch) -> None:
    real = deployment.gap_between
    patch.setattr(deployment, "gap_between", lambda *at: replace(real(*at), replaces=()))


@mutant("marks the old one too early")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Deployment._replace

    def wrong(self: Deployment, kind: Any, old: Resource, *more: Any) -> Resource:
        return real(self, kind, self._stack.swap(old, replace(old, delete=True)), *more)

    patch.setattr(Deployment, "_replace", wrong)


@mutant("children stay behind")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Names, "_inherited", _none)
    patch.setattr(Snapshot, "_rename", _nothing)


@mutant("lets two claim one alias")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Deployment._continued

    def wrong(self: Deployment, wanted: Resource, aliases: Any) -> Resource | None:
        self._claimed.clear()
        self._known.clear()
        return real(self, wanted, aliases)

    patch.setattr(Deployment, "_continued", wrong)


@mutant("lets two have one name")
def _(patch: pytest.MonkeyPatch) -> None:
    real = Deployment._continued

    def wrong(self: Deployment, wanted: Resource, aliases: Any) -> Resource | None:
        self._stack.here.pop(wanted.urn, None)
        return real(self, wanted, aliases)

    patch.setattr(Deployment, "_continued", wrong)


@mutant("takes a failed step for done")
def _(patch: pytest.MonkeyPatch) -> None:
    real = deployment.attempt

    def wrong(what: str, resource: Resource, act: Callable[[], Any]) -> Any:
        try:
            return real(what, resource, act)
        except StepFailed:
            return Found(id=resource.id or "none", inputs=plain(resource.inputs), outputs={})

    patch.setattr(deployment, "attempt", wrong)


@mutant("writes only at the end")
def _(patch: pytest.MonkeyPatch) -> None:
    save, finish = Deployment.save, Deployment.finish
    patch.setattr(Deployment, "save", _nothing)

    def wrong(self: Deployment) -> None:
        finish(self)
        save(self)

    patch.setattr(Deployment, "finish", wrong)


@mutant("takes a fault for the end")
def _(patch: pytest.MonkeyPatch) -> None:
    real = embedded._run

    def wrong(*at: Any, **more: Any) -> None:
        try:
            real(*at, **more)
        except StepFailed:
            return

    patch.setattr(embedded, "_run", wrong)


@mutant("tells numbers as text")
def _(patch: pytest.MonkeyPatch) -> None:
    real = structs._from_wire

    def wrong(value: Any) -> Any:
        found = real(value)
        return str(found) if type(found) in (int, float) else found

    patch.setattr(structs, "_from_wire", wrong)
