"""Orders of a person (payments beside the reward, messages) and why a worker gets no work: over the real store and the mock provider's books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import Busy, NotFound, OverBudget, StateMismatch, Unclear
from crowdstack.model import ListedState, ListedVisit, Money, Run, RunState, StudyKey, TaskName, WorkerId, visit_of
from crowdstack.plan.actions import Order, PayBonus, SendMessage
from crowdstack.ports import Listing
from crowdstack.providers.mock import MockProvider
from crowdstack.reconcile.act import record_and_send
from crowdstack.reconcile.cost import cost
from crowdstack.reconcile.observe import observe
from crowdstack.reconcile.orders import bonus, carry_out, message
from crowdstack.reconcile.why import why
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import NOW, TASK, Inbox, items
from tests.plan.builders import desired as wish


class Clock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


class Desk:
    """A run in which worker ann has answered one of two items and was paid for it."""

    def __init__(self, folder: Path, budget: Money | None = None) -> None:
        from dataclasses import replace

        from crowdstack.plan.decide import decide

        self.folder, self.store = folder, PeeweeStore(folder / "store.db")
        self.provider = MockProvider(folder / "mock.db")
        wanted = replace(wish(items=2, per_visit=1, surplus_percent=0, surplus_least=0), task=TASK, budget=budget)
        settings = {"desired": wanted.to_settings(), "stack": {"max_units": None}}
        self.run: Run = self.store.open_run(
            TASK, settings=settings, items=items("a", "b"), repeats=1, fresh=False, now=NOW
        )
        self.desired = replace(wanted, study=self.run.id)
        inbox = Inbox(self.store, self.run)
        _, units, _ = self.store.unoffered(self.run.id, 10)
        self.store.mark_offered(self.run.id, units)
        for _ in range(2):
            seen = observe(self.run, self.desired, store=self.store, provider=self.provider, connected=True, refused={})
            record_and_send(
                self.run.id, decide(self.desired, seen).actions, store=self.store, provider=self.provider,
                budget=budget, may_spend=lambda: True, now=NOW,
            )  # fmt: skip
            if seen.study is None:
                hold = inbox.hold(units[0].unit, "ann", inbox.arrive("ann"))
                inbox.answer(hold)
                inbox.leave(hold)
                inbox.deliver()

    def order(self, payment: str = "thanks", net: Money = Money(20, "USD")) -> PayBonus:
        return bonus(TASK, "ann", net, reason="thorough", payment=payment, store=self.store, provider=self.provider)

    def write(self, text: str, name: str = "thanks") -> SendMessage:
        return message(TASK, "ann", text, name=name, store=self.store)

    def carry_out(self, order: Order) -> str | None:
        return carry_out(order, store=self.store, provider=self.provider, clock=Clock(), waits=lambda: ())

    def why(self, worker: str) -> list[str]:
        return why(self.run, WorkerId(worker), store=self.store, provider=self.provider, max_units=None)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()
    made.provider.close()


def test_a_bonus_is_paid_booked_and_paid_once(desk: Desk) -> None:
    for _ in range(3):
        assert desk.carry_out(desk.order()) is None
    booked = [(row.worker, row.purpose, row.amount) for row in desk.store.payments(TASK) if row.purpose != "reward"]
    assert booked == [("ann", "bonus:thanks", Money(20, "USD"))]
    assert cost(TASK, store=desk.store, provider=desk.provider)["of_it_bonuses"] == Money(20, "USD")
    assert desk.provider.spent() == desk.store.paid(TASK, "USD")


def test_a_payment_that_is_shown_a_while_later_is_waited_for(desk: Desk) -> None:
    class Slow(MockProvider):
        """Shows what it paid when it is asked the third time."""

        asked = 0

        def pay_bonus(self, *args: Any, **more: Any) -> None:
            super().pay_bonus(*args, **more)
            self.asked += 1
            if self.asked < 3:
                raise Unclear("it was sent and is not shown yet")

    desk.provider.close()
    desk.provider = Slow(desk.folder / "mock.db")
    why = carry_out(
        desk.order(), store=desk.store, provider=desk.provider, clock=Clock(), waits=lambda: (), looks=lambda: range(9)
    )
    assert why is None
    assert desk.provider.asked == 3
    assert desk.provider.spent() == desk.store.paid(TASK, "USD")


def test_a_bonus_over_the_budget_is_not_written_down(tmp_path: Path) -> None:
    desk = Desk(tmp_path, budget=Money(15, "USD"))
    with pytest.raises(OverBudget):
        desk.carry_out(desk.order())
    assert not [intent for intent in desk.store.journal(desk.run.id) if intent.kind == "bonus"]


class Postal(MockProvider):
    """Has messages; what it sent is in `sent`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sent: list[tuple[str, str, str]] = []

    def send_message(self, key: StudyKey, worker: WorkerId, *, message: str, text: str) -> None:
        self.sent.append((worker, message, text))


