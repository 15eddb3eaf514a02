"""The one door for JSON text from outside: bytes in, a value that every part and every store can hold out, or FrameError.

Total: whatever comes in, it ends in one of the two, quickly. The rules are those of docs/protocol.md ("Text that may enter").
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

_SAFE = 2**53  # integers beyond it are not the same number in every JSON parser


class FrameError(ValueError):
    """Text that may not enter. `code` is the protocol's error code."""

    def __init__(self, message: str, code: str = "bad_frame") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Bounds:
    size: int  # bytes of UTF-8
    nodes: int = 10_000
    depth: int = 32


def canonical(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no blanks, no escapes that are not needed."""
    return _ENCODER.encode(value)


def parse(raw: str | bytes, bounds: Bounds) -> Any:
    """The value of a JSON text. FrameError says what is wrong, never quoting what came in."""
    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        size = len(text) if text.isascii() else len(text.encode("utf-8"))
    except UnicodeError:
        raise FrameError("not UTF-8") from None
    if size > bounds.size:
        raise FrameError(f"{size} bytes; at most {bounds.size} may come", "too_large")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise FrameError("nested too deeply") from None
    except json.JSONDecodeError as fault:
        raise FrameError(f"not JSON: {fault.msg} at character {fault.pos}") from None
    # Most texts are harmless by plain counting (each value but the first follows one of these); only others are walked.
    opened = text.count("{") + text.count("[")
    escaped = "\\u" in text  # which can smuggle in what UTF-8 itself could not
    if escaped or opened > bounds.depth or opened + text.count(",") >= bounds.nodes:
        _walk(value, bounds, strings=escaped)
    return value


def _walk(value: Any, bounds: Bounds, *, strings: bool) -> None:
    """Check depth and number of nodes and, if asked to, every string."""
    nodes = 0
    waiting = [(value, 1)]
    while waiting:
        here, depth = waiting.pop()
        nodes += 1
        if nodes > bounds.nodes:
            raise FrameError(f"more than {bounds.nodes} values")
        if isinstance(here, str):
            if strings:
                _check_string(here)
        elif isinstance(here, (dict, list)):
            if depth > bounds.depth:
                raise FrameError(f"nested deeper than {bounds.depth}")
            if isinstance(here, dict):
                if strings:
                    for key in here:
                        _check_string(key)
                waiting.extend((child, depth + 1) for child in here.values())
            else:
                waiting.extend((child, depth + 1) for child in here)


def _check_string(text: str) -> None:
    if "\0" in text:
        raise FrameError("a text with a NUL")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise FrameError("a text with half a surrogate pair") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FrameError("the same key twice in an object")
    return found


def _integer(text: str) -> int:
    if len(text) > 17 or not -_SAFE <= (number := int(text)) <= _SAFE:
        raise FrameError("an integer beyond 2^53")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise FrameError("a number that is not finite")
    return number


def _constant(name: str) -> Any:
    raise FrameError(f"{name} is not JSON")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
