"""Who may have which unit now: items, units, holds, visits, places, in memory. No I/O; time comes as an argument.

Each verb decides at once and says what must be written for it (a `Change`). Memory is thereby ahead of the disk;
nobody is told of a decision before it is kept, and when it cannot be kept, `load` builds memory from the disk again.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any, NamedTuple

from crowdstack.model import (
    Arrived,
    Assigned,
    AssignmentId,
    Drained,
    Ended,
    EventBody,
    EventKind,
    Left,
    LeftReason,
    StudyKey,
    StudyState,
    Submitted,
    UnitId,
    UnitState,
    VisitId,
    WorkerId,
)
from crowdstack.server.line import Line
from crowdstack.wire.control import ItemData, UnitPut
from crowdstack.wire.text import canonical
from crowdstack.wire.worker import Progress, Submit

_GRACE_S = 120.0  # what a hold has left at least after a time in which the server took no answers


class Now(NamedTuple):
    wall: datetime  # UTC; for people and events
    mono: float  # for every decision


def now() -> Now:
    """For whoever calls the verbs below."""
    return Now(datetime.now(timezone.utc), time.monotonic())


class Terms(NamedTuple):
    """What the spec says about handing out units."""

    timeout_s: int
    units_per_visit: int | None
    max_units: int | None


RECEIPT: Any = object()  # in a row: stands for the number that the change's first event will get


@dataclass(slots=True)
class Change:
    """One decision: its events and the rows as they are after it, kept all together or not at all."""

    at: datetime
    events: list[tuple[EventKind, EventBody]] = field(default_factory=list)
    rows: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)  # (table, values)
    kept: list[Callable[[int], None]] = field(default_factory=list)  # told the first event's number once it is on disk

    def __bool__(self) -> bool:
        return bool(self.events or self.rows)


class HoldState(str, Enum):
    OPEN = "open"
    ENDED = "ended"  # returned or expired
    DONE = "done"  # has answers


@dataclass(slots=True, eq=False)
class Item:
    id: str
    n: int
    data: str  # JSON text
    done_by: set[str]
    open: list[Unit] = field(default_factory=list)  # units that anybody may take
    entries: list[int] = field(default_factory=list)  # positions in the line, while `open` is not empty

    def row(self) -> tuple[str, tuple[Any, ...]]:
        return "items", (self.id, self.n, self.data, json.dumps(sorted(self.done_by)))


@dataclass(slots=True, eq=False)
class Unit:
    id: UnitId
    item: Item
    attempt: int
    offered_to: str | None
    state: UnitState

    def row(self) -> tuple[str, tuple[Any, ...]]:
        return "units", (self.id, self.item.id, self.attempt, self.offered_to, self.state.value)


@dataclass(slots=True, eq=False)
class Visit:
    id: VisitId
    worker: Worker
    study: StudyKey
    heard: float
    submissions: int = 0
    returned: bool = False  # gave back the last unit and asked for none since
    left: LeftReason | None = None

    def row(self) -> tuple[str, tuple[Any, ...]]:
        left = self.left and self.left.value
        return "visits", (self.id, self.worker.id, self.study, self.submissions, left)


@dataclass(slots=True, eq=False)
class Hold:
    """An assignment."""

    id: AssignmentId
    unit: Unit
    worker: Worker
    visit: VisitId
    at: float  # wall clock, for what must survive a restart
    started: float
    expires: float
    state: HoldState = HoldState.OPEN
    nonce: str | None = None
    digest: str | None = None
    late: bool = False
    receipt: int | None = None

    def row(self) -> tuple[str, tuple[Any, ...]]:
        receipt = RECEIPT if self.state is HoldState.DONE else None
        values = (self.id, self.unit.id, self.worker.id, self.visit, self.at, self.state.value)
        return "assignments", (*values, self.nonce, self.digest, int(self.late), receipt)


@dataclass(slots=True, eq=False)
class Worker:
    id: WorkerId
    blocked: bool = False
    done: int = 0
    did: set[str] = field(default_factory=set)  # items this worker must not get (again)
    at: int = 0  # position in the line of items
    own: deque[Unit] = field(default_factory=deque)  # open units offered to this worker only
    visit: Visit | None = None  # the active one
    hold: Hold | None = None

    def row(self) -> tuple[str, tuple[Any, ...]]:
        return "workers", (self.id, int(self.blocked))


@dataclass(slots=True, eq=False)
class Study:
    key: StudyKey
    places: int
    state: StudyState
    taken: int = 0  # visits active, or ended with a submission

    def row(self) -> tuple[str, tuple[Any, ...]]:
        return "studies", (self.key, self.places, self.state.value)


@dataclass(frozen=True, slots=True)
class No:
    """Nothing is given: `reason` of the `done` frame, or None when asking again later may help."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that cannot be followed: an error code of the protocol."""

    code: str
    message: str


