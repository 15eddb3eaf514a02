"""Act: actions -> intents in the store -> the provider -> results in the store.

Nothing is sent that is not written down. What is written down and has no result is sent, whoever wrote it: so a crash
needs no repair of its own. Sending again does no harm, because a provider's verbs are idempotent by their key and carry
totals (ports.Provider; an adapter of a service that is not so looks its effect up first).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from crowdstack.errors import Busy, NotYet, OverBudget, Refused, Unclear
from crowdstack.model import IntentState, Money, RunId, StudyState
from crowdstack.plan.actions import (
    Action,
    ApproveVisit,
    AskReturn,
    CloseStudy,
    FixTopUp,
    OfVisit,
    OpenStudy,
    PauseStudy,
    PayBonus,
    RaisePlaces,
    RejectVisit,
    ResumeStudy,
    SendMessage,
    Spending,
    ToProvider,
    action_of,
    draft,
)
from crowdstack.ports import Provider, Store

_IN_A_ROW = 3  # so many times busy, and the provider is left alone


def send(action: ToProvider, provider: Provider) -> None:
    """One action's effect."""
    match action:
        case OpenStudy(study=study, places=places, reward=reward, title=title):
            provider.open_study(study, places=places, reward=reward, title=title)
        case RaisePlaces(study=study, places=places):
            provider.raise_places(study, places)
        case PauseStudy(study=study):
            provider.set_state(study, StudyState.PAUSED)
        case ResumeStudy(study=study):
            provider.set_state(study, StudyState.OPEN)
        case CloseStudy(study=study):
            provider.set_state(study, StudyState.CLOSED)
        case ApproveVisit(study=study, visit=visit, worker=worker, submission=submission):
            provider.approve(study, visit, worker, submission)
        case RejectVisit(study=study, visit=visit, worker=worker, submission=submission, reason=reason):
            provider.reject(study, visit, worker, reason, submission)
        case FixTopUp():
            pass  # a promise of ours: by being written down it holds
        case PayBonus(study=study, visit=visit, worker=worker, submission=submission, payment=payment, net=net):
            provider.pay_bonus(study, visit, worker, submission, payment=payment, net=net)
        case SendMessage(study=study, worker=worker, message=message, text=text):
            provider.send_message(study, worker, message=message, text=text)
        case AskReturn(study=study, submission=submission, reason=reason):
            assert submission is not None  # only a provider tells of such visits
            provider.ask_return(study, submission, reason)


def send_recorded(
    run: RunId,
    *,
    store: Store,
    provider: Provider,
    may_spend: Callable[[], bool],
    now: datetime,
    resting: Collection[str] = (),
    enough: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Send every intent for the provider that has no result yet. Those it refused, and those whose time has not come or of
    which it is unclear whether they had their effect (they stay as they are): key -> why.

    `may_spend` is asked right before each that costs more: False leaves it for another time; so are the keys in
    `resting`, and so is everything once there was `enough`. What meets Busy is left for the next time, and after a few in a
    row so is the rest; what was done is booked, and Busy is raised at the end.
    """
    finished: list[tuple[int, IntentState, str | None]] = []
    refused: dict[str, str] = {}
    busy: Busy | None = None
    in_a_row = 0
    try:
        left = [(intent, action_of(intent.kind, intent.body)) for intent in store.open_intents(run)]
        left.sort(
            key=lambda each: isinstance(each[1], OfVisit)
        )  # the study's own is not kept waiting by hundreds of visits
        for intent, action in left:
            if in_a_row == _IN_A_ROW or enough():
                break
            if not isinstance(action, ToProvider) or action.key in resting:
                continue
            if isinstance(action, Spending) and not may_spend():
                continue
            try:
                send(action, provider)
                finished.append((intent.id, IntentState.DONE, None))
                in_a_row = 0
            except (Unclear, NotYet) as fault:
                refused[action.key] = str(fault)
            except Busy as fault:
                busy, in_a_row = fault, in_a_row + 1
            except Refused as fault:
                refused[action.key] = str(fault)
                finished.append((intent.id, IntentState.REFUSED, str(fault)))
    finally:
        if finished:
            store.finish_intents(finished, now)
    if busy is not None:
        raise busy
    return refused


def record_and_send(
    run: RunId,
    actions: Sequence[Action],
    *,
    store: Store,
    provider: Provider,
    budget: Money | None,
    may_spend: Callable[[], bool],
    now: datetime,
    enough: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Write the actions down, then send them (`send_recorded`). Those that were refused, by the budget too: key -> why."""
    refused: dict[str, str] = {}
    ours = [action for action in actions if isinstance(action, ToProvider)]
    # Those that cost more are written down apart, so that a budget that is full holds up nobody's pay.
    raising = [action for action in ours if isinstance(action, Spending)]
    for part in ([action for action in ours if action not in raising], raising):
        if not part:
            continue
        try:
            intents = store.record_intents(run, [draft(action, now) for action in part], budget=budget, now=now)
        except OverBudget as fault:
            refused |= {action.key: str(fault) for action in part}
            continue
        for action, intent in zip(part, intents, strict=True):
            if intent.state is IntentState.DONE:
                refused[action.key] = (
                    f"{intent.key} was done on {intent.at:%Y-%m-%d %H:%M} and the provider does not show it"
                )
    return refused | send_recorded(run, store=store, provider=provider, may_spend=may_spend, now=now, enough=enough)
