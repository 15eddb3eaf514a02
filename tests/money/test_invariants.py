"""Money, whatever people, provider, operator and the kernel do: I1, I4-I7, I9, I10, I12 and the ledger (I2, I3).

One state machine, and for each promise a world in which it is broken: the machine must find it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crowdstack.errors import Refused
from crowdstack.model import Money, RunState, Verdict
from tests.contracts.store import NOW, TASK
from tests.money.world import (
    Life,
    PaidTwice,
    Person,
    PlacesAdded,
    Spiral,
    TenTimesThePrice,
    ToppedUpTwice,
    TopUpNotReserved,
    Unbudgeted,
    Unrecorded,
    World,
)
from tests.plan.builders import CENTS_5
from tests.size import FULL

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # what is proven here is no matter of disks
Check = Callable[[World], None]


class Broken(AssertionError):
    """A promise about money does not hold."""


def hold(condition: bool, promise: str, found: object = "") -> None:
    if not condition:
        raise Broken(f"{promise}: {found}")


# ---------------------------------------------------------------------- the promises


def i1_the_exposure_never_passes_the_budget(world: World) -> None:
    if world.budget is not None:
        exposure = world.store.exposure(TASK, "USD")
        hold(exposure <= world.budget, "I1", exposure)


def i2_what_was_debited_was_always_allowed_for(world: World) -> None:
    spent = world.provider.spent()
    hold(spent is None or spent <= world.store.exposure(TASK, "USD"), "I2", spent)


def i2_what_a_visit_may_be_topped_up_by_is_reserved(world: World) -> None:
    """Of every place and every paid visit; what was fixed once it was."""
    effects, lines = world.provider.effects(), world.provider.lines()
    places = max((total for verb, _, total in effects if verb in ("open", "places") and total), default=0)
    paid = sum(purpose == "reward" for _, purpose in lines)
    free = 0 if any(verb == "closed" for verb, _, _ in effects) else max(0, places - paid)
    each = world.promised if world.promised is not None else world.top_up or CENTS_5 * 0
    owed = CENTS_5 * free + each * (free + paid - len(topped_up(world)))
    hold((world.provider.spent() or CENTS_5 * 0) + owed <= world.store.exposure(TASK, "USD"), "I2", owed)


def topped_up(world: World) -> list[str]:
    """The visits, each as often as it was."""
    return [visit for visit, purpose in world.provider.lines() if purpose.startswith("bonus:top_up:")]


def i3_at_rest_ledger_and_wallet_agree(world: World) -> None:
    if world.quiet and not world.store.open_intents(world.run.id):
        spent = world.provider.spent() or CENTS_5 * 0
        hold(world.store.paid(TASK, "USD") == spent, "I3", spent)


def i4_i6_nothing_is_done_twice(world: World) -> None:
    done = Counter(
        (verb, subject) for verb, subject, total in world.provider.effects() if verb in ("approve", "reject", "bonus")
    )
    done.update((verb, subject) for verb, subject, total in world.provider.effects() if verb == "open" and total)
    hold(all(times == 1 for times in done.values()), "I6", done)


def i4_a_visit_is_topped_up_once(world: World) -> None:
    hold(len(set(topped_up(world))) == len(topped_up(world)), "I4", topped_up(world))


def i12_at_the_end_whoever_was_paid_is_topped_up(world: World) -> None:
    """And by the same; where the wallet was dry it stays owed."""
    if world.over and world.wallet is None:
        lines = world.provider.lines()
        sums = {amount for (_, purpose), amount in lines.items() if purpose.startswith("bonus:top_up:")}
        promised = world.promised or CENTS_5 * 0
        hold(sums == ({promised} if promised.minor and world.provider.debits() else set()), "I12", sums)
        hold(not promised.minor or set(topped_up(world)) == set(world.provider.debits()), "I12", lines)


def i5_every_effect_was_written_down_before(world: World) -> None:
    keys = {intent.key for intent in world.store.journal(world.run.id)}
    for verb, subject, total in world.provider.effects():
        match verb, total:
            case "open", None:
                found = any(key.startswith(f"resume:{subject}:") for key in keys)
            case "paused", _:
                found = any(key.startswith(f"pause:{subject}:") for key in keys)
            case "closed", _:
                found = f"close:{subject}" in keys
            case "bonus", _:
                found = subject in keys
            case "places", _:
                found = f"places:{subject}:{total}" in keys
            case _:
                found = f"{verb}:{subject}" in keys
        hold(found, "I5", (verb, subject, total))


def i7_places_are_totals_that_never_fall(world: World) -> None:
    listed = [total for verb, _, total in world.provider.effects() if verb in ("open", "places") and total]
    hold(listed == sorted(listed), "I7", listed)
    hold(not listed or listed[-1] <= world.store.places(world.desired.study), "I7", listed)


def i9_places_stay_within_target_and_surplus(world: World) -> None:
    listed = [total for verb, _, total in world.provider.effects() if verb in ("open", "places") and total]
    hold(max(listed, default=0) <= world.most_places, "I9", listed)


def i10_nobody_pays_more_than_the_preview_said(world: World) -> None:
    spent = world.provider.spent()
    hold(spent is None or spent <= world.cap, "I10", spent)


PROMISES: tuple[Check, ...] = (
    i1_the_exposure_never_passes_the_budget,
    i2_what_was_debited_was_always_allowed_for,
    i2_what_a_visit_may_be_topped_up_by_is_reserved,
    i3_at_rest_ledger_and_wallet_agree,
    i4_a_visit_is_topped_up_once,
    i4_i6_nothing_is_done_twice,
    i5_every_effect_was_written_down_before,
    i7_places_are_totals_that_never_fall,
    i9_places_stay_within_target_and_surplus,
    i10_nobody_pays_more_than_the_preview_said,
    i12_at_the_end_whoever_was_paid_is_topped_up,
)


# ---------------------------------------------------------------------- the machine


class Story(RuleBasedStateMachine):
    world_class: ClassVar[type[World]] = World
    promises: ClassVar[tuple[Check, ...]] = PROMISES

    @initialize(
        budget=st.sampled_from([None, None, 1, 2, 4]),
        wallet=st.sampled_from([None, None, 1]),
        per_visit=st.integers(1, 3),
        wave=st.sampled_from([None, 1, 2]),
        top_up=st.sampled_from([None, 1, 4]),
        listed=st.sampled_from([True, True, False]),
    )
    def begin(
        self,
        budget: int | None,
        wallet: int | None,
        per_visit: int,
        wave: int | None,
        top_up: int | None,
        listed: bool,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="crowdstack-money-", dir=MEMORY))
        self.world = self.world_class(
            folder=self.folder,
            budget=None if budget is None else CENTS_5 * budget,
            wallet=None if wallet is None else CENTS_5 * wallet,
            per_visit=per_visit,
            wave=wave,
            top_up=None if top_up is None else Money(top_up, "USD"),
        )
        for _ in range(3 if listed else 0):  # or the beginning, too, is left to chance
            self.world.tick(Life())

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.folder)

    @property
    def going_on(self) -> bool:
        return not self.world.over

    # the reconciler
    @precondition(lambda self: self.going_on)
    @rule(rounds=st.integers(1, 3))
    def reconciler_goes_on(self, rounds: int) -> None:
        for _ in range(rounds):
            self.world.tick(Life())

    @precondition(lambda self: self.going_on)
    @rule(call=st.integers(1, 24) | st.integers(12, 17), before=st.booleans(), units=st.integers(0, 3))
    def reconciler_is_killed(self, call: int, before: bool, units: int) -> None:
        """Anywhere; most of all (the second range) around its effects. Perhaps after somebody was there to be paid."""
        if units:
            self.world.visit(units)
        self.world.tick(Life(until=call, before=before))

    # people
    @precondition(lambda self: self.going_on)
    @rule(count=st.integers(1, 3))
    def people_come(self, count: int) -> None:
        for _ in range(count):
            self.world.come()

    @precondition(lambda self: self.going_on)
    @rule(units=st.integers(1, 3), ticks=st.integers(0, 2))
    def somebody_comes_works_and_goes(self, units: int, ticks: int) -> None:
        self.world.visit(units)
        for _ in range(ticks):
            self.world.tick(Life())

    @precondition(lambda self: self.going_on)
    @rule(ticks=st.integers(0, 6))
    def the_rest_is_done(self, ticks: int) -> None:
        for _ in range(self.world.count):
            self.world.visit(self.world.per_visit)
            self.world.tick(Life())
        for _ in range(ticks):
            self.world.tick(Life())

    def somebody(self, data: st.DataObject) -> Person:
        person: Person = data.draw(st.sampled_from(self.world.people), label="person")
        return person

    @precondition(lambda self: self.world.people)
    @rule(data=st.data())
    def somebody_answers(self, data: st.DataObject) -> None:
        self.world.answer(self.somebody(data))

    @precondition(lambda self: self.world.people)
    @rule(data=st.data())
    def somebody_takes_a_unit(self, data: st.DataObject) -> None:
        self.world.take(self.somebody(data))

    @precondition(lambda self: self.world.people)
    @rule(data=st.data())
    def somebody_gives_up(self, data: st.DataObject) -> None:
        self.world.give_up(self.somebody(data))

    # the operator
    @rule(data=st.data(), verdict=st.sampled_from(Verdict))
    def somebody_reviews(self, data: st.DataObject, verdict: Verdict) -> None:
        rows = list(self.world.store.submissions(TASK))
        if rows:
            row = data.draw(st.sampled_from(rows), label="submission")
            try:
                self.world.store.judge(row.submission, verdict, reason="", by="me", version=None, now=NOW)
            except Refused:
                pass  # paid already: the store says so

    @rule(state=st.sampled_from([RunState.PAUSED, RunState.LIVE, RunState.LIVE]))
    def operator_stops_or_resumes(self, state: RunState) -> None:
        self.world.want(state)

    @rule(really=st.integers(0, 9))
    def operator_destroys(self, really: int) -> None:
        if really == 0:
            self.world.want(RunState.DESTROYED)

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "world"):
            for promise in self.promises:
                promise(self.world)


def tell(world_class: type[World], promises: tuple[Check, ...], *, examples: int) -> None:
    machine = type("Told", (Story,), {"world_class": world_class, "promises": promises})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(900)
def test_whatever_happens_money_keeps_its_promises() -> None:
    tell(World, PROMISES, examples=2000 if FULL else 40)


@pytest.mark.parametrize(
    ("fault", "promise", "name"),
    [
        (Unbudgeted, i1_the_exposure_never_passes_the_budget, "I1"),
        (Unrecorded, i5_every_effect_was_written_down_before, "I5"),
        (TopUpNotReserved, i2_what_a_visit_may_be_topped_up_by_is_reserved, "I2"),
        (ToppedUpTwice, i4_a_visit_is_topped_up_once, "I4"),
        (PaidTwice, i4_i6_nothing_is_done_twice, "I6"),
        (PlacesAdded, i7_places_are_totals_that_never_fall, "I7"),
        (Spiral, i9_places_stay_within_target_and_surplus, "I9"),
        (TenTimesThePrice, i10_nobody_pays_more_than_the_preview_said, "I10"),
    ],
)
def test_a_broken_promise_is_noticed(fault: type[World], promise: Check, name: str) -> None:
    with pytest.raises(Broken, match=f"^{name}:"):
        tell(fault, (promise,), examples=300)
