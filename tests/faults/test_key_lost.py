"""The key of the engine's state lost in the middle of a run: everything but the stack's own end goes on without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.test_processes import bots
from tests.stories.stage import assert_journal_is_export, assert_nothing_is_left, stage, wait_until

pytestmark = [pytest.mark.story, pytest.mark.timeout(120)]


def test_without_the_key_people_finish_answers_are_stored_and_the_end_waits_for_it(tmp_path: Path) -> None:
    bots(tmp_path, items=12, each="300ms")
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        key, kept = here.state / "state.key", tmp_path / "kept"
        key.rename(kept)
        assert here.status()["server"]["healthy"]
        wait_until(
            lambda: "key" in (here.status()["loop"]["note"] or ""), within_s=60, what="the end to wait", told=here.logs
        )
        assert assert_journal_is_export(here) == 12, "it was emptied before the stack was looked at"
        assert here.pids("server")
        kept.rename(key)
        wait_until(lambda: here.status()["state"] == "destroyed", within_s=30, what="the end", told=here.logs)
        assert_nothing_is_left(here)
