"""What every provider's adapter must hold to. Its tests inherit `ProviderContract` and give the fixture `provider`.

Other packages get it from `crowdstack.testing`; it needs pytest, as that does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import Refused
from crowdstack.model import (
    Admission,
    ListedState,
    ListedVisit,
    Money,
    RunId,
    StudyKey,
    StudyState,
    TaskName,
    VisitId,
    WorkerId,
    visit_of,
)
from crowdstack.plugin import Opening
from crowdstack.ports import Memory, Provider

KEY = StudyKey("birds-1")
REWARD = Money(50, "USD")
ANN, BOB = WorkerId("ann"), WorkerId("bob")


def visit(number: int) -> VisitId:
    return VisitId(f"visit-{number:011d}")


class _Notes:
    """ports.Memory that ends with the test."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self._kept.get(name)

    def put(self, name: str, value: str) -> None:
        self._kept[name] = value


def opening(folder: Path, settings: Mapping[str, Any]) -> Opening:
    """What a plugin's `open` is given, for a test of it: one task without a store or a server."""
    notes: dict[RunId, Memory] = {}
    return Opening(
        settings=settings,
        task=TaskName("birds"),
        folder=folder,
        memory=lambda run: notes.setdefault(run, _Notes()),
        runs=lambda: [*notes],
        page=lambda study: f"https://page.example.org/?t={study}",
        now=lambda: datetime.now(timezone.utc),
        monotonic=time.monotonic,
    )


class ProviderContract:
    def came(self, provider: Provider, number: int, worker: WorkerId) -> tuple[VisitId, str | None]:
        """A visit that this worker has handed in, and the provider's id of it."""
        return visit(number), None

    def approve(self, provider: Provider, number: int, worker: WorkerId) -> tuple[VisitId, str | None]:
        came, submission = self.came(provider, number, worker)
        provider.approve(KEY, came, worker, submission)
        return came, submission

    def open(self, provider: Provider, places: int = 2) -> None:
        provider.open_study(KEY, places=places, reward=REWARD, title="Birds")

    def test_no_verb_is_missing(self, provider: Provider) -> None:
        verbs = [name for name in vars(Provider) if not name.startswith("_")]
        assert [verb for verb in verbs if not callable(getattr(provider, verb, None))] == []

    def test_a_study_is_found_by_our_key(self, provider: Provider) -> None:
        assert provider.fetch_study(KEY) is None
        self.open(provider, places=3)
        study = provider.fetch_study(KEY)
        assert study is not None
        assert (study.key, study.places, study.state, study.reward) == (KEY, 3, StudyState.OPEN, REWARD)

    def test_opening_the_same_key_again_changes_nothing(self, provider: Provider) -> None:
        first = provider.open_study(KEY, places=3, reward=REWARD, title="Birds")
        assert provider.open_study(KEY, places=9, reward=REWARD, title="Birds") == first
        assert provider.fetch_study(KEY) == first

    def test_the_same_total_twice_changes_nothing(self, provider: Provider) -> None:
        self.open(provider)
        once = provider.raise_places(KEY, 12)
        assert once.places == 12
        assert provider.raise_places(KEY, 12) == once

    def test_places_never_fall(self, provider: Provider) -> None:
        self.open(provider, places=5)
        assert provider.raise_places(KEY, 4).places == 5

    def test_a_study_may_be_paused_and_opened_again_but_closed_is_final(self, provider: Provider) -> None:
        self.open(provider)
        for state in (StudyState.PAUSED, StudyState.PAUSED, StudyState.OPEN, StudyState.CLOSED, StudyState.CLOSED):
            assert provider.set_state(KEY, state).state is state
        for state in (StudyState.OPEN, StudyState.PAUSED):
            with pytest.raises(Refused):
                provider.set_state(KEY, state)
        with pytest.raises(Refused):
            provider.raise_places(KEY, 99)

    def test_a_visit_is_paid_once_however_often_it_is_approved(self, provider: Provider) -> None:
        self.open(provider)
        came, submission = self.approve(provider, 1, ANN)
        for _ in range(2):
            provider.approve(KEY, came, ANN, submission)
        assert provider.spent() == provider.gross(REWARD)

    def test_no_more_visits_are_paid_than_places_were_listed(self, provider: Provider) -> None:
        self.open(provider, places=1)
        self.approve(provider, 1, ANN)
        with pytest.raises(Refused):
            self.approve(provider, 2, BOB)
        provider.raise_places(KEY, 2)
        self.approve(provider, 2, BOB)
        assert provider.spent() == provider.gross(REWARD) * 2

    def test_a_rejection_costs_nothing(self, provider: Provider) -> None:
        self.open(provider, places=2)
        came, submission = self.came(provider, 1, ANN)
        provider.reject(KEY, came, ANN, "empty", submission)
        provider.reject(KEY, came, ANN, "empty", submission)
        self.approve(provider, 2, BOB)
        assert provider.spent() == provider.gross(REWARD)

    def test_what_was_settled_one_way_cannot_be_settled_the_other(self, provider: Provider) -> None:
        self.open(provider)
        ann, bob = self.came(provider, 1, ANN), self.came(provider, 2, BOB)
        provider.approve(KEY, ann[0], ANN, ann[1])
        provider.reject(KEY, bob[0], BOB, "empty", bob[1])
        with pytest.raises(Refused):
            provider.reject(KEY, ann[0], ANN, "late", ann[1])
        with pytest.raises(Refused):
            provider.approve(KEY, bob[0], BOB, bob[1])

    def test_a_visit_belongs_to_one_worker(self, provider: Provider) -> None:
        self.open(provider)
        came, submission = self.approve(provider, 1, ANN)
        with pytest.raises(Refused):
            provider.approve(KEY, came, BOB, submission)

    def test_visits_of_a_closed_study_are_still_paid(self, provider: Provider) -> None:
        self.open(provider)
        came, submission = self.came(provider, 1, ANN)
        provider.set_state(KEY, StudyState.CLOSED)
        provider.approve(KEY, came, ANN, submission)
        assert provider.spent() == provider.gross(REWARD)

    def test_an_unknown_study_is_refused(self, provider: Provider) -> None:
        for change in (
            lambda: provider.raise_places(KEY, 3),
            lambda: provider.set_state(KEY, StudyState.PAUSED),
            lambda: provider.approve(KEY, visit(1), ANN),
            lambda: provider.reject(KEY, visit(1), ANN, "empty"),
        ):
            with pytest.raises(Refused):
                change()
        assert provider.fetch_study(KEY) is None
        assert provider.spent() is None

    def test_reading_changes_nothing(self, provider: Provider) -> None:
        self.open(provider)
        before = provider.fetch_study(KEY)
        assert before is not None
        assert provider.gross(REWARD) == provider.gross(REWARD)
        assert provider.spent() == Money(0, "USD")
        assert provider.drift(KEY, reward=REWARD, title="Birds") == ()
        assert provider.fetch_study(KEY) == replace(before)

    def test_a_bonus_is_paid_once_for_each_name(self, provider: Provider) -> None:
        self.open(provider)
        came, submission = self.approve(provider, 1, ANN)
        for name in ("first", "first", "second"):
            provider.pay_bonus(KEY, came, ANN, submission, payment=name, net=REWARD)
        assert provider.spent() == provider.gross(REWARD) * 3

    def test_nobody_gets_a_bonus_who_did_not_come(self, provider: Provider) -> None:
        self.open(provider)
        with pytest.raises(Refused):
            provider.pay_bonus(KEY, visit(1), ANN, None, payment="first", net=REWARD)

    def test_a_message_is_taken_however_often_or_there_are_none(self, provider: Provider) -> None:
        self.open(provider)
        self.approve(provider, 1, ANN)
        try:
            provider.send_message(KEY, ANN, message="thanks", text="Thank you.")
        except Refused:
            with pytest.raises(Refused):
                provider.send_message(KEY, ANN, message="thanks", text="Thank you.")
        else:
            provider.send_message(KEY, ANN, message="thanks", text="Thank you.")
        assert provider.spent() == provider.gross(REWARD)

    def test_who_may_come_may_be_told_again_and_no_change_is_left_then(self, provider: Provider) -> None:
        """With lists of people or without them."""
        for admission in (Admission(), Admission(blocked=(BOB,), allowed=(ANN,)), Admission(blocked=(ANN, BOB))):
            provider.group_changes(KEY, admission)
            for _ in range(2):
                provider.set_workers(KEY, admission)
            assert provider.group_changes(KEY, admission) == ()
        self.open(provider)
        assert provider.spent() == Money(0, "USD")

    def test_watching_may_be_repeated_and_a_hint_changes_nothing(self, provider: Provider) -> None:
        """With hooks or without them."""
        at = "https://study.example.org/v1/hooks"
        provider.hint(KEY)
        self.open(provider)
        before = provider.fetch_study(KEY)
        assert provider.watch(KEY, at) == provider.watch(KEY, at)
        for _ in range(100):
            provider.hint(KEY)
        for _ in range(2):
            provider.unwatch(KEY, at)
        assert provider.fetch_study(KEY) == before
        assert provider.spent() == Money(0, "USD")


