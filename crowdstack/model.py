"""The nouns: money, items, units, visits, assignments, submissions, studies, runs; their states and moves.

Values only, no I/O and no clock. Every other module speaks in these.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple, NewType

TaskName = NewType("TaskName", str)
RunId = NewType("RunId", str)  # "<task>-<n>", e.g. "rte-1"
ItemId = NewType("ItemId", str)
UnitId = NewType("UnitId", str)  # random, 128 bit, base64url: tells a worker nothing
VisitId = NewType("VisitId", str)
AssignmentId = NewType("AssignmentId", str)  # random, 128 bit, base64url
WorkerId = NewType("WorkerId", str)
StudyKey = NewType("StudyKey", str)  # ours, chosen before the provider's listing exists


_EXPONENTS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "BHD": 3, "KWD": 3, "TND": 3}  # ISO 4217; others have 2
_MONEY = re.compile(r"(?P<sign>-?)(?P<whole>\d{1,13})(?:\.(?P<part>\d+))? (?P<currency>[A-Z]{3})")


def bot_id(number: int) -> WorkerId:
    """The worker id of a simulated crowd's bot, counted from 1: specs may name it, the crowd plays it."""
    return WorkerId(f"bot-{number:04d}")


def visit_of(study: StudyKey, worker: WorkerId, submission: str) -> VisitId:
    """The id of a visit that a provider knows as `submission`: the same wherever it is computed (decisions/0009)."""
    named = "\0".join((study, worker, submission)).encode()
    return VisitId(base64.urlsafe_b64encode(hashlib.sha256(named).digest()[:18]).decode())


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount in integer minor units (cents) of one currency. Sums of different currencies raise ValueError."""

    minor: int
    currency: str

    @classmethod
    def parse(cls, text: str) -> Money:
        """`"0.50 USD"` -> Money(50, "USD"). ValueError says what would be right."""
        match = _MONEY.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not an amount of money; write it like '0.50 USD'")
        currency = match["currency"]
        exponent = _EXPONENTS.get(currency, 2)
        part = match["part"] or ""
        if len(part) > exponent:
            raise ValueError(f"{text!r} has more decimals than {currency} has ({exponent})")
        minor = int(match["whole"] + part.ljust(exponent, "0"))
        return cls(-minor if match["sign"] else minor, currency)

    def __str__(self) -> str:
        exponent = _EXPONENTS.get(self.currency, 2)
        digits = str(abs(self.minor)).rjust(exponent + 1, "0")
        sign = "-" if self.minor < 0 else ""
        number = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
        return f"{sign}{number} {self.currency}"

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot combine {self} with {other}: different currencies")

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.currency)

    def __mul__(self, times: int) -> Money:
        return Money(self.minor * times, self.currency)

    def __lt__(self, other: Money) -> bool:
        self._same(other)
        return self.minor < other.minor

    def __le__(self, other: Money) -> bool:
        self._same(other)
        return self.minor <= other.minor


def gross_of(amount: Money, *, fee_bp: int, vat_bp: int) -> Money:
    """What paying `amount` costs in all: with the provider's fee, and tax on the whole (the larger base where it is not
    known which one applies). Rates in hundredths of a percent; fractions of a minor unit round up (threats section 4)."""
    with_fee = amount.minor - -amount.minor * fee_bp // 10_000
    return Money(with_fee - -with_fee * vat_bp // 10_000, amount.currency)


class EventKind(str, Enum):
    """What the server's inbox records. The body of each is one dataclass below."""

    ARRIVED = "arrived"
    ASSIGNED = "assigned"
    SUBMITTED = "submitted"
    LATE = "late"
    RETURNED = "returned"
    EXPIRED = "expired"
    LEFT = "left"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A visit began. The place it takes is charged for once the visit is approved. `submission`: the provider's id of it, as
    the page's address claimed; None for those whose link was signed for the worker."""

    visit: VisitId
    worker: WorkerId
    study: StudyKey
    submission: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    assignment: AssignmentId
    unit: UnitId
    worker: WorkerId
    visit: VisitId
    timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Accepted answers. `late`: sent after the hold had expired; it counts only if `counts` (the unit was still open)."""

    assignment: AssignmentId
    unit: UnitId
    worker: WorkerId
    visit: VisitId
    nonce: str
    answers: Mapping[str, Any]
    signals: Mapping[str, Any]
    bundle: str  # digest of the task app that the worker saw
    duration_s: float  # from assigned to submitted, on the server's clock
    late: bool = False
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A hold ended without answers: `returned` by the worker or `expired` by time. The unit is open again."""

    assignment: AssignmentId
    unit: UnitId
    worker: WorkerId
    visit: VisitId


