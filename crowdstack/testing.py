"""For authors of tasks: run a task whole inside a test, with simulated workers, and look at what came back.

    pytest_plugins = ["crowdstack.testing"]  # in conftest.py

    def test_my_task(crowd_run):
        outcome = crowd_run("task.yaml", sets=["provider.crowd.workers=5"])
        assert outcome.status.done == outcome.status.target
        assert all(row["answers"]["label"] in ("yes", "no") for row in outcome.rows)

The server runs inside the test's process and all state lies in a temporary folder; workers are simulated in a process of
their own, over the real page and socket.

For authors of providers: `ProviderContract` holds an adapter to what every provider must do, `ManagedProviderContract` one that tells who
came (docs/write-a-provider.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crowdstack.provider_contract import ManagedProviderContract, ProviderContract, opening

if TYPE_CHECKING:
    from crowdstack.deploy import Status


__all__ = ["ManagedProviderContract", "Outcome", "ProviderContract", "crowd_run", "opening", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run that has ended. `rows`: one per submission, as `crowdstack export -f jsonl --identified` gives them."""

    status: Status
    rows: list[dict[str, Any]]


def run(spec: Path | str, *, sets: Sequence[str] = (), overlays: Sequence[Path] = (), within_s: float = 60) -> Outcome:
    """Bring the task up, wait until its target is met and all is taken down again. TimedOut after `within_s`."""
    from crowdstack import process
    from crowdstack.errors import TimedOut
    from crowdstack.review.export import rows
    from crowdstack.wiring import Project

    with closing(Project.open(spec=Path(spec), overlays=overlays, sets=["architect={type: mock}", *sets])) as project:
        project.up()
        for _ in process.polls(within_s):
            status = project.status()
            if status.state == "destroyed":
                return Outcome(status=status, rows=list(rows(project.store, project.task, identified=True)))
        raise TimedOut(f"{status.done} of {status.target} units are done after {within_s:g} s: {status.loop_note}")


@pytest.fixture
def crowd_run() -> Callable[..., Outcome]:
    """`run`, as a fixture."""
    return run
