"""What visits are topped up by, from the time that they took; and when that is decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdstack.errors import OverBudget, PolicyRefused
from crowdstack.model import Money, PaidVisit, RunState, StudyState, VisitId, WorkerId
from crowdstack.plan.actions import Action, CloseStudy, FixTopUp, OpenStudy, TearDown, TopUp
from crowdstack.plan.cost import check_budget, cost
from crowdstack.plan.decide import Observed, RestState, decide
from crowdstack.plan.desired import Desired, WhenShort
from crowdstack.plan.fees import PayVerdict
from crowdstack.plan.forecast import forecast
from crowdstack.plan.measured import check_measured_pay, measured_pay, median_of, top_up
from tests.plan.builders import CENTS_5, STUDY, desired, observed

CENTS_4 = Money(4, "USD")
SENT = PaidVisit(visit=VisitId("v1"), worker=WorkerId("ann"), sent=True)
UNSENT = PaidVisit(visit=VisitId("v2"), worker=WorkerId("bob"))
FIXED = FixTopUp(study=STUDY, net=CENTS_4, amount=CENTS_5, median_s=90)


def wish(**more: Any) -> Desired:
    """A visit that is said to take 60 seconds, for 5 cents, and 4 on top at most."""
    return desired(**{"estimated_s": 60, "top_up": CENTS_4, **more})


@pytest.mark.parametrize(
    ("times", "told"), [([], None), ([59.2], 60), ([1, 100, 1000], 100), ([10, 20], 15), ([10, 21], 16)]
)
def test_one_who_idles_moves_the_median_by_next_to_nothing(times: list[float], told: int | None) -> None:
    assert median_of(times) == told


@pytest.mark.parametrize(
    ("median_s", "cents"), [(None, 0), (30, 0), (60, 0), (61, 1), (72, 1), (73, 2), (120, 4), (9000, 4)]
)
def test_the_pay_per_hour_becomes_what_was_promised_as_far_as_the_spec_allows(median_s: int | None, cents: int) -> None:
    assert top_up(wish(), median_s) == Money(cents, "USD")


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(1, 10**5), st.integers(0, 10**7))
def test_with_what_is_put_on_top_the_rate_is_at_least_the_promised_one(
    reward: int, said_s: int, median_s: int, most: int
) -> None:
    want = wish(reward=Money(reward, "USD"), estimated_s=said_s, top_up=Money(most, "USD"))
    extra = top_up(want, median_s).minor
    assert 0 <= extra <= most
    assert extra == most or (reward + extra) * said_s >= reward * median_s


def test_without_a_promise_nothing_is_put_on_top() -> None:
    assert top_up(wish(top_up=None), 9000) == Money(0, "USD")
    assert top_up(wish(open_ended=True), 9000) == Money(0, "USD")


# ---------------------------------------------------------------------- when


def over(**more: Any) -> Observed:
    """A run whose units are done, whose study is closed and whose visits were paid."""
    return observed(**{"submitted": 10, "places": 10, "paid": 10, "state": StudyState.CLOSED, "drained": True, **more})


def actions(there: Observed, **more: Any) -> tuple[Action, ...]:
    return decide(wish(**more), there).actions


def test_every_place_reserves_it() -> None:
    there = observed(open=10, reserve=CENTS_5)
    (opened,) = decide(wish(budget=Money(35, "USD")), there).actions
    assert isinstance(opened, OpenStudy)
    assert (opened.places, opened.gross, opened.top_up, opened.worst) == (3, CENTS_5, CENTS_5, Money(10, "USD"))
    assert cost(wish(), there).cap == Money(10, "USD") * 15
    assert cost(wish(), there).total == CENTS_5 * 10


def test_a_preview_lists_the_places_whose_top_up_fits_too() -> None:
    there = observed(open=10, reserve=CENTS_5)
    for wave in (None, 1):
        want = wish(budget=Money(35, "USD"), when_short=WhenShort.PAUSE, wave=wave)
        assert str(forecast(want, there)[0]) == "+ open study birds-1: 3 places"


def test_what_this_run_reserves_is_not_taken_for_another_runs() -> None:
    want = wish(budget=Money(145, "USD"))
    begun = observed(open=5, submitted=5, places=10, paid=5, reserve=CENTS_5, exposure=Money(100, "USD"))
    assert cost(want, begun).cap == cost(want, observed(open=10, reserve=CENTS_5)).cap == Money(145, "USD")


def test_a_run_whose_top_ups_do_not_fit_is_refused_before_anything_is_done() -> None:
    there = observed(open=10, reserve=CENTS_5)
    check_budget(wish(budget=Money(150, "USD")), there)
    with pytest.raises(
        OverBudget, match=r"(?s)may cost 1.50 USD \(15 visits x 0.10 USD\).*lower provider.surplus or pay.top_up"
    ):
        check_budget(wish(budget=Money(149, "USD")), there)


def test_it_is_decided_when_nothing_else_is_left_and_then_paid_and_then_the_run_is_over() -> None:
    assert actions(over(top_up=FIXED, drained=False, state=StudyState.OPEN)) == (CloseStudy(study=STUDY),)
    assert FIXED not in actions(over(top_up=FIXED, drained=False))
    assert actions(over(top_up=FIXED)) == (FIXED,)
    (paying,) = actions(over(top_up=FIXED, top_up_fixed=True, untopped=(UNSENT,)))
    assert isinstance(paying, TopUp)
    assert (paying.key, paying.payment, paying.net, paying.amount) == ("top_up:v2", "top_up:v2", CENTS_4, CENTS_5)
    assert actions(over(top_up=FIXED, top_up_fixed=True)) == (TearDown(),)


def test_a_preview_shows_what_is_still_owed_on_top() -> None:
    shown = forecast(wish(), over(top_up=FIXED, top_up_fixed=True, untopped=(UNSENT,)))
    assert [str(line) for line in shown] == ["~ top up 1 visit: 0.05 USD", "- tear down"]
    assert [str(line) for line in forecast(wish(), over(top_up=FIXED, top_up_fixed=True))] == ["- tear down"]


def test_people_inside_are_waited_for_unless_there_is_no_time() -> None:
    inside = {"provider": {"type": "prolific"}}
    there = over(top_up=FIXED, active=1, wanted=RunState.DESTROYED)
    assert actions(there, **inside) == ()
    assert actions(over(top_up=FIXED, active=1, wanted=RunState.DESTROYED, hurry=True), **inside) == (FIXED,)


def test_a_kept_stack_does_not_wait_for_its_end() -> None:
    there = over(top_up=FIXED, drained=False)
    assert actions(there, keep=True) == (FIXED,)
    assert decide(wish(keep=True), there).rest.state is RestState.DONE


@pytest.mark.parametrize(
    ("visit", "wanted", "hurry", "ends"),
    [
        (UNSENT, RunState.LIVE, False, False),
        (UNSENT, RunState.DESTROYED, False, True),
        (SENT, RunState.DESTROYED, False, False),
        (SENT, RunState.DESTROYED, True, True),
    ],
    ids=["there may be money soon", "it stays owed", "it may be shown soon", "no time for that"],
)
def test_what_was_refused_or_is_not_shown_holds_up_the_end(
    visit: PaidVisit, wanted: RunState, hurry: bool, ends: bool
) -> None:
    there = over(
        top_up=FIXED, top_up_fixed=True, untopped=(visit,), refused={TopUp.name(visit.visit): "no"}, wanted=wanted,
        hurry=hurry,
    )  # fmt: skip
    assert actions(there) == ((TearDown(),) if ends else ())
    assert (decide(wish(), there).rest.state is RestState.NEEDS_PERSON) is not ends


# ---------------------------------------------------------------------- how it stands to the floor


def minutes(*each: float) -> list[float]:
    return [60 * every for every in each]


def floor(**more: Any) -> Desired:
    """Five minutes for 1.00 USD are promised: 12.00 an hour, where 8.00 is the least."""
    given = {"reward": Money(100, "USD"), "estimated_s": 300, "top_up": None, "minimum_hourly": Money(800, "USD")}
    return wish(**{**given, "recommended_hourly": Money(1200, "USD"), **more})


@pytest.mark.parametrize(
    ("took", "per_hour", "verdict", "missing"),
    [
        (5, 1200, PayVerdict.FINE, 0),
        (6, 1000, PayVerdict.BELOW_RECOMMENDED, 0),
        (10, 600, PayVerdict.BELOW_MINIMUM, 34),
    ],
)
def test_the_median_is_held_against_the_floor(took: int, per_hour: int, verdict: PayVerdict, missing: int) -> None:
    told = measured_pay(floor(), minutes(1, took, 60), None)
    assert told is not None
    assert (told.visits, told.median_s, told.per_hour, told.verdict) == (3, took * 60, Money(per_hour, "USD"), verdict)
    assert told.missing == Money(missing, "USD")


def test_who_is_underpaid_is_told_with_what_to_do_now() -> None:
    assert str(measured_pay(floor(), minutes(10), None)) == (
        "6.00 USD an hour by the median of 1 visit, 10 min: below the minimum of 8.00 USD. 0.34 USD a visit are missing: "
        "pay them with `crowdstack pay compensate`; for the next run raise task.reward or set pay.top_up"
    )


def test_what_comes_on_top_is_counted_and_what_was_fixed_is_what_comes() -> None:
    want = floor(top_up=Money(60, "USD"))
    told = measured_pay(want, minutes(10, 10), None)
    assert told is not None
    assert (told.on_top, told.verdict, told.missing) == (
        Money(60, "USD"),
        PayVerdict.BELOW_RECOMMENDED,
        Money(0, "USD"),
    )
    assert "0.60 USD on top of each (pay.top_up): below what is recommended" in str(told)
    fixed = FixTopUp(study=STUDY, net=Money(10, "USD"), amount=Money(15, "USD"), median_s=300)
    late = measured_pay(want, minutes(10, 10), fixed)
    assert late is not None
    assert (late.on_top, late.verdict) == (Money(10, "USD"), PayVerdict.BELOW_MINIMUM)


def test_nothing_is_said_of_pay_of_which_nothing_was() -> None:
    assert measured_pay(floor(), [], None) is None
    assert measured_pay(desired(), minutes(5), None) is None
    assert measured_pay(desired(estimated_s=60, reward=Money(0, "USD")), minutes(5), None) is None
    told = measured_pay(desired(estimated_s=60), minutes(5), None)
    assert told is not None
    assert (told.verdict, str(told)) == (None, "0.60 USD an hour by the median of 1 visit, 5 min")


# ---------------------------------------------------------------------- the next run


def test_a_run_that_would_be_underpaid_as_the_last_one_was_is_refused_with_what_is_right() -> None:
    measured = measured_pay(floor(), minutes(*[10] * 5), None)
    with pytest.raises(PolicyRefused, match=r"(?s)1.00 USD for 10 min, the median .* is 6.00 USD an hour.*to 1.34 USD"):
        check_measured_pay(floor(), floor(), measured)
    (note,) = check_measured_pay(floor(refuse_underpaid=False), floor(), measured)
    assert note.startswith("the pay is below the minimum: 1.00 USD for 10 min")


@pytest.mark.parametrize(
    ("now", "visits"),
    [
        (floor(reward=Money(134, "USD")), 5),
        (floor(top_up=Money(34, "USD")), 5),
        (floor(per_visit=2), 5),
        (floor(minimum_hourly=None), 5),
        (floor(), 4),
    ],
    ids=["reward", "top-up", "other visits", "no floor", "too few to tell"],
)
def test_what_was_mended_or_is_not_known_is_not_held_against_it(now: Desired, visits: int) -> None:
    measured = measured_pay(floor(), minutes(*[10] * visits), None)
    assert check_measured_pay(now, floor(), measured) == ()
