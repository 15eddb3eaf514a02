from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdstack.errors import Refused
from crowdstack.model import Money, gross_of
from crowdstack.providers.generic import GenericProvider
from tests.contracts.provider import ANN, BOB, KEY, REWARD, ProviderContract, visit


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
        told = [(line.submission, line.worker, line.reward, line.state) for line in provider.payments()]
        assert told == [("panel-7", ANN, REWARD, "to_pay"), ("panel-8", BOB, REWARD, "reject")]

    def test_what_the_panel_did_is_taken_over_once(self, provider: GenericProvider) -> None:
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        assert provider.confirm([("panel-7", "paid")]) == 1
        assert provider.confirm([("panel-7", "paid")]) == 0
        assert [line.state for line in provider.payments()] == ["paid"]

    @pytest.mark.parametrize("said", [("panel-9", "paid"), ("panel-7", "perhaps"), ("panel-8", "paid")])
    def test_a_list_with_a_fault_changes_nothing(self, provider: GenericProvider, said: tuple[str, str]) -> None:
        self.open(provider)
        provider.approve(KEY, visit(1), ANN, "panel-7")
        provider.reject(KEY, visit(2), BOB, "no answer was accepted", "panel-8")
        with pytest.raises(Refused):
            provider.confirm([("panel-7", "paid"), said])
        assert [line.state for line in provider.payments()] == ["to_pay", "reject"]


def test_fee_and_tax_round_up() -> None:
    assert gross_of(Money(100, "GBP"), fee_bp=4280, vat_bp=2000) == Money(172, "GBP")  # 142.8 -> 143, 171.6 -> 172
    assert gross_of(Money(50, "GBP"), fee_bp=0, vat_bp=0) == Money(50, "GBP")
