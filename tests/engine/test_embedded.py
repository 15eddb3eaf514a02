"""Programs made so by the embedded engine: each operation, what a preview says of it, what is left of a failure."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest

from crowdstack.engine.embedded.engine import EmbeddedEngine
from crowdstack.errors import LockHeld, Refused, StateMismatch, StepFailed
from crowdstack.ports import Program, Step
from tests.engine.world import TOKEN, Box, Thing, World, program, told


def two_things() -> None:
    first = Thing("first", colour=pulumi.Config().get("first") or "red")
    second = Thing("second", colour="blue", parts={"of": [first.password, 1, 2.5, True]})
    pulumi.export("size", second.size)
    pulumi.export("parts", second.parts)


def one_thing() -> None:
    Thing("first", colour="red")


def nothing() -> None:
    pass


def test_up_makes_what_the_program_says(world: World) -> None:
    result = world.up(two_things)
    assert told(result) == ["create paint-shop", "create first", "create second"]
    assert sorted(world.things()) == ["first", "second"]
    password = world.things()["second"]["parts"]["of"][0]
    assert result.outputs == {"size": 4, "parts": {"of": [password, 1, 2.5, True]}}
    assert world.engine.outputs() == result.outputs


def test_a_preview_touches_nothing_and_says_what_up_does(world: World) -> None:
    before = sorted(world.root.rglob("*"))
    foreseen = world.preview(two_things)
    assert sorted(world.root.rglob("*")) == before
    assert "size" not in foreseen.outputs  # known after up
    assert world.up(two_things).steps == foreseen.steps


def test_a_second_up_changes_and_writes_nothing(world: World) -> None:
    world.up(two_things)
    files = {path: path.stat().st_mtime_ns for path in world.stack.glob("state*")}
    again = world.up(two_things)
    assert told(again) == []
    assert {path: path.stat().st_mtime_ns for path in world.stack.glob("state*")} == files


def test_a_changed_input_is_updated_in_place(world: World) -> None:
    world.up(two_things)
    ids = [resource.get("id") for resource in world.resources()]
    foreseen = world.preview(two_things, first="green")
    done = world.up(two_things, first="green")
    assert told(done) == ["update first colour"]
    assert done.steps == foreseen.steps
    assert world.things()["first"]["colour"] == "green"
    assert [resource.get("id") for resource in world.resources()] == ids


def shaped(shape: str) -> Callable[[], None]:
    def body() -> None:
        Thing("first", colour="red", shape=shape)

    return body


@pytest.mark.parametrize("delete_first", [False, True])
def test_what_cannot_change_is_replaced(tmp_path: Path, delete_first: bool) -> None:
    world = World(tmp_path, delete_first=delete_first)
    world.up(shaped("round"))
    world.kind.asked.clear()
    foreseen = world.preview(shaped("square"))
    done = world.up(shaped("square"))
    assert done.steps == foreseen.steps
    assert told(done) == ["replace first shape"]
    assert done.steps[-1].replaced_by == ("shape",)
    assert world.kind.asked == (["delete first", "create first"] if delete_first else ["create first", "delete first"])
    assert [thing["inputs"]["shape"] for thing in world.kind.things().values()] == ["square"]
    assert told(world.up(shaped("square"))) == []


def test_what_must_go_first_takes_with_it_only_what_cannot_change(tmp_path: Path) -> None:
    def body(shape: str) -> Callable[[], None]:
        def run() -> None:
            first = Thing("first", colour="red", shape=shape)
            Thing("painted", colour="blue", parts={"of": first.password})
            cast = Thing("cast", colour="blue", shape=first.password)
            Thing("recast", colour="blue", shape=cast.password)

        return run

    world = World(tmp_path, delete_first=True)
    world.up(body("round"))
    world.kind.asked.clear()
    foreseen = world.preview(body("square"))
    done = world.up(body("square"))
    assert told(done) == ["replace first shape", "update painted parts", "replace cast", "replace recast"]
    assert done.steps == foreseen.steps
    assert world.kind.asked[:3] == ["delete recast", "delete cast", "delete first"]
    assert sorted(world.things()) == ["cast", "first", "painted", "recast"]
    assert told(world.up(body("square"))) == []


def test_what_the_program_no_longer_names_is_deleted_dependents_first(world: World) -> None:
    world.up(two_things)
    foreseen = world.preview(nothing)
    done = world.up(nothing)
    assert told(done) == ["delete second", "delete first"]
    assert done.steps == foreseen.steps
    assert world.things() == {}


def test_depends_on_orders_creation_and_deletion(world: World) -> None:
    def body() -> None:
        late = Thing("late", colour="red")
        Thing("early", colour="blue", opts=pulumi.ResourceOptions(depends_on=[late]))

    assert told(world.up(body))[1:] == ["create late", "create early"]
    assert told(world.engine.destroy())[:2] == ["delete early", "delete late"]


def test_destroy_leaves_nothing_and_a_repeat_does_nothing(world: World) -> None:
    world.up(two_things)
    assert told(world.engine.destroy()) == ["delete second", "delete first", "delete paint-shop"]
    assert world.things() == {}
    assert list(world.stack.glob("state*")) == []
    assert world.engine.outputs() is None
    assert world.engine.destroy().steps == ()


def test_a_stack_that_never_was_is_destroyed_without_a_trace(world: World) -> None:
    assert world.engine.destroy().steps == ()
    assert not world.stack.exists()


def test_what_is_gone_is_noticed_and_made_again(world: World) -> None:
    world.up(two_things)
    world.things()
    for path, thing in world.kind.things().items():
        if thing["urn"].endswith("first"):
            path.unlink()
    foreseen = world.preview(two_things)
    done = world.up(two_things)
    assert done.steps == foreseen.steps
    assert told(done) == ["refresh first", "create first", "update second parts"]
    assert sorted(world.things()) == ["first", "second"]


def test_what_was_changed_by_others_is_set_right(world: World) -> None:
    world.up(one_thing)
    [(path, thing)] = world.kind.things().items()
    path.write_text(path.read_text().replace("red", "pink"))
    foreseen = world.preview(one_thing)
    done = world.up(one_thing)
    assert done.steps == foreseen.steps
    assert told(done) == ["refresh first colour size", "update first colour"]
    assert world.kind.things() == {path: thing}


def test_a_component_groups_and_carries_outputs(world: World) -> None:
    def body() -> None:
        pulumi.export("size", Box("box", colour="red").thing.size)

    assert world.up(body).outputs == {"size": 3}
    urns = [resource["urn"] for resource in world.resources()]
    assert urns == [
        "urn:pulumi:shop::paint::pulumi:pulumi:Stack::paint-shop",
        "urn:pulumi:shop::paint::crowdstack:test:Box::box",
        "urn:pulumi:shop::paint::pulumi:providers:crowdstack::default",
        f"urn:pulumi:shop::paint::crowdstack:test:Box${TOKEN}::box-thing",
    ]
    assert world.resources()[1]["outputs"] == {"size": 3}


def test_a_failed_step_keeps_what_was_done_and_says_why(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.kind.broken = {"blue"}
    seen: list[Step] = []
    with caplog.at_level(logging.INFO), pytest.raises(StepFailed) as failed:
        world.engine.up(program(two_things), seen.append)
    assert "creating crowdstack:index:Thing second failed: no blue paint left" in str(failed.value)
    assert "try: buy some" in str(failed.value)
    assert [step.name for step in seen] == ["paint-shop", "first"]
    assert list(world.things()) == ["first"]
    assert [resource["urn"].split("::")[-1] for resource in world.resources()] == ["paint-shop", "default", "first"]
    assert caplog.records == []  # told by the error, not by the event loop
    world.kind.broken = set()
    assert told(world.up(two_things)) == ["create second"]
    assert sorted(world.things()) == ["first", "second"]


def cut_off(world: World, body: Callable[[], None]) -> list[str]:
    """A world where the blue thing was made and the command interrupted before it could write that down."""
    world.kind.cut_off = {"blue"}
    with pytest.raises(KeyboardInterrupt):
        world.up(body)
    world.kind.cut_off = set()
    [pending] = world.state()["deployment"]["pending_operations"]
    assert pending["type"] == "creating"
    assert "second" in world.things()
    assert "second" not in [resource["urn"].split("::")[-1] for resource in world.resources()]
    return [path.name for path in world.kind.things()]


def test_a_create_that_was_cut_off_is_found_again(world: World) -> None:
    made = cut_off(world, two_things)
    assert told(world.preview(two_things)) == ["create second"]
    assert told(world.up(two_things)) == ["create second"]
    assert [path.name for path in world.kind.things()] == made
    assert world.state()["deployment"]["pending_operations"] == []


def test_what_a_cut_off_create_made_is_deleted_when_it_is_wanted_no_more(world: World) -> None:
    cut_off(world, two_things)
    foreseen = world.preview(one_thing)
    done = world.up(one_thing)
    assert done.steps == foreseen.steps
    assert told(done) == ["delete second"]
    assert list(world.things()) == ["first"]


def test_what_a_cut_off_create_made_is_deleted_when_another_is_wanted_in_its_place(world: World) -> None:
    def body(shape: str) -> Callable[[], None]:
        return lambda: _ignore(Thing("second", colour="blue", shape=shape))

    cut_off(world, body("round"))
    foreseen = world.preview(body("square"))
    done = world.up(body("square"))
    assert done.steps == foreseen.steps
    assert told(done) == ["delete second", "create second"]
    assert [thing["inputs"]["shape"] for thing in world.kind.things().values()] == ["square"]


def test_what_a_cut_off_create_made_is_destroyed(world: World) -> None:
    cut_off(world, two_things)
    world.engine.destroy()
    assert world.things() == {}
    assert world.engine.outputs() is None


def test_a_failed_update_keeps_the_old_inputs(world: World) -> None:
    world.up(two_things)
    world.kind.broken = {"black"}
    with pytest.raises(StepFailed, match="no black paint left"):
        world.up(two_things, first="black")
    assert told(world.up(two_things)) == []
    assert told(world.preview(two_things, first="green")) == ["update first colour"]


def test_a_program_that_raises_deletes_nothing(world: World) -> None:
    world.up(two_things)

    def body() -> None:
        Thing("first", colour="red")
        raise ValueError("the program is wrong")

    with pytest.raises(StepFailed, match="the stack program failed") as failed:
        world.up(body)
    assert failed.value.why == "ValueError: the program is wrong"
    assert sorted(world.things()) == ["first", "second"]


@pytest.mark.parametrize(
    ("properties", "fault"),
    [
        ({}, "colour: is missing"),
        ({"colour": 3}, "colour: is int, must be str"),
        ({"colour": "red", "command": "rm -rf /"}, "command: crowdstack:index:Thing has no such property"),
    ],
)
def test_wrong_inputs_are_told_by_name_already_in_the_preview(
    world: World, properties: dict[str, object], fault: str
) -> None:
    with pytest.raises(StepFailed) as failed:
        world.preview(lambda: _ignore(Thing("first", **properties)))
    assert fault in str(failed.value.why)


def _ignore(_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"plugin_download_url": "https://example.org"}, "plugin_download_url"),
        ({"version": "1.2.3"}, "version"),
    ],
)
def test_an_option_that_is_not_served_is_refused_rather_than_ignored(
    world: World, options: dict[str, object], word: str
) -> None:
    with pytest.raises(Refused, match=f"does not serve the resource option {word} "):
        world.up(lambda: _ignore(Thing("first", colour="red", opts=pulumi.ResourceOptions(**options))))
    assert world.things() == {}


def test_cloud_packages_are_refused_with_the_engine_that_serves_them(world: World) -> None:
    def body() -> None:
        pulumi.CustomResource("aws:s3/bucket:Bucket", "mine", {})

    with pytest.raises(Refused, match="does not serve aws:s3/bucket:Bucket") as refused:
        world.preview(body)
    assert "Pulumi's own engine" in str(refused.value)


def test_explicit_providers_are_refused(world: World) -> None:
    def body() -> None:
        mine = pulumi.ProviderResource("crowdstack", "mine", {})
        Thing("first", colour="red", opts=pulumi.ResourceOptions(provider=mine))

    with pytest.raises(Refused, match="does not serve explicit providers"):
        world.preview(body)


@pytest.mark.parametrize("field", ["external", "taint", "initErrors", "viewOf", "resourceHooks"])
def test_a_state_that_holds_what_is_not_served_is_refused(world: World, field: str) -> None:
    world.up(one_thing)
    state = world.state()
    state["deployment"]["resources"][-1][field] = ["something"]
    world.state_file.write_text(json.dumps(state))
    with pytest.raises(StateMismatch, match="cannot carry on") as refused:
        world.up(one_thing)
    assert "Pulumi's own engine" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"custom_timeouts": pulumi.CustomTimeouts(create="soon")}, "custom_timeouts: 'soon' is no duration"),
        ({"ignore_changes": ["parts["]}, "ignore_changes: 'parts\\[' is no path"),
        ({"replace_on_changes": [".colour"]}, "replace_on_changes: '.colour' is no path"),
    ],
)
def test_an_option_that_cannot_be_is_told_with_its_place(world: World, options: dict[str, object], fault: str) -> None:
    with pytest.raises(StepFailed, match=fault) as failed:
        world.preview(lambda: _ignore(Thing("first", colour="red", opts=pulumi.ResourceOptions(**options))))
    assert str(failed.value.where).endswith("::first")


def test_functions_of_plugins_are_refused(world: World) -> None:
    def body() -> None:
        pulumi.runtime.invoke("aws:index:getRegion", {})

    with pytest.raises(Refused, match="functions of plugins"):
        world.preview(body)


def test_two_resources_of_one_name_are_refused(world: World) -> None:
    def body() -> None:
        Thing("first", colour="red")
        Thing("first", colour="blue")

    with pytest.raises(StepFailed, match="two resources of one name"):
        world.up(body)


def test_two_engines_work_in_two_threads_at_once(tmp_path: Path) -> None:
    meeting = threading.Barrier(2)

    def body() -> None:
        meeting.wait(timeout=20)  # both programs run at the same moment
        Thing(pulumi.Config().require("name"), colour="red")
        pulumi.export("name", pulumi.Config().require("name"))

    worlds = {name: World(tmp_path / name) for name in ("left", "right")}
    outputs: dict[str, object] = {}

    def run(name: str) -> None:
        outputs[name] = worlds[name].up(body, name=name).outputs["name"]

    threads = [threading.Thread(target=run, args=(name,)) for name in worlds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert outputs == {"left": "left", "right": "right"}
    assert {name: list(world.things()) for name, world in worlds.items()} == {"left": ["left"], "right": ["right"]}


def test_it_works_beside_a_running_loop(world: World) -> None:
    async def main() -> None:
        await asyncio.to_thread(world.up, one_thing)

    asyncio.run(main())
    assert list(world.things()) == ["first"]


def test_only_one_command_at_a_time_changes_a_stack(world: World) -> None:
    other = EmbeddedEngine(world.stack, world.root / "state.key", world.engine._plugin)
    found: list[Exception] = []

    def body() -> None:
        for verb in (lambda: other.up(Program(project="p", stack="s", config={}, run=nothing)), other.destroy):
            try:
                verb()
            except LockHeld as held:
                found.append(held)
        Thing("first", colour="red")

    world.up(body)
    assert len(found) == 2
    assert "held by" in str(found[0])
    assert "since" in str(found[0])
    world.engine.destroy()  # free again


def test_a_lock_file_without_a_living_holder_holds_nothing(world: World) -> None:
    world.stack.mkdir()
    (world.stack / "lock").write_text('{"pid": 1, "host": "elsewhere", "since": "ever", "command": "init"}')
    world.up(one_thing)
    assert list(world.things()) == ["first"]


def test_the_cause_of_a_failed_step_is_kept(world: World) -> None:
    world.kind.broken = {"red"}
    with pytest.raises(StepFailed) as failed:
        world.up(one_thing)
    assert isinstance(failed.value.__cause__, Refused)
