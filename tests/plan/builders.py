"""Small builders: a wish and a world, with only what a test is about."""

from __future__ import annotations

from typing import Any

from crowdstack.model import (
    EndedVisit,
    Money,
    RunState,
    Study,
    StudyKey,
    StudyState,
    SubmissionStatus,
    TaskName,
    UnitCounts,
    VisitCounts,
    VisitId,
    WorkerId,
)
from crowdstack.plan.decide import Observed
from crowdstack.plan.desired import Count, Desired, ceil_div

STUDY = StudyKey("birds-1")
CENTS_5 = Money(5, "USD")


def desired(*, items: int = 10, repeats: int = 1, per_visit: int = 1, **more: Any) -> Desired:
    values: dict[str, Any] = {
        "task": TaskName("birds"),
        "study": STUDY,
        "title": "Birds",
        "count": Count.SUBMITTED,
        "visits": ceil_div(items * repeats, per_visit),
        "personal": False,
        "open_ended": False,
        "reward": CENTS_5,
        "surplus_percent": 10,
        "surplus_least": 5,
    }
    return Desired(items=items, repeats=repeats, per_visit=per_visit, **{**values, **more})


def study(places: int, state: StudyState = StudyState.OPEN) -> Study:
    return Study(id="s1", key=STUDY, places=places, state=state, reward=CENTS_5)


def observed(
    *,
    open: int = 0,
    stuck: int = 0,
    assigned: int = 0,
    submitted: int = 0,
    approved: int = 0,
    before: int = 0,
    places: int | None = None,
    state: StudyState = StudyState.OPEN,
    active: int = 0,
    paid: int = 0,
    ended: tuple[EndedVisit, ...] = (),
    left: int | None = None,
    offered: bool = True,
    **more: Any,
) -> Observed:
    """A world in which everything was offered and `places` (none: no study) are listed."""
    total = open + assigned + submitted + approved
    values: dict[str, Any] = {
        "wanted": RunState.LIVE,
        "units": UnitCounts(
            total=total,
            before=before,
            open=open,
            stuck=stuck,
            assigned=assigned,
            submitted=submitted,
            approved=approved,
        ),
        "visits": VisitCounts(active=active, left=len(ended) if left is None else left, paid=paid),
        "offers": (total, total if offered else 0),
        "study": None if places is None else study(places, state),
        "places": places or 0,
        "gross": CENTS_5,
        "exposure": CENTS_5 * (places or 0),
        "ended": ended,
    }
    return Observed(**{**values, **more})


def visit(name: str = "v1", **statuses: int) -> EndedVisit:
    """`visit("v1", submitted=2)`: it left with two submissions that have no verdict."""
    counts = {SubmissionStatus(name): count for name, count in (statuses or {"submitted": 1}).items()}
    return EndedVisit(
        visit=VisitId(name), worker=WorkerId(f"w-{name}"), submissions=sum(counts.values()), statuses=counts
    )
