"""What `status` tells of people: what an hour was really paid, and whose visit is about to be paid by nobody's decision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crowdstack.cli import render
from crowdstack.cli.main import run
from crowdstack.deploy import Deployment, Review, Status
from crowdstack.errors import PolicyRefused
from crowdstack.folder import Folder
from crowdstack.model import Assigned, AssignmentId, ListedState, Money, RunState, UnitId, WorkerId
from crowdstack.plan.fees import PayVerdict
from crowdstack.store.store import PeeweeStore
from crowdstack.wiring import Project
from tests.cli.world import a_status
from tests.contracts.listing import Panel
from tests.contracts.store import NOW, TASK, Inbox, items, offered, settle
from tests.plan.builders import desired

AWAITING, APPROVED = ListedState.AWAITING, ListedState.APPROVED


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


class Desk:
    """A run at a provider that tells of its visits: the k-th of them is handed in after k minutes."""

    def __init__(self, folder: Path, provider: str) -> None:
        wish = replace(
            desired(
                reward=Money(20, "USD"),
                minutes=1,
                minimum_hourly=Money(800, "USD"),
                provider={"type": provider, "name": "board"},
            ),
            task=TASK,
        )
        settings = {"desired": wish.to_settings(), "spec": {"metadata": {}}}
        self.store, self.clock = PeeweeStore(folder / "store.db"), Clock()
        self.run = self.store.open_run(TASK, settings=settings, items=items("a"), repeats=1, fresh=False, now=NOW)
        self.panel = Panel(self.store, self.run)
        self.panel.says("nobody", ListedState.RETURNED)

    def status(self) -> Status:
        nobody: Any = None  # status asks neither engine nor provider
        there = Deployment(
            folder=Folder(Path()), store=self.store, engine=nobody, provider=nobody, program=nobody, clock=self.clock
        )
        return there.status(
            self.run, server_url=None, server_healthy=False, loop_running=False, disk_low=False, links={}
        )


def approve(desk: Desk, worker: str) -> None:
    visit = desk.panel.says(worker, AWAITING)
    hold = Assigned(assignment=AssignmentId(""), unit=UnitId(""), worker=WorkerId(worker), visit=visit, timeout_s=1)
    settle(desk.store, desk.run, hold)


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(tmp_path, getattr(request, "param", "prolific"))
    yield made
    made.store.close()


def test_who_waits_for_a_verdict_is_told_with_the_day_on_which_silence_pays(desk: Desk) -> None:
    for worker in ("ann", "bob"):
        desk.panel.says(worker, AWAITING)
    desk.panel.tell()
    desk.clock.time = NOW + timedelta(days=20)
    due_at = NOW + timedelta(days=21, minutes=1)
    assert desk.status().review == Review(waiting=2, due_at=due_at, left_s=24 * 3600 + 60)
    approve(desk, "ann")  # by us; what the provider last said is older
    told = desk.status().review
    assert told is not None
    assert (told.waiting, told.due_at) == (1, due_at + timedelta(minutes=1))
    desk.panel.tells("bob", APPROVED)
    assert desk.status().review is None


@pytest.mark.parametrize("desk", ["plugin"], indirect=True)
def test_of_a_provider_whose_patience_is_not_known_no_day_is_told(desk: Desk) -> None:
    desk.panel.tells("ann", AWAITING)
    assert desk.status().review is None


def test_what_an_hour_was_paid_is_told_while_the_run_is_live(desk: Desk) -> None:
    assert desk.status().pay is None
    for worker in ("ann", "bob", "eve"):
        desk.panel.says(worker, APPROVED)
    desk.panel.tell()
    told = desk.status().pay
    assert told is not None
    assert (told.visits, told.median_s, told.per_hour) == (3, 120, Money(600, "USD"))
    assert told.verdict is PayVerdict.BELOW_MINIMUM


def test_people_and_scripts_read_both() -> None:
    waits = Review(waiting=2, due_at=NOW + timedelta(days=21), left_s=3 * 24 * 3600 + 7200)
    text = render.status(a_status(review=waits), "text")
    assert (
        "review      2 visits wait for a verdict: `crowdstack units ls --state submitted`. The provider pays the first by "
        "itself on 2026-03-22 09:00 UTC, in 3 d 2 h"
    ) in text
    assert render.status_data(a_status(review=waits))["review"] == {
        "waiting": 2, "due_at": "2026-03-22T09:00:00+00:00", "left_s": 266400,
    }  # fmt: skip
    assert "UTC, by now" in render.review(replace(waits, left_s=-5))
    assert render.status_data(a_status())["pay"] is None


PANEL = """
metadata: {name: birds}
task: {reward: 0.01 USD, units_per_visit: 1, estimated_time: 1s}
provider: {type: generic, finish: {code: BIRDS-7}, minimum_per_hour: 20.00 USD}
"""


def test_the_next_run_is_refused_at_a_pay_that_the_last_one_showed_to_be_too_low(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["new", "birds"]) == 0
    (tmp_path / "birds" / "panel.yaml").write_text(PANEL)

    def opened(*sets: str) -> Project:
        return Project.open(
            spec=tmp_path / "birds" / "task.yaml", overlays=[tmp_path / "birds" / "panel.yaml"], sets=sets
        )

    with closing(opened()) as project:
        assert "36.00 USD per hour: fine" in render.preview(project.preview())
        with closing(PeeweeStore(project.folder.store)) as store:
            wanted = project._wanted
            last = store.open_run(**wanted.arguments(fresh=False, now=NOW))
            inbox = Inbox(store, last)
            for number, unit in enumerate(offered(store, last)[:5]):
                hold = inbox.hold(unit, f"worker-{number}")
                inbox.answer(hold)
                inbox.leave(hold)
                inbox.deliver()
            store.want(last.id, RunState.DESTROYED, NOW)
            store.set_reached(last.id, RunState.DESTROYED, NOW)
    with (
        closing(opened()) as project,
        pytest.raises(PolicyRefused, match=r"0.01 USD for 2 s, the median of the last"),
    ):
        project.preview()
    with closing(opened("task.reward=0.02 USD")) as project:
        project.preview()
