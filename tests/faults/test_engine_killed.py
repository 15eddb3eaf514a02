"""The engine killed before every call that changes the disk: the same command again ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pulumi
import pytest

from tests.engine.conformance.adapter import Adapted
from tests.engine.conformance.moves import Case, Outside
from tests.engine.conformance.ours import Ours
from tests.engine.conformance.outcome import canonical
from tests.engine.conformance.programs import CASES
from tests.engine.runs import Site, servers
from tests.engine.world import Box, Thing, ThingType, World, told
from tests.faults import crash
from tests.pulumi.tools import pulumi_cli
from tests.size import FULL
from tests.stories.stage import wait_until

SEED = 7
pytestmark = pytest.mark.timeout(3600 if FULL else 120)


def first_version() -> None:
    old = Thing("kept", colour="red")
    Thing("changed", colour="blue", parts={"of": old.password})
    Thing("replaced", colour="red", shape="round")
    Box("dropped", colour="grey")
    pulumi.export("password", old.password)


def second_version() -> None:
    old = Thing("kept", colour="red")
    Thing("changed", colour="green", parts={"of": old.password})
    Thing("replaced", colour="red", shape="square")
    Box("new", colour="white")
    pulumi.export("password", old.password)


def up_first(root: Path) -> None:
    World(root).up(first_version)


def up_second(root: Path) -> None:
    World(root).up(second_version)


def destroy(root: Path) -> None:
    World(root).engine.destroy()


def points(work: Callable[[Path], None], prepared: Path, scratch: Path) -> list[int]:
    """Where to kill: everywhere in full size, else a seeded sample. `scratch` is used up."""
    every = range(1, crash.calls(work, fresh(prepared, scratch)) + 1)
    assert len(every) > 20
    return list(every) if FULL else sorted(random.Random(SEED).sample(every, 4))


def fresh(prepared: Path, scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(prepared, scratch)
    return scratch


def settled(root: Path, names: set[str]) -> None:
    """One thing per resource, the state names exactly these, nothing is pending, a preview says there is nothing to do."""
    world = World(root)
    things = {thing["urn"].split("::")[-1]: path.name for path, thing in world.kind.things().items()}
    assert set(things) == names
    assert len(world.kind.things()) == len(names)
    stated = {
        found["urn"].split("::")[-1]: found["id"] for found in world.resources() if found["type"].endswith(":Thing")
    }
    assert stated == things
    assert world.state()["deployment"]["pending_operations"] == []
    assert not [found for found in world.resources() if found.get("delete")]


def gone(root: Path) -> None:
    world = World(root)
    assert world.kind.things() == {}
    assert world.engine.outputs() is None
    assert list(world.stack.glob("state*")) == []


FIRST = {"kept", "changed", "replaced", "dropped-thing"}
SECOND = {"kept", "changed", "replaced", "new-thing"}


@pytest.mark.parametrize("command", ["up", "change", "destroy"])
def test_killed_at_every_write_the_same_command_converges(tmp_path: Path, command: str) -> None:
    prepared, scratch = tmp_path / "prepared", tmp_path / "scratch"
    World(prepared)
    if command != "up":
        assert not crash.run(up_first, prepared)
    work = {"up": up_first, "change": up_second, "destroy": destroy}[command]
    for at in points(work, prepared, scratch):
        root = fresh(prepared, scratch)
        crash.run(work, root, die_at=at)
        assert not crash.run(work, root), f"killed at {at}"
        if command == "destroy":
            gone(root)
        else:
            settled(root, FIRST if command == "up" else SECOND)


def test_killed_at_every_write_of_up_destroy_leaves_nothing(tmp_path: Path) -> None:
    prepared, scratch = tmp_path / "prepared", tmp_path / "scratch"
    World(prepared)
    for at in points(up_first, prepared, scratch):
        root = fresh(prepared, scratch)
        crash.run(up_first, root, die_at=at)
        assert not crash.run(destroy, root)
        gone(root)


# ------------------------------------------------------------------------------------------------ every program


def one_move(root: Path, name: str, number: int) -> None:
    [case] = [case for case in CASES if case.name == name]
    try:
        Ours(root).move(case.moves[number])
    except AssertionError as fault:  # a target that is gone by now is told, after the rest was done
        if "no resource has the name of this target" not in str(fault):
            raise


def killable(case: Case) -> list[int]:
    """Moves that an engine makes and that come to an end."""
    return [number for number, move in enumerate(case.moves) if not (isinstance(move, Outside) or move.fails)]


def stands(root: Path) -> object:
    """State and world, whatever ids things have: a create that is begun again may use another."""
    ours = Ours(root)
    state = ours.deployment()
    ids = {path.name: f"{thing['urn']} {json.dumps(thing['inputs'])}" for path, thing in ours.kind.things().items()}
    entries = canonical(state["resources"])
    for (
        entry
    ) in entries:  # kept by every run that still names it, not by the one that took the thing over and changed it
        entry.pop("importID", None)
    text = json.dumps(entries, sort_keys=True)
    secrets = {hashlib.sha256(id_.encode()).hexdigest()[:16]: f"password of {urn}" for id_, urn in ids.items()}
    for random_, named in {**ids, **secrets}.items():
        text = text.replace(random_, json.dumps(named)[1:-1])
    assert len([entry for entry in state["resources"] if entry.get("id") in ids]) == len(
        [entry for entry in state["resources"] if entry["custom"] and entry["type"].endswith((":Thing", ":Statue"))]
    ), "the state names things that are there"
    return text, sorted(ids.values()), state.get("pending_operations", [])


def kills() -> list[tuple[str, int]]:
    """The moves to be killed in: all in full size, else a seeded sample."""
    every = [(case.name, number) for case in CASES for number in killable(case)]
    return every if FULL else random.Random(SEED).sample(every, 12)


@pytest.mark.parametrize(("name", "number"), kills())
def test_a_program_of_the_conformance_suite_is_killed_at_every_write(tmp_path: Path, name: str, number: int) -> None:
    """The same command again ends where it would have ended: one thing per resource, nothing pending."""
    [case] = [case for case in CASES if case.name == name]
    prepared, scratch = tmp_path / "prepared", tmp_path / "scratch"
    for move in case.moves[:number]:
        Ours(prepared).move(move)
    Ours(prepared)
    count = crash.calls(one_move, fresh(prepared, scratch), name, number, visible=True)
    whole = stands(scratch)
    points = range(1, count + 1)
    cut_off = 0
    for at in points if FULL else random.Random(SEED).sample(points, min(3, count)):
        root = fresh(prepared, scratch)
        cut_off += crash.run(one_move, root, name, number, die_at=at, visible=True)
        assert not crash.run(one_move, root, name, number)
        assert stands(root) == whole, f"killed at {at} of {count}"
    assert cut_off or not count, "resources are registered in parallel, so one run may have fewer writes, but not each"


# ------------------------------------------------------------------------------------------------ the real engine


def whole_runs() -> list[tuple[str, int]]:
    """The last move of programs in which nothing fails."""
    found = [
        (case.name, max(killable(case))) for case in CASES if not any(getattr(move, "fails", "") for move in case.moves)
    ]
    return found if FULL else random.Random(SEED).sample(found, 2)


@pytest.mark.pulumi
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "number"), whole_runs())
def test_the_real_engine_is_killed_at_a_seeded_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """The command, or the CLI under it, is killed after some effect; the same command again ends as if nothing had happened."""
    monkeypatch.setenv("PATH", f"{pulumi_cli().parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    dice = random.Random(f"{SEED} {name}")
    [case] = [case for case in CASES if case.name == name]
    adapted, ours = Adapted(tmp_path / "real"), Ours(tmp_path / "ours")
    for move in case.moves[:number]:
        adapted.move(move)
        ours.move(move)
    effects = len(ours.move(case.moves[number]).calls)
    until = len(adapted.kind.calls()) + dice.randint(min(1, effects), effects)
    command = [sys.executable, "-m", "tests.engine.conformance.adapter", str(adapted.root), name, str(number)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(adapted.kind.calls()) >= until, within_s=60, what="an effect")
    alone = effects == 0 or dice.random() < 0.5  # the command alone, or all that it started
    victims = [first.pid] if alone else [pid for pid in adapted.processes() if pid != first.pid]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    first.wait(60)  # it may have been quicker than the kill: then nothing was cut off, and all must hold as well
    again = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert again.returncode == 0, again.stderr

    def things(kind: ThingType) -> list[str]:
        return sorted(json.dumps(thing["inputs"], sort_keys=True) for thing in kind.things().values())

    assert things(adapted.kind) == things(ours.kind)
    wait_until(lambda: adapted.processes() == [], within_s=10, what="all processes to end")


# ------------------------------------------------------------------------------------------------ the real server


def up_run(root: Path) -> None:
    Site(root).up()


def change_run(root: Path) -> None:
    Site(root).up(title="Which beast?")


def destroy_run(root: Path) -> None:
    Site(root).engine.destroy()


def test_killed_anywhere_there_is_one_server_and_in_the_end_none(tmp_path: Path) -> None:
    """Up, change, destroy of a run's stack, each killed at a seeded moment and given again: one server, then none."""
    dice = random.Random(SEED)
    rounds = 60 if FULL else 2
    (tmp_path / "counted").mkdir()
    most = {work: crash.calls(work, tmp_path / "counted") for work in (up_run, change_run, destroy_run)}
    adopted = 0
    for number in range(rounds):
        root = tmp_path / str(number)
        root.mkdir()
        site = Site(root)
        for work in (up_run, change_run):
            crash.run(work, root, die_at=dice.randint(1, most[work]))
            before = servers(site)
            assert len(before) <= 1
            assert not crash.run(work, root)
            assert len(servers(site)) == 1
            adopted += servers(site) == before
            assert told(site.engine.preview(site.program(site.inputs(title=site.server_json()["title"])))) == []
        crash.run(destroy_run, root, die_at=dice.randint(1, most[destroy_run]))
        assert not crash.run(destroy_run, root)
        assert servers(site) == []
        assert not site.run.server_config.exists()
        assert site.engine.outputs() is None
    assert adopted, "no round found a server that a killed command had started"


# ------------------------------------------------------------------------------------------------ Ctrl-C

INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from tests.engine.world import World
from tests.faults.test_engine_killed import first_version
from tests.size import FULL

class Interrupts:
    def __init__(self, kind): self.__dict__.update(kind=kind)
    def __getattr__(self, name): return getattr(self.kind, name)
    def create(self, urn, inputs, *, preview):
        if urn.endswith("::kept"): os.kill(os.getpid(), signal.SIGINT)  # while this step is under way
        return self.kind.create(urn, inputs, preview=preview)

world = World(Path(sys.argv[1]))
world.engine._plugin._types = {token: Interrupts(kind) for token, kind in world.engine._plugin._types.items()}
world.up(first_version)
"""


def test_ctrl_c_finishes_the_step_and_the_same_command_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "KeyboardInterrupt" in ended.stderr.splitlines()[-1]
    done = [found["urn"].split("::")[-1] for found in world.resources()]
    assert "kept" in done
    assert set(world.things()) <= set(done)
    assert world.state()["deployment"]["pending_operations"] == []
    up_first(tmp_path)
    settled(tmp_path, FIRST)
