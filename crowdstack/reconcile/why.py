"""Why a worker gets no work: each cause in a sentence. Looks at the store and the provider; changes nothing."""

from __future__ import annotations

from crowdstack.model import Claim, ListedState, Run, RunState, StudyState, VisitState, WorkerId
from crowdstack.plan.decide import undone_units
from crowdstack.plan.desired import Desired
from crowdstack.ports import Provider, Store, VisitRow


def why(run: Run, worker: WorkerId, *, store: Store, provider: Provider, max_units: int | None) -> list[str]:
    """Every cause that holds now, the most definite first; nothing stands in the way where there is none."""
    desired = Desired.from_settings(run.settings["desired"], run=run.id)
    visits = store.visits(run.task, worker)
    here = [visit for visit in visits if visit.run == run.id]
    causes = []
    if worker in desired.blocked:
        causes.append("the spec blocks this worker (workers.block)")
    if worker in store.blocked(run.task):
        causes.append("this worker was blocked by hand (`crowdstack workers unblock` takes it back)")
    held = store.qualifications(run.task, worker)
    causes += [
        f"this worker does not hold {name!r}, which workers.require asks for"
        for name in desired.require
        if name not in held
    ]
    causes += [
        f"this worker holds {name!r}, which workers.exclude keeps out" for name in desired.exclude if name in held
    ]
    if run.closed_at is not None:
        causes.append(f"run {run.id} is over")
    elif run.wanted is not RunState.LIVE:
        causes.append("nobody is let in: the run is paused or being taken down")
    done = sum(visit.submissions for visit in visits)
    if max_units is not None and done >= max_units:
        causes.append(f"this worker has done {done} units; workers.max_units is {max_units}")
    causes += _of_study(desired, provider)
    if not undone_units(store.unit_counts(run.id)):
        causes.append("no unit is left to do")
    causes += [cause for visit in here if (cause := _of_visit(visit)) is not None]
    if not here:
        causes.append("this worker never came to the task server; whom the provider lets in it alone knows")
    return causes


def _of_study(desired: Desired, provider: Provider) -> list[str]:
    study = provider.fetch_study(desired.study)
    if study is None:
        return ["the study is not listed yet"]
    if study.state is StudyState.OPEN:
        return []
    hand = ", by hand on the provider's site" if study.by_hand else ""
    return [f"the study is {study.state.value}{hand}"]


def _of_visit(visit: VisitRow) -> str | None:
    name = f"visit {visit.submission or visit.visit}"
    if visit.claim is Claim.REFUTED:
        return f"{name} is not one that the provider knows: the ids in the link were made up or of another study"
    if visit.listed is not None and visit.listed.gone:
        return f"{name} is over: the provider lists it as {visit.listed.value.replace('_', ' ')}"
    if visit.listed is ListedState.AWAITING or visit.state in (VisitState.LEFT, VisitState.PAID):
        return f"{name} was handed in with {visit.submissions} submissions; each visit ends once"
    return None
