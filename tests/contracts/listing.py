"""What every store must do with what a provider tells of its visits. Used as `StoreContract` is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from crowdstack.errors import NotFound, Refused
from crowdstack.model import (
    Assigned,
    Claim,
    EventKind,
    IntentState,
    ListedState,
    ListedVisit,
    Run,
    RunId,
    StudyKey,
    SubmissionStatus,
    UnitId,
    UnitState,
    Verdict,
    VisitCounts,
    VisitId,
    WorkerId,
    visit_of,
)
from crowdstack.ports import IntentDraft, Listing, Store
from tests.contracts.store import (
    CENTS,
    NOW,
    TASK,
    Inbox,
    close_study,
    judge,
    list_places,
    offered,
    open_run,
    settle,
    started,
    state_of,
    submission,
    told_again,
)

RESERVED, ACTIVE, AWAITING = ListedState.RESERVED, ListedState.ACTIVE, ListedState.AWAITING
APPROVED, REJECTED, RETURNED = ListedState.APPROVED, ListedState.REJECTED, ListedState.RETURNED
TIMED_OUT, UNKNOWN = ListedState.TIMED_OUT, ListedState.UNKNOWN
SOON = NOW + timedelta(seconds=30)  # before what was begun can be called made up
LATER = NOW + timedelta(minutes=10)  # when everybody who came must be listed
SUBMITTED, SURPLUS, VOID = SubmissionStatus.SUBMITTED, SubmissionStatus.SURPLUS, SubmissionStatus.VOID


@dataclass
class Panel:
    """The provider of a run: who takes part, and how far they are."""

    store: Store
    run: Run
    visits: dict[VisitId, ListedVisit] = field(default_factory=dict)

    def says(self, worker: str, state: ListedState, *, code: str | None = None) -> VisitId:
        """From now on. A worker's submission there is called `s-<worker>`."""
        visit = visit_of(StudyKey(self.run.id), WorkerId(worker), f"s-{worker}")
        self.visits[visit] = ListedVisit(
            visit=visit, submission=f"s-{worker}", worker=WorkerId(worker), state=state, code=code, started_at=NOW,
            completed_at=None if state in (RESERVED, ACTIVE) else NOW + timedelta(minutes=len(self.visits)),
        )  # fmt: skip
        return visit

    def tell(self, at: datetime = SOON) -> None:
        listing = Listing(visits=tuple(self.visits.values()), at=at)
        self.store.keep_listing(self.run.id, StudyKey(self.run.id), listing, gross=CENTS, now=at)

    def tells(self, worker: str, state: ListedState, *, at: datetime = SOON) -> None:
        self.says(worker, state)
        self.tell(at)


def came(inbox: Inbox, unit: UnitId, worker: str) -> Assigned:
    return inbox.hold(unit, worker, inbox.arrive(worker, f"s-{worker}"))


def worked(inbox: Inbox, unit: UnitId, worker: str) -> Assigned:
    """One whole visit of somebody who came by the provider's link."""
    hold = came(inbox, unit, worker)
    inbox.answer(hold)
    inbox.leave(hold)
    return hold


def crowd(store: Store, *names: str, repeats: int = 1) -> tuple[Run, Inbox, list[UnitId], Panel]:
    run, inbox, units = started(store, *names, repeats=repeats)
    return run, inbox, units, Panel(store, run)


