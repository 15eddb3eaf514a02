"""Watching a run: look, show, wait, until what was waited for is there. Looking changes nothing but a dead reconciler."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from crowdstack.cli import render
from crowdstack.cli.interrupts import Deadline, Interrupts
from crowdstack.cli.session import say
from crowdstack.errors import CrowdstackError, Refused, TimedOut

if TYPE_CHECKING:
    from crowdstack.deploy import Status
    from crowdstack.wiring import Project

LOOK_S = 0.5
SPEAK_S = 5.0  # without a terminal: a line this often at most
RESTARTS = 3  # in a row, of a reconciler that dies while it is watched
STEADY = 3  # looks in a row that must find it alive before its deaths are forgotten

GONE = ("destroyed", "absent", "not deployed")


class Pace:
    """Units done per minute over the last minute of looking."""

    def __init__(self, window_s: float = 60.0) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, int]] = deque()

    def look(self, done: int, at: float) -> float | None:
        """The rate now; None until a second has been seen."""
        self._seen.append((at, done))
        while at - self._seen[0][0] > self._window_s:
            self._seen.popleft()
        since, before = self._seen[0]
        return (done - before) * 60 / (at - since) if at - since >= 1 else None


class Screen(Protocol):
    def __enter__(self) -> Screen: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, now: Status, rate: float | None) -> None: ...


class Lines:
    """A line when the state changes, else one every few seconds if anything moved: for logs and CI."""

    def __init__(self) -> None:
        self._spoken_at = float("-inf")
        self._state = ""
        self._line = ""

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, now: Status, rate: float | None) -> None:
        line = render.progress(now, rate)
        due = time.monotonic() - self._spoken_at >= SPEAK_S and line != self._line
        if due or now.state != self._state:
            say(line)
            self._spoken_at, self._state, self._line = time.monotonic(), now.state, line


class Bar:
    """A bar that moves, on a terminal."""

    def __init__(self, *, color: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),  # task names are other people's text
            console=Console(stderr=True, no_color=not color, highlight=False),
            transient=True,
        )
        self._bar = self._progress.add_task("", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, now: Status, rate: float | None) -> None:
        self._progress.update(self._bar, total=now.target, completed=now.done, description=render.progress(now, rate))


def screen(*, color: bool) -> Screen:
    return Bar(color=color) if sys.stderr.isatty() else Lines()


class Restarter:
    """Starts a reconciler that died while it was watched. One that dies at each start is an error: its note says why."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._missed = 0  # looks in a row without it
        self._found = 0  # looks in a row with it
        self._restarts = 0

    def look(self, now: Status) -> None:
        if now.loop_running or now.state in GONE:
            self._missed, self._found = 0, self._found + 1
            if self._found == STEADY:
                self._restarts = 0
            return
        self._missed, self._found = self._missed + 1, 0
        if self._missed < 2:  # once may be the moment between its last word and the run's end
            return
        if self._restarts == RESTARTS:
            raise CrowdstackError(
                f"the reconciler of {now.run} ends again and again",
                why=now.loop_note,
                hint="crowdstack logs loop, then crowdstack resume",
            )
        self._missed, self._restarts = 0, self._restarts + 1
        try:
            self._project.start_loop()
        except Refused as fault:
            say(render.error(fault))


def watch(
    project: Project,
    interrupts: Interrupts,
    until: Callable[[Status], bool],
    *,
    deadline: Deadline,
    color: bool = True,
) -> Status:
    """Look until `until` holds or Ctrl-C asks to let go (`interrupts.asked`); the last look.

    TimedOut at the deadline: the run goes on.
    """
    pace, restarter = Pace(), Restarter(project)
    with screen(color=color) as shown:
        while True:
            now = project.status()
            shown.show(now, pace.look(now.done, time.monotonic()))
            if until(now) or interrupts.asked:
                return now
            restarter.look(now)
            if deadline.passed:
                raise TimedOut(
                    f"{now.run} is {now.state}: {now.done} of {now.target} done when the time was over",
                    hint="it goes on: crowdstack status, or the same command again",
                )
            interrupts.wait(LOOK_S)
