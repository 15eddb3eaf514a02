"""The disk under a running server fills up: workers are told busy, nothing accepted is lost, with room it goes on by itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crowdstack.wire.configs import Limits
from tests.stories.stage import (
    Stage,
    assert_journal_is_export,
    assert_nothing_is_left,
    bots_project,
    pause,
    stage,
    wait_until,
)

pytestmark = [
    pytest.mark.story,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root and `mount`, for a small tmpfs"
    ),
]
UNITS = 200
# Room for the reserve and the ballast that every server keeps, and little more.
DISK = Limits().disk_reserve + 2 * Limits().ballast


@contextmanager
def small_disk(run: Path, crowd: Path) -> Iterator[None]:
    """The run's folder on a disk of its own. The crowd's journal is the test's witness: it stays on the large one."""
    run.mkdir(parents=True, mode=0o700)
    crowd.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(run)]).returncode:
        pytest.skip("needs the right to mount a small tmpfs (CAP_SYS_ADMIN)")
    try:
        (run / "crowd").mkdir(mode=0o700)
        subprocess.run(["mount", "--bind", str(crowd), str(run / "crowd")], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(run / "crowd")], check=True)
    finally:
        subprocess.run(["umount", "-l", str(run)], check=True)


def fill(file: Path) -> None:
    """Take every byte that is free now."""
    with file.open("ab", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1 << 20))
        except OSError:
            pass
        try:
            while True:
                filler.write(bytes(512))
        except OSError:
            pass


def told_busy(run: Path) -> int:
    """How often the server has told a worker so."""
    config = json.loads((run / "server.json").read_text())
    ask = urllib.request.Request(
        f"{config['origin']}/metrics", headers={"Authorization": f"Bearer {config['keys']['metrics']}"}
    )
    with urllib.request.urlopen(ask, timeout=5) as answer:
        text = answer.read().decode()
    found = re.search(r'^crowdstack_frames_answered_total\{type="busy"\} ([0-9.]+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def test_a_full_disk_stops_the_work_and_loses_nothing(tmp_path: Path) -> None:
    project, witness = tmp_path / "project", tmp_path / "witness"
    bots_project(project, items=UNITS, repeats=1, workers=20)
    spec = project / "task.yaml"
    spec.write_text(spec.read_text().replace("seed: 3", "seed: 3, time_per_unit: 1s"))
    (project / ".crowdstack").mkdir(mode=0o700)
    run = project / ".crowdstack" / "runs" / "bots-1"
    with small_disk(run, witness), stage(project) as here:
        up = here.start("up", "task.yaml", "--yes")
        wait_until(lambda: len(here.journal()) >= 40, within_s=60, what="40 answers accepted", told=here.logs)
        server, filler = here.pids("server"), run / "filler"

        def full_and_heard() -> bool:
            fill(filler)  # again and again: the server frees its ballast for answers already given
            return told_busy(run) > 0

        wait_until(full_and_heard, within_s=60, what="a worker to be told busy", told=here.logs)
        assert not (run / "inbox.ballast").exists()
        stands = settled(here, filler)
        assert 40 <= stands < UNITS
        assert here.status()["disk_low"]
        assert up.poll() is None
        assert here.pids("server") == server, "it is the same server that goes on"
        filler.unlink()
        up.wait(timeout=120)
        assert up.returncode == 0, here.logs()
        assert assert_journal_is_export(here) == UNITS
        assert_nothing_is_left(here)


def settled(here: Stage, filler: Path) -> int:
    """How many answers are accepted when, on a full disk, no more have been for 3 s."""
    before = -1
    while (now := len(here.journal())) != before:
        before = now
        fill(filler)
        pause(3)
    return before
