"""Sending what was written down: what one action meets holds up no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from crowdstack.errors import Busy, NotYet, Unclear
from crowdstack.model import IntentState, Money, RunState, StudyKey, VisitId, WorkerId
from crowdstack.plan.actions import PauseStudy, PayBonus, draft
from crowdstack.providers.mock import MockProvider
from crowdstack.reconcile.act import send_recorded
from crowdstack.reconcile.settle import settle
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import NOW, TASK, Inbox, items, offered, open_run
from tests.plan.builders import desired
from tests.reconcile.stage import FakeClock

STUDY = StudyKey("birds-1")


class Provider:
    """Takes no bonus; the rest it does."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault
        self.states: list[StudyKey] = []

    def pay_bonus(self, *_: object, **__: object) -> None:
        raise self.fault

    def set_state(self, key: StudyKey, state: object) -> None:
        self.states.append(key)


@pytest.mark.parametrize("fault", [NotYet("another bonus is on its way"), Unclear("no answer came")])
def test_a_bonus_that_has_to_wait_holds_up_nothing_else(tmp_path: Path, fault: Busy) -> None:
    store = PeeweeStore(tmp_path / "store.db")
    run = open_run(store)
    cents = Money(50, "USD")
    of = {"study": STUDY, "visit": VisitId("v1"), "worker": WorkerId("ann"), "submission": "s1"}
    bonus = PayBonus(**of, payment="first", net=cents, amount=cents, reason="")
    store.record_intents(
        run.id, [draft(bonus, NOW), draft(PauseStudy(study=STUDY), NOW)], budget=None, now=NOW
    )  # fmt: skip
    provider = Provider(fault)
    waits = send_recorded(run.id, store=store, provider=provider, may_spend=lambda: True, now=NOW)  # type: ignore[arg-type]
    assert list(waits) == ["bonus:first"]
    assert provider.states == [STUDY]
    states = {intent.kind: intent.state for intent in store.journal(run.id)}
    assert states == {"bonus": IntentState.RECORDED, "pause": IntentState.DONE}
    store.close()


def test_the_studys_own_does_not_wait_behind_its_visits(tmp_path: Path) -> None:
    """Where one request takes a second, hundreds of payments take minutes; a study that is to pause must not go on as long."""
    store = PeeweeStore(tmp_path / "store.db")
    run = open_run(store)
    cents = Money(50, "USD")
    of = {"study": STUDY, "visit": VisitId("v1"), "worker": WorkerId("ann"), "submission": "s1"}
    bonus = PayBonus(**of, payment="first", net=cents, amount=cents, reason="")
    store.record_intents(run.id, [draft(bonus, NOW)], budget=None, now=NOW)
    store.record_intents(run.id, [draft(PauseStudy(study=STUDY), NOW)], budget=None, now=NOW)
    provider = Provider(Busy("too many requests"))
    asked: list[bool] = []

    def enough() -> bool:
        asked.append(True)
        return len(asked) > 1  # there is time for one

    send_recorded(run.id, store=store, provider=provider, may_spend=lambda: True, now=NOW, enough=enough)  # type: ignore[arg-type]
    assert provider.states == [STUDY]
    store.close()


class Paid(MockProvider):
    """The bonus is shown now."""

    def pay_bonus(self, *_: object, **__: object) -> None: ...


def test_a_bonus_that_was_on_its_way_when_the_run_ended_is_looked_at_again(tmp_path: Path) -> None:
    store, provider = PeeweeStore(tmp_path / "store.db"), Paid(tmp_path / "mock.db")
    settings = {"desired": desired(items=1).to_settings()}
    run = store.open_run(TASK, settings=settings, items=items("a"), repeats=1, fresh=False, now=NOW)
    inbox = Inbox(store, run)
    visit = inbox.work(offered(store, run)[0], "ann").visit
    inbox.deliver()
    cents = Money(50, "USD")
    of = {"study": STUDY, "visit": visit, "worker": WorkerId("ann"), "submission": None}
    bonus = PayBonus(**of, payment="first", net=cents, amount=cents, reason="")
    store.record_intents(run.id, [draft(bonus, NOW)], budget=None, now=NOW)
    store.set_reached(run.id, RunState.DESTROYED, NOW)
    settle(store.run(run.id), store=store, provider=provider, clock=FakeClock())
    assert store.paid(TASK, "USD") == cents
    assert not store.open_intents(run.id)
    provider.close()
    store.close()


def test_one_that_meets_a_busy_provider_holds_up_none_of_the_others_and_three_in_a_row_end_it(tmp_path: Path) -> None:
    store = PeeweeStore(tmp_path / "store.db")
    run = open_run(store)
    studies = [StudyKey(f"{STUDY}{number}") for number in range(8)]
    store.record_intents(run.id, [draft(PauseStudy(study=key), NOW) for key in studies], budget=None, now=NOW)
    asked: list[StudyKey] = []

    class Throttled:
        def set_state(self, key: StudyKey, state: object) -> None:
            asked.append(key)
            if key not in (studies[0], studies[2]):
                raise Busy("too many requests")

    with pytest.raises(Busy):
        send_recorded(run.id, store=store, provider=Throttled(), may_spend=lambda: True, now=NOW)  # type: ignore[arg-type]
    assert asked == studies[:6]
    done = [intent.body["study"] for intent in store.journal(run.id) if intent.state is IntentState.DONE]
    assert done == [studies[0], studies[2]]
    store.close()
