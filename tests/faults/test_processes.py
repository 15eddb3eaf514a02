"""Processes of a whole run that sleep, meet a second of their kind, lose their port or die in the middle of a change."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from crowdstack.model import IntentState, RunState
from crowdstack.wiring import Project
from tests.security.test_whole_run import keys_of, leaks
from tests.stories.stage import (
    Stage,
    assert_journal_is_export,
    assert_nothing_is_left,
    bots_project,
    pause,
    stage,
    wait_until,
)

pytestmark = [pytest.mark.story, pytest.mark.timeout(120)]


def bots(folder: Path, *, items: int, each: str, timeout: str = "30s", workers: int = 4) -> None:
    bots_project(folder, items=items, repeats=1, workers=workers)
    spec = folder / "task.yaml"
    text = spec.read_text().replace("seed: 3", f"seed: 3, time_per_unit: {each}")
    spec.write_text(text.replace("timeout: 30s", f"timeout: {timeout}"))


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """These processes stand still for the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def between_two_writes(here: Stage, loop: int) -> Iterator[None]:
    """The loop stands still for the block, and not in the middle of a transaction: that would make everybody wait."""
    while True:
        with stopped([loop]):
            pause(0.05)
            with closing(sqlite3.connect(here.state / "store.db", timeout=0, isolation_level=None)) as store:
                try:
                    store.execute("BEGIN IMMEDIATE")
                    store.execute("ROLLBACK")
                except sqlite3.OperationalError:
                    continue
            yield
            return


def assert_each_effect_was_once(here: Stage) -> None:
    """At the provider: one study, its places raised and never repeated. In the journal: no intent without its result."""
    with closing(Project.open(spec=here.folder / "task.yaml")) as project:
        effects = project.provider.effects()
        assert [verb for verb, _, _ in effects].count("open") == 1, effects
        assert not [effect for effect, times in Counter(effects).items() if times > 1], effects
        run = project.run
        assert run is not None
        journal = project.store.journal(run.id)
        assert journal
        assert not [intent for intent in journal if intent.state is not IntentState.DONE], journal
        keys = [intent.key for intent in journal]
        assert len(keys) == len(set(keys)), keys


def settle(here: Stage, *, units: int) -> None:
    """Wait for the run to end by itself, then ask the oracle."""
    wait_until(lambda: not here.pids(), within_s=60, what="the end of the run", told=here.logs)
    assert assert_journal_is_export(here) == units
    assert_nothing_is_left(here)
    assert_each_effect_was_once(here)


def test_two_reconcilers_send_each_effect_once(tmp_path: Path) -> None:
    bots(tmp_path, items=40, each="300ms")
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        wait_until(lambda: here.journal(), within_s=30, what="a first answer", told=here.logs)
        (loop,) = here.pids("loop")
        second = ("reconcile", "--state", str(here.state), "--run", "bots-1")
        with between_two_writes(here, loop):
            before = len(here.journal())
            wait_until(lambda: len(here.journal()) > before, within_s=10, what="work to go on", told=here.logs)
            here.run("resume", "task.yaml")
            assert here.pids("loop") == [loop], "resume knows the one that is there"
            here.run(*second, expect=(9,))
        settle(here, units=40)


def test_a_laptop_that_sleeps_past_every_deadline_loses_nothing(tmp_path: Path) -> None:
    """Stopped processes are worse off than a sleeping machine: their monotonic clock goes on."""
    bots(tmp_path, items=16, each="500ms", timeout="3s")
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        wait_until(
            lambda: here.units_in_hand() >= 2 and here.journal(), within_s=30, what="bots at work", told=here.logs
        )
        there = {part: here.pids(part) for part in ("server", "loop", "crowd")}
        with stopped(here.pids()):
            pause(5)
        assert {part: here.pids(part) for part in there} == there, "all of them wake up"
        settle(here, units=16)


class Squatter(threading.Thread):
    """Took the port of a server: says yes to whoever comes and keeps what they say."""

    YES = (
        b"HTTP/1.1 200 OK\r\nX-Crowdstack-Proof: " + b"0" * 64 + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    )

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._door = socket.create_server(("127.0.0.1", port))
        self._leave = threading.Event()
        self._heard: list[bytes] = []

    def heard(self, path: str) -> list[bytes]:
        """What callers said who asked for `path`, each call by itself."""
        return [call for call in list(self._heard) if call.startswith(f"GET {path}".encode())]

    def run(self) -> None:
        self._door.settimeout(0.1)
        while not self._leave.is_set():
            with suppress(TimeoutError, ConnectionError):
                caller, _ = self._door.accept()
                with caller:
                    self._heard.append(self._answer(caller))

    def _answer(self, caller: socket.socket) -> bytes:
        caller.settimeout(0.5)
        said = caller.recv(1 << 16)
        with suppress(TimeoutError, ConnectionError):
            caller.sendall(self.YES)
            while more := caller.recv(1 << 16):
                said += more
        return said

    def leave(self) -> None:
        self._leave.set()
        if self.is_alive():
            self.join()
        self._door.close()


