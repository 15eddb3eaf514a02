"""Things in a line that many workers walk along, each at an own pace; what is gone is stepped over at no cost."""

from __future__ import annotations

from array import array
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """Entries keep their positions; `first(at)` is the first one still there from `at` on.

    Removed ones are skipped by links that shorten themselves (union-find), so a walk costs what it finds, not what is gone.
    """

    def __init__(self) -> None:
        self._entries: list[T | None] = []
        self._onward = array("q", [0])  # where to look next: an entry's own position while it is there

    def append(self, entry: T) -> int:
        self._entries.append(entry)
        self._onward.append(len(self._entries))
        return len(self._entries) - 1

    def remove(self, at: int) -> None:
        self._entries[at] = None
        self._onward[at] = at + 1

    def first(self, at: int) -> tuple[int, T | None]:
        """Position and entry; (length of the line, None) at its end."""
        end = at
        while self._onward[end] != end:
            end = self._onward[end]
        while self._onward[at] != end:
            self._onward[at], at = end, self._onward[at]
        return end, self._entries[end] if end < len(self._entries) else None
