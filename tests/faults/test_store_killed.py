"""The store killed, and refused disk space, at its every write: what was acked is there, each event once, all or nothing."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crowdstack.errors import StateMismatch
from crowdstack.model import Money, RunId
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import CENTS, TASK, open_run, started
from tests.faults.store_script import BUSY, UNITS
from tests.size import FULL

RUN = RunId("birds-1")
ROOT = Path(__file__).parents[2]
SEED = 20260301

pytestmark = [
    pytest.mark.strace,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: apt-get install strace"),
]


def run_script(folder: Path, *inject: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    tracer = ["strace", "-f", "-qq", "-o", str(folder / "trace"), "-e", "trace=pwrite64,fdatasync,fsync", *inject]
    command = [*tracer, sys.executable, "-m", "tests.faults.store_script", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def writes(folder: Path, call: str) -> int:
    """How often an undisturbed run makes this system call."""
    done = run_script(folder)
    if done.returncode and "ptrace" in done.stderr:
        pytest.skip("this container refuses ptrace: run with --cap-add=SYS_PTRACE")
    assert done.returncode == 0, done.stderr
    return sum(f"{call}(" in line for line in (folder / "trace").read_text().splitlines())


def instants(total: int) -> list[int]:
    """All of them in the soak; otherwise a seeded handful that holds the first and the last."""
    if FULL:
        return list(range(1, total + 1))
    return sorted({1, total, *random.Random(SEED).sample(range(1, total + 1), 3)})


def assert_whole(folder: Path) -> None:
    """Everything acked is stored; what is stored is a prefix of the log, each event once, with its effects."""
    store = PeeweeStore(folder / "store.db")
    try:
        if not store.tasks():
            assert not (folder / "acked").exists()
            return
        cursor = store.cursor(RUN)
        acked = int((folder / "acked").read_text() or 0) if (folder / "acked").exists() else 0
        have = 0 if cursor is None else cursor.seq
        assert have >= acked
        assert [row.receipt for row in store.submissions(TASK)] == [seq for seq in range(1, have + 1) if seq % 4 == 3]
        assert store.unit_counts(RUN) == store.recount(RUN)
        assert store.paid(TASK, "USD") == CENTS * store.visit_counts(RUN).paid
        assert store.quarantined(RUN) == 0
    finally:
        store.close()


def assert_finished(folder: Path) -> None:
    store = PeeweeStore(folder / "store.db")
    assert store.unit_counts(RUN).approved == UNITS
    assert store.paid(TASK, "USD") == Money(50 * UNITS, "USD") == store.exposure(TASK, "USD")
    assert len({intent.key for intent in store.journal(RUN)}) == UNITS + 1
    store.close()


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_killed_at_any_write_nothing_acked_is_lost_and_the_next_run_finishes(tmp_path: Path, call: str) -> None:
    for number in instants(writes(tmp_path / "undisturbed", call)):
        folder = tmp_path / f"killed-{number}"
        killed = run_script(folder, f"--inject={call}:signal=SIGKILL:when={number}")
        assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), f"seed {SEED}, {call} {number}"
        assert_whole(folder)
        assert run_script(folder).returncode == 0
        assert_finished(folder)


def test_a_full_disk_is_busy_and_the_next_run_finishes(tmp_path: Path) -> None:
    for number in instants(writes(tmp_path / "undisturbed", "pwrite64")):
        folder = tmp_path / f"full-{number}"
        full = run_script(folder, f"--inject=pwrite64:error=ENOSPC:when={number}")
        # The last writes only move the log into the file when it is closed; failing there loses nothing.
        assert full.returncode in (BUSY, 0), full.stderr
        assert_whole(folder)
        assert run_script(folder).returncode == 0
        assert_finished(folder)


def test_a_broken_page_is_told_and_not_taken_for_data(tmp_path: Path) -> None:
    store = PeeweeStore(tmp_path / "store.db")
    _, inbox, units = started(store, *(f"item-{n}" for n in range(200)))
    for number, unit in enumerate(units):
        inbox.work(unit, f"w{number}")
    inbox.deliver()
    store.close()
    with (tmp_path / "store.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (64 * 4096))
    with pytest.raises(StateMismatch, match="crowdstack restore"):
        open_and_read(tmp_path / "store.db")


def open_and_read(path: Path) -> None:
    with closing(PeeweeStore(path)) as store:
        open_run(store)
