"""Single scenes of a real crowd, played by the same world as the many runs: what the reconciler asks for, and what it says.

What it says is the note that `crowdstack status` prints.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from crowdstack.fakes.prolific.records import Submission
from crowdstack.fakes.prolific.states import SubmissionStatus
from crowdstack.plan.desired import Count
from tests.crowds.people import EXEMPLARY, somebody
from tests.crowds.running import play
from tests.crowds.terms import MINUTE, Terms
from tests.crowds.world import World


class Scene(World):
    """One unit, nothing disturbs the run, and nobody comes but those whom the scene sends. What was said: (s, state, why)."""

    def draw_terms(self) -> Terms:
        self.said: list[tuple[float, str, str]] = []
        return replace(
            super().draw_terms(), units=1, repeats=1, per_visit=1, count=Count.SUBMITTED, wave=None, surplus=2,
            budget=None, wallet=1000, faults={}, mortal=0.0, drops=0.0, short_lease=0.0, keep=False, twice=1,
            verdicts=(1.0, 0.0, 0.0), bonuses=0, hand=None, operator=None, abandoned=None, no_data="ask_return",
            understood=1.0, seconds=0, conduct=EXEMPLARY, settings={"publishing_s": 0, "reserved_s": 300},
        )  # fmt: skip

    def come(self) -> None:
        if self.listed() is None:
            self.at(1, self.come)
        else:
            self.spawn(self.scene())

    def scene(self) -> Iterator[float]:
        raise NotImplementedError

    def step(self, process: Any) -> None:
        super().step(process)
        if noted := self.store.noted(self.run.id):
            self.said.append((self.now - self.begin, noted[0], noted[1]))

    def pace(self, waits_s: float) -> float:
        return waits_s  # the reconciler's own

    def look_after(self) -> None: ...

    def whys(self) -> list[str]:
        return [why for _, _, why in self.said]


class NothingHandedIn(Scene):
    """Somebody hands in without having opened the page; somebody else does the unit. In the end a person decides."""

    obeys = False

    def scene(self) -> Iterator[float]:
        study = self.listed()
        assert study is not None
        self.first: Submission = self.fake.reserve(study, f"p{1:023d}")
        yield 5.0
        self.fake.start(self.first.id)
        yield 20.0
        self.fake.complete(self.first.id, self.codes["done"])
        while self.listed() is None:  # one place: it is free again once the first one returned, or there is another
            yield 10.0
        self.spawn(somebody(self, f"p{2:023d}"))
        yield 3 * MINUTE
        if self.obeys:
            self.fake.give_back(self.first.id)
        else:
            self.decide_by_hand(self.first.id, approve=False)

    def asked(self) -> list[str]:
        return [effect.subject for effect in self.fake.effects() if effect.verb == "request_return"]


class AndReturned(NothingHandedIn):
    obeys = True


def test_who_handed_in_nothing_is_asked_once_to_return_and_then_a_person_decides() -> None:
    world = play(1, NothingHandedIn)
    assert isinstance(world, NothingHandedIn)
    assert world.asked() == [world.first.id]
    states = [state for state, _ in itertools.groupby(state for _, state, _ in world.said)]
    assert states == ["working", "needs_person", "working", "done"]  # and not to and fro with each look at the provider
    assert any("1 visits were handed in without answers" in why for why in world.whys())
    assert world.fake.world.submissions[world.first.id].status is SubmissionStatus.REJECTED
    assert len(world.fake.wallet_lines()) == 1  # who did the unit


def test_who_returns_when_asked_is_neither_paid_nor_waited_for() -> None:
    world = play(1, AndReturned)
    assert isinstance(world, AndReturned)
    assert world.asked() == [world.first.id]
    assert world.over
    assert len(world.fake.wallet_lines()) == 1


class Lagging(Scene):
    """The provider's list of submissions is for some minutes as it was before anybody came."""

    lag_s = 5 * MINUTE

    def __post_init__(self) -> None:
        self._old: tuple[int, Mapping[str, str], bytes] | None = None
        super().__post_init__()

    def exchange(self, method: str, url: str, body: Any) -> tuple[int, Mapping[str, str], bytes]:
        if method == "GET" and "/submissions/?" in url:
            if self._old is None:
                self._old = super().exchange(method, url, body)
            if self.now < self.begin + self.lag_s:
                return self._old
        return super().exchange(method, url, body)

    def scene(self) -> Iterator[float]:
        while self._old is None:
            yield 1.0
        self.spawn(somebody(self, f"p{1:023d}"))


def test_while_the_providers_list_lags_status_says_whom_it_is_asked_for() -> None:
    world = play(1, Lagging)
    assert isinstance(world, Lagging)
    whys = [why for why, _ in itertools.groupby(world.whys())]
    asked = whys.index("the provider is asked for 1 visits that it does not list yet")
    assert (
        "1 units to do, 0 people at work" in whys[asked:]
    )  # after two minutes, to anybody; then it was listed after all
    assert len(world.fake.wallet_lines()) == 1
    assert world.server.accepted == 1
