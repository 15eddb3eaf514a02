"""On a real (pseudo) terminal: the question, the bar, Ctrl-C once and twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.terminal import CTRL_C, Terminal

Open = Callable[..., Terminal]


@pytest.fixture
def terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def open_one(world: dict[str, Any], *arguments: str) -> Terminal:
        opened.append(Terminal("-m", "tests.cli.world", json.dumps(world), *arguments))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_up_asks_on_a_terminal_and_shows_a_bar_until_it_is_done(terminal: Open) -> None:
    at = terminal({"target": 4, "pace": 1}, "up", "birds.yaml")
    at.until("Bring it up? [y/N]")
    at.type(b"y\n")
    at.until("1/4 done")
    assert at.ended() == 0
    assert "4/4 done" in at.seen
    assert "\x1b[" in at.seen


def test_ctrl_c_once_lets_go_of_a_run_and_says_how_to_come_back(terminal: Open) -> None:
    at = terminal({"target": 1000, "pace": 0}, "up", "--yes")
    at.until("0/1000 done")
    at.type(CTRL_C)
    assert at.ended() == 8
    assert "birds-1 goes on by itself" in at.seen
    assert "crowdstack status" in at.seen


def test_ctrl_c_once_while_deploying_finishes_the_deployment_first(terminal: Open) -> None:
    at = terminal({"target": 1000, "pace": 0, "deploy_s": 0.8}, "up", "--yes")
    at.until("TaskServer taskserver", times=2)  # once in the preview, once as a step
    at.type(CTRL_C)
    at.until("Ctrl-C again to cancel")
    assert at.ended() == 8
    assert "goes on by itself" in at.seen


def test_ctrl_c_twice_cancels(terminal: Open) -> None:
    at = terminal({"target": 1000, "pace": 0, "deploy_s": 3600}, "up", "--yes")
    at.until("TaskServer taskserver", times=2)
    at.type(CTRL_C)
    at.until("Ctrl-C again to cancel")
    at.type(CTRL_C)
    assert at.ended() == 8
    assert "error: cancelled" in at.seen


def test_ctrl_c_at_the_question_changes_nothing(terminal: Open) -> None:
    at = terminal({}, "up")
    at.until("Bring it up? [y/N]: ")
    while at.child.poll() is None:  # like a person: a key pressed between the question and the reading goes unheard
        at.type(CTRL_C)
        at.reads_for(3)
    assert at.ended() == 8
    assert "link for person-1" not in at.seen


def test_no_color_takes_the_colours_away(terminal: Open) -> None:
    at = terminal({}, "--no-color", "preview")
    assert at.ended() == 0
    assert "\x1b[" not in at.seen


def test_no_color_in_the_environment_does_so_too(terminal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = terminal({}, "preview")
    assert coloured.ended() == 0
    assert "\x1b[" in coloured.seen
    monkeypatch.setenv("NO_COLOR", "1")
    plain = terminal({}, "up", "--yes")
    assert plain.ended() == 0
    assert not re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", plain.seen), "a colour"


def test_answers_are_not_printed_on_a_terminal_as_they_are(terminal: Open) -> None:
    at = terminal({}, "export")
    assert at.ended() == 2
    assert "-o FILE" in at.seen
