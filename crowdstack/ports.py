"""The doors: what crowdstack asks of engines, providers, the store, the server and time. Adapters stand behind them.

Only `wiring` names an adapter. Errors: `Busy` (try at the next tick), `Refused` (a person must act), others as said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from crowdstack.model import (
    Admission,
    Claim,
    Cursor,
    EndedVisit,
    Event,
    IntentState,
    Item,
    ItemOffer,
    ListedState,
    ListedVisit,
    Money,
    PaidVisit,
    Run,
    RunId,
    RunState,
    Study,
    StudyKey,
    StudyState,
    SubmissionStatus,
    TaskName,
    UnitCounts,
    UnitId,
    UnitOffer,
    UnitState,
    Verdict,
    VisitCounts,
    VisitId,
    VisitState,
    WorkerId,
)
from crowdstack.tokens import Secret

# ---------------------------------------------------------------------------------------------------- engine


class Operation(str, Enum):
    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    IMPORT = "import"  # the resource was there already and is looked after from now on
    REFRESH = "refresh"  # the resource was found changed or gone outside of us


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change of one resource: a line of the preview. `changed`: property names; `unknown` ones show as known after up."""

    operation: Operation
    urn: str
    type: str
    name: str
    changed: tuple[str, ...] = ()
    replaced_by: tuple[str, ...] = ()  # the properties that force a replacement


@dataclass(frozen=True, slots=True, kw_only=True)
class StackResult:
    """What an engine verb did (or, in a preview, would do). `outputs` hold secrets in clear: never print them whole."""

    steps: tuple[Step, ...]
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Pulumi program and its configuration. `run` is the body of stacks/__main__.py; it takes no argument."""

    project: str
    stack: str
    config: Mapping[str, str]
    run: Callable[[], None] = field(repr=False)


OnStep = Callable[[Step], None]


def ignore(_: Step) -> None:
    """An OnStep that tells nobody."""


class Engine(Protocol):
    """Makes a stack so. Verbs block; one at a time per stack (LockHeld). Killed anywhere and run again = run once.

    targets: the only resources that are looked at and may change, by URN; all when there are none. StepFailed for one that needs
    what is still to be made, or is to be deleted while others need it; for one that nobody knows, once the rest is done.
    """

    def preview(self, program: Program, *, targets: Collection[str] = ()) -> StackResult:
        """The steps `up` would take now, resources looked at first (`refresh`); nothing is changed, not even the state."""

    def up(self, program: Program, on_step: OnStep = ..., *, targets: Collection[str] = ()) -> StackResult:
        """Refresh, then make it so. StepFailed after the first failed step; the state then holds all that was done."""

    def destroy(self, on_step: OnStep = ..., *, targets: Collection[str] = ()) -> StackResult:
        """Delete every resource, dependents first, and the state's entries with them. A repeat does nothing."""

    def refresh(self, on_step: OnStep = ..., *, targets: Collection[str] = ()) -> StackResult:
        """Take into the state what changed outside of us; nothing else changes. No program is run."""

    def outputs(self) -> Mapping[str, Any] | None:
        """The stack's outputs as of the last `up`, secrets in clear; None when there is no stack."""


# ---------------------------------------------------------------------------------------------------- provider


