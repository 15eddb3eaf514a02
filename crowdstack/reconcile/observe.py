"""Observe: how a run stands, as store and provider say now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from crowdstack.model import ListedState, Run, VisitCounts
from crowdstack.plan.decide import Observed
from crowdstack.plan.desired import Count, Desired
from crowdstack.ports import Provider, Store

_SETTLED_AT_ONCE = 500


def hear(run: Run, desired: Desired, *, store: Store, provider: Provider, now: datetime) -> datetime | None:
    """Take over what the provider tells of who came (decisions/0009). The same again changes nothing. When it was asked; None
    if it tells nothing."""
    study = provider.fetch_study(desired.study) if desired.managed else None
    listing = provider.fetch_visits(desired.study) if study is not None else None
    if study is not None and listing is not None:
        store.keep_listing(run.id, desired.study, listing, gross=provider.gross(study.reward), now=now)
    return None if listing is None else listing.at


def observe(
    run: Run,
    desired: Desired,
    *,
    store: Store,
    provider: Provider,
    connected: bool,
    refused: Mapping[str, str],
    all_heard: bool = True,
) -> Observed:
    """`all_heard`: the server has told everything that was there when the provider listed its visits. Before that nobody can say
    who handed in without answers."""
    study = provider.fetch_study(desired.study)
    ours = store.visit_counts(run.id)
    listed = store.listed_counts(run.id)
    visits = _as_listed(listed, ours) if desired.managed else replace(ours, unverified=0)  # nobody will tell
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
        ended=tuple(store.ended_visits(run.id, _SETTLED_AT_ONCE, judged=judged, handed_in=desired.managed))
        if visits.left
        else (),
        unanswered=tuple(store.without_answers(run.id, _SETTLED_AT_ONCE))
        if desired.managed and visits.left and all_heard
        else (),
        hurry=store.drain_now(run.id),
        connected=connected,
        drained=store.drained(run.id),
        refused=refused,
    )


def _as_listed(listed: Mapping[ListedState, int], ours: VisitCounts) -> VisitCounts:
    """Visits counted by who knows them: the provider."""
    of = {state: listed.get(state, 0) for state in ListedState}
    return VisitCounts(
        active=of[ListedState.RESERVED] + of[ListedState.ACTIVE] + of[ListedState.UNKNOWN],
        left=of[ListedState.AWAITING],
        paid=of[ListedState.APPROVED] + of[ListedState.PARTIAL],
        rejected=of[ListedState.REJECTED],
        empty=of[ListedState.RETURNED] + of[ListedState.TIMED_OUT] + of[ListedState.SCREENED_OUT],
        unverified=ours.unverified,
    )
