"""The rules, one sentence each. I9 and I10 as properties are in tests/money."""

from __future__ import annotations

from dataclasses import replace

from crowdstack.model import Money, RunState, StudyState, UnitCounts
from crowdstack.plan.actions import (
    Action,
    ApproveVisit,
    CloseStudy,
    Drain,
    OfferUnits,
    OpenStudy,
    PauseStudy,
    RaisePlaces,
    RejectVisit,
    ResumeStudy,
    TearDown,
)
from crowdstack.plan.decide import Observed, RestState, decide
from crowdstack.plan.desired import Count, Desired
from tests.plan.builders import CENTS_5, STUDY, desired, observed, visit


def kinds(want: Desired, there: Observed) -> list[type[Action]]:
    return [type(action) for action in decide(want, there).actions]


def places(want: Desired, there: Observed) -> int | None:
    """What the decision lists in all; None if it lists nothing."""
    for action in decide(want, there).actions:
        if isinstance(action, OpenStudy | RaisePlaces):
            return action.places
    return None


def rest(want: Desired, there: Observed) -> RestState:
    return decide(want, there).rest.state


# ---------------------------------------------------------------------- the run


def test_units_are_offered_before_anybody_is_asked_to_come() -> None:
    assert decide(desired(), observed(open=10, offered=False)).actions == (OfferUnits(total=10),)


def test_a_study_is_opened_with_one_place_per_visit_needed() -> None:
    assert places(desired(items=10, repeats=4, per_visit=4), observed(open=40)) == 10
    assert places(desired(items=10, repeats=1, per_visit=4), observed(open=10)) == 3


def test_nothing_is_done_while_people_are_at_work() -> None:
    there = observed(open=5, assigned=2, submitted=3, places=10, paid=3, active=2)
    assert decide(desired(), there).actions == ()
    assert rest(desired(), there) is RestState.WORKING


def test_a_visit_that_left_is_paid_once_it_has_a_submission() -> None:
    there = observed(open=9, submitted=1, places=10, ended=(visit("v1"),))
    assert decide(desired(), there).actions == (
        ApproveVisit(study=STUDY, visit=visit("v1").visit, worker=visit("v1").worker, amount=CENTS_5),
    )


def test_a_visit_whose_work_was_all_rejected_is_rejected_and_its_place_is_not_replaced() -> None:
    there = observed(open=10, places=10, ended=(visit("v1", rejected=2),))
    assert kinds(desired(), there) == [RejectVisit]


def test_a_visit_with_one_answer_that_pays_is_paid() -> None:
    there = observed(open=9, submitted=1, places=10, ended=(visit("v1", rejected=1, excluded=1),))
    assert kinds(desired(), there) == [ApproveVisit]


def test_a_visit_that_was_paid_without_counting_is_replaced() -> None:
    assert places(desired(), observed(open=1, submitted=9, places=10, paid=10)) == 11


def test_when_approvals_count_a_visit_waits_until_all_its_work_is_judged() -> None:
    want = desired(count=Count.APPROVED)
    waiting = observed(submitted=10, places=10, ended=(visit("v1", approved=1, submitted=1),), left=10)
    assert decide(want, waiting).actions == ()
    assert rest(want, waiting) is RestState.VERDICTS
    assert kinds(want, observed(submitted=10, places=10, ended=(visit("v1", approved=1, excluded=1),))) == [
        ApproveVisit
    ]


def test_no_visit_is_approved_for_which_there_is_no_place() -> None:
    late = observed(submitted=10, places=10, paid=9, ended=(visit("v1"), visit("v2")))
    assert kinds(desired(), late) == [RaisePlaces, ApproveVisit]
    assert places(desired(), late) == 11


def test_places_come_in_waves() -> None:
    want = desired(wave=4)
    assert places(want, observed(open=10)) == 4
    assert places(want, observed(open=9, submitted=1, places=4, paid=1)) is None
    assert places(want, observed(open=6, submitted=4, places=4, paid=3, ended=(visit(),))) == 8
    assert places(want, observed(open=2, submitted=8, places=8, paid=8)) == 10


def test_places_are_never_lowered() -> None:
    assert places(desired(), observed(open=2, submitted=8, places=40, paid=8)) is None


