"""The main job on real input: a recorded crowd of 164 people answers again, and the export is exactly the recording."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.size import FULL
from tests.stories.stage import (
    ROOT,
    assert_journal_is_export,
    assert_nothing_is_left,
    assert_promised,
    kill_at_random,
    promise_kept,
    rte_project,
    stage,
)

pytestmark = [pytest.mark.story, pytest.mark.timeout(900)]


def recorded(rows: list[dict[str, object]]) -> list[tuple[object, object, object]]:
    return sorted((row["item"], row["worker"], row["answers"]["entails"]) for row in rows)  # type: ignore[index,type-var]


def test_a_replayed_crowd_gives_exactly_the_recorded_answers(tmp_path: Path) -> None:
    recording = rte_project(tmp_path, items=800 if FULL else 100)
    with stage(tmp_path) as here, promise_kept(here):
        begun = time.monotonic()
        here.run("up", "task.yaml", "--yes", timeout_s=600)
        took = time.monotonic() - begun
        rows = here.export()
        assert recorded(rows) == sorted(recording)
        assert assert_journal_is_export(here) == len(recording)
        assert_nothing_is_left(here)
        print(f"\nRTE: {len(rows)} answers in {took:.1f} s ({len(rows) / took:.0f}/s)")
        if FULL:
            here.run("export", "task.yaml", "-f", "csv", "-o", "answers-out.csv")
            score = subprocess.run(
                [sys.executable, str(ROOT / "examples/rte/score.py"), "answers-out.csv", "gold.csv"],
                cwd=tmp_path, capture_output=True, text=True, check=True,
            )  # fmt: skip
            print(score.stdout)
            assert "0.897" in score.stdout


def test_whatever_is_killed_no_accepted_answer_is_lost_or_doubled(tmp_path: Path) -> None:
    seed = 20261123
    pace = "400ms" if FULL else "1s"  # one recorded worker does every item of the sample, one after the other
    recording = rte_project(tmp_path, items=800 if FULL else 160)
    sets = (f"provider.crowd.time_per_unit={pace}", "provider.crowd.workers=60")
    with stage(tmp_path) as here, promise_kept(here, *sets):
        command = ("up", "task.yaml", "--yes", *(word for each in sets for word in ("--set", each)))
        killed = kill_at_random(here, command, each=5, hands=20, seed=seed)
        assert all(killed[part] >= 5 for part in ("server", "loop", "crowd", "up")), killed
        rows = here.export()
        assert recorded(rows) == sorted(recording)
        assert assert_journal_is_export(here) == len(recording)
        here.run("destroy", "--yes", expect=(0, 6))
        assert_nothing_is_left(here)
        print(f"\nkilled {dict(killed)}, seed {seed}: {len(rows)} answers, each once, each under its receipt")


@pytest.mark.parametrize("wave", ["", "  wave: 7\n"], ids=["at once", "in waves"])
def test_what_was_previewed_is_what_happened(tmp_path: Path, wave: str) -> None:
    rte_project(tmp_path, items=20)
    spec = tmp_path / "task.yaml"
    spec.write_text(spec.read_text().replace("provider:\n", f"provider:\n{wave}"))
    with stage(tmp_path) as here:
        assert_promised(here)


def test_a_run_again_of_a_task_that_is_done_does_nothing(tmp_path: Path) -> None:
    rte_project(tmp_path, items=5)
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes")
        before = here.export()
        assert "nothing to do" in here.run("up", "task.yaml", "--yes")
        assert here.export() == before
        assert here.run("preview", "task.yaml", "--detailed-exitcode") is not None
