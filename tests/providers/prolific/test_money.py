"""Units (threats I11): each amount is on the wire what it is with us, and nothing is paid that was understood otherwise."""

from __future__ import annotations

import csv
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdstack.errors import Busy, Refused, Unclear
from crowdstack.model import Money
from crowdstack.providers.prolific import money
from tests.providers.prolific import service as s
from tests.providers.prolific.service import Service, cost, prolific, transport

DECIMALS = {"GBP": 2, "USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
currencies = st.sampled_from(sorted(DECIMALS))
minors = st.integers(0, money.MOST)
ids = st.from_regex(r"\A[0-9a-f]{24}\Z")

CREATE = "POST /submissions/bonus-payments/"
COST = f"GET /studies/{s.STUDY}/cost/"


def gbp(minor: int) -> Money:
    return Money(minor, "GBP")


def as_the_service_reads(text: str, currency: str) -> dict[str, Money]:
    """Its side of the CSV: decimals in major units."""
    rows = {id_: Decimal(amount) * 10 ** DECIMALS[currency] for id_, amount in csv.reader(text.split("\n"))}
    assert all(amount == int(amount) for amount in rows.values())
    return {id_: Money(int(amount), currency) for id_, amount in rows.items()}


@settings(deadline=None)
@given(minors, currencies)
def test_minor_units_come_back_as_they_went(minor: int, currency: str) -> None:
    amount = Money(minor, currency)
    sent = money.to_minor(amount, currency)
    assert money.of_minor(sent, currency) == amount
    assert money.of_minor(float(sent), currency) == amount


@settings(deadline=None)
@given(minors, currencies)
def test_major_units_come_back_as_they_went(minor: int, currency: str) -> None:
    amount = Money(minor, currency)
    assert Money.parse(f"{money.to_major(amount)} {currency}") == amount


@settings(deadline=None)
@given(st.dictionaries(ids, st.integers(1, 10**9), min_size=1, max_size=20), currencies)
def test_the_csv_says_what_we_meant(amounts: dict[str, int], currency: str) -> None:
    meant = {id_: Money(minor, currency) for id_, minor in amounts.items()}
    assert as_the_service_reads(money.bonus_csv(meant, currency), currency) == meant


def test_the_csv_word_for_word() -> None:
    meant = {"60ffe5c8371090c7041d43f8": gbp(425), "60ffe5c8371090c7041d43f9": gbp(5)}
    assert money.bonus_csv(meant, "GBP") == "60ffe5c8371090c7041d43f8,4.25\n60ffe5c8371090c7041d43f9,0.05"


@settings(deadline=None)
@given(st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.text(max_size=5), st.booleans(), st.none()))
def test_what_is_no_whole_amount_is_none(value: Any) -> None:
    if isinstance(value, float) and value == value and abs(value) <= money.MOST and value == int(value):
        assert money.of_minor(value, "GBP").minor == value
    else:
        with pytest.raises(ValueError, match="no whole number"):
            money.of_minor(value, "GBP")


def ready(service: Service, *, currency: str = "GBP", **answer: Any) -> None:
    service.says(COST, cost(currency))
    made = {"id": "60b5", "study": s.STUDY, "amount": 500, "fees": 165, "vat": 33, "total_amount": 698, **answer}
    service.says(CREATE, {k: v for k, v in made.items() if v is not None}, status=201, odd=True)


AMOUNTS = {s.SUBMISSION: gbp(425), s.PARTICIPANT: gbp(75)}


