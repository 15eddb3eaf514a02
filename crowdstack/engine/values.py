"""Property values, between program, plugin and state: JSON and two more kinds, `SecretValue` and `UNKNOWN`.

The plugin sees plain values; which of them are secret is remembered here and marked again on what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# How Pulumi marks what JSON cannot say, on the wire and in a state file.
SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"

Properties = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SecretValue:
    """A value that is encrypted at rest and never printed."""

    value: Any = field(repr=False)


class Unknown:
    """The value of a property that only `up` can tell."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value with `change` applied to every map and list inside (innermost first), every leaf and every secret."""
    if isinstance(value, Mapping):
        return change({key: mapped(item, change) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return change([mapped(item, change) for item in value])
    return change(value)


def plain(value: Any) -> Any:
    """The value without its secret marks, at any depth."""
    return mapped(value, lambda part: plain(part.value) if isinstance(part, SecretValue) else part)


def holds(value: Any, kind: type) -> bool:
    """Whether something of this kind (SecretValue, Unknown) is inside."""
    if isinstance(value, kind):
        return True
    if isinstance(value, SecretValue):
        return holds(value.value, kind)
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    return any(holds(part, kind) for part in parts)


def marked(found: Mapping[str, Any], *, like: Mapping[str, Any], secret: Iterable[str] = ()) -> Properties:
    """Plain properties with secrets marked: those named in `secret`, and those that are secret in `like`."""
    secret = set(secret)
    out: Properties = {}
    for name, value in found.items():
        before = like.get(name)
        if holds(before, SecretValue):
            out[name] = before if plain(before) == value else SecretValue(value)
        else:
            out[name] = SecretValue(value) if name in secret else value
    return out


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the properties whose plain values differ; a property that is absent on one side differs from any value."""
    before, after = plain(old), plain(new)
    return tuple(sorted(name for name in {*before, *after} if (name, before.get(name)) != (name, after.get(name))))
