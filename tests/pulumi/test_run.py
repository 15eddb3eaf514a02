"""Whole runs on the real engine: the recorded crowd's answers, `pulumi up` alone, and a CLI that is killed again and again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crowdstack import process
from crowdstack.process import ProcessId
from crowdstack.wiring import Project
from tests.pulumi.language import install
from tests.pulumi.tools import ROOT, path_with, pulumi_cli
from tests.size import FULL
from tests.stories.stage import (
    Stage,
    assert_journal_is_export,
    assert_nothing_is_left,
    bots_project,
    pause,
    promise_kept,
    rte_project,
    stage,
    wait_until,
)
from tests.stories.test_rte import recorded

pytestmark = [pytest.mark.pulumi, pytest.mark.story, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def cli_on_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{pulumi_cli().parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path_factory.mktemp("pulumi-home")))


def test_the_recorded_crowd_gives_the_same_answers_on_the_real_engine(tmp_path: Path) -> None:
    recording = rte_project(tmp_path, items=800 if FULL else 20)
    with stage(tmp_path) as here:
        here.run("--engine", "pulumi", "up", "task.yaml", "--yes", timeout_s=600)
        assert recorded(here.export()) == sorted(recording)
        assert assert_journal_is_export(here) == len(recording)
        assert_nothing_is_left(here)
        assert not list((here.state / "pulumi").rglob("rte.json")), "the stack was left"
        assert not list((here.state / "stacks" / "rte").glob("state.json*")), "the embedded engine had a hand in it"


def test_what_was_previewed_is_what_happened_on_the_real_engine(tmp_path: Path) -> None:
    rte_project(tmp_path, items=5)
    with stage(tmp_path) as here, promise_kept(here, serial=False):  # the preview is the embedded engine's
        here.run("--engine", "pulumi", "up", "task.yaml", "--yes")


def test_pulumi_up_alone_makes_the_stack_and_up_opens_its_run(tmp_path: Path) -> None:
    task = tmp_path / "task"
    recording = rte_project(task, items=5)
    for part in ("Pulumi.yaml", "stacks"):
        there = ROOT / part
        (shutil.copytree if there.is_dir() else shutil.copy)(there, tmp_path / part)
    install(tmp_path / "bin")
    with stage(task) as here:
        environment = {
            "PATH": path_with(tmp_path / "bin", Path(sys.executable).parent),
            "HOME": os.environ["HOME"],
            "PULUMI_HOME": os.environ["PULUMI_HOME"],
            "PYTHONPATH": str(ROOT),
            **told_by(here.run("engine", "env", "task.yaml")),
        }

        def pulumi(*arguments: str) -> str:
            done = subprocess.run(
                [pulumi_cli(), "--non-interactive", *arguments],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        pulumi("stack", "init", "rte")
        pulumi("config", "set", "crowdstack:spec", "task/task.yaml")
        assert "5 to create" in pulumi("preview")
        assert not (here.state / "blobs").exists(), "looking put files in place"
        assert "5 created" in pulumi("up", "--yes", "--skip-preview")
        assert "5 unchanged" in pulumi("up", "--yes", "--refresh")
        server = here.pids("server")
        status = here.status()
        assert (status["state"], status["server"]["healthy"], status["run"]) == ("not opened", True, None)
        plan = json.loads(here.run("preview", "task.yaml", "-o", "json"))
        assert (plan["steps"], plan["run"]) == ([], "rte-1")
        up = here.start("up", "task.yaml", "--yes")
        wait_until(lambda: here.pids("loop"), within_s=60, what="the run to be opened", told=here.logs)
        assert here.pids("server") in (server, []), "another server was started"
        assert up.wait(timeout=120) == 0, here.logs()
        assert recorded(here.export()) == sorted(recording)
        assert_nothing_is_left(here)


def told_by(lines: str) -> dict[str, str]:
    return dict(line.removeprefix("export ").split("=", 1) for line in lines.splitlines())


def test_a_cli_that_is_killed_again_and_again_makes_one_server(tmp_path: Path) -> None:
    seed = 20261126
    rng = random.Random(seed)
    bots_project(tmp_path, items=4, repeats=1, workers=2)
    command = ("--engine", "pulumi", "up", "task.yaml", "--yes")
    killed = 0
    with stage(tmp_path) as here:
        for _ in range(12 if FULL else 4):
            up = here.start(*command)
            note = here.state / "stacks" / "bots" / "cli.process.json"
            wait_until(lambda n=note, u=up: n.exists() or u.poll() is not None, within_s=60, what="the CLI to work")
            pause(rng.uniform(0.0, 2.5))
            killed += kill_cli(note)
            assert up.wait(timeout=120) in (0, 4), here.logs()  # 0: it was too late to be killed
            assert len(here.pids("server")) <= 1, "two servers of one run"
            if up.returncode == 0:
                break
        here.run(*command, timeout_s=300)
        assert_journal_is_export(here)
        with closing(Project.open(spec=tmp_path / "task.yaml")) as project:
            assert project.status().done == 4
        here.run("destroy", "--yes", expect=(0, 6))
        assert_nothing_is_left(here)
        wait_until(lambda: not left_of(here), within_s=10, what="every CLI and plugin to end")
        print(f"\nthe CLI was killed {killed} times, seed {seed}: one server, every answer once")


def kill_cli(note: Path) -> bool:
    try:
        found = ProcessId.from_json(json.loads(note.read_bytes()))
    except FileNotFoundError:
        return False
    return process.send_signal(found, signal.SIGKILL)


def left_of(here: Stage) -> list[int]:
    """Processes that were told of this state folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if str(here.state).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(int(pid))
        except OSError:
            continue
    return found