class LeftReason(str, Enum):
    VISIT = "visit"  # all units of one visit done
    LIMIT = "limit"  # this worker may do no more
    TARGET = "target"  # nothing left that this worker could do
    RETURNED = "returned"  # the worker gave back the unit and left
    TIMEOUT = "timeout"  # nothing heard for one task timeout, no hold open
    CLOSED = "closed"  # intake was closed (drain)
    REPLACED = "replaced"  # the same worker came with another visit
    INELIGIBLE = "ineligible"  # the provider does not know this visit


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A visit ended; `submissions` of it were accepted (a visit with none is not charged and frees its place)."""

    visit: VisitId
    worker: WorkerId
    reason: LeftReason
    submissions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Intake is closed, nobody holds a unit, no event will follow."""


EventBody = Arrived | Assigned | Submitted | Ended | Left | Drained


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the inbox. `seq` is also the receipt a worker was given, unless `receipt` says otherwise
    (events told again in a new epoch keep the receipt of their first life)."""

    seq: int
    at: datetime  # UTC
    kind: EventKind
    body: EventBody
    receipt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The last event that the store holds of one inbox. `chain` ties it to everything before it (docs/protocol.md)."""

    inbox: str
    epoch: int
    seq: int
    chain: str


class UnitState(str, Enum):
    OPEN = "open"
    ASSIGNED = "assigned"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    DROPPED = "dropped"  # its item is no longer in the data: not offered, not counted


class SubmissionStatus(str, Enum):
    SUBMITTED = "submitted"
    APPROVED = "approved"  # pays, counts
    EXCLUDED = "excluded"  # pays, does not count, unit offered again
    REJECTED = "rejected"  # neither
    SURPLUS = "surplus"  # came after its unit had been done by somebody else: pays, does not count
    VOID = "void"  # its visit was given up or never real, as the provider tells: neither, unit offered again


class Verdict(str, Enum):
    APPROVE = "approve"
    EXCLUDE = "exclude"
    REJECT = "reject"

    @property
    def status(self) -> SubmissionStatus:
        return {
            Verdict.APPROVE: SubmissionStatus.APPROVED,
            Verdict.EXCLUDE: SubmissionStatus.EXCLUDED,
            Verdict.REJECT: SubmissionStatus.REJECTED,
        }[self]


class VisitState(str, Enum):
    ACTIVE = "active"
    LEFT = "left"  # ended, not settled yet
    PAID = "paid"
    REJECTED = "rejected"  # every submission of it was rejected: not paid
    EMPTY = "empty"  # ended without a submission: not paid
    LISTED = "listed"  # the provider tells of it; nobody came to the server with it yet


class Claim(str, Enum):
    """What is known of who came in a visit."""

    SIGNED = "signed"  # the link was made for this worker
    CLAIMED = "claimed"  # by the page's address; the provider has not been asked
    VERIFIED = "verified"  # the provider lists this visit of this worker
    REFUTED = "refuted"  # it does not


