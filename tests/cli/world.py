"""A small world behind the command line: a project that behaves (it goes up, gets work done, drains) without processes.

`python -m tests.cli.world '<World as JSON>' <arguments>` is the command in front of it, for tests with a terminal.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from crowdstack.deploy import Preview, Status
from crowdstack.folder import Folder
from crowdstack.model import Money, UnitCounts, VisitCounts, WorkerId
from crowdstack.plan.cost import Cost
from crowdstack.plan.forecast import Line
from crowdstack.ports import Operation, Step

GONE = ("destroyed", "absent", "not deployed")


def usd(minor: int) -> Money:
    return Money(minor, "USD")


def a_cost(**changes: Any) -> Cost:
    given: dict[str, Any] = {
        "gross": usd(5),
        "visits": 4,
        "total": usd(20),
        "cap": usd(25),
        "per_unit": "0.05 USD",
        "per_hour": usd(600),
    }
    return Cost(**{**given, **changes})


def a_step(operation: Operation, kind: str = "TaskServer", **changes: Any) -> Step:
    return Step(operation=operation, urn=f"urn:{kind}", type=f"crowdstack:index:{kind}", name=kind.lower(), **changes)


def a_line(sign: str, text: str) -> Line:
    return Line(kind="places", sign=sign, text=text)


def a_preview(**changes: Any) -> Preview:
    given: dict[str, Any] = {
        "task": "birds",
        "run": "birds-1",
        "new_run": True,
        "steps": (a_step(Operation.CREATE, "Bundle"), a_step(Operation.CREATE)),
        "lines": (a_line("+", "open study birds-1: 4 places"),),
        "cost": a_cost(),
        "target_met": False,
        "basis": "",
        "notes": (),
        "never_changes": ("the reward of study birds-1",),
    }
    return Preview(**{**given, **changes})


def a_status(**changes: Any) -> Status:
    given: dict[str, Any] = {
        "task": "birds",
        "run": "birds-1",
        "state": "live",
        "units": UnitCounts(total=4, open=2, assigned=1, submitted=1),
        "visits": VisitCounts(active=1, paid=1),
        "target": 4,
        "done": 1,
        "server_url": "http://127.0.0.1:8000",
        "server_healthy": True,
        "loop_running": True,
        "loop_note": None,
        "links": {"person-1": "http://127.0.0.1:8000/?t=v1.1.abc.def"},
        "spend": usd(5),
        "exposure": usd(20),
        "cap": usd(25),
        "budget": usd(100),
        "quarantined": 0,
        "workers": 1,
        "labels": {"team": "nlp"},
        "started_at": None,
        "rate_per_min": None,
    }
    return Status(**{**given, **changes})


@dataclass
class World:
    """What is there, and a Project's verbs upon it. Each look at the status gets `pace` units done."""

    task: str = "birds"
    state: str = "not deployed"
    target: int = 4
    done: int = 0
    pace: int = 2
    keep: bool = False
    loop: bool = True
    loop_dies: bool = False  # whenever it is started
    drifted: tuple[Step, ...] = ()
    leaves: tuple[str, ...] = ()  # what destroy does not get rid of
    status_says: dict[str, Any] = field(default_factory=dict)
    preview_says: dict[str, Any] = field(default_factory=dict)
    deploy_s: float = 0.0
    on_up: Callable[[], None] = lambda: None
    folder: Folder = field(default_factory=lambda: Folder(Path(".crowdstack")))
    store: Any = None
    opened_with: dict[str, Any] = field(default_factory=dict)
    closed: bool = False

    def open(self, **given: Any) -> Any:
        self.opened_with = given
        return self

    def close(self) -> None:
        self.closed = True

    def preview(self, *, fresh: bool = False) -> Preview:
        steps = () if self.state == "live" else a_preview().steps
        return a_preview(**{"steps": steps, "task": self.task, **self.preview_says})

    def up(self, *, seen: Preview, fresh: bool = False, on_step: Callable[[Step], None]) -> Any:
        for step in self.preview().steps:
            on_step(step)
        threading.Event().wait(self.deploy_s)
        self.state = "live"
        self.on_up()
        return SimpleNamespace(id="birds-1")

    def status(self) -> Status:
        if self.state == "live":
            self.done = min(self.target, self.done + self.pace)
            if self.done == self.target:
                self.state = "done" if self.keep else "destroyed"
        elif self.state == "draining":
            self.state = "destroyed"
        there = a_status(task=self.task, state=self.state, done=self.done, target=self.target, loop_running=self.loop)
        return replace(there, **self.status_says)

    def links(self) -> Mapping[WorkerId, str]:
        return a_status().links if self.state == "live" else {}

    def refresh(self, targets: Collection[str] = ()) -> tuple[Step, ...]:
        return tuple(step for step in self.drifted if not targets or step.urn in targets)

    def stop(self) -> None:
        self.state = "paused"

    def resume(self) -> None:
        self.state = "live"

    def settle(self) -> dict[str, str]:
        return {}

    def start_loop(self) -> None:
        self.loop = not self.loop_dies

    def destroy(self, *, now: bool = False) -> None:
        self.state = "draining"

    def gone(self) -> list[str]:
        return list(self.leaves) if self.state in GONE else ["everything"]

    def logs(self) -> list[Path]:
        run = self.folder.run("birds-1")
        return [run.server_log, run.loop_log]


def front(arguments: Sequence[str]) -> int:
    from crowdstack.cli.main import run
    from crowdstack.cli.session import Session

    world = World(**json.loads(arguments[0]))
    return run(arguments[1:], Session(open_project=world.open))


if __name__ == "__main__":
    sys.exit(front(sys.argv[1:]))
