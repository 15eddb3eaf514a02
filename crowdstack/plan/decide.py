"""Decide: what is wanted and what is there -> what to do now, and what is waited for then. No I/O.

`preview` prints the answer (plan.forecast); the reconciler carries it out (reconcile.act).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from crowdstack.model import (
    EndedVisit,
    ListedState,
    ListedVisit,
    Money,
    PaidVisit,
    RunState,
    Study,
    StudyState,
    SubmissionStatus,
    UnitCounts,
    VisitCounts,
)
from crowdstack.plan.actions import (
    Action,
    ApproveVisit,
    AskReturn,
    CloseStudy,
    Drain,
    FixTopUp,
    OfferUnits,
    OpenStudy,
    PauseStudy,
    RaisePlaces,
    RejectVisit,
    ResumeStudy,
    TearDown,
    TopUp,
)
from crowdstack.plan.desired import Count, Desired, NoData, ceil_div


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What store, provider and server say now."""

    wanted: RunState
    units: UnitCounts
    visits: VisitCounts
    offers: tuple[int, int]  # offers there should be, offers the server has confirmed
    study: Study | None  # as the provider tells it
    places: int  # the most that any intent of the study asked for
    gross: Money  # of one visit
    exposure: Money  # E: paid, and what listed places may still cost, over all runs of the task
    ended: tuple[EndedVisit, ...] = ()  # left with submissions and not settled; oldest first, perhaps not all
    unanswered: tuple[ListedVisit, ...] = ()  # handed in at the provider with nothing here; perhaps not all
    reserve: Money | None = None  # the most that a visit may be topped up by, gross
    top_up: FixTopUp | None = None  # of a closed study: as it was fixed or, by the visits so far, would be
    top_up_fixed: bool = False
    untopped: tuple[PaidVisit, ...] = ()  # what was fixed is owed to them; oldest first, perhaps not all
    hurry: bool = False  # destroy --now: do not wait for people
    connected: bool = True  # the server answers
    drained: bool = False  # intake is over and every event is stored
    refused: Mapping[str, str] = field(default_factory=dict)  # actions refused a moment ago: key -> why

    @property
    def worst(self) -> Money:
        """What one place may cost in all."""
        return self.gross if self.reserve is None else self.gross + self.reserve


def visits_counted(desired: Desired, ours: VisitCounts, listed: Mapping[ListedState, int]) -> VisitCounts:
    """Visits by who knows them: the provider that lets people in itself, else the task server (decisions/0009)."""
    if not desired.managed:
        return replace(ours, unverified=0)  # nobody will tell
    of = {state: listed.get(state, 0) for state in ListedState}
    return VisitCounts(
        active=of[ListedState.RESERVED] + of[ListedState.ACTIVE] + of[ListedState.UNKNOWN],
        left=of[ListedState.AWAITING],
        paid=of[ListedState.APPROVED] + of[ListedState.PARTIAL],
        rejected=of[ListedState.REJECTED],
        empty=of[ListedState.RETURNED] + of[ListedState.TIMED_OUT] + of[ListedState.SCREENED_OUT],
        unverified=ours.unverified,
    )


