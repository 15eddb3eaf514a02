from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdstack.errors import PolicyRefused
from crowdstack.model import Money, gross_of
from crowdstack.plan.desired import Desired
from crowdstack.plan.fees import (
    PROLIFIC_FEES_BP,
    PayVerdict,
    basis_points,
    charge,
    check_pay,
    hourly,
    pay_verdict,
    reward_for,
)
from tests.plan.builders import desired

AMOUNTS = st.integers(0, 10**7)
RATES = st.integers(0, 10_000)


def gbp(text: str) -> Money:
    return Money.parse(f"{text} GBP")


def listed(reward: str, *, minutes: int = 2, **more: Any) -> Desired:
    """A visit of so many minutes at Prolific."""
    floor = {"minimum_hourly": gbp("6.00"), "recommended_hourly": gbp("9.00")}
    return desired(reward=gbp(reward), minutes=minutes, **{**floor, **more})


@pytest.mark.parametrize(
    ("reward", "fee", "vat_bp", "told"),
    [("1.00", "corporate", 0, "1.43"), ("1.00", "academic", 0, "1.34"), ("1.00", "corporate", 2000, "1.72"), ("0.01", "academic", 2000, "0.03"), ("0.00", "corporate", 2000, "0.00")],
)  # fmt: skip
def test_a_visit_costs_reward_fee_and_tax_on_both(reward: str, fee: str, vat_bp: int, told: str) -> None:
    assert charge(gbp(reward), fee_bp=PROLIFIC_FEES_BP[fee], vat_bp=vat_bp).gross == gbp(told)


@given(AMOUNTS, RATES, RATES)
def test_the_parts_add_up_to_the_gross_and_none_is_below_its_exact_value(minor: int, fee_bp: int, vat_bp: int) -> None:
    reward = Money(minor, "GBP")
    of = charge(reward, fee_bp=fee_bp, vat_bp=vat_bp)
    assert of.gross == gross_of(reward, fee_bp=fee_bp, vat_bp=vat_bp)
    assert of.fee.minor == ceil(Fraction(minor * fee_bp, 10_000))
    assert of.vat.minor == ceil(Fraction((minor + of.fee.minor) * vat_bp, 10_000))


@given(AMOUNTS, AMOUNTS, RATES, RATES)
def test_many_visits_at_once_never_cost_more_than_each_alone(one: int, two: int, fee_bp: int, vat_bp: int) -> None:
    def gross(minor: int) -> int:
        return gross_of(Money(minor, "GBP"), fee_bp=fee_bp, vat_bp=vat_bp).minor

    assert gross(one + two) <= gross(one) + gross(two)


@pytest.mark.parametrize(("percent", "bp"), [(42.8, 4280), (33.3, 3330), (0, 0), (19.5, 1950), (0.001, 1), (100, 10_000), (0.29, 29)])  # fmt: skip
def test_a_percentage_is_taken_as_it_was_written(percent: float, bp: int) -> None:
    assert basis_points(percent) == bp


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_the_reward_for_a_rate_is_the_least_that_reaches_it(per_hour: int, seconds: int) -> None:
    rate = Money(per_hour, "GBP")
    reward = reward_for(rate, seconds)
    assert hourly(reward, seconds) >= rate
    assert hourly(Money(reward.minor - 1, "GBP"), seconds) < rate


def test_the_verdict_goes_by_the_minutes_that_people_are_told() -> None:
    assert pay_verdict(listed("0.30")) is PayVerdict.FINE
    assert pay_verdict(listed("0.29")) is PayVerdict.BELOW_RECOMMENDED
    assert pay_verdict(listed("0.20")) is PayVerdict.BELOW_RECOMMENDED
    assert pay_verdict(listed("0.19")) is PayVerdict.BELOW_MINIMUM
    assert pay_verdict(listed("0.30", minutes=3)) is PayVerdict.BELOW_RECOMMENDED
    assert pay_verdict(listed("0.19", minimum_hourly=None)) is None
    assert pay_verdict(listed("0.19", minutes=None)) is None  # type: ignore[arg-type]


def test_pay_below_the_minimum_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(PolicyRefused) as raised:
        check_pay(listed("0.19"))
    assert raised.value.exit_code == 5
    assert raised.value.what == "the pay is too low: 0.19 GBP for 2 min is 5.70 GBP an hour"
    assert raised.value.why == "the minimum is 6.00 GBP, 9.00 GBP are recommended"
    assert "task.reward to 0.20 GBP (the minimum) or 0.30 GBP (what is recommended)" in str(raised.value.hint)


def test_a_spec_may_ask_for_a_warning_only() -> None:
    (note,) = check_pay(listed("0.19", refuse_underpaid=False))
    assert note.startswith("the pay is below the minimum: 0.19 GBP for 2 min is 5.70 GBP an hour")


def test_pay_between_the_two_is_warned_of_and_fine_pay_is_not() -> None:
    (note,) = check_pay(listed("0.25"))
    assert "below what is recommended" in note
    assert check_pay(listed("0.30")) == ()
    assert check_pay(desired()) == ()


def test_a_floor_of_the_specs_own_has_nothing_to_recommend() -> None:
    with pytest.raises(PolicyRefused) as raised:
        check_pay(listed("0.10", minutes=None, estimated_s=50, recommended_hourly=None, minimum_hourly=gbp("8.00")))  # type: ignore[arg-type]
    assert raised.value.why == "the minimum is 8.00 GBP"
    assert "0.12 GBP," in str(raised.value.hint)
    assert "50 s" in raised.value.what
