"""Who may come, told to the provider: before anybody can, again when it changes, and no place while it is not taken."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import Busy, CredentialsRefused, CrowdstackError, Refused
from crowdstack.model import Admission, RunState, StudyKey, WorkerId
from crowdstack.providers.mock import MockProvider
from crowdstack.reconcile.door import Door
from tests.contracts.store import NOW, TASK
from tests.reconcile.stage import Stage

EVE, ZOE = WorkerId("eve"), WorkerId("zoe")


class Listing(MockProvider):
    """A provider that keeps lists of people. `said`: what it was told, beside its other effects; `no`: its next answers."""

    no: list[CrowdstackError]
    said: list[Any]

    def set_workers(self, key: StudyKey, admission: Admission) -> None:
        self.said.append(admission)
        if self.no:
            raise self.no.pop()

    def open_study(self, *arguments: Any, **more: Any) -> Any:
        self.said.append("open")
        return super().open_study(*arguments, **more)

    def approve(self, *arguments: Any) -> None:
        self.said.append("approve")
        super().approve(*arguments)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, blocked=(EVE,), exclude=("pilot",))
    stage.provider.close()
    stage.provider = Listing(tmp_path / "mock.db")
    stage.provider.said, stage.provider.no = [], []
    stage.store.qualify(TASK, [ZOE], "pilot", 1, by="me", now=NOW)
    yield stage
    stage.close()


def told(here: Stage) -> list[Any]:
    assert isinstance(here.provider, Listing)
    return here.provider.said


def test_it_is_told_once_and_before_anybody_can_come(here: Stage) -> None:
    here.live()
    assert here.reached is RunState.DESTROYED
    assert told(here)[:2] == [Admission(blocked=(EVE, ZOE)), "open"]
    assert told(here)[2:] == ["approve"] * 4


@pytest.mark.parametrize("no", [Busy("429"), Refused("no right to groups"), CredentialsRefused("no right")])
def test_no_study_is_opened_before_it_was_taken(here: Stage, no: CrowdstackError) -> None:
    assert isinstance(here.provider, Listing)
    here.provider.no = [no, no]
    here.live()
    assert told(here)[:4] == [Admission(blocked=(EVE, ZOE))] * 3 + ["open"]
    assert here.reached is RunState.DESTROYED


def test_it_is_told_again_every_hour_for_somebody_may_have_changed_it_there(here: Stage) -> None:
    door = Door(here.provider, logging.getLogger("tests.reconcile"))
    for now in (0.0, 3599.0, 3600.0, 7199.0):
        assert door.tell(StudyKey("birds-1"), Admission(), now) is None
    assert told(here) == [Admission()] * 2


def test_what_cannot_be_told_is_shown_by_status(here: Stage) -> None:
    assert isinstance(here.provider, Listing)
    here.provider.no = [Refused("no right to groups")]
    notes: list[tuple[str, str]] = []
    note = here.store.note

    def noted(run: Any, state: str, text: str, now: Any) -> None:
        notes.append((state, text))
        note(run, state, text, now)

    here.store.note = noted  # type: ignore[method-assign]
    here.live()
    assert (
        "needs_person",
        "no place is listed while the provider does not take who may come: no right to groups",
    ) in notes


def test_whoever_is_blocked_while_people_work_is_told_in_the_next_round(here: Stage) -> None:
    provider = here.provider
    assert isinstance(provider, Listing)
    here.server.people = False
    open_study, set_workers = provider.open_study, provider.set_workers

    def open_then_block(*arguments: Any, **more: Any) -> Any:
        here.store.block(TASK, [WorkerId("mia")], reason="", by="me", now=NOW)
        return open_study(*arguments, **more)

    def set_then_come(key: StudyKey, admission: Admission) -> None:
        set_workers(key, admission)
        here.server.people = "mia" in admission.blocked
        here.server._people_come()

    provider.open_study, provider.set_workers = open_then_block, set_then_come  # type: ignore[method-assign]
    here.live()
    assert told(here)[1:3] == ["open", Admission(blocked=(EVE, WorkerId("mia"), ZOE))]
