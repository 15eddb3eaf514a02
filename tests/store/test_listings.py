"""Server and provider tell of the same visits, in any order and any time late: nothing counts or is paid twice or wrongly.

The model is the provider: who is real, how far they are, whom it charged. Forged visits are in nobody's list.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crowdstack.errors import Refused
from crowdstack.model import (
    Assigned,
    EventKind,
    IntentState,
    ListedState,
    StudyKey,
    SubmissionStatus,
    UnitState,
    Verdict,
    VisitId,
)
from crowdstack.ports import Intent, IntentDraft, Listing
from crowdstack.store import tables
from crowdstack.store.store import PeeweeStore
from tests.contracts.listing import Panel
from tests.contracts.store import CENTS, NOW, TASK, list_places, offered, started, told_again
from tests.size import FULL

_NUMBER = st.integers(0, 10_000)
_S = ListedState
# What people, time and the panel's staff may do there; `approved` is for ever.
_MOVES = {
    _S.RESERVED: [_S.ACTIVE, _S.RETURNED, _S.TIMED_OUT],
    _S.ACTIVE: [_S.AWAITING, _S.RETURNED, _S.TIMED_OUT, _S.SCREENED_OUT],
    _S.AWAITING: [_S.APPROVED, _S.PARTIAL, _S.REJECTED, _S.RETURNED],
    _S.TIMED_OUT: [_S.AWAITING],
    _S.REJECTED: [_S.AWAITING, _S.APPROVED],
    _S.RETURNED: [_S.AWAITING],
}
_COUNTING = (SubmissionStatus.SUBMITTED, SubmissionStatus.APPROVED)
_JUDGED = (SubmissionStatus.EXCLUDED, SubmissionStatus.REJECTED)


def test_a_listing_that_was_kept_costs_nothing_when_it_is_told_again(store: PeeweeStore) -> None:
    run, _, _ = started(store, "a")
    study, listing = StudyKey(run.id), Listing(visits=(), at=NOW)
    changes = []
    for told in (listing, listing, Listing(visits=(), at=NOW)):
        store.keep_listing(run.id, study, told, gross=CENTS, now=NOW)
        changes.append(store._database.peewee.connection().total_changes)
    assert changes[0] == changes[1] < changes[2]


class Crossings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = PeeweeStore(Path(self.folder.name) / "store.db")
        self.run, self.inbox, self.units = started(self.store, "a", "b", repeats=2)
        list_places(self.store, self.run, 50)
        self.panel = Panel(self.store, self.run)
        self.older = Listing(visits=(), at=NOW)
        self.now = NOW
        self.visits: list[tuple[str, VisitId]] = []  # of those who came, forged ones among them
        self.holds: list[Assigned] = []

    def teardown(self) -> None:
        self.everything_is_told_at_last()
        self.store.close()
        self.folder.cleanup()

    # ------------------------------------------------------------------------------------------------ people

    @rule()
    def somebody_takes_a_place(self) -> None:
        self.panel.says(f"w{len(self.panel.visits)}", _S.RESERVED)

    @rule(unit=st.integers(0, 3), leaves=st.booleans())
    def somebody_works_and_hands_in(self, unit: int, leaves: bool) -> None:
        visit = self.panel.says(f"w{len(self.panel.visits)}", _S.AWAITING)
        worker, submission = self.panel.visits[visit].worker, self.panel.visits[visit].submission
        self.visits.append((worker, self.inbox.arrive(worker, submission)))
        hold = self.inbox.hold(self.units[unit], worker, visit)
        self.holds.append(hold)
        self.inbox.answer(hold)
        if leaves:
            self.inbox.leave(hold)

    @rule(number=_NUMBER)
    @precondition(lambda self: self.panel.visits)
    def they_come(self, number: int) -> None:
        visit = list(self.panel.visits.values())[number % len(self.panel.visits)]
        self.visits.append((visit.worker, self.inbox.arrive(visit.worker, visit.submission)))

    @rule()
    def somebody_makes_up_an_id(self) -> None:
        worker = f"w{len(self.visits)}"
        self.visits.append((worker, self.inbox.arrive(worker, f"forged-{len(self.visits)}")))

    @rule(number=_NUMBER, unit=st.integers(0, 3))
    @precondition(lambda self: self.visits)
    def somebody_takes_a_unit(self, number: int, unit: int) -> None:
        worker, visit = self.visits[number % len(self.visits)]
        self.holds.append(self.inbox.hold(self.units[unit], worker, visit))

    @rule(number=_NUMBER, counts=st.booleans())
    @precondition(lambda self: self.holds)
    def somebody_answers(self, number: int, counts: bool) -> None:
        self.inbox.answer(self.holds[number % len(self.holds)], counts=counts)

    @rule(number=_NUMBER)
    @precondition(lambda self: self.holds)
    def a_hold_expires(self, number: int) -> None:
        self.inbox.end(self.holds[number % len(self.holds)], EventKind.EXPIRED)

    @rule(number=_NUMBER, with_nothing=st.booleans())
    @precondition(lambda self: self.holds)
    def somebody_leaves(self, number: int, with_nothing: bool) -> None:
        self.inbox.leave(self.holds[number % len(self.holds)], submissions=0 if with_nothing else 1)

    @rule(number=_NUMBER, move=_NUMBER)
    @precondition(lambda self: self.panel.visits)
    def something_happens_at_the_panel(self, number: int, move: int) -> None:
        visit = list(self.panel.visits.values())[number % len(self.panel.visits)]
        moves = _MOVES.get(visit.state)
        if moves:
            self.panel.says(visit.worker, moves[move % len(moves)])

    # ------------------------------------------------------------------------------------------------ what is told

    @rule()
    def events_arrive(self) -> None:
        self.inbox.deliver()

    @rule(lost=st.integers(0, 5))
    def the_inbox_starts_a_new_epoch(self, lost: int) -> None:
        self.inbox.deliver()
        self.inbox = told_again(self.inbox, max(0, len(self.inbox.events) - lost))

    @rule(minutes=st.integers(0, 3), blurred=st.booleans(), number=_NUMBER)
    def the_panel_tells(self, minutes: int, blurred: bool, number: int) -> None:
        self.now += timedelta(minutes=minutes)
        visits = list(self.panel.visits.values())
        if blurred and visits:
            at = number % len(visits)
            visits[at] = replace(visits[at], state=_S.UNKNOWN)
        self.older = Listing(visits=tuple(visits), at=self.now)
        self.keep(self.older)

    @rule()
    def the_panel_tells_something_old(self) -> None:
        self.keep(self.older)

    @rule()
    def the_server_is_told(self) -> None:
        offered(self.store, self.run)
        self.store.mark_claims_told(self.run.id, [visit for visit, _ in self.store.untold_claims(self.run.id, 100)])

    def keep(self, listing: Listing) -> None:
        for _ in range(2):  # the second time it is no news
            self.store.keep_listing(self.run.id, StudyKey(self.run.id), listing, gross=CENTS, now=self.now)
            rows = self.rows()
            assert rows == getattr(self, "_kept", rows)
            self._kept = rows
        del self._kept

    # ------------------------------------------------------------------------------------------------ us

    @rule(number=_NUMBER, verdict=st.sampled_from(list(Verdict)))
    def somebody_judges(self, number: int, verdict: Verdict) -> None:
        found = list(self.store.submissions(TASK))
        if found:
            row = found[number % len(found)]
            try:
                self.store.judge(row.submission, verdict, reason="", by="ann", version=row.version, now=self.now)
            except Refused:
                pass

    @rule(verb=st.sampled_from(["approve", "reject"]))
    def a_settlement_is_written_down(self, verb: str) -> None:
        for ended in self.store.ended_visits(self.run.id, 1, handed_in=True):
            body = {"visit": ended.visit, "study": self.run.id, "amount": str(CENTS)}
            under_way = {
                intent.body["visit"] for intent in self.store.open_intents(self.run.id) if intent.kind != "places"
            }
            if ended.visit not in under_way:
                draft = IntentDraft(key=f"{verb}:{ended.visit}", kind=verb, body=body)
                self.store.record_intents(self.run.id, [draft], budget=None, now=self.now)

    @rule(verb=st.sampled_from(["approve", "reject"]))
    def all_is_told_and_settled(self, verb: str) -> None:
        self.inbox.deliver()
        self.the_panel_tells(0, False, 0)
        self.a_settlement_is_written_down(verb)
        self.a_settlement_is_sent()

    @rule()
    def a_settlement_is_sent(self) -> None:
        for intent in self.store.open_intents(self.run.id):
            if intent.kind != "places":
                self.send(intent)

    def send(self, intent: Intent) -> None:
        visit = self.panel.visits[intent.body["visit"]]
        wanted = {"approve": _S.APPROVED, "reject": _S.REJECTED}[intent.kind]
        allowed = visit.state in (_S.AWAITING, wanted)
        if allowed:
            self.panel.says(visit.worker, wanted)
        self.store.finish_intents([(intent.id, IntentState.DONE if allowed else IntentState.REFUSED, None)], self.now)

    # ------------------------------------------------------------------------------------------------ what must hold

    @invariant()
    def tallies_equal_a_recount(self) -> None:
        assert self.store.unit_counts(self.run.id) == self.store.recount(self.run.id)
        with self.store._database.reading() as db:
            rows = list(tables.Visit.select().where(tables.Visit.run == self.run.id).execute(db))
        counts = self.store.visit_counts(self.run.id)
        states = Counter(row.state for row in rows)
        assert all(
            getattr(counts, state) == states[state]
            for state in ("active", "left", "paid", "rejected", "empty", "listed")
        )
        assert counts.unverified == sum(row.claim == "claimed" for row in rows)

    @invariant()
    def each_done_unit_counts_one_submission(self) -> None:
        done = {
            row.unit for row in self.store.units(self.run.id) if row.state in (UnitState.SUBMITTED, UnitState.APPROVED)
        }
        counting = [row.unit for row in self.store.submissions(TASK) if row.status in _COUNTING]
        assert sorted(counting) == sorted(done)

    @invariant()
    def what_is_paid_was_charged_and_once(self) -> None:
        with self.store._database.reading() as db:
            lines = [(row.visit_id, row.purpose) for row in tables.Payment.select().execute(db)]
            states = {row.id: row.state for row in tables.Visit.select().execute(db)}
        assert len(lines) == len(set(lines))
        assert {visit for visit, _ in lines} == {visit for visit, state in states.items() if state == "paid"}
        assert {visit for visit, _ in lines} <= self.charged()
        assert self.store.paid(TASK, "USD") == CENTS * len(lines) <= self.store.exposure(TASK, "USD")

    @invariant()
    def only_real_visits_are_due(self) -> None:
        due = {ended.visit for ended in self.store.ended_visits(self.run.id, 100, handed_in=True)}
        assert due <= set(self.panel.visits)

    def charged(self) -> set[VisitId]:
        return {visit.visit for visit in self.panel.visits.values() if visit.state.charged}

    def everything_is_told_at_last(self) -> None:
        self.inbox.deliver()
        self.now += timedelta(hours=1)
        self.keep(Listing(visits=tuple(self.panel.visits.values()), at=self.now))
        assert self.store.paid(TASK, "USD") == CENTS * len(self.charged())
        assert self.store.listed_counts(self.run.id) == Counter(visit.state for visit in self.panel.visits.values())
        assert self.store.visit_counts(self.run.id).unverified == 0
        ours = {intent.body["visit"] for intent in self.store.journal(self.run.id) if intent.kind == "reject"}
        for row in self.store.submissions(TASK):
            visit = self.panel.visits.get(row.visit)
            if visit is None or visit.state.gone:
                assert row.status is SubmissionStatus.VOID or row.status in _JUDGED
            elif row.visit not in ours:
                assert row.status is not SubmissionStatus.VOID
        self.tallies_equal_a_recount()
        self.each_done_unit_counts_one_submission()
        self.what_is_paid_was_charged_and_once()

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        with self.store._database.reading() as db:
            return {
                table._meta.table_name: db.execute_sql(
                    f'SELECT * FROM "{table._meta.table_name}" ORDER BY rowid'
                ).fetchall()
                for table in tables.TABLES
            }


TestCrossings = Crossings.TestCase
TestCrossings.settings = settings(
    max_examples=400 if FULL else 30, stateful_step_count=80 if FULL else 50, deadline=None
)