class Provider(Protocol):
    """The crowd's service. Every verb is synchronous, idempotent by its key, and carries totals, never increments."""

    def fetch_study(self, key: StudyKey) -> Study | None:
        """The listing as it is now, looked up by our key over all states."""

    def open_study(self, key: StudyKey, *, places: int, reward: Money, title: str) -> Study:
        """List `places` visits. The same key again returns the study that is there."""

    def raise_places(self, key: StudyKey, to: int) -> Study:
        """List `to` places in all; never fewer than before; a repeat changes nothing."""

    def set_state(self, key: StudyKey, state: StudyState) -> Study:
        """Pause, open again or close. Closed is final."""

    def approve(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None = None) -> None:
        """Pay the visit its reward, once however often this is called. Refused: unknown study, no place left, dry wallet.
        `submission`: the provider's id of the visit, None where it has none of its own."""

    def reject(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, reason: str, submission: str | None = None
    ) -> None:
        """Do not pay the visit; its place is free again. Refused once it was paid."""

    def pay_bonus(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None, *, payment: str, net: Money
    ) -> None:
        """Pay the worker `net` on top, once for this `payment` however often this is called. Unclear when it may have been
        paid and nothing shows it yet: it is never sent again. Refused: no such visit, a dry wallet."""

    def send_message(self, key: StudyKey, worker: WorkerId, *, message: str, text: str) -> None:
        """Write `text` to a worker who came, about this study: once for this `message` however often this is called. Unclear when
        it may have been sent and nothing shows it: it is never sent again. Refused: the service has no messages."""

    def gross(self, reward: Money) -> Money:
        """What paying this costs in all: reward (or bonus), fee, tax."""

    def spent(self) -> Money | None:
        """What the provider's own books say was debited for all studies of this task; None before the first study."""

    def drift(self, key: StudyKey, *, reward: Money, title: str) -> tuple[str, ...]:
        """How the listing differs from what it would be made like now: edited by hand, or by a spec whose edit came too late.
        A line each, for people; nothing is done about it."""

    def fetch_visits(self, key: StudyKey) -> Listing | None:
        """Everybody who ever took a place of the study, as the provider tells now. None: it cannot tell (the server's word
        holds). May be some seconds old; `Listing.at` says."""

    def ask_return(self, key: StudyKey, submission: str, reason: str) -> None:
        """Ask the worker to give back a visit that was handed in with nothing in it. Refused where there is no such thing."""

    def set_workers(self, key: StudyKey, admission: Admission) -> None:
        """Who is to be let in from now on, by whole lists: told before the study is opened and whenever they change. A repeat
        mends what was changed by others. Nothing where the service keeps no such lists: the task server turns people away in
        any case."""

    def group_changes(self, key: StudyKey, admission: Admission) -> tuple[GroupChange, ...]:
        """What `set_workers` with the same lists, and opening the study, would make or change of the service's lists of people.
        Refused: the spec names one that is not there."""

    def watch(self, key: StudyKey, at: str) -> HookKey | None:
        """Have changes of the study told to the public address `at` by hooks signed with this key. A repeat mends what is
        missing, and nothing else. None: no hooks, by its settings or because it has none. Refused: the account has none."""

    def unwatch(self, key: StudyKey, at: str) -> None:
        """No hooks of this study to `at` any more. A repeat does nothing."""

    def hint(self, key: StudyKey) -> None:
        """Something may have changed there: what is fetched is to be new soon. However often, it is asked at its own pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """A list of people that a service keeps (Prolific: participant group), as it would be made or changed."""

    name: str
    made: bool
    joining: int = 0  # workers
    leaving: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HookKey:
    """How a provider signs its hooks: base64 of HMAC-SHA256(secret, timestamp + body). The names are those of headers."""

    secret: Secret = field(repr=False)
    event: str  # which event it is: the same when it is delivered again
    timestamp: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`at`: when the provider was asked; visits that began before are in it (bar the provider's own delay)."""

    visits: tuple[ListedVisit, ...]
    at: datetime


class Memory(Protocol):
    """Small facts that an adapter must find again after a crash, like the id of its study. Durable on return."""

    def get(self, name: str) -> str | None: ...
    def put(self, name: str, value: str) -> None: ...


class Crowd(Protocol):
    """Simulated or invited workers that come by themselves (mock provider only); its process outlives ours."""

    def ensure(self) -> None:
        """Start it unless it runs. A repeat does nothing."""

    def running(self) -> bool: ...

    def stop(self) -> None:
        """Ask it to end and wait until its process is gone."""

    def links(self) -> Mapping[WorkerId, str]:
        """The signed link of each person who is invited (human crowd; empty for simulated ones)."""


