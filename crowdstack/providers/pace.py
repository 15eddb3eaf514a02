"""How often a provider is asked: soon after something changed, ever more rarely while nothing does. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Paced(Generic[T]):
    """The last answer of `ask`, asked anew when it is due: `first_s` after a change or a hint, then half as long again each
    time the answer is the same, up to `longest_s`. `now`: seconds that never go back."""

    def __init__(self, ask: Callable[[], T], now: Callable[[], float], *, first_s: float, longest_s: float) -> None:
        self._ask, self._now = ask, now
        self.first_s, self._longest_s = first_s, longest_s
        self._wait_s = 0.0
        self._at = float("-inf")
        self._last: T
        self._known = False

    def __call__(self) -> T:
        if not self._known or self._now() >= self._at + self._wait_s:
            found = self._ask()
            same = self._known and found == self._last
            self._wait_s = min(max(self._wait_s, self.first_s) * 1.5, self._longest_s) if same else self.first_s
            self._last, self._known, self._at = found, True, self._now()
        return self._last

    def hint(self) -> None:
        """Something may have changed: the answer is due `first_s` after it was last asked for."""
        self._wait_s = min(self._wait_s, self.first_s)

    def forget(self) -> None:
        """The answer is known to be old."""
        self._known = False