def squat(port: int) -> Squatter | None:
    try:
        return Squatter(port)
    except OSError:  # the dead server is not gone yet
        return None


def test_a_squatter_on_the_port_learns_nothing_and_is_outlived(tmp_path: Path) -> None:
    bots(tmp_path, items=40, each="200ms")
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        wait_until(lambda: here.journal(), within_s=30, what="a first answer", told=here.logs)
        keys, url = keys_of(here), here.status()["server"]["url"]
        port, (loop,) = int(url.rpartition(":")[2]), here.pids("loop")
        with stopped([loop]):  # so that nobody brings the server back before its port is taken
            assert here.kill("server")
            squatter = wait_until(lambda: squat(port), within_s=10, what="the port of the dead server to be free")
            squatter.start()
        try:
            wait_until(lambda: squatter.heard("/v1/control"), within_s=30, what="the loop to call", told=here.logs)
            before = stored(here)
            assert here.status()["server"] == {"url": url, "healthy": False}
            calls = len(squatter.heard("/v1/control"))
            wait_until(
                lambda: len(squatter.heard("/v1/control")) > calls, within_s=40, what="it to call again", told=here.logs
            )
            assert stored(here) == before
            assert here.pids("loop") == [loop]
        finally:
            squatter.leave()
        assert squatter.heard("/healthz")
        ours = b"".join(squatter.heard("/v1/control") + squatter.heard("/healthz"))
        assert leaks(ours, keys) == set()
        assert leaks(b"".join(squatter.heard("/")), keys) <= {"a token"}, "workers show their own links, nothing else"
        wait_until(lambda: here.status()["server"] == {"url": url, "healthy": True}, within_s=60, what="the same port")
        settle(here, units=40)


def stored(here: Stage) -> object:
    """What the store knows from the server."""
    with closing(Project.open(spec=here.folder / "task.yaml")) as project:
        run = project.run
        assert run is not None
        return project.store.cursor(run.id), project.store.unit_counts(run.id), project.store.visit_counts(run.id)


def cut_off(here: Stage, *command: str, when: Callable[[], bool]) -> bool:
    """Start a command and SIGKILL it, and the loop with it, as soon as `when` holds; False if it had ended before that."""
    child = here.start(*command)
    wait_until(
        lambda: child.poll() is not None or when(), within_s=30, what=f"a moment of {command[0]}", told=here.logs
    )
    alive = child.poll() is None
    child.kill()
    child.wait()
    here.kill("loop")
    return alive


def test_destroy_killed_at_each_of_its_steps_still_takes_all_away(tmp_path: Path) -> None:
    bots(tmp_path, items=400, each="50ms")
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        wait_until(lambda: len(here.journal()) >= 10, within_s=30, what="ten answers", told=here.logs)
        run, (loop,) = here.state / "runs" / "bots-1", here.pids("loop")
        steps: dict[str, Callable[[], bool]] = {
            "asked": lambda: wanted(here) is RunState.DESTROYED,
            "a new loop": lambda: here.pids("loop") not in ([], [loop]),
            "backup": (here.state / "backups" / "bots-1.db").exists,
            "crowd": lambda: not (run / "crowd" / "crowd.json").exists(),
            "server": lambda: not (run / "server.json").exists(),
            "inbox": lambda: not (run / "inbox.db").exists(),
        }
        cut = [
            name for name, when in steps.items() if cut_off(here, "destroy", "task.yaml", "--yes", "--now", when=when)
        ]
        assert cut[:3] == ["asked", "a new loop", "backup"], "no destroy was cut off in its midst"
        here.run("destroy", "task.yaml", "--yes", "--now")
        assert_nothing_is_left(here)
        assert assert_journal_is_export(here) >= 10
        assert "nothing is up" in here.run("destroy", "task.yaml", "--yes")


def wanted(here: Stage) -> RunState:
    with closing(Project.open(spec=here.folder / "task.yaml")) as project:
        assert project.run is not None
        return project.run.wanted


def test_up_killed_at_each_of_its_steps_is_one_run_with_one_server(tmp_path: Path) -> None:
    bots(tmp_path, items=40, each="200ms")
    made = [
        *("store.db", "blobs", "stacks/bots/lock", "stacks/bots/state.json", "runs/bots-1/steps.jsonl"),
        *("runs/bots-1/server.json", "runs/bots-1/server.lock", "runs/bots-1/server.process.json"),
        *(
            "runs/bots-1/reconcile.log",
            "bots-1.lock",
            "runs/bots-1/reconcile.process.json",
            "runs/bots-1/crowd/crowd.json",
        ),
    ]
    with stage(tmp_path) as here:
        for path in made:
            assert cut_off(here, "up", "task.yaml", "--yes", when=(here.state / path).exists), f"it ended before {path}"
            assert len(here.pids("server")) <= 1
        here.run("up", "task.yaml", "--yes")
        settle(here, units=40)
        assert [path.name for path in (here.state / "runs").iterdir()] == ["bots-1"]
        assert here.status()["done"] == 40
