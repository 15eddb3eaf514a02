"""What a task has come to: by our ledger and by the provider's books."""

from __future__ import annotations

from crowdstack.errors import NotFound
from crowdstack.model import Money, TaskName, VisitId
from crowdstack.plan.actions import TopUp
from crowdstack.plan.desired import Desired
from crowdstack.ports import Provider, Store


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
