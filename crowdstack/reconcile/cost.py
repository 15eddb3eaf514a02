"""What a task has come to: by our ledger and by the provider's books."""

from __future__ import annotations

from crowdstack.errors import NotFound
from crowdstack.model import Money, TaskName
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
    bonuses = [row.amount for row in store.payments(task) if row.purpose != "reward"]
    return {
        "paid": paid,
        "of_it_bonuses": sum(bonuses, start=Money(0, currency)),
        "may_still_be_charged": exposure - paid,
        "most_in_all": exposure,
        "budget": desired.budget,
        "by_the_providers_books": provider.spent(),
    }