_UNKNOWN = Fault("unknown_assignment", "this assignment is not yours, or there is no such")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The tables of the inbox, as `load` needs them. Rows are in the order of the columns."""

    items: Iterable[tuple[Any, ...]]
    units: Iterable[tuple[Any, ...]]
    workers: Iterable[tuple[Any, ...]]
    studies: Iterable[tuple[Any, ...]]
    visits: Iterable[tuple[Any, ...]]
    holds: Iterable[tuple[Any, ...]]  # open assignments
    done: Iterable[tuple[str, str]]  # (worker, unit) of assignments with answers
    draining: bool
    drained: bool


class Pool:
    """`past` finds an assignment that memory no longer has: its row, or None."""

    def __init__(self, terms: Terms, past: Callable[[str], tuple[Any, ...] | None]) -> None:
        self.terms = terms
        self.paused = False  # set by the server while nothing may be given out: little disk left, or it is stopping
        self._past = past
        self._clear()

    def _clear(self) -> None:
        self.items: dict[str, Item] = {}
        self.units: dict[str, Unit] = {}
        self.workers: dict[str, Worker] = {}
        self.studies: dict[str, Study] = {}
        self.visits: dict[str, Visit] = {}
        self.active: dict[str, Visit] = {}
        self.holds: dict[str, Hold] = {}  # open
        self._unkept: dict[str, Hold] = {}  # ended or done, the disk does not say so yet
        self._line: Line[Item] = Line()
        self._deadlines: list[tuple[float, str]] = []
        self.draining = False
        self.drained = False

    def load(self, rows: Snapshot, now: Now) -> None:
        """Forget everything and be what the disk says."""
        self._clear()
        self.draining, self.drained = rows.draining, rows.drained
        for id_, n, data, done_by in rows.items:
            self.items[id_] = Item(id_, n, data, set(json.loads(done_by)))
        for key, places, state in rows.studies:
            self.studies[key] = Study(key, places, StudyState(state))
        for id_, blocked in rows.workers:
            self._worker(id_).blocked = bool(blocked)
        for item in self.items.values():
            for worker in item.done_by:
                self._worker(worker).did.add(item.id)
        for id_, item_id, attempt, offered_to, state in rows.units:
            unit = self.units[id_] = Unit(id_, self.items[item_id], attempt, offered_to, UnitState(state))
            if unit.state is UnitState.OPEN:
                self._open(unit)
        for worker_id, unit_id in rows.done:
            self._worker(worker_id).done += 1
            self._worker(worker_id).did.add(self.units[unit_id].item.id)
        for id_, worker_id, study, submissions, left in rows.visits:
            visit = Visit(id_, self._worker(worker_id), study, now.mono, submissions, left=left and LeftReason(left))
            self.visits[id_] = visit
            if visit.left is None:
                visit.worker.visit = self.active[id_] = visit
            if (visit.left is None or submissions) and study in self.studies:
                self.studies[study].taken += 1
        for row in rows.holds:
            hold = self._hold(row, now)
            self.holds[hold.id] = hold.worker.hold = hold
            self._grace(hold, hold.at + self.terms.timeout_s - now.wall.timestamp(), now)

    def _hold(self, row: tuple[Any, ...], now: Now) -> Hold:
        id_, unit, worker, visit, at, state, nonce, digest, late, receipt = row
        started = now.mono - max(0.0, now.wall.timestamp() - at)
        worker = self._worker(worker)
        return Hold(
            id_, self.units[unit], worker, visit, at, started, 0.0, HoldState(state), nonce, digest, bool(late), receipt
        )

    def _worker(self, id_: str) -> Worker:
        worker = self.workers.get(id_)
        if worker is None:
            worker = self.workers[id_] = Worker(WorkerId(id_))
        return worker

    # -------------------------------------------------------------------------------------------- workers

    def arrive(self, worker_id: str, study_key: str, now: Now) -> tuple[Visit | No, Change]:
        """The worker's visit: the active one, or a new one if the study has a place and there is something to do."""
        worker, study = self._worker(worker_id), self.studies.get(study_key)
        change = Change(now.wall)
        if worker.visit is not None:
            return worker.visit, change
        if worker.blocked:
            return No("blocked"), change
        if self.draining:
            return No("closed"), change
        if self._at_limit(worker):
            return No("limit"), change
        if study is not None and study.state is StudyState.CLOSED:
            return No("closed"), change
        if study is None or study.state is StudyState.PAUSED or study.taken >= study.places:
            return No(), change
        if self._next_unit(worker) is None and not self._may_come(worker):
            return No("target"), change
        visit = Visit(_new_id(VisitId, now), worker, study.key, now.mono)
        worker.visit = self.visits[visit.id] = self.active[visit.id] = visit
        study.taken += 1
        body = Arrived(visit=visit.id, worker=worker.id, study=study.key)
        change.events.append((EventKind.ARRIVED, body))
        change.rows.append(visit.row())
        return visit, change

    def next(self, visit: Visit, now: Now) -> tuple[Hold | No, Change]:
        """The worker's open hold, or a new one."""
        worker, change = visit.worker, Change(now.wall)
        if visit.left is not None:
            return No(visit.left.value), change
        if worker.hold is not None:
            return worker.hold, change
        visit.returned = False
        if worker.blocked:
            self._leave(visit, LeftReason.LIMIT, change)
            return No("blocked"), change
        if self.draining or self._at_limit(worker):
            reason = LeftReason.CLOSED if self.draining else LeftReason.LIMIT
            self._leave(visit, reason, change)
            return No(reason.value), change
        if self.paused:
            return No(), change
        unit = self._next_unit(worker)
        if unit is None:
            if self._may_come(worker):
                return No(), change
            self._leave(visit, LeftReason.TARGET, change)
            return No("target"), change
        return self._assign(unit, visit, now, change), change

    def _assign(self, unit: Unit, visit: Visit, now: Now, change: Change) -> Hold:
        worker, timeout_s = visit.worker, self.terms.timeout_s
        self._take(unit)
        worker.at += unit.offered_to is None  # past it: given back, it comes again at the end of the line
        hold = Hold(
            _new_id(AssignmentId, now), unit, worker, visit.id, now.wall.timestamp(), now.mono, now.mono + timeout_s
        )
        self.holds[hold.id] = worker.hold = hold
        heapq.heappush(self._deadlines, (hold.expires, hold.id))
        unit.state = UnitState.ASSIGNED
        body = Assigned(assignment=hold.id, unit=unit.id, worker=worker.id, visit=visit.id, timeout_s=timeout_s)
        change.events.append((EventKind.ASSIGNED, body))
        change.rows += (hold.row(), unit.row())
        return hold

    def asked(self, frame: Submit, worker_id: str, now: Now) -> Hold | Fault:
        """The assignment these answers are for: done already (by just this frame, heard before), or ready for `accept`."""
        hold = self._find(frame.assignment, now)
        if hold is None or hold.worker.id != worker_id:
            return _UNKNOWN
        if hold.state is not HoldState.DONE:
            return Fault("closed", "the study is over; nothing more can be taken") if self.drained else hold
        if hold.nonce != frame.nonce:
            return Fault("already_submitted", "this assignment has its answers already")
        if hold.digest != _digest(frame):
            return Fault("nonce_reused", "this nonce came with other answers before")
        return hold

    def accept(self, hold: Hold, frame: Submit, bundle: str, now: Now) -> Change:
        """Take the answers. Once the change is kept, the hold has its receipt."""
        change = Change(now.wall)
        unit, worker, late = hold.unit, hold.worker, hold.state is HoldState.ENDED
        if late:
            other = worker.hold is None or worker.hold.unit.item is not unit.item  # else that hold is the one to count
            counts = unit.state is UnitState.OPEN and unit.item.id not in worker.did and other
            if counts:
                self._take(unit)
        else:
            counts = unit.state is UnitState.ASSIGNED
            self._end(hold)
        if counts:
            unit.state = UnitState.SUBMITTED
            change.rows.append(unit.row())
        hold.state, hold.nonce, hold.digest, hold.late = HoldState.DONE, frame.nonce, _digest(frame), late
        worker.done += 1
        worker.did.add(unit.item.id)
        body = Submitted(
            assignment=hold.id,
            unit=unit.id,
            worker=worker.id,
            visit=hold.visit,
            nonce=frame.nonce,
            answers=frame.answers,
            signals=frame.signals or {},
            bundle=bundle,
            duration_s=round(now.mono - hold.started, 3),
            late=late,
            counts=counts,
        )
        change.events.append((EventKind.LATE if late else EventKind.SUBMITTED, body))
        change.rows.append(hold.row())
        self._settle(hold, change)
        self._after_submission(hold.visit, change)
        return change

    def _after_submission(self, visit_id: str, change: Change) -> None:
        visit = self.visits[visit_id]
        visit.submissions += 1
        if visit.left is not None:  # late: if it had left without one, its place was freed
            if visit.submissions == 1 and visit.study in self.studies:
                self.studies[visit.study].taken += 1
            change.rows.append(visit.row())
            return
        worker, limit = visit.worker, self.terms.units_per_visit
        if worker.hold is None and limit is not None and visit.submissions >= limit:
            self._leave(visit, LeftReason.VISIT, change)
        elif worker.hold is None and self._at_limit(worker):
            self._leave(visit, LeftReason.LIMIT, change)
        else:
            change.rows.append(visit.row())
        self._drain_further(change)

    def give_back(self, assignment: str, worker_id: str, now: Now) -> tuple[Hold | Fault, Change]:
        """The unit is open again; a repeat changes nothing."""
        change = Change(now.wall)
        hold = self._find(assignment, now)
        if hold is None or hold.worker.id != worker_id:
            return _UNKNOWN, change
        if hold.state is HoldState.DONE:
            return Fault("already_submitted", "this assignment has its answers already"), change
        if hold.state is HoldState.OPEN:
            self._give_up(hold, EventKind.RETURNED, change)
            if hold.worker.visit is not None:
                hold.worker.visit.returned = True
        return hold, change

    def progress(self, visit: Visit) -> Progress:
        if self.terms.units_per_visit is not None:
            return Progress(done=visit.submissions, limit=self.terms.units_per_visit)
        return Progress(done=visit.worker.done, limit=self.terms.max_units)

    # -------------------------------------------------------------------------------------------- time

    def tick(self, now: Now) -> list[Change]:
        """End what is over: holds past their time, visits of which nothing was heard for one timeout."""
        changes = []
        while self._deadlines and self._deadlines[0][0] <= now.mono:
            hold = self.holds.get(heapq.heappop(self._deadlines)[1])
            if hold is not None and hold.expires <= now.mono:
                change = Change(now.wall)
                self._give_up(hold, EventKind.EXPIRED, change)
                if hold.worker.visit is not None:
                    hold.worker.visit.heard = now.mono  # one timeout more to come back
                changes.append(change)
        silent = now.mono - self.terms.timeout_s
        for visit in [v for v in self.active.values() if v.heard <= silent and v.worker.hold is None]:
            change = Change(now.wall)
            self._leave(visit, LeftReason.RETURNED if visit.returned else LeftReason.TIMEOUT, change)
            changes.append(change)
        return changes

    def stood_still(self, now: Now) -> None:
        """The process was stopped for a while, and nobody could answer: nobody's time has run out by that."""
        for hold in self.holds.values():
            self._grace(hold, hold.expires - now.mono, now)
        for visit in self.active.values():
            visit.heard = now.mono

    def _grace(self, hold: Hold, left_s: float, now: Now) -> None:
        hold.expires = now.mono + min(max(left_s, _GRACE_S), self.terms.timeout_s)
        heapq.heappush(self._deadlines, (hold.expires, hold.id))

    # -------------------------------------------------------------------------------------------- control

    def offer(self, items: Sequence[ItemData], put: Sequence[UnitPut], drop: Sequence[str], now: Now) -> Change:
        """More (or other) units; what is known already changes nothing. KeyError: a unit of an item never told."""
        change = Change(now.wall)
        for told in items:
            item = self.items.get(told.item)
            if item is None:
                item = self.items[told.item] = Item(told.item, len(self.items), "", set())
            item.data = json.dumps(told.data, ensure_ascii=False)
            item.done_by.update(told.done_by)
            for worker in told.done_by:
                self._worker(worker).did.add(item.id)
            change.rows.append(item.row())
        for offer in put:
            unit = self.units.get(offer.unit)
            if unit is None:
                unit = Unit(UnitId(offer.unit), self.items[offer.item], 0, offer.offered_to, UnitState.DROPPED)
                self.units[unit.id] = unit
            if offer.attempt > unit.attempt or (offer.attempt == unit.attempt and unit.state is UnitState.DROPPED):
                unit.attempt = offer.attempt
                if unit.state in (UnitState.SUBMITTED, UnitState.DROPPED):
                    unit.state = UnitState.OPEN
                    self._open(unit)
                change.rows.append(unit.row())
        for id_ in drop:
            unit = self.units.get(id_)
            if unit is not None and unit.state in (UnitState.OPEN, UnitState.ASSIGNED):
                if unit.state is UnitState.OPEN:
                    self._take(unit)
                unit.state = UnitState.DROPPED
                change.rows.append(unit.row())
        return change

    def block(self, workers: Sequence[str], now: Now) -> Change:
        """These workers, and no others, get nothing."""
        change, wanted = Change(now.wall), set(workers)
        for worker in [*map(self._worker, wanted), *self.workers.values()]:
            if worker.blocked is not (worker.id in wanted):
                worker.blocked = not worker.blocked
                change.rows.append(worker.row())
        return change

    def open_study(self, key: str, places: int, state: StudyState, now: Now) -> Change:
        study = self.studies.get(key)
        if study is None:
            study = self.studies[key] = Study(StudyKey(key), places, state)
        study.places, study.state = places, state
        return Change(now.wall, rows=[study.row()])

    def drain(self, end_holds: bool, now: Now) -> Change:
        """Give out nothing more; with the last hold comes the last event."""
        change = Change(now.wall)
        self.draining = True
        change.rows.append(("meta", ("draining", "1")))
        for hold in list(self.holds.values()) if end_holds else ():
            self._give_up(hold, EventKind.EXPIRED, change)
        self._drain_further(change)
        return change

    # -------------------------------------------------------------------------------------------- inside

    def _next_unit(self, worker: Worker) -> Unit | None:
        """The unit this worker would get now."""
        while worker.own:
            unit = worker.own[0]
            if unit.state is UnitState.OPEN and unit.item.id not in worker.did:
                return unit
            worker.own.popleft()
        while True:
            worker.at, item = self._line.first(worker.at)
            if item is None:
                return None
            if item.id not in worker.did:
                return item.open[0]
            worker.at += 1  # done, so never again

    def _may_come(self, worker: Worker) -> bool:
        """Whether something that this worker could do is in other hands now, or nothing was ever offered yet."""
        return not self.units or any(
            hold.unit.item.id not in worker.did and hold.unit.offered_to in (None, worker.id)
            for hold in self.holds.values()
        )

    def _at_limit(self, worker: Worker) -> bool:
        return self.terms.max_units is not None and worker.done >= self.terms.max_units

    def _open(self, unit: Unit, *, again: bool = False) -> None:
        """Offer it. `again`: some have passed its item already, so it stands at the end of the line once more."""
        if unit.offered_to is not None:
            self._worker(unit.offered_to).own.append(unit)
            return
        unit.item.open.append(unit)
        if again or not unit.item.entries:
            unit.item.entries.append(self._line.append(unit.item))

    def _take(self, unit: Unit) -> None:
        """Off the offers."""
        item = unit.item
        if unit.offered_to is not None:
            with suppress(ValueError):  # stepped over already: this worker may not have the item any more
                self._worker(unit.offered_to).own.remove(unit)
            return
        item.open.remove(unit)
        if not item.open:
            for entry in item.entries:
                self._line.remove(entry)
            item.entries.clear()

    def _end(self, hold: Hold) -> None:
        del self.holds[hold.id]
        hold.worker.hold = None

    def _give_up(self, hold: Hold, kind: EventKind, change: Change) -> None:
        """End a hold without answers: its unit is open again."""
        self._end(hold)
        hold.state = HoldState.ENDED
        unit = hold.unit
        if unit.state is UnitState.ASSIGNED:
            unit.state = UnitState.OPEN
            self._open(unit, again=True)
        body = Ended(assignment=hold.id, unit=unit.id, worker=hold.worker.id, visit=hold.visit)
        change.events.append((kind, body))
        change.rows += (hold.row(), unit.row())
        self._settle(hold, change)
        self._drain_further(change)

    def _leave(self, visit: Visit, reason: LeftReason, change: Change) -> None:
        visit.left, visit.worker.visit = reason, None
        del self.active[visit.id]
        if not visit.submissions and visit.study in self.studies:
            self.studies[visit.study].taken -= 1
        body = Left(visit=visit.id, worker=visit.worker.id, reason=reason, submissions=visit.submissions)
        change.events.append((EventKind.LEFT, body))
        change.rows.append(visit.row())

    def _drain_further(self, change: Change) -> None:
        if not self.draining or self.drained or self.holds:
            return
        for visit in list(self.active.values()):
            self._leave(visit, LeftReason.CLOSED, change)
        self.drained = True
        change.events.append((EventKind.DRAINED, Drained()))
        change.rows.append(("meta", ("drained", "1")))

    def _settle(self, hold: Hold, change: Change) -> None:
        """Keep an ended hold at hand until the disk knows how it ended."""
        self._unkept[hold.id] = hold
        state = hold.state

        def kept(seq: int) -> None:
            if state is HoldState.DONE:
                hold.receipt = seq
            if hold.state is state:  # otherwise answers came late meanwhile, and are on their way to the disk
                self._unkept.pop(hold.id, None)

        change.kept.append(kept)

    def _find(self, assignment: str, now: Now) -> Hold | None:
        hold = self.holds.get(assignment) or self._unkept.get(assignment)
        if hold is None and (row := self._past(assignment)) is not None:
            hold = self._hold(row, now)
        return hold


def _digest(frame: Submit) -> str:
    return hashlib.blake2b(canonical(frame.answers).encode(), digest_size=16).hexdigest()


def _new_id(kind: Callable[[str], Any], now: Now) -> Any:
    """96 random bits behind the second: what is new lies together on the disk, so a commit writes few pages of it."""
    return kind(f"{int(now.wall.timestamp()):08x}" + secrets.token_urlsafe(12))
