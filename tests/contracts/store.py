"""What every store must do. An adapter's tests inherit `StoreContract` and give it a fixture `store`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from crowdstack.errors import Gap, NotFound, OverBudget, Refused, StateMismatch
from crowdstack.model import (
    Arrived,
    Assigned,
    AssignmentId,
    Cursor,
    Drained,
    Ended,
    Event,
    EventBody,
    EventKind,
    IntentState,
    Item,
    ItemId,
    Left,
    LeftReason,
    Money,
    Run,
    RunId,
    RunState,
    StudyKey,
    SubmissionStatus,
    Submitted,
    TaskName,
    UnitId,
    UnitState,
    Verdict,
    VisitCounts,
    VisitId,
    WorkerId,
    visit_of,
)
from crowdstack.ports import Batch, Intent, IntentDraft, Store, SubmissionRow, Unreadable

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=timezone.utc)
TASK = TaskName("birds")
CENTS = Money(50, "USD")
TOP_UP = CENTS * 3


def items(*names: str, data: str = "x") -> list[Item]:
    return [Item(id=ItemId(name), data={"text": f"{name} {data}"}) for name in names]


def open_run(store: Store, *names: str, repeats: int = 1, fresh: bool = False, data: str = "x") -> Run:
    wanted = items(*names or ("a", "b"), data=data)
    return store.open_run(TASK, settings={"v": 1}, items=wanted, repeats=repeats, fresh=fresh, now=NOW)


def offered(store: Store, run: Run) -> list[UnitId]:
    """Tell a server of everything that it is to be told; the units it can give out by that."""
    told: list[UnitId] = []
    while True:
        _, units, drop = store.unoffered(run.id, 500)
        if not units and not drop:
            return told
        store.mark_offered(run.id, units, drop)
        told += [unit.unit for unit in units]


@dataclass
class Inbox:
    """A server's log as the control socket tells it: events in order, each one once."""

    store: Store
    run: Run
    name: str = "inbox-inbox-inbox"
    epoch: int = 1
    seq: int = 0
    events: list[Event | Unreadable] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store.adopt_inbox(self.run.id, self.at(self.seq))

    def at(self, seq: int) -> Cursor:
        return Cursor(inbox=self.name, epoch=self.epoch, seq=seq, chain=f"{self.name}/{self.epoch}/{seq}")

    def say(self, kind: EventKind, body: EventBody, receipt: int | None = None) -> Event:
        self.seq += 1
        at = NOW + timedelta(seconds=self.seq)
        event = Event(seq=self.seq, at=at, kind=kind, body=body, receipt=receipt or self.seq)
        self.events.append(event)
        return event

    def batch(self, after: int, *, again: bool = False) -> Batch:
        news = tuple(event for event in self.events if event.seq > after)
        return Batch(before=self.at(after), events=news, cursor=self.at(self.seq), again=again)

    def deliver(self, *, again: bool = False) -> int:
        have = self.store.cursor(self.run.id)
        assert have is not None
        return self.store.keep(self.run.id, self.batch(have.seq, again=again))

    def arrive(self, worker: str, submission: str | None = None) -> VisitId:
        """By a signed link, or saying that the provider knows this visit as `submission`."""
        name, study = WorkerId(worker), StudyKey(self.run.id)
        visit = VisitId(f"visit-of-{worker}-{self.seq}") if submission is None else visit_of(study, name, submission)
        self.say(EventKind.ARRIVED, Arrived(visit=visit, worker=name, study=study, submission=submission))
        return visit

    def hold(self, unit: UnitId, worker: str, visit: VisitId | None = None) -> Assigned:
        visit = visit or self.arrive(worker)
        body = Assigned(
            assignment=AssignmentId(f"assignment-{self.name}-{self.seq}"),
            unit=unit,
            worker=WorkerId(worker),
            visit=visit,
            timeout_s=60,
        )
        self.say(EventKind.ASSIGNED, body)
        return body

    def answer(self, hold: Assigned, answers: Any = None, *, counts: bool = True, late: bool = False) -> Event:
        body = Submitted(
            assignment=hold.assignment, unit=hold.unit, worker=hold.worker, visit=hold.visit, nonce="n" * 16,
            answers={"label": "owl"} if answers is None else answers, signals={}, bundle="b", duration_s=2.5,
            late=late, counts=counts,
        )  # fmt: skip
        return self.say(EventKind.LATE if late else EventKind.SUBMITTED, body)

    def end(self, hold: Assigned, kind: EventKind) -> None:
        body = Ended(assignment=hold.assignment, unit=hold.unit, worker=hold.worker, visit=hold.visit)
        self.say(kind, body)

    def leave(self, hold: Assigned, submissions: int = 1) -> None:
        self.say(
            EventKind.LEFT,
            Left(visit=hold.visit, worker=hold.worker, reason=LeftReason.VISIT, submissions=submissions),
        )

    def work(self, unit: UnitId, worker: str, answers: Any = None) -> Assigned:
        """One whole visit: arrive, take the unit, answer it, leave."""
        hold = self.hold(unit, worker)
        self.answer(hold, answers)
        self.leave(hold)
        return hold


def told_again(inbox: Inbox, upto: int) -> Inbox:
    """The same inbox in its next epoch, cut after event `upto` of this one; it tells again what it has."""
    again = Inbox(inbox.store, inbox.run, inbox.name, inbox.epoch + 1, inbox.seq)
    for event in inbox.events[:upto]:
        assert isinstance(event, Event)
        again.say(event.kind, event.body, receipt=event.receipt)
    again.deliver(again=True)
    return again


def started(store: Store, *names: str, repeats: int = 1) -> tuple[Run, Inbox, list[UnitId]]:
    run = open_run(store, *names, repeats=repeats)
    inbox = Inbox(store, run)
    return run, inbox, offered(store, run)


def submission(store: Store, hold: Assigned) -> SubmissionRow:
    return next(row for row in store.submissions(TASK) if row.assignment == hold.assignment)


def judge(store: Store, hold: Assigned, verdict: Verdict, version: int | None = None) -> SubmissionRow:
    row = submission(store, hold)
    return store.judge(row.submission, verdict, reason="seen", by="ann", version=version, now=NOW)