def test_a_bonus_is_set_up_and_paid(service: Service) -> None:
    ready(service)
    service.says("POST /bulk-bonus-payments/60b5/pay/", "ok", status=202)
    api = prolific(service)
    bonus = api.create_bonus(s.STUDY, AMOUNTS, booked=gbp(698))
    assert (bonus.amount, bonus.total) == (gbp(500), gbp(698))
    api.pay_bonus(bonus.id)
    assert service.heard[1].body == {"study_id": s.STUDY, "csv_bonuses": f"{s.SUBMISSION},4.25\n{s.PARTICIPANT},0.75"}
    assert service.heard[2].body is None
    api.create_bonus(s.STUDY, AMOUNTS, booked=gbp(698))
    assert api.requests_made == {"study_cost": 1, "create_bonus": 2, "pay_bonus": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {"amount": 50_000, "total_amount": 69_800},  # x 100
        {"amount": 5, "total_amount": 7},  # / 100
        {"amount": 5},
        {"amount": 499},
        {"amount": 501},
        {"amount": 0},
        {"total_amount": 699},  # more than was booked
        {"total_amount": 69_800},
        {"total_amount": 499},  # less than what people are to get
    ],
)
def test_a_bonus_that_was_understood_otherwise_is_not_handed_out(service: Service, answer: dict[str, Any]) -> None:
    ready(service, **answer)
    with pytest.raises(Refused, match="Prolific would pay") as told:
        prolific(service).create_bonus(s.STUDY, AMOUNTS, booked=gbp(698))
    assert "60b5" in str(told.value)


@pytest.mark.parametrize(
    "answer", [{"amount": None}, {"total_amount": None}, {"amount": 500.5}, {"id": None}, {"id": "a/b"}]
)
def test_a_bonus_that_cannot_be_checked_is_not_handed_out(service: Service, answer: dict[str, Any]) -> None:
    ready(service, **answer)
    with pytest.raises((Unclear, Refused)):
        prolific(service).create_bonus(s.STUDY, AMOUNTS, booked=gbp(698))


def test_a_study_in_another_currency_gets_no_bonus(service: Service) -> None:
    ready(service, currency="USD")
    with pytest.raises(Refused, match="is in USD, not in GBP"):
        prolific(service).create_bonus(s.STUDY, AMOUNTS, booked=gbp(698))
    assert service.lines() == [COST]


@pytest.mark.parametrize(
    ("amounts", "booked"),
    [
        ({}, gbp(1)),
        ({f"{number:024d}": gbp(1) for number in range(201)}, gbp(900)),
        ({s.SUBMISSION: gbp(0)}, gbp(1)),
        ({s.SUBMISSION: gbp(-5)}, gbp(1)),
        ({s.SUBMISSION: Money(5, "USD")}, gbp(10)),
        ({s.SUBMISSION: gbp(5)}, Money(10, "USD")),
        ({"x,1000\n60": gbp(5)}, gbp(10)),
        ({"60b,5": gbp(5)}, gbp(10)),
    ],
)
def test_a_bonus_that_cannot_be_meant_is_not_sent(service: Service, amounts: dict[str, Money], booked: Money) -> None:
    with pytest.raises(Refused):
        prolific(service).create_bonus(s.STUDY, amounts, booked=booked)
    assert service.heard == []


@pytest.mark.parametrize("fault", [s.DROP, s.STALL, s.CUT])
def test_paying_is_never_sent_twice(service: Service, fault: str) -> None:
    service.says("POST /bulk-bonus-payments/60b5/pay/", "ok", status=202, fault=fault)
    with pytest.raises(Unclear):
        prolific(service, budget_s=2.0).pay_bonus("60b5")
    assert len(service.heard) == 1


def test_paying_that_was_put_off_may_be_sent_again(service: Service) -> None:
    service.says("POST /bulk-bonus-payments/60b5/pay/", {"message": "wallet"}, status=429)
    with pytest.raises(Busy) as told:
        prolific(service).pay_bonus("60b5")
    assert not isinstance(told.value, Unclear)


def test_costs_in_two_currencies_are_no_cost(service: Service) -> None:
    mixed = cost()
    mixed["bonuses"] = cost("USD")["bonuses"]
    service.says(COST, mixed)
    with pytest.raises(Refused, match="different currencies"):
        prolific(service).fetch_cost(s.STUDY)


def test_a_repeated_read_costs_no_second_bonus(service: Service) -> None:
    """Only reads are tried again."""
    http = transport(service)
    service.says(CREATE, {}, status=500, odd=True)
    with pytest.raises(Unclear):
        http.write("create_bonus", "POST", "/submissions/bonus-payments/", {"study_id": s.STUDY, "csv_bonuses": "a,1"})
    assert len(service.heard) == 1