# ---------------------------------------------------------------------------------------------------- control


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An inbox entry whose body cannot be understood: kept raw in quarantine so that the others go on."""

    seq: int
    raw: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Consecutive events after `before`; `cursor` is where the store stands once they are kept. The chain was checked."""

    before: Cursor
    events: tuple[Event | Unreadable, ...]
    cursor: Cursor
    again: bool = False  # a new epoch tells old events again: those already stored are no news


class Control(Protocol):
    """The server's other end. Connected means mutually proven (docs/protocol.md). Loss of the connection raises Busy."""

    async def connect(self, cursor: Cursor | None) -> Cursor:
        """Prove each other, take the lease, resume after `cursor`; the position agreed on.

        InboxRegressed when the inbox does not continue what the store holds (call `new_epoch`, then connect again);
        LockHeld when another reconciler has the lease.
        """

    async def new_epoch(self, cursor: Cursor) -> Cursor:
        """Make the inbox start a new epoch above `cursor` and tell everything it has again."""

    async def next_batch(self, timeout_s: float) -> Batch | None:
        """The next events (at most 500), or None when none came in time."""

    async def ack(self, seq: int) -> None:
        """Everything up to `seq` is stored: the window moves on."""

    async def offer(self, items: Sequence[ItemOffer], units: Sequence[UnitOffer], drop: Sequence[UnitId] = ()) -> None:
        """Units that may be worked on; durable at the server when this returns. Chunked by the caller: <= 500 units."""

    async def set_workers(self, blocked: Sequence[WorkerId], allowed: Sequence[WorkerId] | None = None) -> None:
        """All workers that are to get nothing and, unless it is None, all that may get something (whole lists, totals)."""

    async def open_study(self, study: StudyKey, *, places: int, state: StudyState) -> None:
        """How many visits of the study the server may admit in all, and whether it admits any now."""

    async def settle_claims(self, claims: Sequence[tuple[VisitId, Claim]]) -> None:
        """What the provider says of visits that were only claimed. A refuted one ends: its hold is given up, its place is
        free, its units are open again. A repeat changes nothing. Chunked by the caller: <= 500."""

    async def drain(self, *, now: bool = False) -> None:
        """Give out no more units; `drained` is the last event once no hold is open (`now`: holds end at once)."""

    async def set_hook_key(self, key: HookKey) -> None:
        """Take hooks signed so, until the server ends: it keeps the key in memory only, so each connection tells it anew."""

    def hinted(self) -> bool:
        """Whether a hook came since this was asked last. What it said is told to nobody: it is a reason to look."""

    async def release(self, seq: int) -> None:
        """Events up to `seq` are in a backup of the store: the server may delete them."""

    def lease_left_s(self) -> float:
        """For how long nobody else can lead this run, a time of sleep included; 0 without a connection."""

    async def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------- store


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentDraft:
    """An action to be written down before it is sent. The same `key` twice in a run is the same intent.

    places, gross, top_up: for actions that list places (study, total places, gross cost of one, the most that it may be
    topped up by); they are what budgets reserve.
    The store knows six kinds: `approve` (body: study, visit, amount), `reject` (body: visit), `close` (study),
    `bonus` and `top_up` (body: study, visit, payment, amount), `fix_top_up` (study, top_up).
    """

    key: str  # "open:rte-1", "places:rte-1:400", "approve:<visit>"
    kind: str  # name of the action (plan.decide)
    body: Mapping[str, Any]
    study: StudyKey | None = None
    places: int | None = None
    gross: Money | None = None
    top_up: Money | None = None
    owed: Money | None = None  # a payment of its own (bonus): reserved until it has a result, then booked


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    id: int
    run: RunId
    key: str
    kind: str
    body: Mapping[str, Any]
    state: IntentState
    at: datetime
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRow:
    """One unit as `units ls|show` prints it."""

    unit: UnitId
    item: str
    repeat: int
    state: UnitState
    attempt: int
    worker: WorkerId | None
    submissions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRow:
    """One submission as export and review read it."""

    submission: int
    run: RunId
    unit: UnitId
    item: str
    worker: WorkerId
    assignment: str
    visit: VisitId
    receipt: int
    epoch: int
    status: SubmissionStatus
    submitted_at: datetime
    duration_s: float
    answers: Mapping[str, Any]
    signals: Mapping[str, Any]
    bundle: str
    late: bool
    version: int  # +1 with each verdict; a verdict names the version it saw


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One worker of a task as `workers ls` prints it."""

    worker: WorkerId
    visits: int
    submissions: int
    last_came: datetime | None  # to the server
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRow:
    """One visit, both halves of it: ours and the provider's (decisions/0009)."""

    visit: VisitId
    run: RunId
    worker: WorkerId
    study: StudyKey | None
    submission: str | None
    claim: Claim
    listed: ListedState | None
    state: VisitState
    submissions: int
    code: str | None
    arrived_at: datetime | None  # at the server; None: the provider alone tells of it
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRow:
    """One line of the ledger. `purpose`: reward, or `bonus:<payment>`; `amount`: gross; `declined`: the provider did not pay it
    after all, so it is no part of what was spent."""

    run: RunId
    visit: VisitId
    worker: WorkerId
    submission: str | None
    purpose: str
    amount: Money
    at: datetime
    declined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """How a run would stand right after `open_run`."""

    run: RunId
    new: bool  # no live run: `up` would open this one
    units: UnitCounts
    visits: VisitCounts
    offers: tuple[int, int]


