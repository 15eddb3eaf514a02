"""Draw texts that a regular expression matches: `drawer("[a-z]{3}")(random) -> "kqz"`.

Whoever draws checks the draw: word boundaries and anchors in odd places are passed over here.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

try:
    from re import _parser  # type: ignore[attr-defined,unused-ignore]
except ImportError:  # Python 3.10
    import sre_parse as _parser

Draw = Callable[[Random], str]

_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_CATEGORIES = {"DIGIT": r"\d", "NOT_DIGIT": r"\D", "SPACE": r"\s", "NOT_SPACE": r"\S", "WORD": r"\w", "NOT_WORD": r"\W"}
_MORE = 4  # how often `*` and `+` repeat beyond their least


class Unsupported(ValueError):
    """The pattern uses something that cannot be drawn from (look-around, back references, ...)."""


def drawer(pattern: str) -> Draw:
    try:
        return _sequence(_parser.parse(pattern))
    except re.error as fault:
        raise Unsupported(f"{pattern!r} is not a regular expression: {fault}") from fault
    except Unsupported as fault:
        raise Unsupported(f"{pattern!r} cannot be drawn from: {fault}") from fault


def _sequence(tree: Iterable[Any]) -> Draw:
    parts = [_part(str(code), argument) for code, argument in tree]
    return lambda random: "".join(part(random) for part in parts)


def _part(code: str, argument: Any) -> Draw:
    if code in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, tree = argument
        part = _sequence(tree)
        return lambda random: "".join(part(random) for _ in range(random.randint(least, min(int(most), least + _MORE))))
    if code == "SUBPATTERN":
        return _sequence(argument[-1])
    if code == "BRANCH":
        options = [_sequence(tree) for tree in argument[1]]
        return lambda random: random.choice(options)(random)
    if code == "AT":
        return lambda random: ""
    characters = _characters(code, argument)
    if not characters:
        raise Unsupported("a class has no printable character")
    return lambda random: random.choice(characters)


def _characters(code: str, argument: Any) -> str:
    """What one character of the text may be."""
    if code == "ANY":
        return _PRINTABLE
    if code == "LITERAL":
        return chr(argument)
    if code == "NOT_LITERAL":
        return _PRINTABLE.replace(chr(argument), "")
    if code == "RANGE":
        return "".join(map(chr, range(argument[0], argument[1] + 1)))
    if code == "CATEGORY":
        return "".join(re.findall(_CATEGORIES[str(argument).removeprefix("CATEGORY_")], _PRINTABLE))
    if code == "IN":
        members = "".join(_characters(str(kind), value) for kind, value in argument if str(kind) != "NEGATE")
        negated = str(argument[0][0]) == "NEGATE"
        return "".join(c for c in _PRINTABLE if c not in members) if negated else members
    raise Unsupported(f"it uses {code.lower()}")
