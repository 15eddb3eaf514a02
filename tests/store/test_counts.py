"""Tallies equal a recount, whatever happens: random histories of events, verdicts, payments and changed data."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crowdstack.errors import Refused
from crowdstack.model import (
    Assigned,
    EventKind,
    RunState,
    SubmissionStatus,
    UnitState,
    Verdict,
    VisitCounts,
    VisitState,
)
from crowdstack.store import tables
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import (
    CENTS,
    NOW,
    TASK,
    Inbox,
    items,
    list_places,
    offered,
    open_run,
    settle,
    started,
    told_again,
)

_WORKERS = st.sampled_from(["ann", "bo", "cy", "dee"])
_NUMBER = st.integers(0, 10_000)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = PeeweeStore(Path(self.folder.name) / "store.db")
        self.names, self.repeats, self.runs = ["a", "b"], 2, 0
        self.open_run()
        self.holds: list[Assigned] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def open_run(self, fresh: bool = False) -> None:
        self.run = self.store.open_run(
            TASK, settings={}, items=items(*self.names), repeats=self.repeats, fresh=fresh, now=NOW
        )
        if self.store.cursor(self.run.id) is None:
            self.runs += 1
            self.inbox = Inbox(self.store, self.run, name=f"inbox-number-{self.runs:04}")
            self.holds = []

    @rule(number=_NUMBER, worker=_WORKERS)
    def a_worker_takes_a_unit(self, number: int, worker: str) -> None:
        units = self.store.units(self.run.id, limit=100)
        if units:
            self.holds.append(self.inbox.hold(units[number % len(units)].unit, worker))

    @rule(number=_NUMBER, late=st.booleans(), counts=st.booleans())
    def a_worker_answers(self, number: int, late: bool, counts: bool) -> None:
        if self.holds:  # a second answer to one assignment is among what may come
            self.inbox.answer(self.holds[number % len(self.holds)], late=late, counts=counts)

    @rule(number=_NUMBER, kind=st.sampled_from([EventKind.RETURNED, EventKind.EXPIRED]))
    def a_hold_ends(self, number: int, kind: EventKind) -> None:
        if self.holds:
            self.inbox.end(self.holds[number % len(self.holds)], kind)

    @rule(number=_NUMBER)
    def a_visit_ends(self, number: int) -> None:
        if self.holds:
            self.inbox.leave(self.holds[number % len(self.holds)], submissions=number % 2)

    @rule()
    def events_arrive(self) -> None:
        self.inbox.deliver()

    @rule(lost=st.integers(0, 5))
    def the_inbox_starts_a_new_epoch_and_tells_again_what_it_has(self, lost: int) -> None:
        self.inbox = told_again(self.inbox, max(0, len(self.inbox.events) - lost))

    @rule()
    def the_server_is_told_of_units(self) -> None:
        offered(self.store, self.run)

    @rule(number=_NUMBER, verdict=st.sampled_from(list(Verdict)))
    def somebody_judges(self, number: int, verdict: Verdict) -> None:
        found = list(self.store.submissions(TASK))
        if found:
            row = found[number % len(found)]
            try:
                self.store.judge(row.submission, verdict, reason="", by="ann", version=row.version, now=NOW)
            except Refused:
                pass

    @rule(verb=st.sampled_from(["approve", "reject"]))
    def a_visit_is_settled(self, verb: str) -> None:
        for ended in self.store.ended_visits(self.run.id, 1):
            hold = next(hold for hold in self.holds if hold.visit == ended.visit)
            settle(self.store, self.run, hold, verb)

    @rule(places=st.integers(1, 9))
    def places_are_listed(self, places: int) -> None:
        list_places(self.store, self.run, places)

    @rule(names=st.sets(st.sampled_from("abc"), min_size=1), repeats=st.integers(1, 3))
    def the_data_changes(self, names: set[str], repeats: int) -> None:
        self.names, self.repeats = sorted(names), repeats
        self.open_run()

    @rule(fresh=st.booleans())
    def the_run_ends_and_the_next_begins(self, fresh: bool) -> None:
        self.inbox.deliver()
        self.store.set_reached(self.run.id, RunState.DESTROYED, NOW + timedelta(days=1))
        self.open_run(fresh=fresh)

    @invariant()
    def tallies_equal_a_recount(self) -> None:
        for run in self.store.runs(TASK):
            assert self.store.unit_counts(run.id) == self.store.recount(run.id)
            assert self.store.visit_counts(run.id) == self.count_visits(run.id)

    @invariant()
    def each_done_unit_counts_one_submission(self) -> None:
        states = {row.unit: row.state for row in self.store.units(self.run.id, limit=1000)}
        done = {unit for unit, state in states.items() if state in (UnitState.SUBMITTED, UnitState.APPROVED)}
        counting = [
            row.unit
            for row in self.store.submissions(TASK)
            if row.status in (SubmissionStatus.SUBMITTED, SubmissionStatus.APPROVED)
            and states[row.unit] is not UnitState.DROPPED
        ]
        assert sorted(counting) == sorted(done)

    @invariant()
    def offers_are_the_sums_over_units_and_meet_once_all_is_told(self) -> None:
        with self.store._database.reading() as db:
            sums = db.execute_sql(
                "SELECT COALESCE(SUM((state <> 'dropped') * attempt), 0), "
                "COALESCE(SUM((state <> 'dropped') * offered - withdraw), 0) FROM unit WHERE generation = "
                "(SELECT generation FROM run WHERE id = ?)",
                (self.run.id,),
            ).fetchone()
        assert self.store.offers(self.run.id) == tuple(sums)
        _, due, drop = self.store.unoffered(self.run.id, 1000)
        wanted, confirmed = sums
        assert (wanted == confirmed) == (not due and not drop)

    @invariant()
    def money_is_the_ledger_and_what_is_listed(self) -> None:
        paid = self.store.paid(TASK, "USD")
        assert paid <= self.store.exposure(TASK, "USD")
        assert paid == CENTS * sum(self.store.visit_counts(run.id).paid for run in self.store.runs(TASK))

    def count_visits(self, run: str) -> VisitCounts:
        with self.store._database.reading() as db:
            rows = list(tables.Visit.select().where(tables.Visit.run == run).execute(db))
        states = [row.state for row in rows]
        unverified = sum(row.claim == "claimed" for row in rows)
        return VisitCounts(**{state.value: states.count(state.value) for state in VisitState}, unverified=unverified)


def test_the_next_run_with_the_same_data_has_everything_still_open_to_offer(store: PeeweeStore) -> None:
    run, inbox, units = started(store, "a", "b")
    inbox.work(units[0], "ann")
    inbox.deliver()
    store.set_reached(run.id, RunState.DESTROYED, NOW)
    assert store.offers(open_run(store, "a", "b").id) == (2, 1)  # what is done needs no offer


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
