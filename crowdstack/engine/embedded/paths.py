"""Paths to properties, as options name them: `size`, `tags.team`, `rules[0].port`, `rules[*].port`, `tags["a.b"]`. Pure."""

from __future__ import annotations

import re
from typing import Any

from crowdstack.engine.values import Properties, SecretValue

Path = tuple[str | int, ...]
_PART = re.compile(r'\.?(?:\["((?:\\"|[^"])+)"\]|\[(\*|\d+)\]|([^.\[\]]+))')


def parse(text: str) -> Path:
    """ValueError for what is no path."""
    parts: list[str | int] = []
    at = 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None or (at == 0 and text.startswith(".")):
            raise ValueError(f"{text!r} is no path to a property")
        quoted, index, name = found.groups()
        if index is not None:
            parts.append(index if index == "*" else int(index))
        else:
            parts.append(name if quoted is None else quoted.replace('\\"', '"'))
        at = found.end()
    if not parts:
        raise ValueError("an empty path names no property")
    return tuple(parts)


def covers(path: Path, other: Path) -> bool:
    """Whether `other` lies at or below `path`."""
    return len(path) <= len(other) and all(mine in ("*", its) for mine, its in zip(path, other, strict=False))


def reset(path: Path, old: Properties, new: Properties) -> Properties:
    """`new` with what lies at `path` as it is in `old`; as it was where one of them has no such place."""
    found: Properties = _reset(path, old, new, secret=False, hidden=False)
    return found


def _reset(path: Path, old: Any, new: Any, *, secret: bool, hidden: bool) -> Any:
    """`secret`: `old` lies inside a secret; `hidden`: `new` does, so that nothing in it needs a mark of its own."""
    if isinstance(new, SecretValue):
        return SecretValue(_reset(path, old, new.value, secret=secret, hidden=True))
    if isinstance(old, SecretValue):
        return _reset(path, old.value, new, secret=True, hidden=hidden)

    def kept(value: Any) -> Any:
        return SecretValue(value) if secret and not hidden and not isinstance(value, SecretValue) else value

    def deeper(its: Any, mine: Any) -> Any:
        return _reset(rest, its, mine, secret=secret, hidden=hidden) if rest else kept(its)

    key, rest = path[0], path[1:]
    if isinstance(new, list) and isinstance(old, list):
        if key == "*" and len(old) == len(new):
            return [deeper(its, mine) for its, mine in zip(old, new, strict=True)]
        if isinstance(key, int) and key < min(len(old), len(new)):
            return [*new[:key], deeper(old[key], new[key]), *new[key + 1 :]]
    elif isinstance(new, dict):
        before = old if isinstance(old, dict) else {}
        if key == "*" and isinstance(old, dict):
            if not rest:
                return {name: kept(value) for name, value in before.items()}
            if before.keys() <= new.keys():
                return {name: deeper(before[name], mine) if name in before else mine for name, mine in new.items()}
        elif isinstance(key, str) and key != "*":
            if not rest and key not in before:
                return {name: value for name, value in new.items() if name != key}
            if not rest or key in new:
                return {**new, key: deeper(before.get(key), new.get(key))}
    return new
