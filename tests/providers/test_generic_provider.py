from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdstack.errors import Refused
from crowdstack.model import Money, StudyKey, TaskName, gross_of
from crowdstack.providers.generic import GenericProvider, Said
from tests.contracts.provider import ANN, BOB, KEY, REWARD, ProviderContract, visit

CENTS_20 = Money(20, "USD")


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[GenericProvider]:
    books = GenericProvider(tmp_path / "panel.db", {"fee_bp": 3330, "vat_bp": 2000})
    yield books
    books.close()


class TestGenericProvider(ProviderContract):
    def test_who_is_to_be_paid_is_on_the_list_with_the_panels_own_id(self, provider: GenericProvider) -> None:
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        provider.reject(KEY, visit(2), BOB, "no answer was accepted", "panel-8")
        told = [(line.submission, line.worker, line.amount, line.state) for line in provider.payments()]
        assert told == [("panel-7", ANN, REWARD, "to_pay"), ("panel-8", BOB, REWARD, "reject")]

    def test_a_bonus_is_on_the_list_so_that_it_is_paid(self, provider: GenericProvider) -> None:
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        provider.reject(KEY, visit(2), BOB, "no answer was accepted", "panel-8")
        provider.pay_bonus(KEY, visit(1), ANN, "panel-7", payment="thanks", net=CENTS_20)
        provider.pay_bonus(KEY, visit(2), BOB, "panel-8", payment="sorry", net=CENTS_20)
        told = [(line.submission, line.purpose, line.amount, line.state) for line in provider.payments()]
        assert told == [
            ("panel-7", "reward", REWARD, "to_pay"),
            ("panel-7", "bonus:thanks", CENTS_20, "to_pay"),
            ("panel-8", "reward", REWARD, "reject"),
            ("panel-8", "bonus:sorry", CENTS_20, "to_pay"),
        ]
        assert provider.confirm([Said(visit="panel-7", state="paid", purpose="bonus:thanks")]) == 1
        assert [line.state for line in provider.payments()] == ["to_pay", "paid", "reject", "to_pay"]

    def test_what_the_panel_declined_is_not_spent_until_it_pays_after_all(self, provider: GenericProvider) -> None:
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        provider.pay_bonus(KEY, visit(1), ANN, "panel-7", payment="thanks", net=CENTS_20)
        reward, bonus = provider.gross(REWARD), provider.gross(CENTS_20)
        for state, spent in (("declined", bonus), ("declined", bonus), ("paid", reward + bonus)):
            provider.confirm([Said(visit="panel-7", state=state)])
            assert provider.spent() == spent

    def test_of_two_studies_with_one_id_the_study_is_named(self, provider: GenericProvider) -> None:
        other = StudyKey("birds-2")
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        provider.open_study(other, places=2, reward=REWARD, title="Birds")
        provider.approve(other, visit(2), ANN, "panel-7")
        with pytest.raises(Refused, match="in several studies"):
            provider.confirm([Said(visit="panel-7", state="paid")])
        assert provider.confirm([Said(visit="panel-7", state="paid", study=other)]) == 1
        assert [(line.study, line.state) for line in provider.payments()] == [(KEY, "to_pay"), (other, "paid")]

    def test_what_the_panel_did_is_taken_over_once(self, provider: GenericProvider) -> None:
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        assert provider.confirm([Said(visit="panel-7", state="paid")]) == 1
        assert provider.confirm([Said(visit="panel-7", state="paid")]) == 0
        assert [line.state for line in provider.payments()] == ["paid"]

    @pytest.mark.parametrize(
        "said",
        [
            Said(visit="panel-9", state="paid"),
            Said(visit="panel-7", state="perhaps"),
            Said(visit="panel-8", state="paid"),
            Said(visit="panel-7", state="paid", purpose="bonus:thanks"),
            Said(visit="panel-7", state="paid", study="birds-9"),
        ],
    )
    def test_a_list_with_a_fault_changes_nothing(self, provider: GenericProvider, said: Said) -> None:
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        provider.reject(KEY, visit(2), BOB, "no answer was accepted", "panel-8")
        with pytest.raises(Refused):
            provider.confirm([Said(visit="panel-7", state="paid"), said])
        assert [line.state for line in provider.payments()] == ["to_pay", "reject"]


def test_a_list_is_of_one_task(tmp_path: Path) -> None:
    books = [GenericProvider(tmp_path / "panel.db", {}, task=TaskName(task)) for task in ("birds", "cats")]
    books[0].open_study(KEY, places=1, reward=REWARD, title="Birds")
    books[0].approve(KEY, visit(1), ANN, "panel-7")
    assert [len(book.payments()) for book in books] == [1, 0]
    for book in books:
        book.close()


def test_fee_and_tax_round_up() -> None:
    assert gross_of(Money(100, "GBP"), fee_bp=4280, vat_bp=2000) == Money(172, "GBP")  # 142.8 -> 143, 171.6 -> 172
    assert gross_of(Money(50, "GBP"), fee_bp=0, vat_bp=0) == Money(50, "GBP")
