"""The loop over doubles that behave: whole lives, and every place where one can end. Whole stacks are in tests/stories."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import Busy, LockHeld
from crowdstack.model import IntentState, Money, RunState, StudyState, Verdict, WorkerId
from crowdstack.plan.desired import Count
from crowdstack.plan.forecast import fold, forecast, journaled
from crowdstack.reconcile.observe import observe
from crowdstack.reconcile.settle import settle
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import NOW, TASK, items
from tests.money.world import Life
from tests.plan.builders import CENTS_5
from tests.reconcile.stage import Stage
from tests.size import FULL


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Any]:
    made: list[Stage] = []

    def make(name: str = "stage", **more: Any) -> Stage:
        folder = tmp_path / name
        folder.mkdir()
        made.append(Stage(folder, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


WHOLE = [("open", 4), *[("approve", None)] * 4, ("closed", None)]


def all_is_well(here: Stage) -> None:
    assert here.reached is RunState.DESTROYED
    assert sorted(here.effects(), key=str) == sorted(WHOLE, key=str)
    assert here.provider.spent() == here.store.paid(TASK, "USD") == CENTS_5 * 4
    assert here.store.unit_counts(here.run.id).submitted == 4
    assert here.store.exposure(TASK, "USD") == CENTS_5 * 4
    assert here.store.open_intents(here.run.id) == []
    assert here.server.gone
    assert (here.folder / "backup.db").exists()


def test_a_run_goes_from_nothing_to_its_target_and_away(stage: Any) -> None:
    here = stage()
    here.live()
    all_is_well(here)
    said = here.server.said
    assert said.index("offer") < said.index("open 4 open"), "somebody could come and find nothing to do"
    assert said[-1] == f"release {here.server.inbox.seq}"
    assert here.server.acked == here.server.inbox.seq


def test_what_was_previewed_is_what_happened(stage: Any) -> None:
    here = stage()
    world = observe(here.run, here.desired, store=here.store, provider=here.provider, connected=False, refused={})
    promised = forecast(here.desired, world)
    here.live()
    happened = fold(journaled(here.store.journal(here.run.id)), here.desired, here.store.unit_counts(here.run.id))
    assert [str(line) for line in happened] == [str(line) for line in promised]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_any_call_the_next_life_ends_as_if_nothing_had_been(stage: Any, before: bool) -> None:
    whole = Life()
    stage("whole").live(whole)
    assert whole.calls > 60
    for call in range(1, whole.calls + 1, 1 if FULL else 4):
        here = stage(f"killed-{call}")
        here.live(Life(until=call, before=before))
        if here.reached is not RunState.DESTROYED:
            here.live()
        all_is_well(here)
        here.close()


def test_a_lost_line_is_taken_up_where_it_broke(stage: Any) -> None:
    here = stage()
    here.server.line_breaks = 1
    here.live()
    all_is_well(here)
    assert here.revived == 1
    assert here.server.said.count("connect") == 2


def test_a_lost_inbox_goes_on_in_a_new_epoch_and_its_units_are_offered_again(stage: Any) -> None:
    here = stage()
    server = here.server
    server.people = False
    here.live(Life(until=70))
    server.inbox.work(server.units.popitem()[0], "early-bird")
    here.live(Life(until=70))
    assert here.store.unit_counts(here.run.id).submitted == 1
    stored = here.store.cursor(here.run.id).seq

    server.inbox.name, server.inbox.seq, server.people = "another-inbox-0000", 0, True
    server.inbox.events.clear()
    server.units.clear()
    server.done = 1
    here.live()
    all_is_well(here)
    assert "new_epoch" in server.said
    assert server.inbox.seq > stored


def test_a_server_that_does_not_answer_is_brought_back(stage: Any) -> None:
    here = stage()
    here.server.up = False
    here.live()
    all_is_well(here)
    assert here.revived == 1


def test_destroy_takes_every_event_before_anything_is_deleted(stage: Any) -> None:
    here = stage()
    here.server.people = False
    here.store.want(here.run.id, RunState.DESTROYED, NOW)
    here.live()
    assert here.reached is RunState.DESTROYED
    assert here.server.said.count("drain") == 1
    assert here.store.cursor(here.run.id).seq == here.server.inbox.seq
    assert here.effects() == []


def test_stop_holds_the_run_and_resume_lets_it_go_on(stage: Any) -> None:
    here = stage()
    here.server.people = False
    here.live(Life(until=70))
    assert here.effects() == [("open", 4)]
    here.store.want(here.run.id, RunState.PAUSED, NOW)
    here.live(Life(until=70))
    assert here.provider.fetch_study(here.desired.study).state is StudyState.PAUSED
    assert here.reached is RunState.PAUSED
    assert here.server.said[-1] != "open 4 open"
    here.server.people = True
    here.store.want(here.run.id, RunState.LIVE, NOW)
    here.live()
    assert here.reached is RunState.DESTROYED
    assert [verb for verb, _ in here.effects()].count("paused") == 1


def test_a_dry_wallet_is_told_and_what_it_owes_is_paid_once_there_is_money(stage: Any) -> None:
    here = stage()
    here.provider._wallet = lambda: CENTS_5 * 3
    here.live(Life(until=200))
    state, why, _ = here.store.noted(here.run.id)
    assert state == "needs_person"
    assert "wallet" in why
    assert [i.state for i in here.store.journal(here.run.id) if i.kind == "approve"].count(IntentState.REFUSED) == 1
    here.provider._wallet = lambda: Money(100, "USD")
    here.live()
    all_is_well(here)


def test_more_than_the_budget_is_never_listed_and_the_run_says_so(stage: Any) -> None:
    here = stage(budget=CENTS_5 * 2)
    here.live(Life(until=200))
    assert here.effects() == [("open", 2), ("approve", None), ("approve", None)]
    assert here.store.noted(here.run.id)[0] == "budget"


def test_nothing_that_costs_more_is_sent_under_a_lease_that_runs_out(stage: Any) -> None:
    here = stage()
    here.server.lease_s = 14.9
    here.live(Life(until=120))
    assert here.effects() == []
    assert here.store.open_intents(here.run.id) == [], "what is written down must be sent"
    here.server.lease_s = 15.0
    here.live()
    all_is_well(here)


def test_who_wakes_up_between_writing_down_and_sending_waits_for_the_lease(stage: Any) -> None:
    here = stage()

    def opening() -> bool:
        return "open" in [intent.kind for intent in here.store.open_intents(here.run.id)]

    here.server.lease_left_s = lambda: 0.0 if opening() else 30.0
    here.live(Life(until=200))
    assert opening()
    assert here.effects() == []
    here.server.lease_left_s = lambda: 30.0
    here.live()
    all_is_well(here)


def test_the_server_may_forget_only_what_a_copy_of_the_store_holds(stage: Any) -> None:
    here = stage(keep=True)
    held: list[int] = []

    async def release(seq: int) -> None:
        copy = PeeweeStore(here.folder / "backup.db")
        cursor = copy.cursor(here.run.id)
        copy.close()
        assert cursor is not None
        assert cursor.seq >= seq
        held.append(seq)

    here.server.release = release
    here.live(Life(until=20_000))
    assert here.reached is RunState.LIVE
    assert held[0] < held[-1] == here.server.inbox.seq, "when it begins, and now and then"


def test_an_excluded_answer_is_paid_and_its_unit_done_by_somebody_else(stage: Any) -> None:
    here = stage(keep=True)
    here.server.people = False
    here.live(Life(until=70))
    here.server.people = True
    here.live(Life(until=45))
    first = next(iter(here.store.submissions(TASK)))
    here.store.judge(first.submission, Verdict.EXCLUDE, reason="", by="me", version=None, now=NOW)
    here.store.want(here.run.id, RunState.LIVE, NOW)
    here.live(Life(until=400))
    assert here.store.unit_counts(here.run.id).submitted == 4
    assert here.store.unit_counts(here.run.id).excluded == 1
    assert here.provider.spent() == CENTS_5 * 5


def test_verdicts_given_when_the_run_is_over_still_pay_and_reject_once(stage: Any) -> None:
    here = stage(count=Count.APPROVED)
    here.live(Life(until=400))
    here.store.want(here.run.id, RunState.DESTROYED, NOW)
    here.live()
    assert here.reached is RunState.DESTROYED
    assert here.provider.spent() == CENTS_5 * 0
    assert here.store.exposure(TASK, "USD") == CENTS_5 * 4, "what was promised is owed"

    *paid, bad = [row.submission for row in here.store.submissions(TASK)]
    for submission in paid:
        here.store.judge(submission, Verdict.APPROVE, reason="", by="me", version=None, now=NOW)
    here.store.judge(bad, Verdict.REJECT, reason="empty", by="me", version=None, now=NOW)
    run = here.store.run(here.run.id)
    for _ in range(2):
        assert settle(run, store=here.store, provider=here.provider, clock=here.clock) == {}
    assert here.provider.spent() == here.store.paid(TASK, "USD") == here.store.exposure(TASK, "USD") == CENTS_5 * 3
    assert [verb for verb, _ in here.effects()].count("reject") == 1
    assert here.store.visit_counts(run.id).left == 0


def test_what_the_wallet_cannot_pay_afterwards_stays_owed(stage: Any) -> None:
    here = stage(count=Count.APPROVED)
    here.live(Life(until=400))
    here.store.want(here.run.id, RunState.DESTROYED, NOW)
    here.live()
    for row in list(here.store.submissions(TASK)):
        here.store.judge(row.submission, Verdict.APPROVE, reason="", by="me", version=None, now=NOW)
    here.provider._wallet = lambda: CENTS_5 * 3
    run = here.store.run(here.run.id)
    (why,) = settle(run, store=here.store, provider=here.provider, clock=here.clock).values()
    assert "wallet" in why
    assert here.store.exposure(TASK, "USD") == CENTS_5 * 4
    here.provider._wallet = lambda: None
    assert settle(run, store=here.store, provider=here.provider, clock=here.clock) == {}
    assert here.provider.spent() == here.store.paid(TASK, "USD") == CENTS_5 * 4


def test_a_worker_blocked_while_the_run_is_live_is_told_to_the_server_over_the_same_line(stage: Any) -> None:
    here = stage(keep=True)
    here.server.people = False
    edited = replace(here.desired, blocked=(WorkerId("eve"),)).to_settings()

    def edit() -> None:
        if "open 4 open" in here.server.said:
            here.store.open_run(
                TASK, settings={"desired": edited}, items=items(*[f"item-{n}" for n in range(4)]), repeats=1, fresh=False, now=NOW
            )  # fmt: skip

    here.crowd.ensure = edit
    here.live(Life(until=100))
    assert [said for said in here.server.said if said.split()[0] in ("connect", "workers")] == [
        "connect", "workers", "workers eve",
    ]  # fmt: skip


def test_there_are_never_two(stage: Any) -> None:
    here = stage()
    with here.store.reconciler_lock(here.run.id), pytest.raises(LockHeld):
        here.live()
    assert here.server.said == []


def test_whatever_fails_the_loop_goes_on(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    here = stage()
    faults = [RuntimeError("a bug"), ValueError("another")]
    whole = here.server.open_study

    async def open_study(*arguments: Any, **more: Any) -> None:
        if faults:
            raise faults.pop()
        await whole(*arguments, **more)

    here.server.open_study = open_study
    with caplog.at_level(logging.ERROR):
        here.live()
    all_is_well(here)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_a_provider_that_is_busy_costs_no_line_and_answers_are_stored_meanwhile(stage: Any) -> None:
    here = stage()
    whole, stored = here.provider.approve, []

    def approve(*arguments: Any, **more: Any) -> None:
        stored.append(here.store.unit_counts(here.run.id).submitted)
        if len(stored) <= 5:
            raise Busy("too many requests", retry_s=3.0)
        whole(*arguments, **more)

    here.provider.approve = approve
    here.live()
    all_is_well(here)
    assert here.server.said.count("connect") == 1
