"""Settle: verdicts given when a run is over still pay or reject its visits. A live run's reconciler does that itself."""

from __future__ import annotations

from crowdstack.model import Run
from crowdstack.plan.actions import ToProvider
from crowdstack.plan.decide import decide
from crowdstack.plan.desired import Desired
from crowdstack.ports import Clock, Provider, Store
from crowdstack.reconcile.act import record_and_send, send_recorded
from crowdstack.reconcile.observe import hear, observe


def settle(run: Run, *, store: Store, provider: Provider, clock: Clock) -> dict[str, str]:
    """Send what was left without a result, and what the verdicts on this run, which is over, ask for. What the provider
    refused, or has not shown yet: key -> why.

    LockHeld while its reconciler still lives.
    """
    desired = Desired.from_settings(run.settings["desired"], run=run.id)
    with store.reconciler_lock(run.id):
        refused = send_recorded(run.id, store=store, provider=provider, may_spend=lambda: False, now=clock.now())
        while True:
            hear(run, desired, store=store, provider=provider, now=clock.now())
            observed = observe(run, desired, store=store, provider=provider, connected=False, refused=refused)
            actions = [action for action in decide(desired, observed).actions if isinstance(action, ToProvider)]
            if not actions:
                return refused
            refused |= record_and_send(
                run.id, actions, store=store, provider=provider, budget=desired.budget, may_spend=lambda: False,
                now=clock.now(),
            )  # fmt: skip