def test_units_that_only_a_refused_worker_could_do_wait_for_a_person_once_the_others_are_done() -> None:
    assert rest(desired(), observed(open=3, stuck=2, submitted=7, places=10, paid=7)) is RestState.WORKING
    there = observed(open=2, stuck=2, submitted=8, places=10, paid=10)
    assert decide(desired(), there).actions == ()
    assert "2 units are offered to workers" in decide(desired(), there).rest.why
    assert rest(desired(), there) is RestState.NEEDS_PERSON


def test_a_closed_study_with_open_units_asks_for_a_person() -> None:
    there = observed(open=1, submitted=9, places=10, paid=9, state=StudyState.CLOSED)
    assert rest(desired(), there) is RestState.NEEDS_PERSON


def test_without_the_server_nobody_is_invited_but_people_are_paid() -> None:
    there = observed(open=5, submitted=5, places=6, ended=(visit(),), connected=False)
    assert kinds(desired(), there) == [ApproveVisit]
    assert rest(desired(), there) is RestState.OFFLINE


def test_a_refused_action_does_not_hold_up_the_others() -> None:
    there = observed(open=8, submitted=2, places=10, ended=(visit("v1"), visit("v2")), refused={"approve:v1": "no"})
    actions = decide(desired(), there).actions
    assert [action.key for action in actions] == ["approve:v2"]


def test_when_all_that_is_left_was_refused_a_person_is_told_why() -> None:
    there = observed(submitted=10, places=10, ended=(visit("v1"),), refused={"approve:v1": "the wallet is empty"})
    decision = decide(desired(), there)
    assert decision.actions == ()
    assert decision.rest.state is RestState.NEEDS_PERSON
    assert "the wallet is empty" in decision.rest.why


# ---------------------------------------------------------------------- limits


def test_when_the_surplus_is_used_up_a_person_is_needed() -> None:
    want = desired(items=10, surplus_least=2, surplus_percent=0)
    assert places(want, observed(open=5, submitted=5, places=11, paid=11)) == 12
    stuck = observed(open=5, submitted=5, places=12, paid=12)
    assert decide(want, stuck).actions == ()
    assert rest(want, stuck) is RestState.NEEDS_PERSON


def rest_of(**counts: int) -> str:
    """What is said when 12 places for 10 items are used and 5 units are open."""
    there = observed(open=5, submitted=5, places=12, paid=12)
    told = decide(desired(items=10, surplus_least=2, surplus_percent=0), replace(
        there, units=replace(there.units, **counts))).rest  # fmt: skip
    assert told.state is RestState.NEEDS_PERSON
    assert "all 12 places" in told.why
    assert "5 units are open" in told.why
    return told.why


def test_when_the_surplus_is_used_up_what_used_it_is_named() -> None:
    assert "open: visits ended early. See" in rest_of()
    assert "open: 7 answers were excluded. See" in rest_of(excluded=7)
    assert "open: 7 answers were rejected. See" in rest_of(rejected=7)
    assert "open: 3 answers were excluded, 4 answers were rejected. See" in rest_of(excluded=3, rejected=4)
    assert "open: 4 answers were for units that were done already, visits ended early. See" in rest_of(surplus=4)
    assert "open: 2 answers were excluded, visits ended early. See" in rest_of(excluded=2)


def test_what_an_ideal_crowd_leaves_of_its_last_visit_is_no_visit_that_ended_early() -> None:
    want = desired(items=10, per_visit=4, surplus_least=1, surplus_percent=0)
    there = observed(open=4, submitted=6, places=4, paid=4)
    told = decide(want, replace(there, units=replace(there.units, excluded=8))).rest.why
    assert "8 answers were excluded. See" in told
    assert "ended early" not in told


def test_places_stay_inside_the_budget() -> None:
    want = desired(budget=Money(30, "USD"))
    assert places(want, observed(open=10)) == 6
    short = observed(open=4, submitted=6, places=6, paid=6)
    assert decide(want, short).actions == ()
    assert rest(want, short) is RestState.BUDGET


def test_what_other_runs_have_promised_is_not_promised_again() -> None:
    assert places(desired(budget=Money(30, "USD")), observed(open=10, exposure=Money(20, "USD"))) == 2