class ManagedProviderContract(ProviderContract):
    """Of one that lets people in itself and tells who came (decisions/0009). `came` must bring its id of the visit."""

    def listed(self, provider: Provider) -> dict[WorkerId, ListedVisit]:
        listing = provider.fetch_visits(KEY)
        assert listing is not None, "a managed provider tells who came"
        return {found.worker: found for found in listing.visits}

    def test_everybody_who_came_is_listed_under_the_name_of_the_visit(self, provider: Provider) -> None:
        self.open(provider)
        came, submission = self.came(provider, 1, ANN)
        assert submission is not None
        told = self.listed(provider)
        assert [*told] == [ANN]
        assert (told[ANN].visit, told[ANN].submission, told[ANN].state) == (came, submission, ListedState.AWAITING)
        assert came == visit_of(KEY, ANN, submission)

    def test_what_was_settled_is_listed_so(self, provider: Provider) -> None:
        self.open(provider)
        ann, bob = self.came(provider, 1, ANN), self.came(provider, 2, BOB)
        provider.approve(KEY, ann[0], ANN, ann[1])
        provider.reject(KEY, bob[0], BOB, "empty", bob[1])
        told = self.listed(provider)
        assert (told[ANN].state, told[BOB].state) == (ListedState.APPROVED, ListedState.REJECTED)

    def test_a_pair_that_was_made_up_is_never_paid(self, provider: Provider) -> None:
        self.open(provider)
        _, submission = self.came(provider, 1, ANN)
        for worker, named in ((BOB, submission), (ANN, "f" * 24)):
            assert named is not None
            with pytest.raises(Refused):
                provider.approve(KEY, visit_of(KEY, worker, named), worker, named)
        assert provider.spent() == Money(0, "USD")
