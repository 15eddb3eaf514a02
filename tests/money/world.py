"""A run in which money moves: the real store, rules, journal and mock books. People and the server are played by the test.

The reconciler can be killed before or after any of its calls to store and provider; the next tick is its next life.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crowdstack.errors import Refused
from crowdstack.model import (
    Assigned,
    Drained,
    EventKind,
    Left,
    LeftReason,
    Money,
    RunState,
    StudyState,
    VisitId,
    WorkerId,
)
from crowdstack.plan.actions import (
    Drain,
    FixTopUp,
    OfferUnits,
    OpenStudy,
    RaisePlaces,
    TearDown,
    ToProvider,
    TopUp,
    draft,
)
from crowdstack.plan.cost import cost
from crowdstack.plan.decide import Observed, decide
from crowdstack.providers.mock import MockProvider
from crowdstack.reconcile.act import record_and_send, send, send_recorded
from crowdstack.reconcile.observe import observe
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import NOW, TASK, Inbox, items
from tests.plan.builders import desired as wish


class Killed(BaseException):
    """SIGKILL: nothing after it runs."""


@dataclass
class Life:
    """Ends at the call number `until` (before it if `before`, else after it); then every call fails."""

    until: int | None = None
    before: bool = True
    calls: int = 0
    over: bool = False

    def around(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **more: Any) -> Any:
            if self.over:
                raise Killed
            self.calls += 1
            self.over = self.calls == self.until
            if self.over and self.before:
                raise Killed
            answer = verb(*arguments, **more)
            if self.over:
                raise Killed
            return answer

        return called


class Mortal:
    """Somebody's verbs, as one life calls them."""

    def __init__(self, inner: Any, life: Life) -> None:
        self._inner, self._life = inner, life

    def __getattr__(self, name: str) -> Any:
        return self._life.around(getattr(self._inner, name))


@dataclass
class Person:
    worker: str
    visit: VisitId
    hold: Assigned | None = None
    submissions: int = 0


@dataclass
class World:
    folder: Path
    budget: Money | None = None
    wallet: Money | None = None
    count: int = 6  # units
    per_visit: int = 3
    surplus: int = 1
    wave: int | None = None
    top_up: Money | None = None  # at most; a unit is said to take a second, of which each event takes one
    people: list[Person] = field(default_factory=list)
    over: bool = False

    def __post_init__(self) -> None:
        self.store = PeeweeStore(self.folder / "store.db")
        self.provider = self.open_provider()
        names = [f"item-{n}" for n in range(self.count)]
        self.run = self.store.open_run(TASK, settings={}, items=items(*names), repeats=1, fresh=False, now=NOW)
        self.inbox = Inbox(self.store, self.run)
        self.desired = replace(
            wish(items=self.count, per_visit=self.per_visit, surplus_percent=0, surplus_least=self.surplus),
            task=TASK,
            study=self.run.id,
            budget=self.budget,
            wave=self.wave,
            estimated_s=1,
            top_up=self.top_up,
        )
        first = self.look(self.store, self.provider)
        self.cap = cost(self.desired, first).cap
        self.most_places = self.desired.most_visits(first.units)
        self.admits = 0  # as the server was last told
        self.open_units: list[Any] = []
        self.ended_with_work = 0
        self.next_worker = 0
        self.quiet = True  # the last tick ended by itself

    def open_provider(self) -> MockProvider:
        return MockProvider(self.folder / "mock.db", wallet=lambda: self.wallet)

    @property
    def promised(self) -> Money | None:
        """What every paid visit is topped up by, once that was decided."""
        found = FixTopUp.written(self.store.intent(self.run.id, FixTopUp.name(self.desired.study)))
        return None if found is None else found.amount

    def close(self) -> None:
        self.store.close()
        self.provider.close()

    # ------------------------------------------------------------------ the reconciler

    def look(self, store: Any, provider: Any) -> Observed:
        run = store.run(self.run.id)
        return observe(run, self.desired, store=store, provider=provider, connected=True, refused={})

    def decided(self, observed: Observed) -> Any:
        return decide(self.desired, observed).actions

    def act(self, actions: Any, store: Any, provider: Any) -> None:
        record_and_send(
            self.run.id, actions, store=store, provider=provider, budget=self.desired.budget, may_spend=lambda: True, now=NOW
        )  # fmt: skip

    def tick(self, life: Life) -> None:
        """One round of reconcile.loop; Killed somewhere in it if the life ends there."""
        store, provider = Mortal(self.store, life), Mortal(self.provider, life)
        self.quiet = False
        try:
            send_recorded(self.run.id, store=store, provider=provider, may_spend=lambda: True, now=NOW)
            observed = self.look(store, provider)
            actions = self.decided(observed)
            if observed.study is not None:
                open_now = observed.study.state is StudyState.OPEN
                self.admits = observed.study.places + observed.visits.rejected if open_now else 0
            self.act(actions, store, provider)
            for action in actions:
                if isinstance(action, OfferUnits):
                    store.record_intents(self.run.id, [draft(action, NOW)], budget=None, now=NOW)
                    _, units, drop = store.unoffered(self.run.id, 500)
                    store.mark_offered(self.run.id, units, drop)
                    self.open_units += [unit.unit for unit in units]
                elif isinstance(action, Drain):
                    self.drain()
                elif isinstance(action, TearDown):
                    self.over = True
            self.quiet = True
        except Killed:
            pass

    # ------------------------------------------------------------------ people and the server

    def come(self) -> None:
        if len(self.people) + self.ended_with_work >= self.admits:
            return
        self.next_worker += 1
        worker = f"worker-{self.next_worker}"
        self.people.append(Person(worker=worker, visit=self.inbox.arrive(worker)))
        self.inbox.deliver()

    def take(self, person: Person) -> None:
        if person.hold is None and self.open_units:
            person.hold = self.inbox.hold(self.open_units.pop(0), person.worker, person.visit)
            self.inbox.deliver()

    def answer(self, person: Person) -> None:
        self.take(person)
        if person.hold is None:
            return
        self.inbox.answer(person.hold)
        person.hold, person.submissions = None, person.submissions + 1
        if person.submissions == self.per_visit:
            self.leave(person)
        self.inbox.deliver()

    def give_up(self, person: Person) -> None:
        """The hold expires and the person is gone."""
        if person.hold is not None:
            self.inbox.end(person.hold, EventKind.EXPIRED)
            self.open_units.append(person.hold.unit)
        self.leave(person)
        self.inbox.deliver()

    def visit(self, units: int) -> None:
        """Somebody comes, does `units` units of a visit and goes."""
        before = len(self.people)
        self.come()
        if len(self.people) > before:
            person = self.people[-1]
            for _ in range(min(units, self.per_visit)):
                self.answer(person)
            if person in self.people:
                self.give_up(person)

    def leave(self, person: Person) -> None:
        self.people.remove(person)
        self.ended_with_work += person.submissions > 0
        left = Left(
            visit=person.visit, worker=WorkerId(person.worker), reason=LeftReason.VISIT, submissions=person.submissions
        )
        self.inbox.say(EventKind.LEFT, left)

    def drain(self) -> None:
        for person in list(self.people):
            self.give_up(person)
        if not self.store.drained(self.run.id):
            self.inbox.say(EventKind.DRAINED, Drained())
            self.inbox.deliver()

    def want(self, state: RunState) -> None:
        if self.store.run(self.run.id).wanted is not RunState.DESTROYED:
            self.store.want(self.run.id, state, NOW)


