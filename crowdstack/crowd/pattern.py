"""Draw texts that a regular expression matches: `drawer("[a-z]{3}")(random) -> "kqz"`.

The subset that answer schemas use: literals, classes, `.`, `\\d \\w \\s`, groups, `|`, quantifiers, anchors.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from random import Random

Draw = Callable[[Random], str]

_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_CLASSES = {"d": string.digits, "w": string.ascii_letters + string.digits + "_", "s": " "}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_MORE = 4  # how often `*` and `+` repeat beyond their least


class Unsupported(ValueError):
    """The pattern uses something that cannot be drawn from (look-around, back references, ...)."""


def drawer(pattern: str) -> Draw:
    parser = _Parser(pattern)
    draw = parser.alternatives()
    if parser.rest():
        raise parser.unsupported()
    return draw


class _Parser:
    """Recursive descent over the pattern's text; each method gives what draws the part it has read."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def rest(self) -> str:
        return self._pattern[self._at :]

    def unsupported(self) -> Unsupported:
        return Unsupported(f"{self._pattern!r} cannot be drawn from at {self.rest()[:10]!r}")

    def alternatives(self) -> Draw:
        options = [self._sequence()]
        while self._skip("|"):
            options.append(self._sequence())
        return lambda random: random.choice(options)(random)

    def _sequence(self) -> Draw:
        parts: list[Draw] = []
        while self.rest() and self.rest()[0] not in "|)":
            if self._skip("^") or self._skip("$"):
                continue  # the whole text is drawn, so anchors hold by themselves (or the draw is found unfit)
            parts.append(self._repeated(self._atom()))
        return lambda random: "".join(part(random) for part in parts)

    def _atom(self) -> Draw:
        if self._skip("("):
            if self._skip("?") and not self._skip(":"):
                raise self.unsupported()
            inner = self.alternatives()
            self._expect(")")
            return inner
        if self._skip("["):
            return _one_of(self._set())
        if self._skip("."):
            return _one_of(_PRINTABLE)
        if self.rest()[0] in "*+?{":
            raise self.unsupported()
        return _one_of(self._character())

    def _character(self) -> str:
        """The characters that the next one stands for (several for `\\d` and its kin)."""
        if not self.rest():
            raise self.unsupported()
        if not self._skip("\\"):
            self._at += 1
            return self._pattern[self._at - 1]
        if not self.rest():
            raise self.unsupported()
        escaped = self.rest()[0]
        self._at += 1
        if escaped in _CLASSES:
            return _CLASSES[escaped]
        if escaped.lower() in _CLASSES:
            return "".join(c for c in _PRINTABLE if c not in _CLASSES[escaped.lower()])
        if escaped in _CONTROLS:
            return _CONTROLS[escaped]
        if escaped.isalnum():
            self._at -= 2
            raise self.unsupported()
        return escaped

    def _set(self) -> str:
        negated = self._skip("^")
        members = ""
        while not self._skip("]") or not members:
            low = self._character()
            if len(low) == 1 and self.rest()[:1] == "-" and self.rest()[1:2] not in ("]", ""):
                self._expect("-")
                members += "".join(map(chr, range(ord(low), ord(self._character()[0]) + 1)))
            else:
                members += low
        drawn = "".join(c for c in _PRINTABLE if c not in members) if negated else members
        if not drawn:
            raise self.unsupported()
        return drawn

    def _repeated(self, part: Draw) -> Draw:
        least, most = 1, 1
        if self._skip("*"):
            least, most = 0, _MORE
        elif self._skip("+"):
            least, most = 1, 1 + _MORE
        elif self._skip("?"):
            least, most = 0, 1
        elif self._skip("{"):
            least, most = self._bounds()
        else:
            return part
        self._skip("?")  # lazy or greedy is all one to who draws
        return lambda random: "".join(part(random) for _ in range(random.randint(least, most)))

    def _bounds(self) -> tuple[int, int]:
        text, closed, _ = self.rest().partition("}")
        low, comma, high = text.partition(",")
        if not closed or not low.isdecimal() or not (high.isdecimal() or not high):
            raise self.unsupported()
        self._at += len(text) + 1
        return int(low), int(high) if high else int(low) + (_MORE if comma else 0)

    def _skip(self, text: str) -> bool:
        if not self.rest().startswith(text):
            return False
        self._at += len(text)
        return True

    def _expect(self, text: str) -> None:
        if not self._skip(text):
            raise self.unsupported()


def _one_of(characters: Sequence[str]) -> Draw:
    return lambda random: random.choice(characters)
