"""What is compared after each move, and the one table of what is not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crowdstack.ports import Step

# What is not held against each other -> why. The first three are fields of a state's entry.
IGNORED = {
    "created": "when it was made: a moment",
    "modified": "when it was changed: a moment",
    "sourcePosition": "the line of the program: tells a person, decides nothing",
    "manifest, version, secrets_providers, metadata": "who wrote the file, when, with which key",
    "id of a provider": "random; that its resources name it is compared",
    "order of entries that do not need each other": "registrations are parallel; that needs come first is checked",
    "order of dependencies": "a set",
    "empty lists in propertyDependencies": "Pulumi writes names of properties that depend on nothing",
    "pending operations after a fault": "ours keeps them until the next run looked, and deletes what a failed create may have "
    "left; Pulumi trusts the fault. After a run that ends well both have none, which is checked",
    "half a replacement": "Pulumi tells the delete at once, ours tells the replacement when it is whole; state and world count",
    "resources that stay, when a target is unknown": "ours does the rest first, so that a command that was killed can be given "
    "again; Pulumi does not begin",
    "preview after its first fault": "ours ends there, Pulumi shows the rest too",
    "properties of a component's update": "Pulumi does not name them",
}
SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


@dataclass(frozen=True, order=True)
class Line:
    """A step, as far as both engines tell it."""

    operation: str
    urn: str
    changed: tuple[str, ...] = ()
    replaced_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Where the stack and the world stand after a move."""

    failed: bool
    previewed: tuple[Line, ...] | None  # None: a fault ended the preview
    done: tuple[Line, ...]
    state: tuple[dict[str, Any], ...]
    world: tuple[dict[str, Any], ...]
    calls: tuple[dict[str, str], ...]  # what the plugin did in this move, in order
    before: tuple[dict[str, Any], ...]  # the state that the move found
    message: str = ""
    told: tuple[Line, ...] | None = None  # the real engine's steps, as our adapter tells them

    def differences(self, other: Outcome) -> list[str]:
        """Ours against the real one's, in words; none when they are the same."""
        found = []
        if self.failed != other.failed:
            found.append(f"failed: {self.failed}, really {other.failed} ({self.message or other.message})")
        for what in ("previewed", "done"):
            mine, its = getattr(self, what), getattr(other, what)
            if mine is not None and its is not None:
                found += _both(what, set(mine), set(its))
        if other.told is not None:
            found += _both("told by the adapter", set(self.done), set(other.told))
        found += _entries(self.state, other.state)
        found += _both("world", map(_text, self.world), map(_text, other.world))
        return found + self._orders(other)

    def _orders(self, other: Outcome) -> list[str]:
        """What was done to one resource, or to two of which one needs the other, came in the same order."""
        found = []
        urns = sorted({call["urn"] for call in (*self.calls, *other.calls)})
        needs = {(entry["urn"], need) for entry in (*self.before, *self.state) for need in _needs(entry)}
        pairs = [(a, b) for a in urns for b in urns if a == b or (a, b) in needs]
        for pair in pairs:
            mine, its = ([f"{c['verb']} {c['id']}" for c in side.calls if c["urn"] in pair] for side in (self, other))
            if mine != its:
                found.append(f"order of {[urn.split('::')[-1] for urn in pair]}: {mine}, really {its}")
        return found


def lines(steps: Iterable[Step]) -> tuple[Line, ...]:
    return tuple(
        sorted(
            Line(
                step.operation.value,
                step.urn,
                () if step.type.startswith("pulumi:pulumi:") or ":test:" in step.type else step.changed,
                step.replaced_by,
            )
            for step in steps
        )
    )


def canonical(resources: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Entries of a state (secrets opened as `plaintext`) as they are compared. AssertionError when one comes before its needs."""
    seen: set[str] = set()
    out = []
    for entry in resources:
        found = {word: value for word, value in entry.items() if word not in IGNORED}
        assert _needs(found) <= seen, f"{found['urn']} comes before {_needs(found) - seen}"
        seen.add(found["urn"])
        if found["type"].startswith("pulumi:providers:"):
            found["id"] = "random"
        if "provider" in found:
            found["provider"] = found["provider"].rpartition("::")[0]
        for word in ("dependencies", "additionalSecretOutputs"):
            if word in found:
                found[word] = sorted(found[word])
        by_property = {
            name: sorted(urns) for name, urns in (found.pop("propertyDependencies", None) or {}).items() if urns
        }
        if by_property:
            found["propertyDependencies"] = by_property
        out.append(found)
    return tuple(sorted(out, key=lambda entry: (entry["urn"], entry.get("id", ""), entry.get("delete", False))))


def _needs(entry: Mapping[str, Any]) -> set[str]:
    by_property = {urn for urns in (entry.get("propertyDependencies") or {}).values() for urn in urns or ()}
    return {entry.get("parent", ""), entry.get("deletedWith", ""), *entry.get("dependencies", ()), *by_property} - {""}


def _entries(ours: Sequence[Mapping[str, Any]], real: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    mine, its = (
        {(entry["urn"], entry.get("id", ""), entry.get("delete", False)): entry for entry in side}
        for side in (ours, real)
    )
    for key in sorted({*mine, *its}, key=str):
        here, there = mine.get(key), its.get(key)
        if here is None or there is None:
            found.append(f"state: {key} is only {'ours' if there is None else 'the real one'}")
        else:
            found += [
                f"state: {key[0].split('::')[-1]}.{word} is {here.get(word)!r}, really {there.get(word)!r}"
                for word in sorted({*here, *there})
                if here.get(word) != there.get(word)
            ]
    return found


def _text(thing: Mapping[str, Any]) -> str:
    return json.dumps(thing, sort_keys=True)


def _both(what: str, ours: Iterable[Any], real: Iterable[Any]) -> list[str]:
    mine, its = list(ours), list(real)
    return [f"{what}: only ours: {found}" for found in sorted(mine) if found not in its] + [
        f"{what}: only the real one: {found}" for found in sorted(its) if found not in mine
    ]
