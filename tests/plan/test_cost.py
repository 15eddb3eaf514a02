from __future__ import annotations

import pytest

from crowdstack.errors import OverBudget
from crowdstack.model import Money
from crowdstack.plan.cost import check_budget, cost
from crowdstack.plan.desired import Desired, WhenShort
from crowdstack.plan.fees import PayVerdict
from tests.plan.builders import CENTS_5, desired, observed


def usd(text: str) -> Money:
    return Money.parse(f"{text} USD")


def test_the_cap_is_the_surplus_or_the_budget_whichever_is_less() -> None:
    there = observed(open=100)
    assert cost(desired(items=100), there).total == usd("5.00")
    assert cost(desired(items=100), there).cap == usd("5.50")
    assert cost(desired(items=100, budget=usd("5.10")), there).cap == usd("5.10")
    assert cost(desired(items=100, budget=usd("5.10")), observed(open=100, exposure=usd("2.00"))).cap == usd("3.10")


def test_the_cap_stays_the_same_while_a_run_goes_on() -> None:
    want = desired(items=100, budget=usd("5.40"))
    half = observed(open=50, submitted=50, places=100, paid=50)
    assert cost(want, half) == cost(want, observed(open=100))


def test_pay_per_unit_may_be_a_fraction_of_a_cent() -> None:
    assert cost(desired(items=800, repeats=10, per_visit=20), observed(open=8000)).per_unit == "0.0025 USD"
    assert cost(desired(items=3, per_visit=3), observed(open=3)).per_unit == "0.0167 USD"
    assert (
        cost(desired(items=3, reward=Money(90, "JPY")), observed(open=3, gross=Money(90, "JPY"))).per_unit == "90 JPY"
    )


def test_pay_per_hour_follows_from_the_time_of_a_whole_visit() -> None:
    assert cost(desired(per_visit=2, estimated_s=30), observed(open=10)).per_hour == usd("3.00")
    assert cost(desired(), observed(open=10)).per_hour is None


def test_a_run_whose_worst_case_does_not_fit_is_refused_before_anything_is_done() -> None:
    check_budget(desired(items=100, budget=usd("5.50")), observed(open=100))
    with pytest.raises(OverBudget, match=r"may cost 5.50 USD \(110 visits x 0.05 USD\), budget.max is 5.49 USD"):
        check_budget(desired(items=100, budget=usd("5.49")), observed(open=100))
    with pytest.raises(OverBudget, match=r"1.00 USD are spent or promised in other runs"):
        check_budget(desired(items=100, budget=usd("5.50")), observed(open=100, exposure=usd("1.00")))


def test_a_run_that_may_pause_needs_money_for_one_visit() -> None:
    want = desired(items=100, budget=CENTS_5, when_short=WhenShort.PAUSE)
    check_budget(want, observed(open=100))
    with pytest.raises(OverBudget):
        check_budget(want, observed(open=100, exposure=Money(1, "USD")))


def test_a_met_target_costs_nothing_and_is_never_refused() -> None:
    there = observed(submitted=10, before=10, exposure=usd("9.00"))
    assert cost(desired(), there).cap == usd("0.00")
    check_budget(desired(budget=usd("1.00")), there)


def test_a_fee_is_taken_apart_by_our_table_unless_the_provider_says_another_sum() -> None:
    want = desired(reward=usd("1.00"), provider={"fee_bp": 4280, "vat_bp": 2000})
    told = cost(want, observed(open=10, gross=usd("1.72"))).charge
    assert told is not None
    assert (told.reward, told.fee, told.vat, told.gross) == (usd("1.00"), usd("0.43"), usd("0.29"), usd("1.72"))
    other = cost(want, observed(open=10, gross=usd("1.80"))).charge
    assert other is not None
    assert (other.fee, other.vat, other.gross) == (usd("0.80"), usd("0.00"), usd("1.80"))
    assert cost(desired(), observed(open=10)).charge is None


def test_the_pay_is_judged_by_the_time_that_people_are_told() -> None:
    want = desired(reward=usd("0.50"), minutes=3, estimated_s=25, per_visit=5, minimum_hourly=usd("8.00"))
    told = cost(want, observed(open=10, gross=usd("0.50")))
    assert (told.per_hour, told.minimum_hourly, told.pay) == (usd("10.00"), usd("8.00"), PayVerdict.FINE)
    assert cost(desired(), observed(open=10)).pay is None


def test_settings_survive_the_store() -> None:
    want = desired(budget=usd("5.00"), blocked=("w1",), crowd={"kind": "bots"}, wave=3)
    assert Desired.from_settings(want.to_settings(), run=want.study) == want