def test_what_earlier_runs_did_needs_no_visit_and_no_surplus() -> None:
    want = desired(items=100)
    assert places(want, observed(open=20, submitted=80, before=80)) == 20
    assert want.most_visits(UnitCounts(total=100, before=80)) == 25


# ---------------------------------------------------------------------- pausing


def test_stop_pauses_the_study_and_people_are_still_paid() -> None:
    there = observed(open=9, submitted=1, places=10, ended=(visit(),), wanted=RunState.PAUSED)
    assert kinds(desired(), there) == [PauseStudy, ApproveVisit]
    assert rest(desired(), there) is RestState.PAUSED


def test_a_paused_run_is_not_taken_down_though_its_target_is_met() -> None:
    there = observed(submitted=10, places=10, paid=10, wanted=RunState.PAUSED, state=StudyState.PAUSED)
    assert decide(desired(), there).actions == ()


def test_resume_opens_it_again() -> None:
    assert kinds(desired(), observed(open=10, places=10, state=StudyState.PAUSED)) == [ResumeStudy]


# ---------------------------------------------------------------------- the end


def test_when_the_target_is_met_the_study_is_closed_then_drained_then_torn_down() -> None:
    done = {"submitted": 10, "places": 10, "paid": 10}
    assert kinds(desired(), observed(**done)) == [CloseStudy]
    assert kinds(desired(), observed(**done, state=StudyState.CLOSED)) == [Drain]
    assert kinds(desired(), observed(**done, state=StudyState.CLOSED, drained=True)) == [TearDown]


def test_nothing_is_closed_while_somebody_is_there_or_unpaid() -> None:
    assert kinds(desired(), observed(submitted=10, places=10, paid=9, active=1)) == []
    assert kinds(desired(), observed(submitted=10, places=10, paid=9, ended=(visit(),))) == [ApproveVisit]


def test_keep_closes_the_study_and_leaves_the_stack() -> None:
    want = desired(keep=True)
    assert kinds(want, observed(submitted=10, places=10, paid=10)) == [CloseStudy]
    kept = observed(submitted=10, places=10, paid=10, state=StudyState.CLOSED)
    assert decide(want, kept).actions == ()
    assert rest(want, kept) is RestState.DONE


def test_destroy_goes_through_the_same_end_whatever_is_undone() -> None:
    half = {"open": 5, "submitted": 5, "places": 10, "paid": 5, "wanted": RunState.DESTROYED}
    for want in (desired(), desired(keep=True)):
        assert kinds(want, observed(**half, active=3)) == [CloseStudy]
        assert kinds(want, observed(**half, active=3, state=StudyState.CLOSED)) == [Drain]
        assert kinds(want, observed(**half, state=StudyState.CLOSED, drained=True)) == [TearDown]


def test_destroy_pays_those_who_finished_meanwhile_before_it_tears_down() -> None:
    there = observed(
        open=4, submitted=6, places=10, paid=5, ended=(visit(),), state=StudyState.CLOSED, drained=True,
        wanted=RunState.DESTROYED,
    )  # fmt: skip
    assert kinds(desired(), there) == [ApproveVisit]


def test_a_refused_payment_holds_up_the_end_of_the_run_but_not_destroy() -> None:
    last = {
        "open": 1, "submitted": 9, "places": 10, "paid": 8, "ended": (visit("v1"),), "state": StudyState.CLOSED,
        "drained": True, "refused": {"approve:v1": "the wallet is empty"},
    }  # fmt: skip
    assert rest(desired(), observed(**last)) is RestState.NEEDS_PERSON
    assert kinds(desired(), observed(**last, wanted=RunState.DESTROYED)) == [TearDown]


def test_destroy_of_a_run_whose_server_is_away_closes_the_study_first_and_then_waits() -> None:
    away = {"open": 5, "submitted": 5, "places": 10, "paid": 5, "wanted": RunState.DESTROYED, "connected": False}
    assert kinds(desired(), observed(**away)) == [CloseStudy]
    assert rest(desired(), observed(**away, state=StudyState.CLOSED)) is RestState.OFFLINE


def test_a_drained_run_goes_on_to_its_end_even_if_units_are_open_again() -> None:
    there = observed(open=1, submitted=9, places=10, paid=10, state=StudyState.CLOSED, drained=True)
    assert kinds(desired(), there) == [TearDown]
