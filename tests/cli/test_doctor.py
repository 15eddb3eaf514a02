"""doctor: each check can fail, and says what to do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crowdstack.cli import doctor_command as doctor
from crowdstack.errors import NotFound
from crowdstack.folder import Folder
from crowdstack.store.store import PeeweeStore
from tests.cli.conftest import Call
from tests.cli.world import World
from tests.contracts.store import started

GIB = 1024**3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = PeeweeStore(tmp_path / "state" / "store.db")
    started(store, "a", "b")
    yield World(store=store, state="live", target=1000, folder=Folder(tmp_path / "state"))
    store.close()


def levels(text: str) -> dict[str, str]:
    return {row["what"]: row["level"] for row in json.loads(text)}


def test_a_healthy_run_is_ok_everywhere(call: Call, world: World) -> None:
    said = call("doctor", "-o", "json", world=world)
    found = levels(said.out)
    assert said.code == 0
    assert {"store", "events", "server", "reconciler", "folder", "clock", "disk", "port"} <= set(found)
    assert set(found.values()) - {"warn"} == {"ok"}


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (doctor.python_version((3, 9, 7)), "fail"),
        (doctor.python_version((3, 10, 0)), "ok"),
        (doctor.sqlite_version((3, 31, 0)), "fail"),
        (doctor.sqlite_version((3, 40, 1)), "ok"),
        (doctor.descriptors(256), "warn"),
        (doctor.descriptors(4096), "ok"),
        (doctor.disk(100 * 1024**2, 100 * GIB), "fail"),
        (doctor.disk(GIB // 2, 100 * GIB), "warn"),
        (doctor.disk(50 * GIB, 100 * GIB), "ok"),
        (doctor.clock(now=1000.0, newest=2000.0), "fail"),
        (doctor.clock(now=1000.0, newest=999.0), "ok"),
    ],
)
def test_a_finding_says_what_to_do_unless_it_is_ok(finding: doctor.Finding, level: str) -> None:
    assert finding.level == level
    assert bool(finding.now) == (level != "ok")


def test_a_file_that_others_may_read_fails(call: Call, world: World) -> None:
    (world.folder.root / "store.db").chmod(0o644)
    said = call("doctor", "-o", "json", world=world)
    assert said.code == 1
    assert levels(said.out)["folder"] == "fail"
    assert "store.db" in said.out


def test_a_clock_behind_the_state_folder_fails(call: Call, world: World) -> None:
    tomorrow = time.time() + 86400
    os.utime(world.folder.root / "store.db", (tomorrow, tomorrow))
    assert levels(call("doctor", "-o", "json", world=world).out)["clock"] == "fail"


def test_counters_that_differ_from_a_recount_fail(call: Call, world: World) -> None:
    class Miscounting:
        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        def unit_counts(self, run: Any) -> Any:
            return self._store.unit_counts(run).__class__(total=99)

    store = world.store
    world.store = Miscounting(store)
    said = call("doctor", "-o", "json", world=world)
    assert (said.code, levels(said.out)["store"]) == (1, "fail")


@pytest.mark.skipif(not doctor.PROC_LOCKS.exists(), reason="needs /proc/locks (Linux)")
def test_a_held_lock_names_its_holder(call: Call, world: World) -> None:
    assert "none is held" in call("doctor", world=world).out
    with world.store.reconciler_lock("birds-1"):
        said = call("doctor", world=world)
    assert f"birds-1.lock by process {os.getpid()}" in said.out


def test_a_dead_server_and_a_dead_reconciler_are_warnings(call: Call, world: World) -> None:
    world.status_says = {"server_healthy": False, "loop_running": False, "loop_note": "killed"}
    said = call("doctor", world=world)
    assert said.code == 0
    assert "crowdstack resume" in said.out
    assert "killed" in said.out


def test_doctor_works_where_nothing_is(call: Call) -> None:
    world = World()
    world.open = lambda **_: (_ for _ in ()).throw(NotFound("no live stack here"))  # type: ignore[method-assign]
    said = call("doctor", world=world)
    assert said.code == 0
    assert "no live stack here" in said.out


def test_doctor_looks_at_a_spec_that_was_never_up_and_makes_nothing(call: Call, tmp_path: Path) -> None:
    world = World(folder=Folder(tmp_path / "state"))
    said = call("doctor", world=world)
    assert said.code == 0
    assert "nothing was ever up" in said.out
    assert not (tmp_path / "state").exists()
