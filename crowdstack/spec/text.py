"""What text and values may enter (threats 5.9), wherever they come from: spec, data, recorded answers. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

INTEGER_LIMIT = 2**53
_SURROGATE = re.compile("[\ud800-\udfff]")


def flaw_of_text(text: str) -> str | None:
    """What makes `text` unfit to be stored and sent, in words; None when it is fine."""
    if "\0" in text:
        return "a NUL character"
    if not text.isascii() and _SURROGATE.search(text):
        return "half of a surrogate pair, which is no character"
    return None


def flaw_of_value(value: Any, depth: int = 0) -> str | None:
    """The same for a whole JSON value."""
    if isinstance(value, str):
        return flaw_of_text(value)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return "a number beyond 2^53" if abs(value) > INTEGER_LIMIT else None
    if isinstance(value, float):
        return None if abs(value) < float("inf") else "a number that is not finite"
    if depth >= 32:
        return "values nested deeper than 32 levels"
    below: Iterable[Any] = (*value.keys(), *value.values()) if isinstance(value, dict) else value
    return next((flaw for entry in below if (flaw := flaw_of_value(entry, depth + 1))), None)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """`did you mean "repeats"?`, or the words there are; None when there are too many to list."""
    words = sorted(known)
    close = get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known: {', '.join(words)}" if 0 < len(words) <= 16 else None


def shown(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + '..."'
