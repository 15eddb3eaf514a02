"""What authors of tasks test with: a task run whole, with the server in this process and nothing left afterwards."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from crowdstack.errors import TimedOut
from crowdstack.testing import run
from tests.stories.stage import bots_project


def test_a_task_runs_whole_inside_a_test(tmp_path: Path) -> None:
    bots_project(tmp_path, items=12, repeats=2, workers=4)
    outcome = run(tmp_path / "task.yaml")
    assert (outcome.status.done, outcome.status.target) == (24, 24)
    assert len(outcome.rows) == 24
    assert {row["answers"]["label"] for row in outcome.rows} <= {"positive", "neutral", "negative"}
    assert not (tmp_path / ".crowdstack").exists()
    assert not [thread.name for thread in threading.enumerate() if "task server" in thread.name]


def test_a_task_that_nobody_does_says_so_in_time(tmp_path: Path) -> None:
    bots_project(tmp_path, items=2, repeats=1, workers=1)
    with pytest.raises(TimedOut, match="0 of 2 units are done"):
        run(tmp_path / "task.yaml", sets=["provider.crowd={type: human, people: 1}"], within_s=1)
    assert not [thread.name for thread in threading.enumerate() if "task server" in thread.name]
