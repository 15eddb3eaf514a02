"""Visits that took longer than was said: what they get on top, once, whatever is killed. A visit takes two seconds here, and is
said to take one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import Unclear
from crowdstack.model import Money, RunState, Verdict
from crowdstack.plan.actions import FixTopUp, draft
from crowdstack.plan.desired import Count
from crowdstack.plan.forecast import fold, forecast, journaled, matches
from crowdstack.providers.mock import MockProvider
from crowdstack.reconcile.observe import observe
from crowdstack.reconcile.settle import settle
from tests.contracts.store import NOW, TASK
from tests.money.world import Life
from tests.plan.builders import CENTS_5
from tests.reconcile.stage import Stage
from tests.size import FULL

CENTS_4 = Money(4, "USD")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Any]:
    made: list[Stage] = []

    def make(name: str = "stage", *, provider: type[MockProvider] | None = None, **more: Any) -> Stage:
        folder = tmp_path / name
        folder.mkdir()
        here = Stage(folder, **{"estimated_s": 1, "top_up": CENTS_4, **more})
        if provider is not None:
            here.provider.close()
            here.provider = provider(folder / "mock.db")
        made.append(here)
        return here

    yield make
    for one in made:
        one.close()


def on_top(here: Stage) -> list[Money]:
    return [amount for (_, purpose), amount in here.provider.lines().items() if purpose.startswith("bonus:top_up:")]


def told(here: Stage) -> list[str]:
    happened = fold(journaled(here.store.journal(here.run.id)), here.desired, here.store.unit_counts(here.run.id))
    return [str(line) for line in happened]


def all_is_well(here: Stage) -> None:
    assert here.reached is RunState.DESTROYED
    assert on_top(here) == [CENTS_4] * 4
    assert sum(verb == "bonus" for verb, _ in here.effects()) == 4
    assert here.provider.spent() == here.store.paid(TASK, "USD") == (CENTS_5 + CENTS_4) * 4
    assert here.store.exposure(TASK, "USD") == here.store.paid(TASK, "USD")
    assert here.store.open_intents(here.run.id) == []


def test_visits_that_took_longer_are_topped_up_before_the_run_is_over(stage: Any) -> None:
    here = stage()
    here.live()
    all_is_well(here)
    assert told(here)[-3:] == ["- close study birds-1", "~ top up 4 visits: 0.16 USD (median 2 s)", "- tear down"]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_at_any_call_everybody_is_topped_up_once(stage: Any, before: bool) -> None:
    whole = Life()
    stage("whole").live(whole)
    for call in range(1, whole.calls + 1, 1 if FULL else 7):
        here = stage(f"killed-{call}")
        here.live(Life(until=call, before=before))
        if here.reached is not RunState.DESTROYED:
            here.live()
        all_is_well(here)
        here.close()


@pytest.mark.parametrize(("said_s", "count"), [(1, 4), (2, 0)], ids=["longer", "as was said"])
def test_what_was_previewed_is_what_happened(stage: Any, said_s: int, count: int) -> None:
    here = stage(estimated_s=said_s)
    world = observe(here.run, here.desired, store=here.store, provider=here.provider, connected=False, refused={})
    promised = forecast(here.desired, world)
    assert f"~ top up each visit by 0.04 USD at most, if their median is over {said_s} s" in map(str, promised)
    here.live()
    happened = fold(journaled(here.store.journal(here.run.id)), here.desired, here.store.unit_counts(here.run.id))
    assert matches(promised, happened)
    assert len(on_top(here)) == count
    assert here.store.exposure(TASK, "USD") == here.store.paid(TASK, "USD"), "what is not needed is reserved no more"


def test_a_place_is_listed_only_if_its_top_up_fits_the_budget_too(stage: Any) -> None:
    here = stage(budget=(CENTS_5 + CENTS_4) * 2)
    here.live(Life(until=200))
    assert here.store.places(here.desired.study) == 2
    assert here.store.exposure(TASK, "USD") == (CENTS_5 + CENTS_4) * 2
    assert "one more place (0.09 USD) does not fit budget.max 0.18 USD" in here.store.noted(here.run.id)[1]


def test_a_stack_that_is_kept_holds_up_nobodys_top_up(stage: Any) -> None:
    here = stage(keep=True)
    here.live(Life(until=400))
    assert here.reached is RunState.LIVE
    assert on_top(here) == [CENTS_4] * 4


def test_what_the_wallet_cannot_pay_stays_owed_and_is_paid_when_there_is_money(stage: Any) -> None:
    here = stage()
    wallet = (CENTS_5 * 4) + CENTS_4 * 3
    here.provider._wallet = lambda: wallet
    here.live(Life(until=400))
    assert on_top(here) == [CENTS_4] * 3
    assert here.reached is RunState.LIVE
    assert "the wallet of 0.32 USD cannot pay 0.04 USD more" in here.store.noted(here.run.id)[1]
    here.store.want(here.run.id, RunState.DESTROYED, here.clock.now())
    here.live()
    assert here.reached is RunState.DESTROYED
    assert here.store.exposure(TASK, "USD") == here.store.paid(TASK, "USD") + CENTS_4
    here.provider._wallet = lambda: None
    assert settle(here.store.run(here.run.id), store=here.store, provider=here.provider, clock=here.clock) == {}
    all_is_well(here)


class Slow(MockProvider):
    """Pays bonuses, and shows none before it is `shown`."""

    shown = False

    def pay_bonus(self, *arguments: Any, **more: Any) -> None:
        super().pay_bonus(*arguments, **more)
        if not self.shown:
            raise Unclear("it was sent and is not shown yet")


def test_the_run_waits_for_payments_that_are_not_shown_yet_and_sends_none_again(stage: Any) -> None:
    here = stage(provider=Slow)
    here.live(Life(until=400))
    here.store.want(here.run.id, RunState.DESTROYED, here.clock.now())
    here.live(Life(until=400))
    assert here.reached is RunState.LIVE
    assert "not shown yet" in here.store.noted(here.run.id)[1]
    here.provider.shown = True
    here.live()
    all_is_well(here)


def test_destroy_now_leaves_what_is_not_shown_yet_promised_and_it_is_booked_later(stage: Any) -> None:
    here = stage(provider=Slow)
    here.live(Life(until=400))
    here.store.want(here.run.id, RunState.DESTROYED, here.clock.now(), drain_now=True)
    here.live()
    assert here.reached is RunState.DESTROYED
    assert here.store.paid(TASK, "USD") == CENTS_5 * 4
    assert here.store.exposure(TASK, "USD") == (CENTS_5 + CENTS_4) * 4
    here.provider.shown = True
    assert settle(here.store.run(here.run.id), store=here.store, provider=here.provider, clock=here.clock) == {}
    all_is_well(here)


def test_what_was_decided_once_holds_whatever_is_measured_later(stage: Any) -> None:
    here = stage()
    cent = Money(1, "USD")
    decided = FixTopUp(study=here.desired.study, net=cent, amount=cent, median_s=1)
    here.store.record_intents(here.run.id, [draft(decided, NOW)], budget=None, now=NOW)
    here.live()
    assert on_top(here) == [cent] * 4


def test_who_is_paid_when_the_run_is_over_gets_the_same(stage: Any) -> None:
    here = stage(count=Count.APPROVED)
    here.live(Life(until=400))
    here.store.want(here.run.id, RunState.DESTROYED, here.clock.now())
    here.live()
    assert here.store.exposure(TASK, "USD") == (CENTS_5 + CENTS_4) * 4, "what was promised is owed"
    for row in list(here.store.submissions(TASK)):
        here.store.judge(row.submission, Verdict.APPROVE, reason="", by="me", version=None, now=NOW)
    for _ in range(2):
        assert settle(here.store.run(here.run.id), store=here.store, provider=here.provider, clock=here.clock) == {}
    all_is_well(here)