# ---------------------------------------------------------------------- faults, one for each promise


class Unbudgeted(World):
    """I1: neither the rules nor the store ask for the budget."""

    def decided(self, observed: Observed) -> Any:
        return decide(replace(self.desired, budget=None), observed).actions

    def act(self, actions: Any, store: Any, provider: Any) -> None:
        record_and_send(
            self.run.id, actions, store=store, provider=provider, budget=None, may_spend=lambda: True, now=NOW
        )


class Unrecorded(World):
    """I5: actions are sent first and written down afterwards."""

    def act(self, actions: Any, store: Any, provider: Any) -> None:
        for action in actions:
            if isinstance(action, ToProvider):
                with suppress(Refused):
                    send(action, provider)
        super().act(actions, store, provider)


class _PaysAgain(MockProvider):
    def approve(self, key: Any, visit: Any, worker: Any, submission: Any = None) -> None:
        before = self.debits()
        super().approve(key, visit, worker, submission)
        if visit in before:
            with self._writing():
                self._effect("approve", visit)


class PaidTwice(World):
    """I6: the provider pays again when it is asked again, and nobody looks first."""

    def open_provider(self) -> MockProvider:
        return _PaysAgain(self.folder / "mock.db")


class _Adds(MockProvider):
    def raise_places(self, key: Any, to: int) -> Any:
        study = self.fetch_study(key)
        return super().raise_places(key, to + (study.places if study else 0))


class PlacesAdded(World):
    """I7: an adapter that adds places where it should set them."""

    def open_provider(self) -> MockProvider:
        return _Adds(self.folder / "mock.db")


class Spiral(World):
    """I9: places for whoever leaves early, without end."""

    def __post_init__(self) -> None:
        self.surplus, self.budget = 0, None
        super().__post_init__()

    def decided(self, observed: Observed) -> Any:
        return decide(replace(self.desired, surplus_least=1000), observed).actions


class TopUpNotReserved(World):
    """I2: places are listed at their price, and that they may be topped up is seen when it is due."""

    def __post_init__(self) -> None:
        self.top_up = Money(4, "USD")
        super().__post_init__()

    def decided(self, observed: Observed) -> Any:
        return [
            replace(action, top_up=None) if isinstance(action, OpenStudy | RaisePlaces) else action
            for action in super().decided(observed)
        ]


class ToppedUpTwice(World):
    """I4: a top-up goes by another name whenever it is decided."""

    def __post_init__(self) -> None:
        self.count, self.budget, self.wallet, self.top_up = 1, None, None, Money(4, "USD")
        super().__post_init__()

    def decided(self, observed: Observed) -> Any:
        return [
            replace(action, payment=f"{action.payment}:{len(self.provider.effects())}") if isinstance(action, TopUp) else action
            for action in super().decided(observed)
        ]  # fmt: skip


class _Dear(MockProvider):
    def open_study(self, key: Any, *, places: int, reward: Money, title: str) -> Any:
        return super().open_study(key, places=places, reward=reward * 10, title=title)


class TenTimesThePrice(World):
    """I10: an adapter that takes cents for tenths of them."""

    def open_provider(self) -> MockProvider:
        return _Dear(self.folder / "mock.db")