def list_places(
    store: Store, run: Run, places: int, budget: Money | None = None, key: str = "", top_up: Money | None = None
) -> int:
    draft = IntentDraft(
        key=key or f"places:{run.id}:{places}", kind="places", body={"places": places}, study=StudyKey(run.id),
        places=places, gross=CENTS, top_up=top_up,
    )  # fmt: skip
    (intent,) = store.record_intents(run.id, [draft], budget=budget, now=NOW)
    return intent.id


def settle(store: Store, run: Run, hold: Assigned, verb: str = "approve") -> int:
    body = {"visit": hold.visit, "study": run.id, "amount": str(CENTS), "reason": ""}
    draft = IntentDraft(key=f"{verb}:{hold.visit}", kind=verb, body=body, study=StudyKey(run.id))
    (intent,) = store.record_intents(run.id, [draft], budget=None, now=NOW)
    store.finish_intents([(intent.id, IntentState.DONE, None)], NOW)
    return intent.id


def somebody_worked(store: Store) -> tuple[Run, Assigned]:
    run, inbox, (unit, *_) = started(store)
    hold = inbox.work(unit, "ann")
    inbox.deliver()
    return run, hold


def order_bonus(
    store: Store, run: Run, hold: Assigned, payment: str, amount: Money, budget: Money | None = None
) -> list[Intent]:
    body = {"study": run.id, "visit": hold.visit, "payment": payment, "amount": str(amount)}
    draft = IntentDraft(key=f"bonus:{payment}", kind="bonus", body=body, study=StudyKey(run.id), owed=amount)
    return store.record_intents(run.id, [draft], budget=budget, now=NOW)


def fix_top_up(store: Store, run: Run, amount: Money) -> None:
    body = {"study": run.id, "amount": str(amount)}
    draft = IntentDraft(key=f"fix_top_up:{run.id}", kind="fix_top_up", body=body, study=StudyKey(run.id), top_up=amount)
    (intent,) = store.record_intents(run.id, [draft], budget=None, now=NOW)
    store.finish_intents([(intent.id, IntentState.DONE, None)], NOW)


def close_study(store: Store, run: Run) -> None:
    draft = IntentDraft(key=f"close:{run.id}", kind="close", body={}, study=StudyKey(run.id))
    (intent,) = store.record_intents(run.id, [draft], budget=None, now=NOW)
    store.finish_intents([(intent.id, IntentState.DONE, None)], NOW)


def state_of(store: Store, run: Run, unit: UnitId) -> UnitState:
    return next(row.state for row in store.units(run.id, limit=1000) if row.unit == unit)


