"""Observe: how a run stands, as store and provider say now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from crowdstack.model import Run, Study, StudyState
from crowdstack.plan.actions import FixTopUp
from crowdstack.plan.decide import Observed, visits_counted
from crowdstack.plan.desired import Count, Desired, NoData
from crowdstack.plan.measured import median_of, top_up
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
    who handed in without answers, but of those whom we asked to return it was said before."""
    study = provider.fetch_study(desired.study)
    visits = visits_counted(desired, store.visit_counts(run.id), store.listed_counts(run.id))
    promised, fixed = _top_up(run, desired, study, store=store, provider=provider)
    judged = desired.count is Count.APPROVED  # the others wait for a verdict, however many there are
    asks = desired.no_data is NoData.ASK_RETURN
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
        unanswered=tuple(
            visit
            for visit in store.without_answers(run.id, _SETTLED_AT_ONCE)
            if all_heard or (asks and visit.return_asked)
        )
        if desired.managed and visits.left
        else (),
        reserve=desired.top_up and (store.top_up(desired.study) or provider.gross(desired.top_up)),
        top_up=promised,
        top_up_fixed=fixed,
        untopped=tuple(store.untopped(run.id, _SETTLED_AT_ONCE)) if fixed and promised and promised.net.minor else (),
        hurry=store.drain_now(run.id),
        connected=connected,
        drained=store.drained(run.id),
        refused=refused,
    )


def _top_up(
    run: Run, desired: Desired, study: Study | None, *, store: Store, provider: Provider
) -> tuple[FixTopUp | None, bool]:
    """What each paid visit of a closed study gets on top, and whether that was fixed; else it goes by the visits so far."""
    if desired.top_up is None or study is None or study.state is not StudyState.CLOSED:
        return None, False
    if (fixed := FixTopUp.written(store.intent(run.id, FixTopUp.name(desired.study)))) is not None:
        return fixed, True
    median_s = median_of(store.visit_times(run.id))
    net = top_up(desired, median_s)
    amount = provider.gross(net) if net.minor else net
    return FixTopUp(study=desired.study, net=net, amount=amount, median_s=median_s), False
