"""How many steps a regular expression may take: an upper bound from its parse tree. Pure.

Python's engine tries alternatives one after another, so the bound is the product of the choices along the pattern. It
is generous to no clever engine and never too low; a repeat inside a repeat multiplies beyond every limit.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

try:
    from re import _parser  # type: ignore[attr-defined,unused-ignore]
except ImportError:  # Python 3.10
    import sre_parse as _parser

MAX_STEPS = 4097**2  # one .* and where to begin, on 4,096 characters: about 0.2 s
MAX_PATTERN = 1000


def longest_safe(pattern: str, most: int) -> int:
    """The longest text, up to `most` characters, on which `pattern` surely takes no more than MAX_STEPS; 0 if there is none.

    ValueError when it is not a regular expression.
    """
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"the pattern is longer than {MAX_PATTERN:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
            tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as fault:
        raise ValueError(f"not a regular expression: {fault}") from fault
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _steps(tree, middle) <= MAX_STEPS else (low, middle - 1)
    return low


def _steps(tree: Any, length: int) -> int:
    begins: int = length + 1  # where a match may start
    if len(tree) and str(tree[0][0]) == "AT" and str(tree[0][1]).startswith("AT_BEGINNING"):
        lines = tree.state.flags & re.MULTILINE
        begins = begins if lines else 1
    return begins * _choices(tree, length)


def _choices(tree: Iterable[Any], length: int) -> int:
    """In how many ways the parts of a sequence may be tried, at most."""
    total = 1
    for code, argument in tree:
        total = min(total * _choices_of(code, argument, length), MAX_STEPS + 1)
    return total


def _choices_of(code: Any, argument: Any, length: int) -> int:
    name = str(code)
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, body = int(argument[0]), argument[2]
        most = min(int(argument[1]), max(length, least))
        inner = _choices(body, length)
        ways: int = inner ** min(most, 32)
        return min(ways, MAX_STEPS) * (most - least + 1)
    if name == "BRANCH":
        return sum(_choices(branch, length) for branch in argument[1])
    if name == "SUBPATTERN":
        return _choices(argument[-1], length)
    if name in ("ASSERT", "ASSERT_NOT"):
        return _choices(argument[1], length)
    if name == "ATOMIC_GROUP":
        return _choices(argument, length)
    if name == "GROUPREF_EXISTS":
        return sum(_choices(branch, length) for branch in argument[1:] if branch is not None)
    return 1  # one character, a set, a position, a back-reference
