"""Change: a spec edited while its run is live -> what of it holds now. Fields marked `next run` keep what the run began with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crowdstack.spec.check import checked
from crowdstack.spec.explain import CHANGES, fields
from crowdstack.spec.load import Document, Node, Place
from crowdstack.spec.models import Spec

_ABSENT = object()
_SHOWN = 80  # characters of a value
_LIVE = Place(0, "the live run")
_ITEMS = "task.data"  # not kept: what changes of the items shows in the units that are offered


@dataclass(frozen=True, slots=True)
class Edits:
    """What differs from the spec that the run goes by, each as `field (old -> new)`."""

    now: tuple[str, ...] = ()
    next_run: tuple[str, ...] = ()


def kept(spec: Spec) -> dict[str, Any]:
    """What a run keeps of its spec to compare later ones with: the document, without items written into it."""
    plain: dict[str, Any] = spec.document.root.plain()
    return {**plain, "task": {name: value for name, value in plain["task"].items() if name != "data"}}


def held(spec: Spec, live: Mapping[str, Any]) -> tuple[Spec, Edits]:
    """`spec` as a run begun with `live` (by `kept`) may follow it, and what is edited.

    SpecError when what is changed does not go with what stays, such as a budget in another currency.
    """
    provider = live["provider"]["type"]
    marks = _Marks(provider)
    root = marks.settled(live, spec.document.root, "")
    edits = Edits(tuple(marks.now), tuple(marks.next_run))
    if not edits.next_run:
        return spec, edits
    assert isinstance(root, Node)
    return checked(Document(root, spec.file)), edits


class _Marks:
    """The `x-change` marks of all fields, at work on two trees; what differs is sorted into `now` and `next_run`."""

    def __init__(self, provider: str) -> None:
        known = fields()
        self._waits = {
            field.path for field in known if field.change == CHANGES["next run"] or provider in field.fixed_by
        }
        self._mappings = {field.parent for field in known}
        self._mixed = {field.parent for field in known if field.path in self._waits} - self._waits
        self.now: list[str] = []
        self.next_run: list[str] = []

    def settled(self, live: Any, wanted: Any, path: str) -> Any:
        """The node that holds at `path`, or _ABSENT."""
        if path == "provider" and (other := _other_type(live, wanted)):
            self.next_run.append(f"provider.type ({live['type']} -> {other})")
            return _node(live, wanted)  # whole: the fields of one crowd mean nothing to another
        mixed = path in self._mixed  # left out on one side, its fields are still told one by one
        old = {} if mixed and live is _ABSENT else live
        new = {} if mixed and wanted is _ABSENT else wanted.value if isinstance(wanted, Node) else None
        if path in self._mappings and isinstance(old, Mapping) and isinstance(new, dict):
            names = dict.fromkeys([*new, *old])
            below = {
                name: self.settled(old.get(name, _ABSENT), new.get(name, _ABSENT), f"{path}.{name}".strip("."))
                for name in names
            }
            held = {name: node for name, node in below.items() if node is not _ABSENT}
            if isinstance(wanted, Node):
                return Node(held, wanted.place, wanted.key)
            return Node(held, _LIVE, _LIVE) if held else _ABSENT
        if path == _ITEMS or (wanted is not _ABSENT and live == wanted.plain()):
            return wanted
        edit = f"{path} ({_words(live)} -> {_words(wanted)})"
        if path not in self._waits:
            self.now.append(edit)
            return wanted
        self.next_run.append(edit)
        return live if live is _ABSENT else _node(live, wanted)


def _other_type(live: Any, wanted: Any) -> str | None:
    """The type of a provider that takes the place of another."""
    new = wanted.value.get("type") if isinstance(wanted, Node) and isinstance(wanted.value, dict) else None
    return None if new is None or new.value == live["type"] else str(new.value)


def _words(value: Any) -> str:
    plain = value.plain() if isinstance(value, Node) else value
    if plain is _ABSENT:
        return "not set"
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _node(value: Any, instead_of: Any) -> Node:
    """`value` as a tree, at the place of the node it stands for."""
    at = instead_of.place if isinstance(instead_of, Node) else _LIVE
    if isinstance(value, Mapping):
        return Node({name: _node(below, instead_of) for name, below in value.items()}, at, at)
    if isinstance(value, list):
        return Node([_node(below, instead_of) for below in value], at, at)
    return Node(value, at, at)