class RestState(str, Enum):
    """What is waited for. Shown by `status`."""

    WORKING = "working"  # people, or the next step of ours
    PAUSED = "paused"
    VERDICTS = "verdicts"  # submissions wait for a reviewer
    BUDGET = "budget"  # more places do not fit the budget
    NEEDS_PERSON = "needs_person"  # the text says what to do
    OFFLINE = "offline"  # the server does not answer
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Rest:
    state: RestState
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to send now, in this order; and what is waited for once it is sent."""

    actions: tuple[Action, ...]
    rest: Rest


def decide(desired: Desired, observed: Observed) -> Decision:
    """The actions that close the gap. They carry totals ("12 places in all"): one sent twice does no harm."""
    decision = _wind_up(desired, observed) if _ending(desired, observed) else _go_on(desired, observed)
    actions = tuple(action for action in decision.actions if action.key not in observed.refused)
    if decision.actions and not actions:
        why = observed.refused[decision.actions[0].key]
        return Decision((), Rest(RestState.NEEDS_PERSON, f"refused, and tried again in a while: {why}"))
    return Decision(actions, decision.rest)


def target_met(desired: Desired, units: UnitCounts) -> bool:
    done = units.approved if desired.count is Count.APPROVED else units.submitted + units.approved
    return done == units.total


def _ending(desired: Desired, observed: Observed) -> bool:
    if observed.wanted is RunState.DESTROYED or observed.drained:
        return True
    somebody = observed.visits.active or observed.visits.left or observed.visits.unverified
    return observed.wanted is RunState.LIVE and target_met(desired, observed.units) and not somebody


# ------------------------------------------------------------------------------------------------ the end


def _wind_up(desired: Desired, observed: Observed) -> Decision:
    """Close the study, let people finish, settle with them, top them up, take the stack down: in this order."""
    settle = _settle(desired, observed)
    if observed.study is not None and observed.study.state is not StudyState.CLOSED:
        return Decision((CloseStudy(study=desired.study), *settle), Rest(RestState.WORKING, "closing the study"))
    if desired.keep and observed.wanted is not RunState.DESTROYED and not observed.drained:
        why = "the target is met; the stack is kept until `crowdstack destroy`"
        return Decision(_top_up(desired, observed), Rest(RestState.DONE, why))  # all are settled with
    if not observed.drained:
        waiting = (
            f"{observed.visits.active} people finish what they hold" if observed.visits.active else "the last events"
        )
        if not observed.connected:
            return Decision(settle, Rest(RestState.OFFLINE, "the server must be emptied first and does not answer"))
        return Decision((*settle, Drain()), Rest(RestState.WORKING, f"waiting for {waiting}"))
    if settle and not _given_up(settle, observed):
        return Decision(settle, Rest(RestState.WORKING, "settling the last visits"))
    if desired.managed and observed.visits.active and not observed.hurry:
        return Decision((), Rest(RestState.WORKING, f"{observed.visits.active} people have not handed in yet"))
    on_top, sent = _top_up(desired, observed), any(visit.sent for visit in observed.untopped)
    if on_top and not (_given_up(on_top, observed) and (observed.hurry or not sent)):
        return Decision(on_top, Rest(RestState.WORKING, "topping up the visits: they took longer than was said"))
    # Visits that wait for a verdict stay owed in the store, and so do refused payments once destroy was asked for.
    return Decision((TearDown(),), Rest(RestState.WORKING, "taking the stack down"))


def _given_up(left: tuple[Action, ...], observed: Observed) -> bool:
    """Whether nothing is left but what was refused, and destroy was asked for."""
    return observed.wanted is RunState.DESTROYED and all(action.key in observed.refused for action in left)


# ------------------------------------------------------------------------------------------------ the run


def _go_on(desired: Desired, observed: Observed) -> Decision:
    """Offer units, then list places for them, then settle with those who came."""
    study, settle = observed.study, _settle(desired, observed)
    if observed.wanted is RunState.PAUSED:
        pause = (PauseStudy(study=desired.study),) if study and study.state is StudyState.OPEN else ()
        return Decision((*pause, *settle), Rest(RestState.PAUSED, "paused until `crowdstack resume`"))
    listing, rest = _list_places(desired, observed)
    turn: tuple[Action, ...] = ()  # nobody is to come where nothing is left to do
    if study is not None and not study.by_hand:
        if study.state is StudyState.PAUSED and not _idle(desired, observed):
            turn = (ResumeStudy(study=desired.study),)
        elif study.state is StudyState.OPEN and _idle(desired, observed) and _free(observed):
            turn = (PauseStudy(study=desired.study),)
    if not observed.connected:
        return Decision(settle, Rest(RestState.OFFLINE, "the server does not answer; it is started again"))
    offers, confirmed = observed.offers
    if offers != confirmed:
        # Nobody may come before there is something to do: units first, then places.
        return Decision(
            (OfferUnits(total=offers - observed.units.before), *settle), Rest(RestState.WORKING, "offering units")
        )
    if study is not None and study.by_hand and study.state is StudyState.PAUSED:
        why = "the study was stopped on the provider's site: start it there, or `crowdstack destroy`"
        return Decision(settle, Rest(RestState.NEEDS_PERSON, why))
    return Decision((*turn, *listing, *settle), rest)


def _idle(desired: Desired, observed: Observed) -> bool:
    """Whether people who come now, by themselves, would find nothing to do."""
    return desired.managed and not undone_units(observed.units)


def _free(observed: Observed) -> bool:
    """Whether the provider lets somebody in now."""
    return observed.study is not None and observed.study.places > _used(observed) + observed.visits.active


def _list_places(desired: Desired, observed: Observed) -> tuple[tuple[Action, ...], Rest]:
    """Places that the units still to be done need: in waves, inside surplus and budget."""
    study, units, visits = observed.study, observed.units, observed.visits
    undone = undone_units(units)
    listed = max(observed.places, study.places if study else 0)
    wanted = places_wanted(desired, observed)
    if undone and study is not None and study.state is StudyState.CLOSED:
        hint = "its study is closed for good: `crowdstack destroy`, then `crowdstack up`; what was collected counts"
        return (), Rest(RestState.NEEDS_PERSON, f"{undone} units are open, and {hint}")
    if wanted <= listed and (study is not None or not wanted):
        return (), _waiting(desired, observed)

    used = _used(observed)
    now = wanted if desired.wave is None else min(wanted, listed if used < listed else used + desired.wave)
    allowed = desired.most_visits(units)
    affordable = _affordable(desired, observed, listed)
    places = min(now, allowed, affordable)
    actions: tuple[Action, ...] = ()
    if study is None and places > 0:
        actions = (
            OpenStudy(
                study=desired.study,
                places=max(places, listed),
                reward=desired.reward,
                gross=observed.gross,
                top_up=observed.reserve,
                title=desired.title,
            ),
        )
    elif places > listed:
        actions = (RaisePlaces(study=desired.study, places=places, gross=observed.gross, top_up=observed.reserve),)
    if actions or visits.active or used < listed:
        return actions, _waiting(desired, observed)
    if affordable < min(now, allowed):
        why = f"one more place ({observed.worst}) does not fit budget.max {desired.budget}: {observed.exposure} are spent or promised"
        return (), Rest(RestState.BUDGET, why)
    why = (
        f"all {allowed} places that provider.surplus allows are used and {undone} units are open: "
        f"{_spent_on(desired, observed)}. See the answers (`crowdstack units ls`), raise it, `crowdstack up`"
    )
    return (), Rest(RestState.NEEDS_PERSON, why)


def _spent_on(desired: Desired, observed: Observed) -> str:
    """What used places without closing units, as far as counters tell."""
    units = observed.units
    lost = {"excluded": units.excluded, "rejected": units.rejected, "for units that were done already": units.surplus}
    causes = [f"{count} answers were {what}" for what, count in lost.items() if count]
    given = units.submitted + units.approved - units.before + sum(lost.values())
    fewest = desired.ideal_visits(units) * desired.per_visit - (
        units.total - units.before
    )  # of an ideal crowd's visits
    early = not desired.personal and _used(observed) * desired.per_visit - given > fewest
    if early or not causes:
        causes.append("visits ended early")
    return ", ".join(causes)


def places_wanted(desired: Desired, observed: Observed) -> int:
    """Visits there must be in all: those that count or must be paid, and those that open units need.

    A place whose visit ended without a submission, or was rejected, is free again by itself.
    """
    used = _used(observed)
    undone = undone_units(observed.units)
    if not undone:
        return used
    return max(desired.ideal_visits(observed.units), used + ceil_div(undone, desired.per_visit))


def undone_units(units: UnitCounts) -> int:
    """Units that somebody may still do."""
    return units.open - units.stuck + units.assigned


def _used(observed: Observed) -> int:
    """Places that a visit has used up for good."""
    return observed.visits.paid + observed.visits.left - sum(_all_rejected(visit) for visit in observed.ended)


def _all_rejected(visit: EndedVisit) -> bool:
    return visit.statuses.get(SubmissionStatus.REJECTED, 0) >= visit.submissions


def _affordable(desired: Desired, observed: Observed, listed: int) -> int:
    """The most places whose worst case fits the budget."""
    if desired.budget is None or not observed.worst.minor:
        return 10**9
    room = desired.budget - observed.exposure
    return listed + max(0, room.minor) // observed.worst.minor


def _waiting(desired: Desired, observed: Observed) -> Rest:
    units, visits = observed.units, observed.visits
    undone = undone_units(units)
    if undone:
        return Rest(RestState.WORKING, f"{undone} units to do, {visits.active} people at work")
    if units.stuck:
        why = (
            f"{units.stuck} units are offered to workers whose answers to them were not accepted, and nobody has an item "
            "twice: approve one of the answers, name other workers in the data and `crowdstack up`, or `crowdstack destroy`"
        )
        return Rest(RestState.NEEDS_PERSON, why)
    if not target_met(desired, units):
        return Rest(RestState.VERDICTS, f"{units.submitted} units wait for a verdict: `crowdstack units ls`")
    if visits.active:
        return Rest(RestState.WORKING, f"the target is met; {visits.active} people are about to leave")
    if visits.unverified:
        return Rest(
            RestState.WORKING, f"the provider is asked for {visits.unverified} visits that it does not list yet"
        )
    if observed.unanswered and not _unanswered(desired, observed):
        why = (
            f"{len(observed.unanswered)} visits were handed in without answers and are paid by themselves if nobody "
            "decides: approve or reject them on the provider's site, or set provider.no_data"
        )
        return Rest(RestState.NEEDS_PERSON, why)
    return Rest(RestState.WORKING, f"settling {visits.left} visits")


# ------------------------------------------------------------------------------------------------ money


def _settle(desired: Desired, observed: Observed) -> tuple[Action, ...]:
    """Pay or reject visits that left, as their verdicts say. What the study has no place for waits for the next raise."""
    if observed.study is None:
        return ()
    free = observed.study.places - observed.visits.paid
    actions: list[Action] = []
    for visit in observed.ended:
        if _all_rejected(visit):
            actions.append(
                RejectVisit(
                    study=desired.study,
                    visit=visit.visit,
                    worker=visit.worker,
                    submission=visit.submission,
                    reason="no answer was accepted",
                )
            )
        elif free > 0 and not (desired.count is Count.APPROVED and visit.statuses.get(SubmissionStatus.SUBMITTED)):
            actions.append(
                ApproveVisit(
                    study=desired.study,
                    visit=visit.visit,
                    worker=visit.worker,
                    submission=visit.submission,
                    amount=observed.gross,
                )
            )
            free -= 1
    return (*actions, *_unanswered(desired, observed))


def _unanswered(desired: Desired, observed: Observed) -> tuple[Action, ...]:
    """What `provider.no_data` says about visits that were handed in with nothing in them."""
    actions: list[Action] = []
    for listed in observed.unanswered:
        of: dict[str, Any] = {
            "study": desired.study,
            "visit": listed.visit,
            "worker": listed.worker,
            "submission": listed.submission,
        }
        if desired.no_data is NoData.APPROVE:
            actions.append(ApproveVisit(**of, amount=observed.gross))
        elif desired.no_data is NoData.REJECT:
            actions.append(RejectVisit(**of, reason="nothing was handed in with it"))
        elif not listed.return_asked:
            actions.append(AskReturn(**of, reason="We received no answers from you."))
    return tuple(actions)


def _top_up(desired: Desired, observed: Observed) -> tuple[FixTopUp | TopUp, ...]:
    """First what every paid visit gets on top is fixed, once, also when it is nothing; then each of them gets it, late ones as well."""
    promised = observed.top_up
    if promised is None or not observed.top_up_fixed:
        return () if promised is None else (promised,)
    return tuple(
        TopUp(
            study=desired.study,
            visit=visit.visit,
            worker=visit.worker,
            submission=visit.submission,
            payment=TopUp.name(visit.visit),
            net=promised.net,
            amount=promised.amount,
            reason="the visits took longer than was said",
        )
        for visit in observed.untopped
    )
