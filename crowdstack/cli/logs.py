"""The logs of a run's processes: which is whose, the last lines, and what is written from now on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from crowdstack.cli import render
from crowdstack.cli.interrupts import Interrupts
from crowdstack.cli.session import out

LOOK_S = 0.3


def part_of(log: Path) -> str:
    """Whose log it is: server, loop or crowd."""
    return {"server.log": "server", "reconcile.log": "loop"}.get(log.name, "crowd")


def named(logs: Sequence[Path], parts: Sequence[str]) -> list[tuple[str, Path]]:
    """The logs of these parts (of all when none is named)."""
    return [(part_of(log), log) for log in logs if not parts or part_of(log) in parts]


def follow(logs: Sequence[tuple[str, Path]], interrupts: Interrupts, *, last: int, on: bool) -> None:
    """Print the `last` lines of each log, then (`on`) what is added, until Ctrl-C. A log that is not there yet may come."""
    width = max((len(part) for part, _ in logs), default=0)
    tails = [_Tail(part.ljust(width), log) for part, log in logs]
    for tail in tails:
        for line in deque(tail.new(), maxlen=last):
            out(line)
    while on and not interrupts.wait(LOOK_S):
        for tail in tails:
            for line in tail.new():
                out(line)


class _Tail:
    """A log read from where it was left; only whole lines."""

    def __init__(self, label: str, log: Path) -> None:
        self._label = label
        self._log = log
        self._at = 0

    def new(self) -> list[str]:
        try:
            with self._log.open("rb") as file:
                return list(self._read(file))
        except FileNotFoundError:
            return []

    def _read(self, file: BinaryIO) -> list[str]:
        file.seek(self._at)
        whole, newline, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(newline)
        return (
            [f"{self._label}  {render.safe_text(line.decode('utf-8', 'replace'))}" for line in whole.split(b"\n")]
            if newline
            else []
        )
