"""preview, up, status, stop, resume, destroy: what they print, ask, refuse and leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crowdstack.errors import NotFound
from crowdstack.ports import Operation
from tests.cli.conftest import Call
from tests.cli.world import World, a_cost, a_step, usd

MET = {"steps": (), "lines": (), "target_met": True}


def test_up_brings_it_up_and_returns_once_the_target_is_met_and_all_is_down(call: Call) -> None:
    world = World()
    said = call("up", "birds.yaml", "--yes", world=world)
    assert (said.code, world.state, world.done, world.closed) == (0, "destroyed", 4, True)
    assert "4/4 done" in said.out
    assert "crowdstack export birds.yaml -f csv -o birds.csv" in said.out


@pytest.mark.parametrize("arguments", [["up", "--yes"], ["preview"], ["preview", "--set", "target.repeats=2"]])
def test_what_reads_a_spec_takes_task_yaml_unless_told(call: Call, arguments: list[str]) -> None:
    world = World()
    assert call(*arguments, world=world).code == 0
    assert world.opened_with["spec"] == Path("task.yaml")
    assert "(default: task.yaml)" in " ".join(call(arguments[0], "--help").out.split())


@pytest.mark.parametrize("command", ["validate", "preview", "up"])
def test_without_a_task_yaml_here_the_way_to_one_is_told(
    call: Call, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call(command)
    assert said.code == 6
    assert "task.yaml" in said.err
    assert "crowdstack new NAME" in said.err


def test_progress_and_the_preview_of_up_go_to_stderr(call: Call) -> None:
    said = call("up", "--yes", world=World())
    assert "Can never be changed later" in said.err
    assert "link for person-1: http://127.0.0.1:8000/?t=" in said.err
    assert len(said.out.splitlines()) == 2


def test_a_kept_run_is_over_once_its_target_is_met(call: Call) -> None:
    world = World(keep=True)
    assert call("up", "--yes", world=world).code == 0
    assert world.state == "done"


def test_up_without_yes_and_without_a_terminal_changes_nothing(call: Call) -> None:
    world = World()
    said = call("up", world=world)
    assert (said.code, world.state) == (2, "not deployed")
    assert "add --yes" in said.err


def test_a_no_at_the_question_changes_nothing(call: Call) -> None:
    world = World()
    said = call("up", world=world, types="n\n")
    assert (said.code, world.state) == (8, "not deployed")


def test_a_yes_at_the_question_brings_it_up(call: Call) -> None:
    world = World()
    assert call("up", world=world, types="y\n").code == 0
    assert world.state == "destroyed"


def test_up_on_a_live_run_without_changes_asks_nothing_and_watches(call: Call) -> None:
    world = World(state="live", preview_says={"lines": ()})
    assert call("up", world=world).code == 0
    assert world.done == 4


def test_a_target_that_is_already_met_leaves_nothing_to_do(call: Call) -> None:
    world = World(preview_says=MET)
    said = call("up", world=world)
    assert (said.code, world.state) == (0, "not deployed")
    assert "nothing to do" in said.out


@pytest.mark.parametrize(("cap", "code"), [(usd(2000), 0), (usd(2001), 5)])
def test_people_cost_above_max_cost_is_refused_even_with_yes(call: Call, cap: object, code: int) -> None:
    world = World(preview_says={"cost": a_cost(cap=cap)})
    said = call("up", "--yes", "--max-cost", "20 USD", world=world)
    assert said.code == code
    assert world.state == ("destroyed" if code == 0 else "not deployed")


def test_a_max_cost_in_another_currency_is_a_usage_error(call: Call) -> None:
    said = call("up", "--yes", "--max-cost", "20 EUR", world=World())
    assert said.code == 2
    assert "EUR" in said.err


def test_detached_up_returns_while_the_run_is_live(call: Call) -> None:
    world = World(target=1000)
    said = call("up", "--yes", "--detach", world=world)
    assert (said.code, world.state) == (0, "live")
    assert "crowdstack status" in said.out


def test_a_run_that_was_destroyed_before_its_target_is_no_success_of_up(call: Call) -> None:
    world = World()
    world.on_up = lambda: setattr(world, "state", "destroyed")
    said = call("up", "--yes", world=world)
    assert said.code == 10
    assert "0 of 4" in said.err


def test_a_dead_reconciler_is_started_again_while_up_watches(call: Call) -> None:
    world = World(loop=False, target=8)
    assert call("up", "--yes", world=world).code == 0
    assert world.loop


def test_a_reconciler_that_dies_again_and_again_ends_up_with_its_note(call: Call) -> None:
    world = World(loop=False, loop_dies=True, target=1000, status_says={"loop_note": "the disk is full"})
    said = call("up", "--yes", world=world)
    assert said.code == 1
    assert "the disk is full" in said.err


def test_up_gives_up_watching_at_its_timeout_and_the_run_goes_on(call: Call) -> None:
    world = World(target=1000)
    said = call("up", "--yes", "--timeout", "0s", world=world)
    assert (said.code, world.state) == (9, "live")
    assert "it goes on" in said.err


@pytest.mark.parametrize(
    ("flags", "changed", "same"),
    [((), 0, 0), (("--expect-no-changes",), 10, 0), (("--detailed-exitcode",), 2, 0)],
)
def test_preview_says_by_its_exit_code_whether_there_are_changes(
    call: Call, flags: tuple[str, ...], changed: int, same: int
) -> None:
    assert call("preview", *flags, world=World()).code == changed
    assert call("preview", *flags, world=World(preview_says=MET)).code == same


def test_an_error_under_detailed_exitcode_is_1_because_2_means_changes(call: Call) -> None:
    world = World()
    world.open = lambda **_: (_ for _ in ()).throw(NotFound("no such spec"))  # type: ignore[method-assign]
    assert call("preview", world=world).code == 6
    assert call("preview", "--detailed-exitcode", world=world).code == 1


def test_preview_as_json_holds_every_line_and_the_cost(call: Call) -> None:
    told = json.loads(call("preview", "-o", "json", world=World()).out)
    assert told["changes"] is True
    assert [step["operation"] for step in told["steps"]] == ["create", "create"]
    assert told["cost"]["cap"] == "0.25 USD"


def test_preview_as_ndjson_is_one_object_a_line(call: Call) -> None:
    told = [json.loads(line) for line in call("preview", "-o", "ndjson", world=World()).out.splitlines()]
    assert [line["part"] for line in told] == ["stack", "stack", "crowd"]


def test_refresh_tells_what_is_not_as_it_was_left(call: Call) -> None:
    there, drifted = World(state="live"), World(state="live", drifted=(a_step(Operation.REFRESH),))
    assert "as it was left" in call("refresh", "--expect-no-changes", world=there).out
    said = call("refresh", world=drifted)
    assert (said.code, said.out.split()[0]) == (0, "~")
    assert call("refresh", "--expect-no-changes", world=drifted).code == 10
    assert call("refresh", "--expect-no-changes", "--target", "urn:another", world=drifted).code == 0


@pytest.mark.parametrize(("alias", "name"), [("plan", "preview"), ("ps", "status")])
def test_an_alias_is_the_command(call: Call, alias: str, name: str) -> None:
    assert call(alias, world=World(target=10**9)).out == call(name, world=World(target=10**9)).out


def test_status_as_json_has_the_promised_keys(call: Call) -> None:
    told = json.loads(call("status", "-o", "json", world=World(state="live", target=1000)).out)
    assert {"task", "run", "state", "units", "server", "loop", "links", "spend"} <= set(told)
    assert {"total", "open", "assigned", "submitted", "approved", "excluded", "rejected"} <= set(told["units"])
    assert told["server"] == {"url": "http://127.0.0.1:8000", "healthy": True}
    assert told["loop"]["running"] is True
    assert told["spend"] == "0.05 USD"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), False),
        (("-o", "md"), False),
        (("--links",), True),
        (("--links", "-o", "md"), True),
        (("-o", "json"), True),
        (("-o", "ndjson"), True),
    ],
)
def test_status_shows_whole_links_to_who_asks_for_them(call: Call, arguments: tuple[str, ...], shown: bool) -> None:
    said = call("status", *arguments, world=World(state="live", target=1000))
    assert ("v1.1.abc.def" in said.out) is shown
    assert ("1 for people: crowdstack status --links" in said.out) is not shown


@pytest.mark.parametrize(("command", "state"), [("stop", "paused"), ("resume", "live")])
def test_stop_and_resume_see_to_it_that_a_reconciler_does_it(call: Call, command: str, state: str) -> None:
    world = World(state="live", loop=False)
    assert call(command, world=world).code == 0
    assert (world.state, world.loop) == (state, True)


@pytest.mark.parametrize("name", ["destroy", "down"])
def test_destroy_says_what_goes_and_proves_that_nothing_is_left(call: Call, name: str) -> None:
    world = World(state="live", target=1000)
    said = call(name, "--yes", world=world)
    assert (said.code, world.state) == (0, "destroyed")
    assert "task server http://127.0.0.1:8000" in said.err
    assert "nothing is left" in said.out


def test_destroy_names_what_is_left_and_fails(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowdstack.cli.run_commands.PROOF_S", 0.1)
    said = call("destroy", "--yes", world=World(state="live", target=1000, leaves=("process 17 (task server)",)))
    assert said.code == 10
    assert "process 17 (task server)" in said.err


def test_destroy_asks_and_a_no_leaves_all_as_it_is(call: Call) -> None:
    world = World(state="paused")
    assert call("destroy", world=world, types="n\n").code == 8
    assert call("destroy", world=world).code == 2
    assert world.state == "paused"


def test_destroy_of_nothing_says_so(call: Call) -> None:
    said = call("destroy", world=World())
    assert said.code == 0
    assert "nothing is up" in said.out


def test_the_global_options_reach_the_project(call: Call) -> None:
    world = World(state="paused")
    assert (
        call(
            *(
                "-s",
                "birds",
                "--state",
                "elsewhere",
                "--engine",
                "pulumi",
                "--state",
                "s3://birds",
                "status",
                "birds.yaml",
            ),
            world=world,
        ).code
        == 0
    )
    given = {name: str(value) for name, value in world.opened_with.items()}
    assert given == {
        "spec": "birds.yaml",
        "overlays": "()",
        "sets": "()",
        "stack": "birds",
        "state": "elsewhere",
        "engine": "pulumi",
        "backend": "s3://birds",
    }
