from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdstack.errors import Busy, Refused
from crowdstack.model import Money, StudyKey, TaskName
from crowdstack.ports import Provider
from crowdstack.providers.mock import MockProvider
from tests.contracts.provider import ANN, BOB, KEY, REWARD, ProviderContract, visit


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[MockProvider]:
    books = MockProvider(tmp_path / "mock.db")
    yield books
    books.close()


class TestMockProvider(ProviderContract):
    def test_it_is_a_provider(self, provider: MockProvider) -> None:
        port: Provider = provider
        assert port.fetch_study(KEY) is None

    def test_a_worker_who_comes_twice_is_paid_twice(self, provider: MockProvider) -> None:
        self.open(provider)
        self.approve(provider, 1, ANN)
        self.approve(provider, 2, ANN)
        assert provider.spent() == provider.gross(REWARD) * 2

    def test_a_rejection_frees_its_place(self, provider: MockProvider) -> None:
        self.open(provider, places=1)
        provider.reject(KEY, visit(1), ANN, "empty")
        self.approve(provider, 2, BOB)

    def test_a_dry_wallet_pays_nobody(self, tmp_path: Path) -> None:
        poor = MockProvider(tmp_path / "poor.db", wallet=lambda: Money(99, "USD"))
        poor.open_study(KEY, places=5, reward=REWARD, title="Birds")
        poor.approve(KEY, visit(1), ANN)
        with pytest.raises(Refused, match="wallet"):
            poor.approve(KEY, visit(2), BOB)
        assert poor.debits() == {visit(1): REWARD}
        poor.close()
        rich = MockProvider(tmp_path / "poor.db", wallet=lambda: Money(100, "USD"))
        rich.approve(KEY, visit(2), BOB)
        assert rich.spent() == Money(100, "USD")
        rich.close()

    def test_a_wallet_of_another_currency_opens_no_study(self, tmp_path: Path) -> None:
        books = MockProvider(tmp_path / "mock.db", wallet=lambda: Money(9_900, "EUR"))
        with pytest.raises(Refused, match="EUR"):
            books.open_study(KEY, places=1, reward=REWARD, title="Birds")
        assert books.effects() == []
        books.close()

    def test_all_studies_of_an_account_draw_on_one_wallet(self, tmp_path: Path) -> None:
        books = MockProvider(tmp_path / "mock.db", wallet=lambda: Money(50, "USD"))
        for key in (KEY, StudyKey("birds-2")):
            books.open_study(key, places=1, reward=REWARD, title="Birds")
        books.approve(KEY, visit(1), ANN)
        with pytest.raises(Refused):
            books.approve(StudyKey("birds-2"), visit(2), ANN)
        books.close()

    def test_spent_is_what_the_task_cost_in_all_its_runs(self, tmp_path: Path) -> None:
        books = MockProvider(tmp_path / "mock.db", task=TaskName("birds"))
        assert books.spent() is None
        for number, key in enumerate(["birds-1", "birds-2", "birds-of-prey-1"]):
            books.open_study(StudyKey(key), places=1, reward=REWARD, title="Birds")
            books.approve(StudyKey(key), visit(number), ANN)
        assert books.spent() == REWARD * 2
        books.close()

    def test_what_it_said_is_still_there_after_it_was_opened_again(self, tmp_path: Path) -> None:
        for _ in range(2):
            books = MockProvider(tmp_path / "mock.db")
            books.open_study(KEY, places=2, reward=REWARD, title="Birds")
            books.approve(KEY, visit(1), ANN)
            assert books.effects() == [("open", KEY, 2), ("approve", visit(1), None)]
            books.close()

    def test_only_effects_are_in_its_journal(self, provider: MockProvider) -> None:
        self.open(provider)
        for _ in range(2):
            provider.approve(KEY, visit(1), ANN)
            provider.reject(KEY, visit(2), BOB, "empty")
            provider.raise_places(KEY, 3)
        verbs = [verb for verb, _, _ in provider.effects()]
        assert verbs == ["open", "approve", "reject", "places"]

    def test_books_that_somebody_else_writes_in_are_busy(self, tmp_path: Path) -> None:
        books = MockProvider(tmp_path / "mock.db", patience_s=0.05)
        other = sqlite3.connect(tmp_path / "mock.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            books.open_study(KEY, places=2, reward=REWARD, title="Birds")
        other.execute("ROLLBACK")
        other.close()
        assert books.open_study(KEY, places=2, reward=REWARD, title="Birds").places == 2
        books.close()

    def test_the_books_are_private(self, tmp_path: Path) -> None:
        MockProvider(tmp_path / "mock.db").close()
        assert (tmp_path / "mock.db").stat().st_mode & 0o077 == 0
