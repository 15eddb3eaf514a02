"""What the account holds, as records that know whether they changed. Fields are values: replaced, never changed inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from crowdstack.fakes.prolific.states import StudyStatus, SubmissionStatus

TO_SAVE, TO_REMEMBER = 1, 2


def changed(record: Record, bit: int) -> bool:
    """Did it change since this was asked last with this bit?"""
    dirty = record.__dict__.get("dirty", 0)
    record.__dict__["dirty"] = dirty & ~bit
    return bool(dirty & bit)


@dataclass(kw_only=True, eq=False)
class Record:
    """`dirty` (in the instance's dict) gets both bits with every field that is set; each keeper of records clears its own."""

    id: str

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        self.__dict__["dirty"] = TO_SAVE | TO_REMEMBER


@dataclass(kw_only=True, eq=False)
class Meta(Record):
    """The account itself: its clock, its counter of ids, its token."""

    now: float  # unix seconds
    token: str
    counter: int = 0
    offset: float = 0  # of `now` before the machine's clock
    taken: dict[str, int] = field(default_factory=dict)  # how often each transition was taken

    def tick(self, now: float) -> None:
        """Time alone is no change that would have to be kept."""
        self.__dict__["now"] = now


@dataclass(kw_only=True, eq=False)
class Workspace(Record):
    title: str
    currency: str
    description: str = ""
    naivety: float | None = None
    paid_in: int = 0  # minor units
    spent: int = 0
    foreign: bool = False  # of somebody else: 403


@dataclass(kw_only=True, eq=False)
class Project(Record):
    workspace: str
    title: str
    description: str = ""
    naivety: float | None = None


@dataclass(kw_only=True, eq=False)
class Study(Record):
    workspace: str
    project: str
    fields: dict[str, Any]  # what the researcher may write, complete with defaults
    created_at: float
    status: StudyStatus = StudyStatus.UNPUBLISHED
    published_at: float | None = None
    stopped: bool = False
    deleted: bool = False
    test: bool = False  # costs nothing, test participants alone
    slots_used: dict[str, int] = field(default_factory=dict)  # screen-out code -> how many
    warned: bool = False  # of its return rate

    @property
    def places(self) -> int:
        return int(self.fields["total_available_places"])

    @property
    def reward(self) -> int:
        return int(self.fields["reward"])

    @property
    def key(self) -> str:
        """What the researcher knows it by."""
        return str(self.fields.get("internal_name") or self.fields.get("metadata") or "")


@dataclass(kw_only=True, eq=False)
class Submission(Record):
    study: str
    participant: str
    reserved_at: float
    status: SubmissionStatus = SubmissionStatus.RESERVED
    started_at: float | None = None
    completed_at: float | None = None
    entered_code: str | None = None
    handed_in: bool = False  # the redirect was made; the API may not show it yet
    return_requested: float | None = None
    bonuses: tuple[int, ...] = ()  # minor units, paid
    url: str = ""  # where the participant was sent
    rejection: str = ""


@dataclass(kw_only=True, eq=False)
class Person(Record):
    """A participant. `attributes`: filter id -> a number, or the ids of choices."""

    attributes: dict[str, Any] = field(default_factory=dict)
    email: str = ""
    test: bool = False


@dataclass(kw_only=True, eq=False)
class Group(Record):
    name: str
    workspace: str
    project: str | None = None
    description: str = ""
    members: dict[str, float] = field(default_factory=dict)  # participant -> since when
    deleted: bool = False


@dataclass(kw_only=True, eq=False)
class Bulk(Record):
    """A bulk bonus payment: (submission, amount in minor units) lines."""

    study: str
    lines: tuple[tuple[str, int], ...]
    pays: int = 0


@dataclass(kw_only=True, eq=False)
class Message(Record):
    sender: str
    recipient: str
    body: str
    study: str
    sent_at: float


@dataclass(kw_only=True, eq=False)
class Secret(Record):
    value: str
    workspace: str


@dataclass(kw_only=True, eq=False)
class Subscription(Record):
    workspace: str
    event_type: str
    target_url: str
    secret: str  # of the confirmation
    confirmed: bool = False
    enabled: bool = True
    failing_since: float | None = None


@dataclass(kw_only=True, eq=False)
class HookEvent(Record):
    subscription: str
    payload: dict[str, Any]
    created_at: float
    updated_at: float
    status: str = "PENDING"  # | SUCCEEDED | FAILED
    attempts: int = 0


@dataclass(kw_only=True, eq=False)
class Later(Record):
    """Something that happens by itself at `due`."""

    due: float
    verb: str
    subject: str
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Effect(Record):
    """One line of the journal. `by`: api | person | time | hand. `key`: internal_name or metadata of the study."""

    at: float
    by: str
    verb: str
    subject: str
    amount: int | None = None
    key: str = ""


@dataclass(kw_only=True, eq=False)
class WalletLine(Record):
    """Money that left the wallet, in minor units. `purpose`: reward | partial | screen_out | bonus."""

    at: float
    workspace: str
    study: str
    submission: str
    purpose: str
    amount: int
    fees: int
    vat: int
    source: str = ""  # the bulk bonus

    @property
    def total(self) -> int:
        return self.amount + self.fees + self.vat