class StoreContract:
    # ------------------------------------------------------------------------------------------------ runs

    def test_a_new_run_has_one_open_unit_for_each_item_and_repeat(self, store: Store) -> None:
        run = open_run(store, "a", "b", "c", repeats=2)
        assert run.id == "birds-1"
        assert store.live_run(TASK) == run
        counts = store.unit_counts(run.id)
        assert (counts.total, counts.open) == (6, 6)

    def test_the_same_spec_again_changes_nothing(self, store: Store) -> None:
        run = open_run(store, "a", "b", repeats=2)
        units = store.units(run.id)
        assert open_run(store, "a", "b", repeats=2) == run
        assert store.units(run.id) == units

    def test_new_settings_reach_a_live_run(self, store: Store) -> None:
        run = open_run(store)
        store.open_run(TASK, settings={"v": 2}, items=items("a", "b"), repeats=1, fresh=False, now=NOW)
        assert store.run(run.id).settings == {"v": 2}

    def test_a_rehearsal_tells_what_up_would_give_and_keeps_nothing(self, store: Store) -> None:
        arguments: dict[str, Any] = {"settings": {}, "repeats": 2, "fresh": False, "now": NOW}
        first = store.rehearse(TASK, items=items("a", "b"), **arguments)
        assert (first.new, first.run, first.units.open, first.offers) == (True, "birds-1", 4, (4, 0))
        assert store.tasks() == []
        run = store.open_run(TASK, items=items("a", "b"), **arguments)
        second = store.rehearse(TASK, items=items("a"), **arguments)
        assert (second.new, second.units.total) == (False, 2)
        assert store.unit_counts(run.id).total == 4

    def test_what_an_earlier_run_did_counts_in_the_next_one(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b")
        inbox.work(units[0], "ann")
        inbox.deliver()
        store.set_reached(run.id, RunState.DESTROYED, NOW)
        second = open_run(store, "a", "b")
        counts = store.unit_counts(second.id)
        assert (second.number, counts.total, counts.before, counts.submitted, counts.open) == (2, 2, 1, 1, 1)

    def test_fresh_starts_from_nothing(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b")
        inbox.work(units[0], "ann")
        inbox.deliver()
        store.set_reached(run.id, RunState.DESTROYED, NOW)
        second = open_run(store, "a", "b", fresh=True)
        assert store.unit_counts(second.id).open == 2
        assert list(store.submissions(TASK)) == []

    def test_the_next_run_tells_the_server_who_had_an_item_before(self, store: Store) -> None:
        run, inbox, units = started(store, "a", repeats=2)
        inbox.work(units[0], "ann")
        inbox.deliver()
        store.set_reached(run.id, RunState.DESTROYED, NOW)
        second = open_run(store, "a", repeats=2)
        (item,), (unit,), _ = store.unoffered(second.id, 10)
        assert (item.item, item.done_by, unit.unit) == ("a", ("ann",), units[1])

    def test_an_item_offered_to_named_workers_has_one_unit_for_each(self, store: Store) -> None:
        named = [Item(id=ItemId("a"), data={}, offered_to=(WorkerId("ann"), WorkerId("bo")))]
        run = store.open_run(TASK, settings={}, items=named, repeats=2, fresh=False, now=NOW)
        _, units, _ = store.unoffered(run.id, 10)
        assert sorted(str(unit.offered_to) for unit in units) == ["ann", "bo"]

    def test_a_run_that_is_being_destroyed_is_not_opened_again(self, store: Store) -> None:
        run = open_run(store)
        store.want(run.id, RunState.DESTROYED, NOW, drain_now=True)
        assert store.drain_now(run.id)
        with pytest.raises(StateMismatch):
            open_run(store)
        with pytest.raises(StateMismatch):
            store.want(run.id, RunState.LIVE, NOW)
        store.set_reached(run.id, RunState.DESTROYED, NOW)
        assert store.live_run(TASK) is None
        assert store.run(run.id).closed_at == NOW

    def test_an_unknown_run_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.run(RunId("birds-9"))

    def test_the_last_note_replaces_the_one_before(self, store: Store) -> None:
        run = open_run(store)
        assert store.noted(run.id) is None
        store.note(run.id, "working", "offering units", NOW)
        store.note(run.id, "budget", "it is spent", NOW + timedelta(hours=1))
        assert store.noted(run.id) == ("budget", "it is spent", NOW + timedelta(hours=1))

    # ------------------------------------------------------------------------------------------------ changed data

    def test_units_of_a_removed_item_are_not_counted_and_are_withdrawn(self, store: Store) -> None:
        run, _, units = started(store, "a", "b")
        open_run(store, "a")
        assert store.unit_counts(run.id).total == 1
        wanted, confirmed = store.offers(run.id)
        assert wanted != confirmed
        _, _, drop = store.unoffered(run.id, 10)
        assert drop == [units[1]]
        store.mark_offered(run.id, [], drop)
        assert store.offers(run.id) == (1, 1)

    def test_the_submissions_of_a_removed_item_stay_in_the_export(self, store: Store) -> None:
        _, inbox, units = started(store, "a", "b")
        inbox.work(units[1], "ann")
        inbox.deliver()
        run = open_run(store, "a")
        assert [row.item for row in store.submissions(TASK)] == ["b"]
        assert store.unit_counts(run.id).submitted == 0

    def test_an_item_that_comes_back_brings_its_work(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", repeats=2)
        hold = inbox.work(units[3], "ann")
        inbox.deliver()
        open_run(store, "a", repeats=2)
        open_run(store, "a", "b", repeats=1)
        assert state_of(store, run, hold.unit) is UnitState.SUBMITTED
        counts = store.unit_counts(run.id)
        assert (counts.total, counts.submitted) == (2, 1)
        assert counts == store.recount(run.id)

    def test_answers_that_arrive_for_a_removed_item_are_kept_and_do_not_count(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b")
        hold = inbox.hold(units[1], "ann")
        inbox.deliver()
        open_run(store, "a")
        inbox.answer(hold)
        inbox.deliver()
        assert submission(store, hold).status is SubmissionStatus.SURPLUS
        assert store.unit_counts(run.id).total == 1

    def test_fewer_repeats_drop_waiting_units_and_keep_done_ones(self, store: Store) -> None:
        run, inbox, units = started(store, "a", repeats=3)
        hold = inbox.work(units[2], "ann")
        inbox.deliver()
        open_run(store, "a", repeats=1)
        assert state_of(store, run, hold.unit) is UnitState.SUBMITTED
        counts = store.unit_counts(run.id)
        assert (counts.total, counts.open, counts.submitted) == (1, 0, 1)

    def test_changed_data_is_told_to_the_server_again(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b")
        inbox.work(units[0], "ann")
        inbox.deliver()
        open_run(store, "a", "b", data="new")
        told, again, _ = store.unoffered(run.id, 10)
        assert [unit.unit for unit in again] == [units[1]]
        assert [item.data for item in told] == [{"text": "b new"}]

    def test_data_that_changes_while_it_is_sent_is_sent_again(self, store: Store) -> None:
        run = open_run(store, "a")
        _, units, drop = store.unoffered(run.id, 10)
        open_run(store, "a", data="new")
        store.mark_offered(run.id, units, drop)
        assert store.offers(run.id) == (1, 0)

    def test_an_item_removed_before_its_new_data_was_told_is_withdrawn_and_comes_back_as_another_offer(
        self, store: Store
    ) -> None:
        run, _, units = started(store, "a", "b")
        open_run(store, "a", "b", data="new")
        open_run(store, "a", data="new")
        _, _, drop = store.unoffered(run.id, 10)
        assert drop == [units[1]]
        open_run(store, "a", "b", data="new")
        _, due, drop = store.unoffered(run.id, 10)
        assert ({unit.unit: unit.attempt for unit in due}, drop) == ({units[0]: 1, units[1]: 2}, [])

    # ------------------------------------------------------------------------------------------------ events

    def test_a_submission_is_stored_with_all_that_was_said(self, store: Store) -> None:
        _run, inbox, units = started(store)
        hold = inbox.work(units[0], "ann", {"label": "ü", "box": [1, 2.5]})
        inbox.deliver()
        row = submission(store, hold)
        assert (row.worker, row.item, row.unit, row.visit) == ("ann", "a", units[0], hold.visit)
        assert (row.answers, row.receipt, row.duration_s, row.status) == (
            {"label": "ü", "box": [1, 2.5]}, 3, 2.5, SubmissionStatus.SUBMITTED,
        )  # fmt: skip
        assert row.submitted_at == NOW + timedelta(seconds=3)

    def test_a_batch_heard_again_is_no_news(self, store: Store) -> None:
        run, inbox, units = started(store)
        inbox.work(units[0], "ann")
        assert store.keep(run.id, inbox.batch(0)) == 4
        assert store.keep(run.id, inbox.batch(0)) == 0
        inbox.work(units[1], "bo")
        assert store.keep(run.id, inbox.batch(2)) == 4
        assert store.unit_counts(run.id).submitted == 2

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda batch, inbox: replace(batch, before=inbox.at(5), events=batch.events[5:]),
            lambda batch, inbox: replace(batch, events=batch.events[:1] + batch.events[2:]),
            lambda batch, inbox: replace(batch, events=batch.events[:-1]),
            lambda batch, inbox: replace(batch, before=replace(batch.before, inbox="other-other-other")),
            lambda batch, inbox: replace(batch, before=replace(batch.before, epoch=2)),
            lambda batch, inbox: replace(batch, before=replace(batch.before, chain="another past")),
        ],
        ids=["hole before", "hole inside", "short", "another inbox", "another epoch", "another past"],
    )
    def test_what_does_not_follow_the_cursor_is_a_gap_and_stores_nothing(self, store: Store, spoil: Any) -> None:
        run, inbox, units = started(store)
        inbox.work(units[0], "ann")
        inbox.work(units[1], "bo")
        with pytest.raises(Gap):
            store.keep(run.id, spoil(inbox.batch(0), inbox))
        assert store.cursor(run.id) == inbox.at(0)
        assert list(store.submissions(TASK)) == []

    @pytest.mark.parametrize("kind", [EventKind.RETURNED, EventKind.EXPIRED])
    def test_a_hold_that_ends_opens_its_unit(self, store: Store, kind: EventKind) -> None:
        run, inbox, units = started(store)
        hold = inbox.hold(units[0], "ann")
        inbox.deliver()
        assert state_of(store, run, units[0]) is UnitState.ASSIGNED
        inbox.end(hold, kind)
        inbox.deliver()
        assert state_of(store, run, units[0]) is UnitState.OPEN

    def test_the_end_of_an_old_hold_does_not_free_a_unit_that_others_hold(self, store: Store) -> None:
        run, inbox, units = started(store)
        old = inbox.hold(units[0], "ann")
        inbox.hold(units[0], "bo")
        inbox.end(old, EventKind.EXPIRED)
        inbox.deliver()
        assert state_of(store, run, units[0]) is UnitState.ASSIGNED

    def test_a_late_answer_counts_while_its_unit_is_open(self, store: Store) -> None:
        run, inbox, units = started(store)
        hold = inbox.hold(units[0], "ann")
        inbox.end(hold, EventKind.EXPIRED)
        inbox.answer(hold, late=True)
        inbox.deliver()
        row = submission(store, hold)
        assert (row.late, row.status) == (True, SubmissionStatus.SUBMITTED)
        assert store.unit_counts(run.id).submitted == 1

    def test_an_answer_to_a_unit_that_is_done_is_surplus(self, store: Store) -> None:
        run, inbox, units = started(store)
        late = inbox.hold(units[0], "ann")
        inbox.end(late, EventKind.EXPIRED)
        first = inbox.work(units[0], "bo")
        inbox.answer(late, late=True, counts=False)
        inbox.deliver()
        assert submission(store, first).status is SubmissionStatus.SUBMITTED
        assert submission(store, late).status is SubmissionStatus.SURPLUS
        counts = store.unit_counts(run.id)
        assert (counts.submitted, counts.surplus) == (1, 1)

    def test_a_visit_without_answers_ends_empty_and_one_with_answers_waits_to_be_settled(self, store: Store) -> None:
        run, inbox, units = started(store)
        nothing = inbox.hold(units[0], "ann")
        inbox.end(nothing, EventKind.RETURNED)
        inbox.leave(nothing, submissions=0)
        hold = inbox.work(units[0], "bo")
        inbox.arrive("cy")
        inbox.deliver()
        counts = store.visit_counts(run.id)
        assert (counts.empty, counts.left, counts.active) == (1, 1, 1)
        (ended,) = store.ended_visits(run.id, 10)
        assert (ended.visit, ended.submissions, ended.statuses) == (hold.visit, 1, {SubmissionStatus.SUBMITTED: 1})

    def test_visits_that_wait_for_a_verdict_are_not_among_the_judged(self, store: Store) -> None:
        run, inbox, units = started(store)
        waits, judged = inbox.work(units[0], "ann"), inbox.work(units[1], "bo")
        inbox.deliver()
        assert store.ended_visits(run.id, 10, judged=True) == []
        store.judge(submission(store, judged).submission, Verdict.EXCLUDE, reason="", by="me", version=None, now=NOW)
        (ended,) = store.ended_visits(run.id, 10, judged=True)
        assert (ended.visit, ended.statuses) == (judged.visit, {SubmissionStatus.EXCLUDED: 1})
        assert {each.visit for each in store.ended_visits(run.id, 10)} == {waits.visit, judged.visit}

    def test_a_late_answer_brings_an_empty_visit_back_to_be_settled(self, store: Store) -> None:
        run, inbox, units = started(store)
        hold = inbox.hold(units[0], "ann")
        inbox.end(hold, EventKind.EXPIRED)
        inbox.leave(hold, submissions=0)
        inbox.answer(hold, late=True)
        inbox.deliver()
        assert [ended.visit for ended in store.ended_visits(run.id, 10)] == [hold.visit]

    def test_a_poison_event_goes_to_quarantine_and_the_others_go_on(self, store: Store) -> None:
        run, inbox, units = started(store)
        good = inbox.hold(units[0], "ann")
        inbox.answer(replace(good, unit=UnitId("no-such-unit-here"), assignment=AssignmentId("other-assignment")))
        inbox.answer(replace(good, assignment=AssignmentId("poisoned-assignment")), {"label": "\ud800"})
        inbox.answer(replace(good, assignment=AssignmentId("poisoned-number")), {"label": float("nan")})
        inbox.answer(good)
        inbox.answer(good)  # twice by one assignment
        inbox.seq += 1
        inbox.events.append(Unreadable(seq=inbox.seq, raw="{\ud800", error="not JSON"))
        assert inbox.deliver() == inbox.seq
        assert store.quarantined(run.id) == 5
        assert [row.assignment for row in store.submissions(TASK)] == [good.assignment]
        assert store.cursor(run.id) == inbox.at(inbox.seq)
        assert store.unit_counts(run.id) == store.recount(run.id)

    def test_a_new_epoch_tells_again_and_only_what_is_new_is_taken(self, store: Store) -> None:
        run, inbox, units = started(store)
        first = inbox.work(units[0], "ann")
        inbox.deliver()
        again = Inbox(store, run, epoch=2, seq=100)
        for event in inbox.events:
            assert isinstance(event, Event)
            again.say(event.kind, event.body, receipt=event.seq)
        new = again.work(units[1], "bo")
        assert again.deliver(again=True) == 4
        assert [row.assignment for row in store.submissions(TASK)] == [first.assignment, new.assignment]
        assert submission(store, first).receipt == 3
        assert store.quarantined(run.id) == 0

    def test_events_told_again_keep_their_first_receipt(self, store: Store) -> None:
        run, inbox, units = started(store)
        again = Inbox(store, run, epoch=2, seq=100)
        event = inbox.answer(inbox.hold(units[0], "ann"))
        again.say(event.kind, event.body, receipt=event.seq)
        again.deliver(again=True)
        assert [row.receipt for row in store.submissions(TASK)] == [event.seq]

    def test_another_inbox_knows_no_offer_and_no_hold(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c")
        inbox.work(units[0], "ann")
        inbox.hold(units[1], "bo")
        inbox.deliver()
        assert store.offers(run.id) == (3, 3)
        Inbox(store, run, name="second-second-second")
        assert state_of(store, run, units[1]) is UnitState.OPEN
        assert store.visit_counts(run.id).active == 0
        assert sorted(offered(store, run)) == sorted(units[1:])
        assert store.offers(run.id) == (3, 3)

    def test_a_restored_inbox_is_told_to_drop_what_is_done_or_dropped(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c", "d")
        inbox.work(units[0], "ann")
        approved = inbox.work(units[1], "bo")
        inbox.deliver()
        judge(store, approved, Verdict.APPROVE)
        open_run(store, "a", "b", "d")
        offered(store, run)
        told_again(inbox, 0)
        wanted, confirmed = store.offers(run.id)
        assert wanted != confirmed
        _, due, drop = store.unoffered(run.id, 10)
        assert ([unit.unit for unit in due], sorted(drop)) == ([units[3]], sorted(units[:3]))
        store.mark_offered(run.id, due, drop)
        assert store.offers(run.id) == (3, 3)
        assert store.unit_counts(run.id) == store.recount(run.id)

    def test_a_unit_that_is_to_be_done_again_is_not_withdrawn_from_a_restored_inbox(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        told_again(inbox, 0)
        judge(store, hold, Verdict.EXCLUDE)
        _, (unit,), drop = store.unoffered(run.id, 10)
        assert (unit.unit, unit.attempt, drop) == (hold.unit, 2, [])

    def test_what_is_done_by_the_time_a_restored_inbox_is_told_is_withdrawn_there(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b")
        first = inbox.work(units[0], "ann")
        inbox.work(units[1], "bo")
        inbox.deliver()
        judge(store, first, Verdict.EXCLUDE)
        offered(store, run)
        told_again(inbox, 0)
        judge(store, first, Verdict.APPROVE)
        open_run(store, "a")
        open_run(store, "a", "b")
        _, due, drop = store.unoffered(run.id, 10)
        assert (due, sorted(drop)) == ([], sorted(units))

    def test_an_item_that_comes_back_done_is_not_offered_to_another_inbox(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b")
        inbox.work(units[0], "ann")
        inbox.deliver()
        open_run(store, "b")
        Inbox(store, run, name="second-second-second")
        open_run(store, "a", "b")
        assert offered(store, run) == [units[1]]

    def test_holds_and_visits_that_the_inbox_lost_have_ended_and_those_it_has_go_on(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c", "d", "e")
        paid = inbox.work(units[0], "ann")
        kept = inbox.hold(units[1], "bo")
        inbox.arrive("eve")
        cut = inbox.seq
        inbox.hold(units[2], "cy")
        unheard = inbox.hold(units[3], "dee")
        inbox.answer(unheard)
        inbox.deliver()
        settle(store, run, paid)
        again = told_again(inbox, cut)
        states = [state_of(store, run, unit).value for unit in units]
        assert states == ["submitted", "assigned", "open", "submitted", "open"]
        assert store.visit_counts(run.id) == VisitCounts(paid=1, active=2, left=1, empty=1)
        assert [ended.visit for ended in store.ended_visits(run.id, 10)] == [unheard.visit]
        assert store.unit_counts(run.id) == store.recount(run.id)
        again.answer(kept)
        again.leave(kept)
        again.deliver()
        assert state_of(store, run, units[1]) is UnitState.SUBMITTED
        assert store.visit_counts(run.id) == VisitCounts(paid=1, active=1, left=2, empty=1)

    def test_an_inbox_that_lost_nothing_changes_nothing_by_telling_again(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c", "d")
        paid = inbox.work(units[0], "ann")
        expired = inbox.hold(units[1], "bo")
        inbox.end(expired, EventKind.EXPIRED)
        inbox.leave(expired, submissions=0)
        inbox.hold(units[1], "cy")
        twice = inbox.work(units[2], "dee")
        open_visit = inbox.hold(units[3], "eve")
        inbox.answer(open_visit)
        inbox.deliver()
        settle(store, run, paid)
        judge(store, twice, Verdict.EXCLUDE)
        offered(store, run)
        before = store.unit_counts(run.id), store.visit_counts(run.id), store.units(run.id)
        told_again(inbox, inbox.seq)
        assert (store.unit_counts(run.id), store.visit_counts(run.id), store.units(run.id)) == before
        assert store.unit_counts(run.id) == store.recount(run.id)
        offered(store, run)
        assert store.offers(run.id) == (5, 5)

    def test_answers_in_a_visit_whose_end_the_inbox_lost_are_still_paid(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.hold(units[0], "ann")
        cut = inbox.seq
        inbox.end(hold, EventKind.EXPIRED)
        inbox.leave(hold, submissions=0)
        inbox.deliver()
        again = told_again(inbox, cut)
        again.answer(hold)
        again.deliver()
        assert state_of(store, run, units[0]) is UnitState.SUBMITTED
        assert [ended.visit for ended in store.ended_visits(run.id, 10)] == [hold.visit]

    def test_drained_is_remembered(self, store: Store) -> None:
        run, inbox, _ = started(store)
        assert not store.drained(run.id)
        inbox.say(EventKind.DRAINED, Drained())
        inbox.deliver()
        assert store.drained(run.id)

    # ------------------------------------------------------------------------------------------------ verdicts

    def test_approve_keeps_the_unit_done(self, store: Store) -> None:
        run, inbox, units = started(store)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        row = judge(store, hold, Verdict.APPROVE)
        assert (row.status, row.version) == (SubmissionStatus.APPROVED, 2)
        assert store.unit_counts(run.id).approved == 1

    @pytest.mark.parametrize("verdict", [Verdict.EXCLUDE, Verdict.REJECT])
    def test_a_submission_that_does_not_count_offers_its_unit_again(self, store: Store, verdict: Verdict) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        assert judge(store, hold, verdict).status is verdict.status
        counts = store.unit_counts(run.id)
        assert (counts.open, counts.submitted, counts.excluded + counts.rejected) == (1, 0, 1)
        assert store.offers(run.id) == (2, 1)
        (item,), (unit,), _ = store.unoffered(run.id, 10)
        assert (unit.unit, unit.attempt, item.done_by) == (units[0], 2, ("ann",))

    def test_the_second_of_two_verdicts_on_one_version_is_refused(self, store: Store) -> None:
        _, inbox, units = started(store)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        judge(store, hold, Verdict.APPROVE, version=1)
        with pytest.raises(StateMismatch):
            judge(store, hold, Verdict.REJECT, version=1)
        assert submission(store, hold).status is SubmissionStatus.APPROVED

    def test_many_verdicts_are_given_all_or_none(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c")
        holds = [inbox.work(unit, f"w{n}") for n, unit in enumerate(units)]
        inbox.deliver()
        seen = [(submission(store, hold).submission, 1) for hold in holds]
        judge(store, holds[1], Verdict.EXCLUDE)
        with pytest.raises(StateMismatch):
            store.judge_all(seen, Verdict.APPROVE, reason="", by="ann", now=NOW)
        assert store.unit_counts(run.id).approved == 0
        rows = store.judge_all([seen[0], seen[2]], Verdict.APPROVE, reason="", by="ann", now=NOW)
        assert {row.status for row in rows} == {SubmissionStatus.APPROVED}
        assert store.unit_counts(run.id).approved == 2
        assert store.unit_counts(run.id) == store.recount(run.id)

    def test_the_same_verdict_again_changes_nothing(self, store: Store) -> None:
        _, inbox, units = started(store)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        once = judge(store, hold, Verdict.EXCLUDE)
        assert judge(store, hold, Verdict.EXCLUDE) == once

    def test_approved_after_all_while_its_unit_waits_the_offer_is_taken_back(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        judge(store, hold, Verdict.EXCLUDE)
        offered(store, run)
        assert judge(store, hold, Verdict.APPROVE).status is SubmissionStatus.APPROVED
        assert state_of(store, run, units[0]) is UnitState.APPROVED
        _, units_again, drop = store.unoffered(run.id, 10)
        assert (units_again, drop) == ([], [units[0]])
        store.mark_offered(run.id, [], drop)
        wanted, confirmed = store.offers(run.id)
        assert wanted == confirmed

    def test_approved_after_somebody_else_did_the_unit_it_is_surplus(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        judge(store, hold, Verdict.EXCLUDE)
        offered(store, run)
        other = inbox.work(units[0], "bo")
        inbox.deliver()
        assert judge(store, hold, Verdict.APPROVE).status is SubmissionStatus.SURPLUS
        assert submission(store, other).status is SubmissionStatus.SUBMITTED
        counts = store.unit_counts(run.id)
        assert (counts.submitted, counts.surplus, counts.excluded) == (1, 1, 0)

    def test_a_named_workers_unit_is_stuck_once_their_answers_are_not_accepted(self, store: Store) -> None:
        named = [Item(id=ItemId("a"), data={}, offered_to=(WorkerId("ann"), WorkerId("bo")))]
        run = store.open_run(TASK, settings={}, items=named, repeats=2, fresh=False, now=NOW)
        inbox = Inbox(store, run)
        _, units, _ = store.unoffered(run.id, 10)
        offered(store, run)
        for unit in units:
            inbox.work(unit.unit, str(unit.offered_to))
        inbox.deliver()
        first, _ = store.submissions(TASK)
        assert store.unit_counts(run.id).stuck == 0
        store.judge(first.submission, Verdict.EXCLUDE, reason="", by="me", version=None, now=NOW)
        assert (store.unit_counts(run.id).open, store.unit_counts(run.id).stuck) == (1, 1)
        store.judge(first.submission, Verdict.APPROVE, reason="", by="me", version=None, now=NOW)
        assert store.unit_counts(run.id).stuck == 0

    def test_a_paid_submission_can_be_excluded_but_not_rejected(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        settle(store, run, hold)
        with pytest.raises(Refused, match="exclude"):
            judge(store, hold, Verdict.REJECT)
        assert judge(store, hold, Verdict.EXCLUDE).status is SubmissionStatus.EXCLUDED

    def test_a_submission_whose_payment_is_under_way_cannot_be_rejected(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        draft = IntentDraft(key=f"approve:{hold.visit}", kind="approve", body={})
        store.record_intents(run.id, [draft], budget=None, now=NOW)
        with pytest.raises(Refused):
            judge(store, hold, Verdict.REJECT)

    def test_a_submission_whose_visit_was_rejected_can_no_longer_be_approved(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        judge(store, hold, Verdict.REJECT)
        settle(store, run, hold, "reject")
        assert store.visit_counts(run.id).rejected == 1
        with pytest.raises(Refused):
            judge(store, hold, Verdict.APPROVE)

    @pytest.mark.parametrize("done", [True, False], ids=["rejected", "being rejected"])
    def test_a_late_answer_of_a_rejected_visit_is_surplus_and_its_unit_is_offered_again(
        self, store: Store, done: bool
    ) -> None:
        run, inbox, units = started(store, "a", "b")
        late = inbox.hold(units[0], "ann")
        inbox.end(late, EventKind.EXPIRED)
        other = inbox.hold(units[1], "ann", late.visit)
        inbox.answer(other)
        inbox.leave(other)
        inbox.deliver()
        judge(store, other, Verdict.REJECT)
        offered(store, run)
        if done:
            settle(store, run, other, "reject")
        else:
            draft = IntentDraft(key=f"reject:{other.visit}", kind="reject", body={})
            store.record_intents(run.id, [draft], budget=None, now=NOW)
        inbox.answer(late, late=True)
        inbox.deliver()
        assert submission(store, late).status is SubmissionStatus.SURPLUS
        counts = store.unit_counts(run.id)
        assert (counts.submitted, counts.open, counts.surplus) == (0, 2, 1)
        assert counts == store.recount(run.id)
        (item,), (unit,), _ = store.unoffered(run.id, 10)  # the server took it for done
        assert (unit.unit, unit.attempt, item.done_by) == (units[0], 2, ("ann",))

    # ------------------------------------------------------------------------------------------------ money

    def test_what_a_place_costs_is_remembered(self, store: Store) -> None:
        run = open_run(store)
        assert store.gross(StudyKey(run.id)) is None
        list_places(store, run, 3)
        assert store.gross(StudyKey(run.id)) == CENTS

    def test_listed_places_are_owed_until_they_are_paid(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c")
        list_places(store, run, 3)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        assert (store.exposure(TASK, "USD"), store.paid(TASK, "USD")) == (CENTS * 3, CENTS * 0)
        settle(store, run, hold)
        assert (store.exposure(TASK, "USD"), store.paid(TASK, "USD")) == (CENTS * 3, CENTS)
        assert store.visit_counts(run.id).paid == 1

    def test_an_intent_over_the_budget_is_not_recorded_nor_any_beside_it(self, store: Store) -> None:
        run = open_run(store)
        list_places(store, run, 2, budget=CENTS * 2)
        other = IntentDraft(key="pause:x", kind="pause", body={})
        dear = IntentDraft(key="p3", kind="places", body={}, study=StudyKey(run.id), places=3, gross=CENTS)
        with pytest.raises(OverBudget):
            store.record_intents(run.id, [other, dear], budget=CENTS * 2, now=NOW)
        assert [intent.key for intent in store.journal(run.id)] == [f"places:{run.id}:2"]
        assert store.exposure(TASK, "USD") == CENTS * 2

    def test_a_budget_lowered_later_lets_through_what_costs_nothing_more(self, store: Store) -> None:
        run = open_run(store)
        list_places(store, run, 2, budget=CENTS * 2)
        list_places(store, run, 2, budget=CENTS, key="the same total")
        with pytest.raises(OverBudget):
            list_places(store, run, 3, budget=CENTS)

    def test_the_budget_is_the_tasks_and_not_the_runs(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b")
        list_places(store, run, 2)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        settle(store, run, hold)
        close_study(store, run)
        store.set_reached(run.id, RunState.DESTROYED, NOW)
        second = open_run(store, "a", "b")
        assert store.exposure(TASK, "USD") == CENTS
        with pytest.raises(OverBudget):
            list_places(store, second, 2, budget=CENTS * 2)
        list_places(store, second, 1, budget=CENTS * 2)
        assert store.exposure(TASK, "USD") == CENTS * 2

    def test_a_closed_study_owes_only_for_those_who_wait_to_be_paid(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c")
        list_places(store, run, 3)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        close_study(store, run)
        assert store.exposure(TASK, "USD") == CENTS
        settle(store, run, hold)
        assert store.exposure(TASK, "USD") == CENTS

    def test_a_bonus_is_promised_until_it_is_paid_and_then_booked_once(self, store: Store) -> None:
        run, hold = somebody_worked(store)
        (intent,) = order_bonus(store, run, hold, "first", CENTS)
        assert (store.paid(TASK, "USD"), store.exposure(TASK, "USD")) == (CENTS * 0, CENTS)
        for _ in range(2):
            store.finish_intents([(intent.id, IntentState.DONE, None)], NOW)
        assert (store.paid(TASK, "USD"), store.exposure(TASK, "USD")) == (CENTS, CENTS)

    def test_a_bonus_and_the_reward_of_one_visit_are_two_payments(self, store: Store) -> None:
        run, hold = somebody_worked(store)
        list_places(store, run, 2)
        settle(store, run, hold)
        for payment in ("first", "second"):
            (intent,) = order_bonus(store, run, hold, payment, CENTS)
            store.finish_intents([(intent.id, IntentState.DONE, None)], NOW)
        assert store.paid(TASK, "USD") == CENTS * 3
        assert store.exposure(TASK, "USD") == CENTS * 4  # the second place is still listed

    def test_a_refused_bonus_is_promised_no_more_until_it_is_recorded_anew(self, store: Store) -> None:
        run, hold = somebody_worked(store)
        (intent,) = order_bonus(store, run, hold, "first", CENTS)
        store.finish_intents([(intent.id, IntentState.REFUSED, "no funds")], NOW)
        assert store.exposure(TASK, "USD") == CENTS * 0
        (again,) = order_bonus(store, run, hold, "first", CENTS)
        assert again.id == intent.id
        assert store.exposure(TASK, "USD") == CENTS

    def test_a_bonus_that_does_not_fit_the_budget_is_not_recorded(self, store: Store) -> None:
        run, hold = somebody_worked(store)
        list_places(store, run, 1)
        with pytest.raises(OverBudget):
            order_bonus(store, run, hold, "first", CENTS, budget=CENTS * 2 - Money(1, "USD"))
        assert store.exposure(TASK, "USD") == CENTS
        order_bonus(store, run, hold, "first", CENTS, budget=CENTS * 2)

    def test_a_place_and_a_paid_visit_reserve_what_they_may_be_topped_up_by_until_it_is_fixed(
        self, store: Store
    ) -> None:
        run, hold = somebody_worked(store)
        list_places(store, run, 2, top_up=TOP_UP)
        assert (store.exposure(TASK, "USD"), store.top_up(StudyKey(run.id))) == ((CENTS + TOP_UP) * 2, TOP_UP)
        settle(store, run, hold)
        assert store.exposure(TASK, "USD") == (CENTS + TOP_UP) * 2
        fix_top_up(store, run, CENTS)
        assert (store.exposure(TASK, "USD"), store.top_up(StudyKey(run.id))) == (CENTS * 4, CENTS)
        close_study(store, run)
        assert store.exposure(TASK, "USD") == CENTS * 2  # nobody has the second place
        fix_top_up(store, run, CENTS * 9)  # once
        assert store.exposure(TASK, "USD") == CENTS * 2

    def test_a_top_up_is_counted_in_one_place_whatever_becomes_of_it(self, store: Store) -> None:
        run, hold = somebody_worked(store)
        list_places(store, run, 1, top_up=TOP_UP)
        settle(store, run, hold)
        fix_top_up(store, run, CENTS)
        assert [(visit.visit, visit.sent) for visit in store.untopped(run.id, 9)] == [(hold.visit, False)]
        body = {"study": run.id, "visit": hold.visit, "payment": f"top_up:{hold.visit}", "amount": str(CENTS)}
        draft = IntentDraft(key=f"top_up:{hold.visit}", kind="top_up", body=body, study=StudyKey(run.id), owed=CENTS)
        for result in (IntentState.REFUSED, IntentState.DONE, IntentState.DONE):
            (intent,) = store.record_intents(run.id, [draft], budget=CENTS * 2, now=NOW)
            assert store.exposure(TASK, "USD") == CENTS * 2
            waiting = [True] if intent.state is IntentState.RECORDED else []
            assert [visit.sent for visit in store.untopped(run.id, 9)] == waiting
            store.finish_intents([(intent.id, result, None)], NOW)
            assert store.exposure(TASK, "USD") == CENTS * 2
        assert (store.paid(TASK, "USD"), store.untopped(run.id, 9)) == (CENTS * 2, [])
        assert store.payments(TASK)[-1].purpose == f"bonus:top_up:{hold.visit}"

    def test_what_was_declined_is_spent_no_more_and_its_place_stays_used(self, store: Store) -> None:
        run, hold = somebody_worked(store)
        list_places(store, run, 2)
        settle(store, run, hold)
        (bonus,) = order_bonus(store, run, hold, "first", CENTS)
        store.finish_intents([(bonus.id, IntentState.DONE, None)], NOW)
        for declined, spent in (([(hold.visit, "reward")], 1), ([(hold.visit, "reward")], 1), ([], 2)):
            store.keep_declined(TASK, declined)
            assert (store.paid(TASK, "USD"), store.exposure(TASK, "USD")) == (CENTS * spent, CENTS * (spent + 1))
            assert [row.declined for row in store.payments(TASK)] == [bool(declined), False]

    def test_nobody_is_topped_up_whose_visit_was_declined(self, store: Store) -> None:
        run, inbox, units = started(store, "a", "b", "c")
        list_places(store, run, 2, top_up=TOP_UP)
        for unit, worker in zip(units[:2], ("ann", "eve"), strict=True):
            hold = inbox.work(unit, worker)
            inbox.deliver()
            settle(store, run, hold)
        close_study(store, run)
        (ann, eve) = store.payments(TASK)
        assert store.exposure(TASK, "USD") == (CENTS + TOP_UP) * 2
        store.keep_declined(TASK, [(eve.visit, "reward")])
        assert store.exposure(TASK, "USD") == CENTS + TOP_UP
        assert [visit.visit for visit in store.untopped(run.id, 9)] == [ann.visit]
        assert len(store.visit_times(run.id)) == 1

    def test_a_visit_takes_from_coming_to_the_last_answer(self, store: Store) -> None:
        run, inbox, (first, second, *_) = started(store, "a", "b", "c")
        visit = inbox.arrive("ann")
        for unit in (first, second):
            inbox.answer(inbox.hold(unit, "ann", visit))
        inbox.arrive("bob")
        inbox.deliver()
        assert store.visit_times(run.id) == []  # she may go on
        inbox.say(EventKind.LEFT, Left(visit=visit, worker=WorkerId("ann"), reason=LeftReason.VISIT, submissions=2))
        inbox.deliver()
        assert store.visit_times(run.id) == [pytest.approx(4, abs=0.01)]

    def test_a_refused_listing_owes_nothing_and_may_be_tried_again_within_the_budget(self, store: Store) -> None:
        run = open_run(store)
        intent = list_places(store, run, 2, budget=CENTS * 2)
        store.finish_intents([(intent, IntentState.REFUSED, "no funds")], NOW)
        assert store.places(StudyKey(run.id)) == 0
        assert store.exposure(TASK, "USD") == CENTS * 0
        with pytest.raises(OverBudget):
            list_places(store, run, 2, budget=CENTS)
        assert list_places(store, run, 2, budget=CENTS * 2) == intent
        assert [found.state for found in store.open_intents(run.id)] == [IntentState.RECORDED]

    def test_the_same_key_is_the_same_intent(self, store: Store) -> None:
        run = open_run(store)
        assert list_places(store, run, 2) == list_places(store, run, 2)
        assert len(list(store.journal(run.id))) == 1

    def test_a_visit_is_paid_for_once_however_often_it_is_said(self, store: Store) -> None:
        run, inbox, units = started(store, "a")
        list_places(store, run, 1)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        intent = settle(store, run, hold)
        store.finish_intents([(intent, IntentState.DONE, None)], NOW)
        assert store.paid(TASK, "USD") == CENTS
        assert store.ended_visits(run.id, 10) == []

    # ------------------------------------------------------------------------------------------------ reading

    def test_submissions_come_in_order_and_by_unit(self, store: Store) -> None:
        _, inbox, units = started(store, *(f"i{n}" for n in range(30)))
        for number, unit in enumerate(units):
            inbox.work(unit, f"w{number}", {f"f{number % 3}": number})
        inbox.deliver()
        receipts = [row.receipt for row in store.submissions(TASK)]
        assert receipts == sorted(receipts)
        assert len(receipts) == 30
        assert [row.unit for row in store.submissions(TASK, unit=units[7])] == [units[7]]
        assert store.answer_fields(TASK) == ["f0", "f1", "f2"]

    def test_units_are_listed_page_by_page(self, store: Store) -> None:
        run, inbox, units = started(store, *(f"i{n}" for n in range(7)))
        hold = inbox.work(units[2], "ann")
        inbox.deliver()
        first = store.units(run.id, limit=4)
        second = store.units(run.id, limit=4, after=first[-1].unit)
        assert [row.unit for row in first + second] == units
        (done,) = store.units(run.id, state=UnitState.SUBMITTED)
        assert (done.unit, done.worker, done.submissions) == (hold.unit, "ann", 1)

    def test_pseudonyms_differ_from_task_to_task(self, store: Store) -> None:
        open_run(store)
        store.open_run(TaskName("other"), settings={}, items=items("a"), repeats=1, fresh=False, now=NOW)
        key = store.pseudonym_key(TASK)
        assert len(key) == 32
        assert key != store.pseudonym_key(TaskName("other"))

    def test_the_journal_keeps_what_was_sent_as_it_was(self, store: Store) -> None:
        run = open_run(store)
        list_places(store, run, 2)
        (intent,) = store.journal(run.id)
        assert (intent.kind, json.dumps(intent.body), intent.at) == ("places", '{"places": 2}', NOW)