class ListedState(str, Enum):
    """How a visit stands at its provider."""

    RESERVED = "reserved"  # has a place, has not begun
    ACTIVE = "active"
    AWAITING = "awaiting"  # handed in; not reviewed
    APPROVED = "approved"
    PARTIAL = "partial"  # a part of the reward was paid
    REJECTED = "rejected"
    RETURNED = "returned"
    TIMED_OUT = "timed_out"
    SCREENED_OUT = "screened_out"
    UNKNOWN = "unknown"  # a word we do not know: nothing is concluded from it

    @property
    def gone(self) -> bool:
        """Its place is free again, and nobody is paid."""
        return self in (ListedState.REJECTED, ListedState.RETURNED, ListedState.TIMED_OUT, ListedState.SCREENED_OUT)

    @property
    def charged(self) -> bool:
        return self in (ListedState.APPROVED, ListedState.PARTIAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVisit:
    """A visit as its provider tells of it. `visit` is `visit_of(study, worker, submission)`."""

    visit: VisitId
    submission: str  # the provider's id of it
    worker: WorkerId
    state: ListedState
    code: str | None = None  # what was handed in with it
    started_at: datetime | None = None
    completed_at: datetime | None = None
    return_asked: bool = False


class Admission(NamedTuple):
    """Who may take part: all but `blocked` and, unless it is None, only `allowed`. Whole lists, sorted."""

    blocked: tuple[WorkerId, ...] = ()
    allowed: tuple[WorkerId, ...] | None = None


class StudyState(str, Enum):
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"


class RunState(str, Enum):
    """`wanted` by the operator and reached by the reconciler; a run moves only to the right or between live and paused."""

    LIVE = "live"
    PAUSED = "paused"
    DESTROYED = "destroyed"


class IntentState(str, Enum):
    """recorded -> done | refused; `recorded` after a crash is looked up at the provider before it is sent again."""

    RECORDED = "recorded"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row of the task's data. `data` holds only the columns that the app uses (worker-visible)."""

    id: ItemId
    data: Mapping[str, Any]
    offered_to: tuple[WorkerId, ...] = ()  # when given: repeat k is offered to the k-th of them only


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOffer:
    """What the server must know of one open unit. A higher `attempt` offers a done unit again."""

    unit: UnitId
    item: ItemId
    attempt: int
    offered_to: WorkerId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOffer:
    """Item data for the server; `done_by` are workers who must not get the item (they had it in an earlier run)."""

    item: ItemId
    data: Mapping[str, Any]
    done_by: tuple[WorkerId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The provider's listing as the provider tells it. `places`: visits listed in all, paid ones included."""

    id: str
    key: StudyKey
    places: int
    state: StudyState
    reward: Money
    by_hand: bool = False  # somebody paused or stopped it on the provider's site


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a task as the store knows it."""

    id: RunId
    task: TaskName
    number: int
    wanted: RunState
    reached: RunState | None  # None until the stack is up
    settings: Mapping[str, Any]  # the resolved spec this run goes by, as `Desired` needs it (plan.desired)
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCounts:
    """total = open + assigned + submitted + approved. excluded, rejected, surplus, void count submissions."""

    total: int = 0
    before: int = 0  # of total: done, and done by an earlier run of the task
    open: int = 0
    stuck: int = 0  # of open: named for a worker whose answers were not accepted and who cannot have the item again
    assigned: int = 0
    submitted: int = 0
    approved: int = 0
    excluded: int = 0
    rejected: int = 0
    surplus: int = 0
    void: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitCounts:
    active: int = 0
    left: int = 0
    paid: int = 0
    rejected: int = 0
    empty: int = 0
    listed: int = 0
    unverified: int = 0  # of all: their claim waits for the provider's word


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidVisit:
    """A visit that was paid and not topped up. `sent`: that was written down and has no result yet."""

    visit: VisitId
    worker: WorkerId
    submission: str | None = None  # the provider's id of it, where it has one
    sent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedVisit:
    """A visit that left and is not settled, with the verdicts its submissions have so far."""

    visit: VisitId
    worker: WorkerId
    submissions: int
    statuses: Mapping[SubmissionStatus, int] = field(default_factory=dict)
    submission: str | None = None  # the provider's id of it, where it has one