class ListingContract:
    # ------------------------------------------------------------------------------------------------ claims

    def test_who_came_by_the_providers_link_is_unverified_until_it_lists_them(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        assert store.visit_counts(run.id) == VisitCounts(left=1, unverified=1)
        assert store.untold_claims(run.id, 10) == []
        panel.tells("ann", ACTIVE)
        assert store.visit_counts(run.id) == VisitCounts(left=1)
        assert store.untold_claims(run.id, 10) == [(hold.visit, Claim.VERIFIED)]
        store.mark_claims_told(run.id, [hold.visit])
        assert store.untold_claims(run.id, 10) == []
        assert submission(store, hold).status is SUBMITTED

    def test_a_visit_that_the_provider_does_not_list_is_refuted_after_two_minutes(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "eve")
        inbox.deliver()
        panel.tell(NOW + timedelta(minutes=2))
        assert submission(store, hold).status is SUBMITTED
        panel.tell(NOW + timedelta(minutes=2, seconds=2))
        assert store.untold_claims(run.id, 10) == [(hold.visit, Claim.REFUTED)]
        assert submission(store, hold).status is VOID
        counts = store.unit_counts(run.id)
        assert (counts.submitted, counts.open, counts.void) == (0, 2, 1)
        assert counts == store.recount(run.id)
        (item,), (unit,), _ = store.unoffered(run.id, 10)
        assert (unit.unit, unit.attempt) == (units[0], 2)
        assert item.done_by == (), "a made-up visit keeps the worker of that name from nothing"
        assert store.visit_counts(run.id).unverified == 0
        assert store.ended_visits(run.id, 10, handed_in=True) == []

    def test_one_who_is_listed_after_all_is_verified_and_the_answers_count(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.tell(LATER)
        store.mark_claims_told(run.id, [hold.visit])
        panel.tells("ann", AWAITING, at=LATER)
        assert store.untold_claims(run.id, 10) == [(hold.visit, Claim.VERIFIED)]
        assert submission(store, hold).status is SUBMITTED

    def test_a_signed_link_needs_no_word_of_the_provider(self, store: Store) -> None:
        _run, inbox, units, panel = crowd(store)
        hold = inbox.work(units[0], "ann")
        inbox.deliver()
        panel.tell(LATER)
        assert submission(store, hold).status is SUBMITTED

    def test_answers_whose_beginning_was_lost_count_only_if_the_provider_knows_the_visit(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        for unit, worker in zip(units, ("ann", "eve"), strict=True):
            inbox.answer(inbox.hold(unit, worker, visit_of(StudyKey(run.id), WorkerId(worker), f"s-{worker}")))
        inbox.deliver()
        panel.tells("ann", AWAITING, at=LATER)
        ann, eve = store.submissions(TASK)
        assert (ann.status, eve.status) == (SUBMITTED, VOID)
        assert sorted(claim for _, claim in store.untold_claims(run.id, 10)) == [Claim.REFUTED, Claim.VERIFIED]
        (ended,) = store.ended_visits(run.id, 10, handed_in=True)
        assert (ended.visit, ended.submission) == (ann.visit, "s-ann")

    def test_who_comes_after_the_provider_told_of_them_is_verified(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        panel.tells("ann", RESERVED)
        assert store.visit_counts(run.id) == VisitCounts(listed=1)
        (told,) = store.untold_claims(run.id, 10)  # before they come: then no flood of made-up ones keeps them out
        hold = came(inbox, units[0], "ann")
        inbox.deliver()
        assert store.visit_counts(run.id) == VisitCounts(active=1)
        assert told == (hold.visit, Claim.VERIFIED)

    def test_another_inbox_is_told_of_all_claims_again(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.says("bo", RESERVED)
        panel.tells("ann", ACTIVE)
        claims = store.untold_claims(run.id, 10)
        assert (hold.visit, Claim.VERIFIED) in claims
        assert len(claims) == 2
        store.mark_claims_told(run.id, [visit for visit, _ in claims])
        told_again(inbox, 0)
        assert sorted(store.untold_claims(run.id, 10)) == sorted(claims)

    # ------------------------------------------------------------------------------------------------ visits that end

    @pytest.mark.parametrize("state", [RETURNED, TIMED_OUT, REJECTED, ListedState.SCREENED_OUT])
    def test_answers_of_a_visit_that_is_gone_are_void_and_its_units_are_offered_again(
        self, store: Store, state: ListedState
    ) -> None:
        run, inbox, units, panel = crowd(store, "a", "b", "c")
        panel.says("ann", ACTIVE)
        hold = came(inbox, units[0], "ann")
        inbox.answer(hold)
        also = inbox.hold(units[1], "ann", hold.visit)
        inbox.answer(also)
        late = inbox.hold(units[2], "ann", hold.visit)
        inbox.deliver()
        judge(store, also, Verdict.APPROVE)
        panel.tells("ann", state)
        inbox.answer(late)
        inbox.deliver()
        assert {row.status for row in store.submissions(TASK)} == {VOID}
        counts = store.unit_counts(run.id)
        assert (counts.open, counts.void) == (3, 3)
        assert counts == store.recount(run.id)
        assert {unit.attempt for unit in store.unoffered(run.id, 10)[1]} == {2}
        assert store.paid(TASK, "USD") == CENTS * 0

    def test_excluded_and_rejected_answers_stay_what_they_are(self, store: Store) -> None:
        _run, inbox, units, panel = crowd(store)
        holds = [worked(inbox, unit, worker) for unit, worker in zip(units, ("ann", "bo"), strict=True)]
        inbox.deliver()
        for hold, verdict in zip(holds, (Verdict.EXCLUDE, Verdict.REJECT), strict=True):
            judge(store, hold, verdict)
        panel.says("ann", RETURNED)
        panel.tells("bo", REJECTED)
        found = [submission(store, hold).status for hold in holds]
        assert found == [SubmissionStatus.EXCLUDED, SubmissionStatus.REJECTED]

    @pytest.mark.parametrize("verdict", [None, Verdict.APPROVE])
    def test_a_visit_that_comes_back_brings_its_answers(self, store: Store, verdict: Verdict | None) -> None:
        run, inbox, units, panel = crowd(store, "a")
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        if verdict:
            judge(store, hold, verdict)
        before = submission(store, hold).status
        panel.tells("ann", TIMED_OUT)
        offered(store, run)
        panel.tells("ann", AWAITING)
        assert submission(store, hold).status is before
        assert state_of(store, run, units[0]).value == before.value
        _, due, drop = store.unoffered(run.id, 10)
        assert (due, drop) == ([], [units[0]]), "the offer is taken back"
        assert store.unit_counts(run.id) == store.recount(run.id)

    @pytest.mark.parametrize("faster", ["has done it", "holds it"])
    def test_answers_that_come_back_are_surplus_where_somebody_else_was_faster(self, store: Store, faster: str) -> None:
        run, inbox, units, panel = crowd(store, "a")
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.tells("ann", TIMED_OUT)
        offered(store, run)
        other = came(inbox, units[0], "bo")
        if faster == "has done it":
            inbox.answer(other)
        inbox.deliver()
        panel.tells("ann", AWAITING)
        assert submission(store, hold).status is SURPLUS
        assert state_of(store, run, units[0]) in (UnitState.SUBMITTED, UnitState.ASSIGNED)
        assert store.unit_counts(run.id) == store.recount(run.id)

    def test_answers_that_come_back_for_a_removed_item_come_back_with_it(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store, "a", "b")
        hold = worked(inbox, units[1], "ann")
        inbox.deliver()
        panel.tells("ann", TIMED_OUT)
        open_run(store, "a")
        panel.tells("ann", AWAITING)
        open_run(store, "a", "b")
        assert submission(store, hold).status is SUBMITTED
        assert state_of(store, run, units[1]) is UnitState.SUBMITTED
        assert store.unit_counts(run.id) == store.recount(run.id)

    def test_a_state_we_do_not_know_changes_nothing(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        holds = [worked(inbox, unit, worker) for unit, worker in zip(units, ("ann", "bo"), strict=True)]
        inbox.deliver()
        panel.says("ann", AWAITING)
        panel.tells("bo", RETURNED)
        before = store.visit_counts(run.id), store.unit_counts(run.id), store.listed_counts(run.id)
        panel.says("ann", UNKNOWN)
        panel.tells("bo", UNKNOWN, at=LATER)
        assert (store.visit_counts(run.id), store.unit_counts(run.id), store.listed_counts(run.id)) == before
        assert [submission(store, hold).status for hold in holds] == [SUBMITTED, VOID]

    def test_a_listing_heard_again_changes_nothing(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.says("bo", RESERVED)
        panel.tells("ann", RETURNED)

        def standing() -> object:
            return store.unit_counts(run.id), store.visit_counts(run.id), store.units(run.id), store.offers(run.id)

        before = standing()
        panel.tell()
        assert standing() == before

    def test_how_many_stand_where_is_counted(self, store: Store) -> None:
        run, _, _, panel = crowd(store)
        assert store.listed_counts(run.id) == {}
        for worker, state in {"ann": RESERVED, "bo": AWAITING, "cy": AWAITING, "dee": RETURNED}.items():
            panel.says(worker, state)
        panel.tell()
        assert store.listed_counts(run.id) == {RESERVED: 1, AWAITING: 2, RETURNED: 1}

    # ------------------------------------------------------------------------------------------------ verdicts

    def test_void_answers_cannot_be_approved_and_the_refusal_says_why(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store, "a", "b", "c")
        ann, bo, eve = (worked(inbox, unit, worker) for unit, worker in zip(units, ("ann", "bo", "eve"), strict=True))
        inbox.deliver()
        panel.says("ann", RETURNED)
        panel.tells("bo", TIMED_OUT, at=LATER)
        for hold, why in ((ann, "returned"), (bo, "timed out"), (eve, "made up")):
            with pytest.raises(Refused, match=why):
                judge(store, hold, Verdict.APPROVE)
        assert judge(store, ann, Verdict.EXCLUDE).status is SubmissionStatus.EXCLUDED
        assert judge(store, bo, Verdict.REJECT).status is SubmissionStatus.REJECTED
        counts = store.unit_counts(run.id)
        assert (counts.open, counts.excluded, counts.rejected, counts.void) == (3, 1, 1, 1)
        assert counts == store.recount(run.id)
        with pytest.raises(Refused):
            judge(store, ann, Verdict.APPROVE)

    def test_a_verdict_given_while_the_visit_was_gone_stays(self, store: Store) -> None:
        _run, inbox, units, panel = crowd(store, "a")
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.tells("ann", TIMED_OUT)
        judge(store, hold, Verdict.EXCLUDE)
        panel.tells("ann", AWAITING)
        assert submission(store, hold).status is SubmissionStatus.EXCLUDED

    # ------------------------------------------------------------------------------------------------ handed in

    def test_only_verified_visits_that_wait_for_review_are_handed_in(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store, "a", "b", "c", "d")
        ann, _, cy, _ = (
            worked(inbox, unit, worker) for unit, worker in zip(units, ("ann", "bo", "cy", "eve"), strict=True)
        )
        inbox.deliver()
        panel.says("ann", AWAITING)
        panel.says("bo", ACTIVE)
        panel.tells("cy", AWAITING)
        found = store.ended_visits(run.id, 10, handed_in=True)
        assert [(each.visit, each.submission) for each in found] == [(ann.visit, "s-ann"), (cy.visit, "s-cy")]
        assert [each.statuses for each in found] == [{SUBMITTED: 1}, {SUBMITTED: 1}]
        judge(store, cy, Verdict.EXCLUDE)
        (judged,) = store.ended_visits(run.id, 10, judged=True, handed_in=True)
        assert judged.visit == cy.visit

    def test_who_handed_in_at_the_provider_has_left_whatever_the_server_thinks(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = came(inbox, units[0], "ann")
        inbox.answer(hold)
        came(inbox, units[1], "bo")
        inbox.deliver()
        panel.says("ann", AWAITING)
        panel.tells("bo", AWAITING)
        assert store.visit_counts(run.id).active == 2
        assert [each.visit for each in store.ended_visits(run.id, 10, handed_in=True)] == [hold.visit]

    def test_a_visit_takes_as_long_as_its_provider_says_if_it_is_paid_or_may_be(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store, "a", "b", "c")
        for unit, worker in zip(units, ("ann", "bob", "eve"), strict=True):
            worked(inbox, unit, worker)
        inbox.deliver()
        panel.says("bob", RETURNED)
        panel.says("ann", AWAITING)
        panel.says("zoe", APPROVED)  # never came to the server
        panel.tells("dan", ACTIVE)
        assert sorted(store.visit_times(run.id)) == [pytest.approx(60, abs=0.01), pytest.approx(120, abs=0.01)]

    def test_visits_handed_in_with_no_answers_are_told_as_they_were_listed(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        worked(inbox, units[0], "ann")
        nothing = came(inbox, units[1], "bo")
        inbox.leave(nothing, submissions=0)
        inbox.deliver()
        for worker in ("ann", "bo", "cy"):
            panel.says(worker, AWAITING, code="NOCODE")
        panel.says("dee", ACTIVE)
        panel.tell()
        found = store.without_answers(run.id, 10)
        assert found == [visit for visit in panel.visits.values() if visit.worker in ("bo", "cy")]
        assert store.without_answers(run.id, 1) == found[:1]

    def test_who_was_asked_to_return_is_told_as_asked_before_the_provider_shows_it(self, store: Store) -> None:
        run, _, _, panel = crowd(store)
        visit = panel.says("bo", AWAITING)
        panel.tell()
        key = IntentDraft(key=f"ask_return:{visit}", kind="ask_return", body={"visit": visit})
        (intent,) = store.record_intents(run.id, [key], budget=None, now=SOON)
        assert not store.without_answers(run.id, 10)[0].return_asked
        store.finish_intents([(intent.id, IntentState.DONE, None)], SOON)
        assert store.without_answers(run.id, 10)[0].return_asked

    # ------------------------------------------------------------------------------------------------ money

    @pytest.mark.parametrize("state", [APPROVED, ListedState.PARTIAL])
    def test_what_was_approved_without_us_is_booked_once(self, store: Store, state: ListedState) -> None:
        run, inbox, units, panel = crowd(store)
        list_places(store, run, 3)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.says("nobody", state)
        for _ in range(2):
            panel.tells("ann", state)
        assert store.visit_counts(run.id) == VisitCounts(paid=2)
        assert (store.paid(TASK, "USD"), store.exposure(TASK, "USD")) == (CENTS * 2, CENTS * 3)
        assert submission(store, hold).status is SUBMITTED
        came(inbox, units[1], "nobody")
        inbox.deliver()
        assert store.visit_counts(run.id) == VisitCounts(paid=2)

    def test_what_we_approved_is_booked_once_and_a_listing_that_lags_behind_does_no_harm(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        for state in (AWAITING, AWAITING, APPROVED):
            panel.tells("ann", state)
            settle(store, run, hold)
            assert store.visit_counts(run.id) == VisitCounts(paid=1)
            assert store.paid(TASK, "USD") == CENTS
            assert store.ended_visits(run.id, 10, handed_in=True) == []
            assert submission(store, hold).status is SUBMITTED

    @pytest.mark.parametrize("state", [AWAITING, REJECTED, RETURNED, TIMED_OUT])
    def test_what_is_paid_stays_paid_and_keeps_its_answers(self, store: Store, state: ListedState) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.tells("ann", APPROVED)
        panel.tells("ann", state)
        assert store.visit_counts(run.id) == VisitCounts(paid=1)
        assert submission(store, hold).status is SUBMITTED

    def test_surplus_answers_of_a_visit_that_is_gone_are_not_paid_either(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store, "a")
        hold = came(inbox, units[0], "ann")
        inbox.answer(hold, counts=False)
        inbox.deliver()
        panel.tells("ann", RETURNED)
        assert submission(store, hold).status is VOID
        assert store.unit_counts(run.id) == store.recount(run.id)

    def test_a_visit_charged_after_it_was_gone_brings_its_answers_back(self, store: Store) -> None:
        _run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.tells("ann", TIMED_OUT)
        panel.tells("ann", APPROVED)
        assert submission(store, hold).status is SUBMITTED
        assert store.paid(TASK, "USD") == CENTS

    def test_an_approval_that_reached_the_provider_in_time_brings_the_answers_back(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.tells("ann", TIMED_OUT)
        settle(store, run, hold)
        assert submission(store, hold).status is SUBMITTED
        assert store.unit_counts(run.id) == store.recount(run.id)

    def test_a_rejection_that_came_too_late_takes_nothing_back(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        judge(store, hold, Verdict.REJECT)
        panel.tells("ann", APPROVED)
        settle(store, run, hold, "reject")
        assert store.visit_counts(run.id) == VisitCounts(paid=1)

    def test_rejected_by_hand_it_is_settled_and_taken_back_by_hand_it_waits_again(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.says("nobody", REJECTED)
        panel.tells("ann", REJECTED)
        assert store.visit_counts(run.id) == VisitCounts(rejected=2)
        assert submission(store, hold).status is VOID
        panel.says("nobody", AWAITING)
        panel.tells("ann", AWAITING)
        assert store.visit_counts(run.id) == VisitCounts(left=1, listed=1)
        assert [each.visit for each in store.ended_visits(run.id, 10, handed_in=True)] == [hold.visit]
        assert submission(store, hold).status is SUBMITTED

    def test_what_we_rejected_stays_rejected_while_the_listing_lags_behind(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        judge(store, hold, Verdict.REJECT)
        panel.tells("ann", AWAITING)
        settle(store, run, hold, "reject")
        for state in (REJECTED, AWAITING, REJECTED):
            panel.tells("ann", state)
            assert store.visit_counts(run.id) == VisitCounts(rejected=1)
            assert submission(store, hold).status is SubmissionStatus.REJECTED

    def test_a_closed_study_owes_for_all_that_its_provider_may_still_charge(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store, "a")
        list_places(store, run, 9)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.says("ann", AWAITING)
        panel.says("bo", TIMED_OUT)
        panel.says("cy", RESERVED)
        panel.says("dee", ACTIVE)
        panel.tells("eli", RETURNED, at=NOW - timedelta(seconds=1))
        assert store.exposure(TASK, "USD") == CENTS * 9
        close_study(store, run)
        assert store.exposure(TASK, "USD") == CENTS * 9, "somebody may have come since the provider was asked"
        panel.tell()
        assert store.exposure(TASK, "USD") == CENTS * 4
        settle(store, run, hold)
        assert store.exposure(TASK, "USD") == CENTS * 4
        panel.says("cy", RETURNED)
        panel.tells("dee", RETURNED)
        assert (store.exposure(TASK, "USD"), store.paid(TASK, "USD")) == (CENTS * 2, CENTS)

    def test_a_closed_study_with_few_places_owes_for_no_more_than_those(self, store: Store) -> None:
        run, _, _, panel = crowd(store)
        list_places(store, run, 1)
        panel.says("ann", TIMED_OUT)
        panel.tells("bo", AWAITING)
        close_study(store, run)
        panel.tell()
        assert store.exposure(TASK, "USD") == CENTS

    # ------------------------------------------------------------------------------------------------ events that cross

    def test_the_end_of_a_hold_is_taken_in_a_visit_that_the_provider_settled(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = came(inbox, units[0], "ann")
        inbox.deliver()
        panel.tells("ann", RETURNED)
        inbox.end(hold, EventKind.EXPIRED)
        inbox.leave(hold, submissions=0)
        inbox.deliver()
        assert state_of(store, run, units[0]) is UnitState.OPEN
        assert store.visit_counts(run.id) == VisitCounts(empty=1)

    def test_an_intent_that_is_under_way_and_a_listing_book_one_payment(self, store: Store) -> None:
        run, inbox, units, panel = crowd(store)
        hold = worked(inbox, units[0], "ann")
        inbox.deliver()
        panel.tells("ann", AWAITING)
        body = {"visit": hold.visit, "study": run.id, "amount": str(CENTS)}
        draft = IntentDraft(key=f"approve:{hold.visit}", kind="approve", body=body)
        (intent,) = store.record_intents(run.id, [draft], budget=None, now=NOW)
        panel.tells("ann", APPROVED)
        store.finish_intents([(intent.id, IntentState.DONE, None)], NOW)
        assert store.paid(TASK, "USD") == CENTS

    # ------------------------------------------------------------------------------------------------ memory

    def test_an_adapters_notes_are_kept_by_run(self, store: Store) -> None:
        run = open_run(store)
        notes = store.memory(run.id)
        assert notes.get("study") is None
        notes.put("study", "one")
        notes.put("study", "two")
        assert store.memory(run.id).get("study") == "two"

    def test_of_a_run_that_is_not_there_yet_nothing_was_noted(self, store: Store) -> None:
        notes = store.memory(RunId("birds-9"))
        assert notes.get("study") is None
        with pytest.raises(NotFound):
            notes.put("study", "one")
