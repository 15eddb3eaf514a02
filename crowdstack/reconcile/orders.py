"""Orders: what a person wants done for one worker, a payment on top or a message. By the run's reconciler, or without one.

Each has a name. It is written down before it is sent, and what has the same name is done once.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from crowdstack.errors import Busy, LockHeld, NotFound, StateMismatch, UsageError
from crowdstack.model import IntentState, Money, RunId, TaskName, VisitId
from crowdstack.plan.actions import Action, Order, PayBonus, SendMessage, TopUp, action_of, draft
from crowdstack.plan.desired import Desired
from crowdstack.ports import Clock, Provider, Store
from crowdstack.reconcile.act import send_recorded


def bonus(
    task: TaskName, named: str, net: Money, *, reason: str, payment: str | None, store: Store, provider: Provider
) -> PayBonus:
    """The order to pay `net` on top to a worker (by the last visit), or for a visit (by our id or the provider's).

    `payment`: its name; what was ordered by it before is that same order, in whichever run. NotFound: nobody of that name
    came. StateMismatch: the name is of another worker's payment, or of another sum.
    """
    if payment is not None and payment.startswith(TopUp.name(VisitId(""))):
        raise UsageError(f"{payment!r} is the name of a top-up", hint="choose another --id")
    whose = _last_visit(task, named, store)
    order = PayBonus(**whose, payment=payment or _new_name(), net=net, amount=provider.gross(net), reason=reason)
    before = _before(task, order, store)
    if isinstance(before, PayBonus) and (before.worker, before.net) != (order.worker, net):
        raise StateMismatch(
            f"payment {payment} is another: {before.net} to {before.worker}", hint="choose another --id"
        )
    return before if isinstance(before, PayBonus) else order


def message(task: TaskName, named: str, text: str, *, name: str | None, store: Store) -> SendMessage:
    """The order to write to a worker, about the last visit (or that one). `name` as of a payment (`bonus`)."""
    order = SendMessage(**_last_visit(task, named, store), message=name or _new_name(), text=text)
    before = _before(task, order, store)
    if isinstance(before, SendMessage) and (before.worker, before.text) != (order.worker, text):
        raise StateMismatch(f"message {name} is another one, to {before.worker}", hint="choose another --id")
    return before if isinstance(before, SendMessage) else order


def _before(task: TaskName, order: Order, store: Store) -> Action | None:
    """What was written down by this order's name, and not refused."""
    found = (store.intent(run.id, order.key) for run in store.runs(task))
    return next((action_of(intent.kind, intent.body) for intent in found if intent is not None), None)


def _last_visit(task: TaskName, named: str, store: Store) -> dict[str, Any]:
    visits = [row for row in store.visits(task, named) if row.study is not None]
    if not visits:
        raise NotFound(f"no worker or visit {named} in task {task}", hint="crowdstack workers ls --identified")
    last = visits[-1]
    return {"study": last.study, "visit": last.visit, "worker": last.worker, "submission": last.submission}


def _new_name() -> str:
    return secrets.token_urlsafe(9)


def carry_out(
    order: Order,
    *,
    store: Store,
    provider: Provider,
    clock: Clock,
    waits: Callable[[], Iterable[object]],
    looks: Callable[[], Iterable[object]] = lambda: (),
) -> str | None:
    """Write it down and send it; why it is not done, if it is not. OverBudget, and nothing is written down.

    Where the run has a reconciler that one sends it, and is waited for as long as `waits` goes on. What the provider shows a
    while later is looked for as long as `looks` goes on.
    """
    run, now = store.run(RunId(order.study)), clock.now()
    budget = Desired.from_settings(run.settings["desired"], run=run.id).budget
    (intent,) = store.record_intents(run.id, [draft(order, now)], budget=budget, now=now)
    if intent.state is IntentState.DONE:
        return None

    def state() -> IntentState:
        return next(entry.state for entry in store.journal(run.id) if entry.id == intent.id)

    try:
        with store.reconciler_lock(run.id):
            for _ in itertools.chain((None,), looks()):
                try:
                    refused = send_recorded(run.id, store=store, provider=provider, may_spend=lambda: False, now=now)
                except Busy as fault:
                    refused = {order.key: str(fault)}
                if state() is not IntentState.RECORDED:
                    break
            return (
                None
                if state() is IntentState.DONE
                else refused.get(order.key, "it is written down and was not sent yet")
            )
    except LockHeld:
        for _ in waits():
            found = next(entry for entry in store.journal(run.id) if entry.id == intent.id)
            if found.state is not IntentState.RECORDED:
                return found.result if found.state is IntentState.REFUSED else None
        return "it is written down; the run's reconciler has not sent it yet"
