"""Payments beside the reward, ordered by a person; and what a task has come to. By the run's reconciler, or without one."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterable

from crowdstack.errors import LockHeld, NotFound, UsageError
from crowdstack.model import IntentState, Money, RunId, TaskName, VisitId
from crowdstack.plan.actions import PayBonus, TopUp, draft
from crowdstack.plan.desired import Desired
from crowdstack.ports import Clock, Provider, Store
from crowdstack.reconcile.act import send_recorded


def bonus(
    task: TaskName, named: str, net: Money, *, reason: str, payment: str | None, store: Store, provider: Provider
) -> PayBonus:
    """The order to pay `net` on top to a worker (by the last visit), or for a visit (by our id or the provider's).

    `payment`: its name; what has the same name is paid once. NotFound: nobody of that name came.
    """
    if payment is not None and payment.startswith(TopUp.name(VisitId(""))):
        raise UsageError(f"{payment!r} is the name of a top-up", hint="choose another --id")
    visits = [row for row in store.visits(task, named) if row.study is not None]
    if not visits:
        raise NotFound(f"no worker or visit {named} in task {task}", hint="crowdstack workers ls --identified")
    last = visits[-1]
    assert last.study is not None
    return PayBonus(
        study=last.study,
        visit=last.visit,
        worker=last.worker,
        submission=last.submission,
        payment=payment or secrets.token_urlsafe(9),
        net=net,
        amount=provider.gross(net),
        reason=reason,
    )


def pay(
    order: PayBonus,
    *,
    store: Store,
    provider: Provider,
    clock: Clock,
    waits: Callable[[], Iterable[object]],
    looks: Callable[[], Iterable[object]] = lambda: (),
) -> str | None:
    """Write it down and send it; why it is not done, if it is not. OverBudget, and nothing is written down.

    Where the run has a reconciler that one sends it, and is waited for as long as `waits` goes on. A payment that the provider
    shows a while later is looked for as long as `looks` goes on.
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
                refused = send_recorded(run.id, store=store, provider=provider, may_spend=lambda: False, now=now)
                if state() is not IntentState.RECORDED:
                    break
            return refused.get(order.key)
    except LockHeld:
        for _ in waits():
            found = next(entry for entry in store.journal(run.id) if entry.id == intent.id)
            if found.state is not IntentState.RECORDED:
                return found.result if found.state is IntentState.REFUSED else None
        return "it is written down; the run's reconciler has not sent it yet"


def cost(task: TaskName, *, store: Store, provider: Provider) -> dict[str, Money | None]:
    """What was paid by our ledger, what may still be charged, what the provider says was spent. NotFound before a run."""
    runs = store.runs(task)
    if not runs:
        raise NotFound(f"task {task} was never up", hint="crowdstack preview SPEC shows what it may cost")
    desired = Desired.from_settings(runs[-1].settings["desired"], run=runs[-1].id)
    currency = desired.reward.currency
    paid, exposure = store.paid(task, currency), store.exposure(task, currency)
    on_top = {False: Money(0, currency), True: Money(0, currency)}  # decided by a person, by us
    for row in store.payments(task):
        if row.purpose != "reward" and not row.declined:
            on_top[row.purpose.startswith(f"bonus:{TopUp.name(VisitId(''))}")] += row.amount
    return {
        "paid": paid,
        "of_it_bonuses": on_top[False],
        "of_it_top_ups": on_top[True],
        "may_still_be_charged": exposure - paid,
        "most_in_all": exposure,
        "budget": desired.budget,
        "by_the_providers_books": provider.spent(),
    }
