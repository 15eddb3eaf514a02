"""A machine with little memory: a cgroup, and a greedy neighbour in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LIMIT = 160 * 1024 * 1024
STEP = 4 * 1024 * 1024
_GREEDY = f"""
import sys
eaten = []
for _ in sys.stdin:
    eaten.append(bytearray(b"x" * {STEP}))
"""


@dataclass(frozen=True, slots=True)
class Cage:
    folder: Path
    report: str  # the file that counts what the kernel killed in it

    @property
    def under(self) -> list[str]:
        """To put before the command that is to be killed in it once its memory is used up."""
        return self._within("echo 1000 > /proc/self/oom_score_adj")

    def _within(self, first: str) -> list[str]:
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && {first} && exec "$@"', "sh"]

    def killed(self) -> int:
        found = dict(line.split() for line in (self.folder / self.report).read_text().splitlines())
        return int(found["oom_kill"])

    @contextmanager
    def greedy(self) -> Iterator[Callable[[], None]]:
        """A neighbour that takes one more step of memory each time this is called; the last one may end it too."""
        command = [*self._within("true"), sys.executable, "-c", _GREEDY]
        with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as neighbour:
            assert neighbour.stdin is not None
            hear = neighbour.stdin.write

            def eat() -> None:
                with suppress(BrokenPipeError):
                    hear(b"more\n")

            try:
                yield eat
            finally:
                neighbour.kill()


@contextmanager
def small_cage() -> Iterator[Cage | None]:
    """A cgroup with little memory and no swap; None where none can be made."""
    cage = _made()
    try:
        yield cage
    finally:
        if cage is not None:
            cage.folder.rmdir()


def _made() -> Cage | None:
    if Path("/proc/sys/vm/panic_on_oom").read_text().strip() == "2":
        return None  # the whole machine would go
    name = f"crowdstack-{os.getpid()}"
    first = (
        Path("/sys/fs/cgroup/memory", name),
        "memory.limit_in_bytes",
        ("memory.swappiness", "0"),
        "memory.oom_control",
    )
    second = Path("/sys/fs/cgroup", name), "memory.max", ("memory.swap.max", "0"), "memory.events"
    for folder, limit, (swap, none), report in (first, second):
        if not folder.parent.joinpath("cgroup.procs").exists():
            continue
        with suppress(OSError):
            folder.mkdir()
            try:
                (folder / limit).write_text(str(LIMIT))
                if (folder / swap).exists():
                    (folder / swap).write_text(none)
            except OSError:
                folder.rmdir()
                raise
            return Cage(folder, report)
    return None
