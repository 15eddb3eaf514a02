"""The store lost or broken in the middle of a run: the last backup is put back, the inbox tells the rest again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crowdstack.wiring import Project
from tests.faults.test_processes import bots
from tests.stories.stage import Stage, assert_journal_is_export, assert_nothing_is_left, stage, wait_until

pytestmark = [pytest.mark.story, pytest.mark.timeout(120)]
UNITS = 60


def gone(store: Path) -> None:
    for part in store.parent.glob("store.db*"):
        part.unlink()


def broken(store: Path) -> None:
    """Its structure: nothing in it can be read any more."""
    size = store.stat().st_size
    store.with_name("store.db-wal").write_bytes(b"")
    store.write_bytes(b"\0" * size)


def work_after_the_backup(here: Stage) -> None:
    """Up, and on until much more was accepted than the backup knows of."""
    here.run("up", "task.yaml", "--yes", "--detach")
    wait_until(lambda: list(here.state.glob("backups/*.db")), within_s=30, what="a first backup", told=here.logs)
    wait_until(lambda: len(here.journal()) > 10, within_s=30, what="work to be done", told=here.logs)


@pytest.mark.parametrize("lose", [gone, broken])
def test_a_store_put_back_from_its_backup_learns_again_what_the_inbox_has(
    lose: Callable[[Path], None], tmp_path: Path
) -> None:
    bots(tmp_path, items=UNITS, each="200ms")
    with stage(tmp_path) as here:
        work_after_the_backup(here)
        here.kill("loop")
        lose(here.state / "store.db")
        if lose is broken:
            here.run("up", "task.yaml", "--yes", expect=(10,))
        told = here.run("restore", "task.yaml", "--yes")
        assert "bots-1.db" in told
        assert ("the store as it was" in told) is (lose is broken)
        here.run("up", "task.yaml", "--yes")
        assert assert_journal_is_export(here) == UNITS
        assert_nothing_is_left(here)
        with closing(Project.open(spec=here.folder / "task.yaml")) as project:
            effects = project.provider.effects()
            assert not [effect for effect, times in Counter(effects).items() if times > 1], effects
            assert [verb for verb, _, _ in effects].count("open") == 1
            paid = sum(amount.minor for amount in project.provider.debits().values())
            status = project.status()
            assert status.spend.minor == paid == status.exposure.minor


def test_restore_ends_the_reconciler_that_has_the_old_store_open(tmp_path: Path) -> None:
    bots(tmp_path, items=UNITS, each="200ms")
    with stage(tmp_path) as here:
        work_after_the_backup(here)
        here.run("restore", "task.yaml", "--yes")
        assert not here.pids("loop")
        here.run("up", "task.yaml", "--yes")
        assert assert_journal_is_export(here) == UNITS
        assert_nothing_is_left(here)


def test_without_a_backup_nothing_is_touched(tmp_path: Path) -> None:
    bots(tmp_path, items=1, each="0s")
    with stage(tmp_path) as here:
        here.run("restore", "task.yaml", "--yes", expect=(6,))
        assert not here.state.exists()
        here.run("restore", "task.yaml", expect=(2,))


@pytest.mark.parametrize("command", [("up", "task.yaml", "--yes"), ("preview", "task.yaml"), ("status",), ("destroy",)])
def test_without_its_store_nothing_new_is_made_in_a_live_run_and_the_way_back_is_told(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    bots(tmp_path, items=UNITS, each="200ms")
    with stage(tmp_path) as here:
        work_after_the_backup(here)
        gone(here.state / "store.db")
        wait_until(lambda: not here.pids("loop"), within_s=10, what="the reconciler to end", told=here.logs)
        before = {path: path.read_bytes() for path in here.state.glob("backups/*")}
        here.run(*command, expect=(10,))
        assert not (here.state / "store.db").exists()
        assert {path: path.read_bytes() for path in here.state.glob("backups/*")} == before
        here.run("restore", "--yes")
        here.run("up", "task.yaml", "--yes")
        assert assert_journal_is_export(here) == UNITS
        assert_nothing_is_left(here)
