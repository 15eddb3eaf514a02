"""Forecast: `decide` folded with an ideal crowd -> the lines that preview prints; and the same fold of a journal.

What was previewed is what happened: `matches` holds the one against the other, line by line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from crowdstack.model import (
    EndedVisit,
    IntentState,
    Money,
    RunState,
    Study,
    StudyState,
    SubmissionStatus,
    UnitCounts,
    VisitId,
    WorkerId,
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
    PayBonus,
    RaisePlaces,
    RejectVisit,
    ResumeStudy,
    SendMessage,
    TearDown,
    TopUp,
    action_of,
)
from crowdstack.plan.decide import Observed, decide, target_met, undone_units
from crowdstack.plan.desired import Count, Desired, ceil_div
from crowdstack.plan.fees import span
from crowdstack.ports import Intent

ANY = 2**53  # a total that only the operator's verdicts bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One change, made once however many steps it takes."""

    kind: str
    sign: str  # + ~ -
    text: str
    total: int | None = None  # None: known after up
    at_most: int | None = None  # what the total may grow to by how people behave; None: it may not

    def __str__(self) -> str:
        return f"{self.sign} {self.text}"


def forecast(desired: Desired, observed: Observed) -> tuple[Line, ...]:
    """What `up` (or `destroy`, if that is what `observed.wanted` says) will change at the crowd, if all go well."""
    if observed.study is None and observed.wanted is RunState.LIVE and target_met(desired, observed.units):
        return ()
    lines = fold(_story(desired, observed), desired, observed.units)
    return tuple(_before_people_came(line, desired, observed) for line in lines)


def journaled(intents: Iterable[Intent]) -> list[Action]:
    """The actions of a journal that took effect."""
    return [action_of(intent.kind, intent.body) for intent in intents if intent.state is IntentState.DONE]


def fold(actions: Iterable[Action], desired: Desired, units: UnitCounts) -> tuple[Line, ...]:
    """Each change once, with its total, in the order of a run's life."""
    offers = places = approved = rejected = asked = bonuses = topped = messages = 0
    paid: Money | None = None
    paid_on_top = topped_up = desired.reward * 0
    median = ""
    kinds: set[str] = set()
    for action in actions:
        kinds.add(action.kind)
        match action:
            case OfferUnits(total=total):
                offers = max(offers, total)
            case OpenStudy() | RaisePlaces():
                places = max(places, action.places)
            case ApproveVisit(amount=amount):
                approved += 1
                paid = amount if paid is None else paid + amount
            case RejectVisit():
                rejected += 1
            case AskReturn():
                asked += 1
            case SendMessage():
                messages += 1
            case FixTopUp():
                median = "" if action.median_s is None else f" (median {span(action.median_s)})"
            case TopUp(amount=amount):
                topped += 1
                topped_up += amount
            case PayBonus(amount=amount):
                bonuses += 1
                paid_on_top += amount
    study, most = desired.study, desired.most_visits(units)
    made = f"{desired.items:,} {_plural('item', desired.items)} x {desired.repeats}"
    visits = f"{approved:,} {_plural('visit', approved)}"
    on_top = Line(
        kind="top_up",
        sign="~",
        text=f"top up {topped:,} {_plural('visit', topped)}: {topped_up}{median}",
        total=topped,
        at_most=most,
    )
    lines = {
        OfferUnits.kind: Line(
            kind="offer", sign="+", text=f"offer {offers:,} units ({made})", total=offers, at_most=ANY
        ),
        ResumeStudy.kind: Line(kind="resume", sign="~", text=f"resume study {study}"),
        OpenStudy.kind: Line(
            kind="places", sign="+", text=f"open study {study}: {places:,} places", total=places, at_most=most
        ),
        RaisePlaces.kind: Line(
            kind="places", sign="~", text=f"raise study {study} to {places:,} places", total=places, at_most=most
        ),
        PauseStudy.kind: Line(kind="pause", sign="~", text=f"pause study {study}"),
        ApproveVisit.kind: Line(
            kind="approve", sign="~", text=f"approve {visits}: {paid}", total=approved, at_most=most
        ),
        RejectVisit.kind: Line(
            kind="reject", sign="~", text=f"reject {rejected:,} visits", total=rejected, at_most=ANY
        ),
        PayBonus.kind: Line(
            kind="bonus", sign="~", text=f"pay {bonuses:,} bonuses: {paid_on_top}", total=bonuses, at_most=ANY
        ),
        SendMessage.kind: Line(
            kind="message", sign="~", text=f"send {messages:,} messages", total=messages, at_most=ANY
        ),
        AskReturn.kind: Line(
            kind="ask_return",
            sign="~",
            text=f"ask {asked:,} workers to return visits without answers",
            total=asked,
            at_most=ANY,
        ),
        CloseStudy.kind: Line(kind="close", sign="-", text=f"close study {study}"),
        TopUp.kind: on_top,
        FixTopUp.kind: on_top,
        TearDown.kind: Line(kind="tear_down", sign="-", text="tear down"),
    }
    for first, more in ((OpenStudy.kind, RaisePlaces.kind), (FixTopUp.kind, TopUp.kind)):
        if first in kinds:
            kinds.discard(more)
    return tuple(line for kind, line in lines.items() if kind in kinds)


_BY_PEOPLE = {
    "pause",
    "resume",
    "reject",
    "ask_return",
    "bonus",
    "message",
}  # what people do, the operator or workers, brings it about