def test_a_name_is_one_payment_in_every_run_of_the_task_and_of_one_worker(desk: Desk) -> None:
    assert desk.carry_out(desk.order("first")) is None
    first = desk.store.intent(desk.run.id, "bonus:first")
    desk.store.set_reached(desk.run.id, RunState.DESTROYED, NOW)
    later = desk.store.open_run(
        TASK, settings=desk.run.settings, items=items("a", "b", "c"), repeats=1, fresh=True, now=NOW
    )
    inbox = Inbox(desk.store, later, "inbox-inbox-later")
    _, units, _ = desk.store.unoffered(later.id, 10)
    desk.store.mark_offered(later.id, units)
    for unit, worker in zip(units, ("ann", "bob"), strict=False):
        inbox.answer(inbox.hold(unit.unit, worker, inbox.arrive(worker, f"s-{worker}")))
    inbox.deliver()
    [visit] = [row.visit for row in desk.store.visits(TASK, "ann") if row.study == later.id]
    of = {"reason": "thorough", "store": desk.store, "provider": desk.provider}
    assert bonus(TASK, visit, Money(20, "USD"), payment="second", **of).study == later.id  # type: ignore[arg-type]
    again = bonus(TASK, visit, Money(20, "USD"), payment="first", **of)  # type: ignore[arg-type]
    assert again.study == desk.run.id
    assert desk.carry_out(again) is None
    assert first is not None
    assert [line.purpose for line in desk.store.payments(TASK)].count("bonus:first") == 1
    with pytest.raises(StateMismatch, match="another"):
        desk.order("first", Money(30, "USD"))
    with pytest.raises(StateMismatch, match="another"):
        bonus(TASK, "bob", Money(20, "USD"), reason="", payment="first", store=desk.store, provider=desk.provider)


def test_an_order_that_meets_a_busy_provider_is_told_and_not_thrown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise Busy("too many requests")

    with monkeypatch.context() as patched:
        patched.setattr(desk.provider, "pay_bonus", busy)
        order = desk.order()
        assert "too many requests" in str(desk.carry_out(order))
    assert desk.carry_out(desk.order()) is None
    assert [line.purpose for line in desk.store.payments(TASK)].count("bonus:thanks") == 1


def test_a_message_is_written_down_and_sent_once_for_its_name(desk: Desk) -> None:
    desk.provider.close()
    desk.provider = Postal(desk.folder / "mock.db")
    for _ in range(3):
        assert desk.carry_out(desk.write("Thank you.")) is None
    assert desk.provider.sent == [("ann", "thanks", "Thank you.")]
    assert desk.carry_out(desk.write("Thank you.", "again")) is None
    journal = [(entry.key, entry.state.value) for entry in desk.store.journal(desk.run.id) if entry.kind == "message"]
    assert journal == [("message:thanks", "done"), ("message:again", "done")]
    with pytest.raises(StateMismatch, match="is another one"):
        desk.carry_out(desk.write("Never mind.", "again"))
    assert len(desk.provider.sent) == 2


def test_a_provider_without_messages_says_so(desk: Desk) -> None:
    why = desk.carry_out(desk.write("Thank you."))
    assert why is not None
    assert "the mock provider has no messages" in why


def test_nobody_is_paid_or_written_to_who_never_came(desk: Desk) -> None:
    with pytest.raises(NotFound):
        bonus(TASK, "zoe", Money(1, "USD"), reason="", payment=None, store=desk.store, provider=desk.provider)
    with pytest.raises(NotFound):
        message(TASK, "zoe", "Thank you.", name=None, store=desk.store)


def test_each_cause_is_told(desk: Desk) -> None:
    assert desk.why("zoe") == ["this worker never came to the task server; whom the provider lets in it alone knows"]
    desk.store.block(TASK, [WorkerId("zoe")], reason="", by="me", now=NOW)
    assert desk.why("zoe")[0].startswith("this worker was blocked by hand")
    assert any("handed in with 1 submissions" in cause for cause in desk.why("ann"))
    assert desk.store.unblock(TASK, [WorkerId("zoe")]) == 1
    assert desk.store.blocked(TASK) == ()


def test_who_must_hold_a_qualification_is_told_so(desk: Desk) -> None:
    assert desk.store.admission(TASK) == ((), None)
    desk.store.qualify(TASK, [WorkerId("ann"), WorkerId("bob")], "trained", 90, by="me", now=NOW)
    desk.store.qualify(TASK, [WorkerId("bob")], "pilot", 1, by="me", now=NOW)
    assert desk.store.admission(TASK, require=["trained"], exclude=["pilot"]) == (("bob",), ("ann", "bob"))
    assert desk.store.admission(TASK, require=["trained", "pilot"]) == ((), ("bob",))
    assert desk.store.qualifications(TASK, WorkerId("bob")) == {"pilot": 1, "trained": 90}
    assert desk.store.revoke(TASK, [WorkerId("bob"), WorkerId("zoe")], "trained") == 1
    assert desk.store.admission(TASK, require=["trained"]) == ((), ("ann",))


def test_workers_of_a_task_that_never_was_are_nobodys(desk: Desk) -> None:
    other = TaskName("other")
    with pytest.raises(NotFound, match="task other was never up"):
        desk.store.qualify(other, [WorkerId("ann")], "trained", 1, by="me", now=NOW)
    with pytest.raises(NotFound, match="task other was never up"):
        desk.store.block(other, [WorkerId("ann")], reason="", by="me", now=NOW)


def test_whom_the_provider_alone_tells_of_is_shown_too(desk: Desk) -> None:
    listed = ListedVisit(
        visit=visit_of(StudyKey(desk.run.id), WorkerId("zoe"), "s-1"), submission="s-1", worker=WorkerId("zoe"),
        state=ListedState.AWAITING,
    )  # fmt: skip
    listing = Listing(visits=(listed,), at=NOW)
    desk.store.keep_listing(desk.run.id, StudyKey(desk.run.id), listing, gross=Money(5, "USD"), now=NOW)
    assert [(row.worker, row.last_came) for row in desk.store.workers(TASK) if row.worker == "zoe"] == [("zoe", None)]
    (visit,) = desk.store.visits(TASK, "s-1")
    assert (visit.worker, visit.listed, visit.arrived_at) == ("zoe", ListedState.AWAITING, None)
    assert any("s-1 was handed in with 0 submissions" in cause for cause in desk.why("zoe"))
