"""Ctrl-C with the real engine, server and reconciler behind the command."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.cli.terminal import CTRL_C, Terminal
from tests.stories.stage import Stage, wait_until

pytestmark = pytest.mark.story


def assert_all_goes(here: Stage) -> None:
    here.run("destroy", "task.yaml", "--yes", "--now")
    assert here.pids() == []


def test_once_lets_go_and_the_run_goes_on(here: Stage) -> None:
    with closing(Terminal("-m", "crowdstack", "up", "task.yaml", "--yes", folder=here.folder)) as at:
        at.until("0/50 done")
        at.type(CTRL_C)
        assert at.ended() == 8
        assert "goes on by itself" in at.seen
    now = here.status()
    assert (now["state"], now["server"]["healthy"], now["loop"]["running"]) == ("live", True, True)
    assert_all_goes(here)


def test_twice_in_the_middle_of_a_deployment_leaves_a_state_that_the_same_command_goes_on_with(here: Stage) -> None:
    with closing(Terminal("-m", "crowdstack", "up", "task.yaml", "--yes", folder=here.folder)) as at:
        at.until("demo-people-keys", times=2)  # once in the preview, once as a step
        at.type(CTRL_C)
        at.until("Ctrl-C again to cancel")
        at.type(CTRL_C)
        assert at.ended() == 8
    here.run("up", "task.yaml", "--yes", "--detach")
    assert here.status()["state"] == "live"
    assert len(here.pids("server")) == 1
    assert_all_goes(here)


def test_a_terminal_that_goes_away_leaves_the_run_as_it_is(here: Stage) -> None:
    at = Terminal("-m", "crowdstack", "up", "task.yaml", "--yes", folder=here.folder)
    with closing(at):
        at.until("0/50 done")
        at.hang_up()
        wait_until(lambda: at.child.poll() is not None, within_s=10, what="the command to end")
    now = here.status()
    assert (now["state"], now["server"]["healthy"], now["loop"]["running"]) == ("live", True, True)
    assert_all_goes(here)