def matches(preview: Sequence[Line], journal: Sequence[Line]) -> bool:
    """Whether what happened is what was previewed.

    With an ideal crowd the lines are equal. A total that depends on how people behave may be greater, up to `at_most`;
    one that was to be known after up may be anything up to it.
    """
    shown = {line.kind for line in preview}
    happened = [line for line in journal if line.kind in shown or line.kind not in _BY_PEOPLE]
    return [line.kind for line in preview] == [line.kind for line in happened] and all(
        promised == line
        or (
            line.sign == promised.sign
            and line.total is not None
            and promised.at_most is not None
            and (promised.total or 0) <= line.total <= promised.at_most
        )
        for promised, line in zip(preview, happened, strict=True)
    )


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _before_people_came(line: Line, desired: Desired, observed: Observed) -> Line:
    if line.kind == "approve" and desired.open_ended:
        return replace(line, text="approve visits: known after up", total=None)
    if line.kind == "top_up" and not observed.top_up_fixed:
        most, said_s = observed.reserve, desired.visit_s or 0
        return replace(line, text=f"top up each visit by {most} at most, if their median is over {span(said_s)}")
    return line


# ------------------------------------------------------------------------------------------------ the ideal story


def _story(desired: Desired, observed: Observed) -> list[Action]:
    """All actions until nothing is left to do, while people do at once and well what they can."""
    world = replace(observed, connected=True, refused={}, top_up=observed.top_up or _as_said(desired))
    story: list[Action] = []
    while True:
        actions = decide(desired, world).actions
        story += actions
        after = _sent(desired, world, actions) if actions else _people_came(desired, world)
        if TearDown() in actions or after == world:  # the end, or only the operator can move it: kept, out of budget
            return story
        world = after


def _sent(desired: Desired, world: Observed, actions: Sequence[Action]) -> Observed:
    """The world once these actions have had their effect."""
    study, visits, exposure, places = world.study, world.visits, world.exposure, world.places
    settled: set[VisitId] = set()
    unanswered = {listed.visit for listed in world.unanswered}
    offers, drained, top_up_fixed = world.offers, world.drained, world.top_up_fixed
    for action in actions:
        match action:
            case OfferUnits():
                offers = (offers[0], offers[0])
            case OpenStudy() | RaisePlaces():
                exposure += action.worst * (action.places - places)
                places = action.places
                state = study.state if study else StudyState.OPEN
                study = Study(id="", key=desired.study, places=places, state=state, reward=desired.reward)
            case PauseStudy() if study:
                study = replace(study, state=StudyState.PAUSED)
            case ResumeStudy() if study:
                study = replace(study, state=StudyState.OPEN)
            case CloseStudy() if study:
                study = replace(study, state=StudyState.CLOSED)
            case ApproveVisit(visit=visit):
                settled.add(visit)
                visits = replace(visits, left=visits.left - 1, paid=visits.paid + 1)
            case AskReturn(visit=visit):
                unanswered.discard(visit)
            case RejectVisit(visit=visit):
                settled.add(visit)
                visits = replace(visits, left=visits.left - 1, rejected=visits.rejected + 1)
            case FixTopUp():
                top_up_fixed = True
            case TopUp(visit=visit):
                settled.add(visit)
            case Drain():
                drained = True
                visits = replace(visits, active=0)
            case TearDown():
                pass
    ended = tuple(visit for visit in world.ended if visit.visit not in settled)
    return replace(
        world,
        study=study,
        visits=visits,
        exposure=exposure,
        places=places,
        offers=offers,
        drained=drained,
        ended=ended,
        unanswered=tuple(listed for listed in world.unanswered if listed.visit in unanswered),
        top_up_fixed=top_up_fixed,
        untopped=tuple(visit for visit in world.untopped if visit.visit not in settled),
    )


def _as_said(desired: Desired) -> FixTopUp | None:
    """An ideal crowd needs the time that was said."""
    nothing = desired.reward * 0
    said = FixTopUp(study=desired.study, net=nothing, amount=nothing, median_s=desired.visit_s)
    return None if desired.top_up is None else said


def _people_came(desired: Desired, world: Observed) -> Observed:
    """Everybody who finds a place does all that a visit can, and the reviewer approves it."""
    units, visits = world.units, world.visits
    undone = undone_units(units)
    used = visits.paid + visits.left
    free = world.study.places - used if world.study is not None and world.study.state is StudyState.OPEN else 0
    needed = max(desired.ideal_visits(units) - used, ceil_div(undone, desired.per_visit)) if undone else 0
    come = min(free, needed)
    done = undone if come == needed else min(undone, come * desired.per_visit)
    submitted, approved = units.submitted + done, units.approved
    if desired.count is Count.APPROVED:
        submitted, approved = 0, approved + submitted
    left = visits.left + come
    answers = {SubmissionStatus.APPROVED: 1}
    ended = tuple(replace(visit, statuses=answers, submissions=1) for visit in world.ended)
    ended += tuple(
        EndedVisit(visit=VisitId(f"forecast-{n}"), worker=WorkerId(""), submissions=1, statuses=answers)
        for n in range(used + len(world.ended), used + len(world.ended) + left - len(ended))
    )
    return replace(
        world,
        units=replace(units, open=undone - done + units.stuck, assigned=0, submitted=submitted, approved=approved),
        visits=replace(visits, active=0, left=left),
        ended=ended,
    )