class Store(Protocol):
    """The truth about a task, on this disk. Each verb is one IMMEDIATE transaction; Busy when the database stays locked.

    Money here: E = paid + bonuses without a result + sum over studies of max(0, places - paid visits) * gross, over all
    runs of the task (threats section 4); once its `close` intent is done a study owes only for visits that ended with submissions and
    are not settled. To each of those, and to each paid visit without a `top_up` intent, comes the most that it may be topped
    up by: as its places were listed with or, from the study's `fix_top_up` intent on, as that says.
    An intent that would raise E above `budget` raises OverBudget and nothing is recorded.
    """

    # runs
    def tasks(self) -> list[TaskName]: ...
    def live_run(self, task: TaskName) -> Run | None: ...
    def runs(self, task: TaskName) -> list[Run]: ...
    def run(self, run: RunId) -> Run: ...
    def open_run(
        self,
        task: TaskName,
        *,
        settings: Mapping[str, Any],
        items: Iterable[Item],
        repeats: int,
        fresh: bool,
        now: datetime,
    ) -> Run:
        """The live run, brought to these settings and items, or a new one. New units for new items or more repeats;
        units of items that are gone become `dropped`. `fresh`: earlier runs' answers do not count for a new run."""

    def rehearse(
        self,
        task: TaskName,
        *,
        settings: Mapping[str, Any],
        items: Iterable[Item],
        repeats: int,
        fresh: bool,
        now: datetime,
    ) -> Rehearsal:
        """What `open_run` with the same arguments would give; nothing is kept."""

    def basis(self, task: TaskName) -> str:
        """What `rehearse` goes by, as a digest: another one once a run was opened, changed or closed."""

    def want(self, run: RunId, state: RunState, now: datetime, *, drain_now: bool = False) -> None: ...
    def drain_now(self, run: RunId) -> bool: ...
    def set_reached(self, run: RunId, state: RunState, now: datetime) -> None: ...

    # events
    def cursor(self, run: RunId) -> Cursor | None: ...
    def adopt_inbox(self, run: RunId, cursor: Cursor) -> None:
        """Go on with another inbox or epoch: the cursor moves there. What it offers and who is inside is not known: open
        visits and holds have ended unless it tells of them again, all offers and withdrawals are due."""

    def keep(self, run: RunId, batch: Batch) -> int:
        """Store a batch and move the cursor, both or neither; how many were new. Heard again is no news, a gap raises Gap
        (so does an inbox or epoch that was not adopted).
        Unreadable ones, and those that the tables refuse, go to quarantine in the same transaction."""

    def quarantined(self, run: RunId) -> int: ...
    def drained(self, run: RunId) -> bool:
        """The inbox said `drained` and so everything it ever held is stored."""

    # what the reconciler says of itself, for `status`
    def note(self, run: RunId, state: str, text: str, now: datetime) -> None:
        """The reconciler's last word on the run (plan.decide.Rest); replaces the one before."""

    def noted(self, run: RunId) -> tuple[str, str, datetime] | None:
        """(state, text, when) of the last note."""

    # counts: kept in the same transactions, equal to a recount
    def unit_counts(self, run: RunId) -> UnitCounts: ...
    def visit_counts(self, run: RunId) -> VisitCounts: ...
    def recount(self, run: RunId) -> UnitCounts:
        """The same by COUNT: for `doctor` and tests."""

    # offers
    def offers(self, run: RunId) -> tuple[int, int]:
        """(offers there should be: the sum of attempts of all units not dropped, offers the server has confirmed)."""

    def unoffered(self, run: RunId, limit: int) -> tuple[list[ItemOffer], list[UnitOffer], list[UnitId]]:
        """Up to `limit` units whose last attempt (or drop) the server has not confirmed, with the data of their items."""

    def mark_offered(self, run: RunId, units: Sequence[UnitOffer], dropped: Sequence[UnitId] = ()) -> None: ...

    # what the provider tells (decisions/0009)
    def keep_listing(self, run: RunId, study: StudyKey, listing: Listing, *, gross: Money, now: datetime) -> None:
        """Take over how the provider's visits stand, all in one transaction; the same again changes nothing.

        A claimed visit that is listed is verified; one that is not, and began over two minutes before `listing.at`, is
        refuted. Submissions of visits that are gone (or refuted) become void and their units are offered again; of
        those that came back they count again, or are surplus where somebody else was faster. Charged ones are booked as
        paid, `gross` each, unless they are already. A listed visit that nobody came with gets a row (`listed`).
        """

    def listed_counts(self, run: RunId) -> Mapping[ListedState, int]:
        """How many visits the provider has in which state; empty before the first listing."""

    def awaiting_review(self, run: RunId) -> tuple[int, datetime | None]:
        """How many visits wait for review at the provider, and when the first of them was handed in."""

    def without_answers(self, run: RunId, limit: int) -> list[ListedVisit]:
        """Visits that were handed in at the provider and have no submission here, oldest first."""

    def untold_claims(self, run: RunId, limit: int) -> list[tuple[VisitId, Claim]]:
        """Verified and refuted visits of which the server does not know it yet; those that did not come yet too, so that no
        flood of made-up ones keeps them out."""

    def mark_claims_told(self, run: RunId, visits: Sequence[VisitId]) -> None: ...
    def memory(self, run: RunId) -> Memory:
        """The adapter's own notes on this run."""

    # visits and money
    def ended_visits(
        self, run: RunId, limit: int, *, judged: bool = False, handed_in: bool = False
    ) -> list[EndedVisit]:
        """Visits that left with submissions and are neither paid nor rejected, oldest first. `judged`: only those none
        of whose submissions waits for a verdict. `handed_in`: only those that wait for review at the provider."""

    def untopped(self, run: RunId, limit: int) -> list[PaidVisit]:
        """Paid visits without a `top_up` intent that is done, oldest first."""

    def visit_times(self, run: RunId) -> list[float]:
        """Seconds that each visit took that is paid or may be: from beginning to handing in as the provider tells, else
        from coming to the last answer."""

    def exposure(self, task: TaskName, currency: str) -> Money:
        """E of the task."""

    def paid(self, task: TaskName, currency: str) -> Money: ...
    def places(self, study: StudyKey) -> int:
        """The greatest total of places in any intent of the study that was not refused; 0 without one."""

    def gross(self, study: StudyKey) -> Money | None:
        """What one place of the study costs, as it was last asked for; None if none ever was."""

    def top_up(self, study: StudyKey) -> Money | None:
        """What is reserved to top up each visit of the study, gross; None if nothing ever was."""

    def record_intents(
        self, run: RunId, drafts: Sequence[IntentDraft], *, budget: Money | None, now: datetime
    ) -> list[Intent]:
        """Write them down, all or none. OverBudget as said above. A key that is there already returns that intent;
        a refused one is recorded anew (same row, state `recorded`, the budget asked again): what refused it may be gone."""

    def finish_intents(self, done: Sequence[tuple[int, IntentState, str | None]], now: datetime) -> None:
        """Results; a done `approve`/`reject` settles its visit (and books the payment), a done `bonus` or `top_up` is booked, all in
        the same transaction."""

    def open_intents(self, run: RunId) -> list[Intent]: ...
    def keep_declined(self, task: TaskName, payments: Collection[tuple[VisitId, str]]) -> None:
        """Which lines of the task's ledger, (visit, purpose), the provider did not pay after all: these and no others. They are
        spent no more, and their visits are not topped up; their places stay used. The same again changes nothing."""

    def intent(self, run: RunId, key: str) -> Intent | None:
        """The one of this key, unless it was refused."""

    def journal(self, run: RunId) -> Iterator[Intent]: ...

    # review and export
    def units(
        self, run: RunId, *, state: UnitState | None = None, limit: int = 50, after: str = ""
    ) -> list[UnitRow]: ...
    def submissions(self, task: TaskName, *, unit: UnitId | None = None) -> Iterator[SubmissionRow]:
        """All submissions of the task that count into its current generation, in order of (run, receipt), streamed."""

    def judge(
        self, submission: int, verdict: Verdict, *, reason: str, by: str, version: int | None, now: datetime
    ) -> SubmissionRow:
        """Give a verdict. exclude and reject offer the unit again (attempt + 1) and free the item for other workers only.
        StateMismatch when `version` is not the current one."""

    # workers
    def workers(self, task: TaskName, *, limit: int = 50, after: str = "") -> list[WorkerRow]:
        """Everybody who came, by id."""

    def visits(self, task: TaskName, named: str) -> list[VisitRow]:
        """The visits of this worker, or the one with this id (ours or the provider's)."""

    def payments(self, task: TaskName) -> list[PaymentRow]:
        """The ledger, the oldest first."""

    def blocked(self, task: TaskName) -> tuple[WorkerId, ...]: ...
    def block(self, task: TaskName, workers: list[WorkerId], *, reason: str, by: str, now: datetime) -> None:
        """They get nothing in any run of the task, from now on. NotFound for a task that is not here."""

    def admission(
        self,
        task: TaskName,
        *,
        block: Sequence[WorkerId] = (),
        require: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Admission:
        """Who gets nothing (in `block`, blocked here, or holding one of `exclude`) and who alone may get something: those that
        hold all of `require`, None without one."""

    def qualifications(self, task: TaskName, worker: WorkerId) -> dict[str, int]:
        """What this worker holds: name -> score."""

    def qualify(
        self, task: TaskName, workers: list[WorkerId], name: str, score: int, *, by: str, now: datetime
    ) -> None:
        """They hold it with this score from now on. NotFound for a task that is not here."""

    def revoke(self, task: TaskName, workers: list[WorkerId], name: str) -> int:
        """How many held it."""

    def unblock(self, task: TaskName, workers: list[WorkerId]) -> int:
        """How many were blocked here (those that the spec blocks stay so)."""

    def answer_fields(self, task: TaskName) -> list[str]:
        """Every top-level field that any of those submissions' answers has, sorted."""

    def judge_all(
        self, seen: Sequence[tuple[int, int | None]], verdict: Verdict, *, reason: str, by: str, now: datetime
    ) -> list[SubmissionRow]:
        """`judge` for many (submission, version seen), all or none."""

    def pseudonym_key(self, task: TaskName) -> bytes:
        """32 random bytes that never leave the store."""

    def client_id(self) -> str:
        """Who this store is to a task server: the holder of its lease."""

    def reconciler_lock(self, run: RunId) -> AbstractContextManager[None]:
        """At most one process at a time reconciles a run: LockHeld, naming its pid, while another one lives."""

    def backup(self, to: str) -> None:
        """A verified copy by SQLite's backup call."""

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------- clock


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC, aware."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None: ...
