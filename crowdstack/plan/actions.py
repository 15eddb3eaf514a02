"""The changes at the crowd: what `decide` answers, `preview` prints and the journal keeps.

Each carries totals, so one sent twice does no harm. An action and its intent are one thing in two forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar

from crowdstack.model import Money, StudyKey, VisitId, WorkerId
from crowdstack.ports import Intent, IntentDraft


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """What this action is, whenever and however often it is decided."""
        return self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferUnits(_Action):
    """Tell the server of every unit that may be worked on. `total`: offers of this run in all, repeated ones included."""

    kind: ClassVar[str] = "offer"
    total: int

    @property
    def key(self) -> str:
        return f"offer:{self.total}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfStudy(_Action):
    study: StudyKey

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.study}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ListPlaces(_OfStudy):
    """List `places` visits in all. Each may cost `gross` and, where visits are topped up, `top_up` later."""

    places: int
    gross: Money
    top_up: Money | None = None  # gross

    @property
    def worst(self) -> Money:
        """What one place may cost in all."""
        return self.gross if self.top_up is None else self.gross + self.top_up


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy(_ListPlaces):
    kind: ClassVar[str] = "open"
    reward: Money
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RaisePlaces(_ListPlaces):
    kind: ClassVar[str] = "places"

    @property
    def key(self) -> str:
        return f"places:{self.study}:{self.places}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseStudy(_OfStudy):
    kind: ClassVar[str] = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeStudy(_OfStudy):
    kind: ClassVar[str] = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseStudy(_OfStudy):
    kind: ClassVar[str] = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfVisit(_Action):
    study: StudyKey
    visit: VisitId
    worker: WorkerId
    submission: str | None = None  # the provider's id of the visit

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.visit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveVisit(_OfVisit):
    kind: ClassVar[str] = "approve"
    amount: Money  # gross


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectVisit(_OfVisit):
    kind: ClassVar[str] = "reject"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayBonus(_OfVisit):
    """Pay a worker on top, for this visit. Ordered by a person, never decided: `payment` is its name."""

    kind: ClassVar[str] = "bonus"
    payment: str
    net: Money  # what the worker gets
    amount: Money  # gross
    reason: str

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.payment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendMessage(_OfVisit):
    """Write to a worker, about this visit. Ordered by a person, never decided: `message` is its name."""

    kind: ClassVar[str] = "message"
    message: str
    text: str

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FixTopUp(_OfStudy):
    """Promise every paid visit of the study so much on top, whenever it is paid. Decided once; `TopUp` keeps it."""

    kind: ClassVar[str] = "fix_top_up"
    net: Money  # what each worker gets; nothing where the estimate was long enough
    amount: Money  # gross
    median_s: int | None  # of the visits that were handed in; None: there was none

    @staticmethod
    def name(study: StudyKey) -> str:
        """The key of the decision about this study."""
        return f"{FixTopUp.kind}:{study}"

    @classmethod
    def written(cls, intent: Intent | None) -> FixTopUp | None:
        """The decision, if it was written down."""
        found = None if intent is None else action_of(intent.kind, intent.body)
        assert found is None or isinstance(found, cls)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp(PayBonus):
    """Pay a visit what was promised by `FixTopUp`: a bonus, named after the visit, so that each has at most one."""

    kind: ClassVar[str] = "top_up"

    @property
    def key(self) -> str:
        return self.payment

    @staticmethod
    def name(visit: VisitId) -> str:
        """Of the payment."""
        return f"{TopUp.kind}:{visit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskReturn(_OfVisit):
    """Ask the worker to give back a visit that was handed in with nothing in it."""

    kind: ClassVar[str] = "ask_return"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(_Action):
    """Give out no more units and take every event that is left: the first half of taking the stack down."""

    kind: ClassVar[str] = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class TearDown(_Action):
    kind: ClassVar[str] = "tear_down"


Order = PayBonus | SendMessage  # a person's
ToProvider = (
    OpenStudy | RaisePlaces | PauseStudy | ResumeStudy | CloseStudy | ApproveVisit | RejectVisit | AskReturn
    | Order | FixTopUp | TopUp
)  # fmt: skip
OfVisit = ApproveVisit | RejectVisit | AskReturn | Order
Spending = OpenStudy | RaisePlaces  # after these more can be charged than before
Action = ToProvider | OfferUnits | Drain | TearDown

_KINDS: dict[str, type[Action]] = {
    cls.kind: cls
    for cls in (
        OfferUnits,
        OpenStudy,
        RaisePlaces,
        PauseStudy,
        ResumeStudy,
        CloseStudy,
        ApproveVisit,
        RejectVisit,
        AskReturn,
        PayBonus,
        SendMessage,
        FixTopUp,
        TopUp,
        Drain,
        TearDown,
    )
}


def draft(action: Action, now: datetime) -> IntentDraft:
    """The action as it is written down before it is sent."""
    body = {field.name: getattr(action, field.name) for field in fields(action)}
    # A study may be paused many times, and each time is an intent of its own; every other action happens once.
    again = isinstance(action, PauseStudy | ResumeStudy)
    return IntentDraft(
        key=f"{action.key}:{now.isoformat()}" if again else action.key,
        kind=action.kind,
        body={name: str(value) if isinstance(value, Money) else value for name, value in body.items()},
        study=body.get("study"),
        places=body.get("places"),
        gross=body.get("gross"),
        top_up=action.amount if isinstance(action, FixTopUp) else body.get("top_up"),
        owed=action.amount if isinstance(action, PayBonus) else None,
    )


def action_of(kind: str, body: Mapping[str, Any]) -> Action:
    """The action that an intent stands for: `draft` the other way round."""
    cls = _KINDS[kind]
    money = {field.name for field in fields(cls) if str(field.type).startswith("Money")}
    values: dict[str, Any] = {
        name: Money.parse(value) if name in money and value is not None else value for name, value in body.items()
    }
    return cls(**values)
