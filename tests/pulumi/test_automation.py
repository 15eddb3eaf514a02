"""Programs made so by the real engine: the steps, outputs and faults that the embedded one tells, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest

from crowdstack import process
from crowdstack.engine.automation.engine import AutomationEngine
from crowdstack.errors import CrowdstackError, LockHeld, StateMismatch, StepFailed
from crowdstack.lock import held
from crowdstack.ports import Engine, StackResult, Step
from crowdstack.process import ProcessId
from tests.engine.world import Box, Thing, World, program, told
from tests.pulumi.world import RealWorld
from tests.stories.stage import wait_until

pytestmark = [pytest.mark.pulumi, pytest.mark.timeout(300)]


def things(first: str = "red", shape: str = "round", *, second: bool = True) -> Callable[[], None]:
    def body() -> None:
        made = Thing("first", colour=first, shape=shape)
        Box("box", colour="green")
        if second:
            Thing("second", colour="blue", parts={"of": [made.password, 1, 2.5, True]})
        pulumi.export("size", made.size)
        pulumi.export("password", made.password)

    return body


def nothing() -> None:
    pass


def test_each_change_is_told_as_the_embedded_engine_tells_it(real: RealWorld, tmp_path: Path) -> None:
    embedded = World(tmp_path / "embedded")
    for body in (things(), things(), things("yellow"), things("yellow", "square"), things("yellow", second=False)):
        expected, foreseen = embedded.preview(body), real.preview(body)
        assert sorted(foreseen.steps, key=str) == sorted(expected.steps, key=str)
        assert foreseen.outputs == {}, "the real engine's preview tells no outputs"
        heard: list[Step] = []
        embedded.up(body)
        done = real.up(body, heard.append)
        assert list(done.steps) == heard
        assert sorted(done.steps, key=str) == sorted(foreseen.steps, key=str)
        assert done.outputs["size"] == embedded.engine.outputs()["size"]  # type: ignore[index]
        assert real.things() == sorted(embedded.things())
    assert real.engine.outputs() == done.outputs
    for path in [*real.kind.things()][:1]:
        path.unlink()
        assert told(real.up(body))[0].startswith("refresh "), "it was looked at first"
    down = real.engine.destroy()
    assert down.steps[-1].name == "paint-shop", "what holds others goes last"
    assert sorted(map(str, down.steps)) == sorted(map(str, embedded.engine.destroy().steps))
    assert (real.things(), real.engine.outputs(), real.engine.destroy().steps) == ([], None, ())


def test_refresh_takes_in_what_changed_outside_and_changes_nothing_itself(real: RealWorld, tmp_path: Path) -> None:
    assert real.engine.refresh().steps == (), "a stack that never was has nothing to look at"
    embedded = World(tmp_path / "embedded")
    for world in (embedded, real):
        world.up(things())  # type: ignore[attr-defined]
        for path, thing in world.kind.things().items():  # type: ignore[attr-defined]
            if thing["urn"].endswith("::first"):
                path.write_text(path.read_text().replace('"red"', '"pink"'))
            if thing["urn"].endswith("::second"):
                path.unlink()
    there = real.kind.things()
    seen = real.engine.refresh()
    assert sorted(told(seen)) == ["refresh first colour size", "refresh second"]
    assert sorted(map(str, seen.steps)) == sorted(map(str, embedded.engine.refresh().steps))
    assert real.kind.things() == there
    assert told(real.engine.refresh()) == []


def named(name: str) -> str:
    return f"urn:pulumi:shop::paint::crowdstack:index:Thing::{name}"


BOX_THING = "urn:pulumi:shop::paint::crowdstack:test:Box$crowdstack:index:Thing::box-thing"
FIRST, SECOND, NOBODY = named("first"), named("second"), named("nobody")


def test_targets_mean_the_same_on_both_engines(real: RealWorld, tmp_path: Path) -> None:
    """Each verb with targets, refused or not: the same is told, and the same is there afterwards."""
    embedded = World(tmp_path / "embedded")
    verbs: list[Callable[[Engine], StackResult]] = [
        lambda engine: engine.preview(program(things()), targets=[FIRST]),
        lambda engine: engine.up(program(things()), targets=[FIRST, NOBODY]),
        lambda engine: engine.up(program(things()), targets=[SECOND]),
        lambda engine: engine.up(program(things())),
        lambda engine: engine.preview(program(things("yellow", "square")), targets=[FIRST]),
        lambda engine: engine.preview(program(things("yellow", "square")), targets=[NOBODY]),
        lambda engine: engine.up(program(things("yellow")), targets=[SECOND]),
        lambda engine: engine.refresh(targets=[FIRST, NOBODY]),
        lambda engine: engine.refresh(targets=[SECOND]),
        lambda engine: engine.destroy(targets=[FIRST]),
        lambda engine: engine.destroy(targets=[SECOND, NOBODY]),
        lambda engine: engine.destroy(targets=[SECOND, NOBODY]),
        lambda engine: engine.destroy(targets=[FIRST, BOX_THING]),
        lambda engine: engine.destroy(),
        lambda engine: engine.destroy(targets=[FIRST]),
    ]
    for number, verb in enumerate(verbs):
        happened = []
        for engine in (embedded.engine, real.engine):
            try:
                happened.append(sorted(map(str, verb(engine).steps)))
            except StepFailed as fault:
                happened.append([fault.what, str(fault.where), str(fault.hint)])
        assert happened[0] == happened[1], number
        assert real.things() == sorted(embedded.things()), number
        ours, its = embedded.engine.outputs(), real.engine.outputs()
        assert (ours and ours.keys()) == (its and its.keys()), number


def test_looking_makes_nothing(real: RealWorld) -> None:
    before = sorted(real.root.rglob("*"))
    assert real.engine.outputs() is None
    real.preview(things())
    assert sorted(path for path in real.root.rglob("*") if path.name != "environment") == before


def test_a_secret_is_in_clear_nowhere(real: RealWorld) -> None:
    password = real.up(things()).outputs["password"]
    real.engine.outputs()
    world = [path for path in real.root.rglob("*") if path.is_file() and path.parent.name != "things"]
    assert len(world) > 5
    assert [path for path in world if password.encode() in path.read_bytes()] == []
    assert [path for path in (real.root / "backend").iterdir() if path.stat().st_uid != os.getuid()] == []
    assert (real.root / "backend").stat().st_mode & 0o077 == 0


def test_neither_cli_nor_plugin_sees_our_credentials(real: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PULUMI_ACCESS_TOKEN", "PROLIFIC_TOKEN"):
        monkeypatch.setenv(name, "canary")
    real.up(things())
    seen = json.loads((real.root / "environment").read_text())
    assert "canary" not in seen.values()
    assert (real.root / "state.passphrase").read_text() not in seen.values()


# ---------------------------------------------------------------------------------------------------- faults


def fails(act: Callable[[], object]) -> CrowdstackError:
    with pytest.raises(CrowdstackError) as fault:
        act()
    return fault.value


def test_a_failed_step_is_told_as_the_embedded_engine_tells_it(real: RealWorld, tmp_path: Path) -> None:
    embedded = World(tmp_path / "embedded")
    embedded.kind.broken.add("bad")
    for body in (things("bad", second=False), things()):
        faults = []
        for world in (embedded, real):
            try:
                world.up(body)  # type: ignore[attr-defined]
            except StepFailed as fault:
                faults.append((fault.what, fault.where, fault.hint))
        assert len(set(faults)) <= 1
        assert len(faults) in (0, 2)
    assert real.things() == sorted(embedded.things())


def test_a_wrong_input_and_a_programs_own_fault_are_told(real: RealWorld) -> None:
    wrong = fails(lambda: real.up(things(first=7)))  # type: ignore[arg-type]
    assert isinstance(wrong, StepFailed)
    assert "property colour" in str(wrong)
    assert "must be str" in str(wrong)

    def broken() -> None:
        raise ZeroDivisionError("no birds")

    def refused() -> None:
        raise LockHeld("of our own")

    assert fails(lambda: real.up(broken)).why == "ZeroDivisionError: no birds"
    assert isinstance(fails(lambda: real.up(refused)), LockHeld)
    assert real.up(things()).outputs["size"] == 3


# ---------------------------------------------------------------------------------------------------- cut off


def in_background(real: RealWorld, body: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    faults: list[BaseException] = []

    def work() -> None:
        try:
            real.up(body)
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, faults


def cli(real: RealWorld) -> ProcessId:
    found = ProcessId.from_json(json.loads(real.note.read_bytes()))
    assert process.alive(found)
    return found


def test_a_create_that_was_cut_off_by_a_kill_is_taken_up(real: RealWorld) -> None:
    real.up(things())
    held = things("red", second=False)

    def body() -> None:
        held()
        Thing("third", colour="held")

    foreseen = real.preview(body)
    thread, faults = in_background(real, body)
    wait_until(lambda: "third" in real.things(), within_s=60, what="the third thing")
    assert isinstance(fails(lambda: real.up(body)), LockHeld), "one command at a time"
    process.send_signal(cli(real), signal.SIGKILL)
    thread.join()
    assert len(faults) == 1
    assert isinstance(faults[0], StepFailed)
    wait_until(lambda: not real.processes(), within_s=10, what="the plugin to end")
    third = next(path for path, thing in real.kind.things().items() if thing["urn"].endswith("third"))
    assert sorted(real.preview(body).steps, key=str) == sorted(foreseen.steps, key=str)
    assert "create third" in told(real.up(body))
    assert third in real.kind.things(), "it was made again"
    assert real.things() == ["box-thing", "first", "third"]
    assert told(real.up(body)) == []


def test_a_create_that_was_cut_off_and_is_wanted_no_more_is_deleted(real: RealWorld) -> None:
    def body() -> None:
        Thing("third", colour="held")

    for end in (lambda: real.up(nothing), lambda: real.engine.destroy()):
        thread, _ = in_background(real, body)
        wait_until(lambda: "third" in real.things(), within_s=60, what="the third thing")
        process.send_signal(cli(real), signal.SIGKILL)
        thread.join()
        end()
        assert real.things() == []
    assert real.engine.outputs() is None


def test_an_interrupt_ends_the_cli_and_the_state_can_be_loaded(real: RealWorld) -> None:
    def body() -> None:
        things()()
        Thing("third", colour="held")

    def interrupted(step: Step) -> None:
        if step.name == "first":
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C; the third is next

    with pytest.raises(KeyboardInterrupt):
        real.up(body, interrupted)
    assert real.processes() == []
    real.up(things())
    assert real.things() == ["box-thing", "first", "second"]


def test_a_listener_that_fails_ends_the_operation(real: RealWorld) -> None:
    def gone(step: Step) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        real.up(things(), gone)
    assert real.processes() == []
    assert told(real.up(things()))


def test_the_cli_of_a_command_that_was_killed_is_ended_by_the_next(real: RealWorld) -> None:
    real.up(nothing)
    child = os.fork()
    if child == 0:  # the command that is killed
        try:
            AutomationEngine.up(real.engine, program(lambda: (Thing("third", colour="held"), None)[1]))
        finally:
            os._exit(1)
    wait_until(lambda: "third" in real.things(), within_s=60, what="the third thing")
    orphan = cli(real)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    real.up(nothing)
    assert not process.alive(orphan)
    assert (real.things(), real.processes()) == ([], [])


@pytest.mark.parametrize("looks_first", [True, False])
def test_a_write_of_the_state_that_was_cut_off_is_taken_back(real: RealWorld, looks_first: bool) -> None:
    real.up(things())
    real.up(things("yellow"))
    there = real.things()
    real.state_file.with_name("shop.json.bak").write_bytes(real.state_file.read_bytes())  # the next write begins so
    real.state_file.write_bytes(b"")
    if looks_first:
        assert real.preview(things("yellow")).steps
        assert real.engine.outputs() is not None
    real.up(things("yellow"))
    assert real.things() == there
    assert set(told(real.preview(things("yellow")))) == set()


def test_outputs_are_told_while_another_command_writes_the_state(real: RealWorld) -> None:
    outputs = real.up(things()).outputs
    real.state_file.write_bytes(b"")  # each write begins so
    with held(real.engine.folder / "lock"):
        assert real.engine.outputs() == outputs


def test_a_note_about_the_state_that_was_cut_off_is_thrown_away(real: RealWorld) -> None:
    real.up(things())
    note = real.state_file.with_name("shop.json.attrs")
    assert note.exists(), "the CLI writes none any more: this mending can go"
    note.write_bytes(b"")
    assert real.preview(things("yellow")).steps
    assert real.engine.outputs() is not None
    note.write_bytes(b"")
    real.engine.destroy()
    assert real.things() == []


def test_an_empty_state_without_the_one_before_is_told(real: RealWorld) -> None:
    real.up(things())
    for path in real.state_file.parent.iterdir():
        path.unlink()
    real.state_file.write_bytes(b"")
    with pytest.raises(StateMismatch, match="cannot be read"):
        real.up(things())
    assert real.state_file.read_bytes() == b""
