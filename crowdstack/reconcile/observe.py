"""Observe: how a run stands, as store and provider say now. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from crowdstack.model import Run
from crowdstack.plan.decide import Observed
from crowdstack.plan.desired import Count, Desired
from crowdstack.ports import Provider, Store

_SETTLED_AT_ONCE = 500


def observe(
    run: Run,
    desired: Desired,
    *,
    store: Store,
    provider: Provider,
    connected: bool,
    refused: Mapping[str, str],
) -> Observed:
    study = provider.fetch_study(desired.study)
    visits = store.visit_counts(run.id)
    judged = desired.count is Count.APPROVED  # the others wait for a verdict, however many there are
    return Observed(
        wanted=run.wanted,
        units=store.unit_counts(run.id),
        visits=visits,
        offers=store.offers(run.id),
        study=study,
        places=store.places(desired.study),
        gross=provider.gross(study.reward if study else desired.reward),
        exposure=store.exposure(run.task, desired.reward.currency),
        ended=tuple(store.ended_visits(run.id, _SETTLED_AT_ONCE, judged=judged)) if visits.left else (),
        connected=connected,
        drained=store.drained(run.id),
        refused=refused,
    )
