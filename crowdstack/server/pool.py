"""Who may have which unit now: holds, visits, places, and how each of them ends. No I/O; time comes as an argument.

Each verb decides at once and says what must be written for it (a `Change`). Memory is thereby ahead of the disk;
nobody is told of a decision before it is kept, and when it cannot be kept, `load` builds memory from the disk again.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple

from crowdstack.model import (
    Arrived,
    Assigned,
    AssignmentId,
    Claim,
    Drained,
    Ended,
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
    visit_of,
)
from crowdstack.server.offers import Offers
from crowdstack.server.rows import Change, Hold, HoldState, Item, Snapshot, Study, Unit, Visit, Worker
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
    listed: bool = True  # the provider will say which claims are true


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
        self.told: dict[str, Claim] = {}  # of visits that did not come here (yet)
        self.holds: dict[str, Hold] = {}  # open
        self._unkept: dict[str, Hold] = {}  # ended or done, the disk does not say so yet
        self._offers = Offers()
        self._deadlines: list[tuple[float, str]] = []
        self.allowed: set[str] | None = None  # None: everybody
        self.draining = False
        self.drained = False

    def load(self, rows: Snapshot, now: Now) -> None:
        """Forget everything and be what the disk says."""
        self._clear()
        self.allowed = None if rows.allowed is None else set(rows.allowed)
        self.draining, self.drained = rows.draining, rows.drained
        for id_, n, data, done_by in rows.items:
            self.items[id_] = Item(id_, n, data, set(json.loads(done_by)))
        for key, places, state in rows.studies:
            self.studies[key] = Study(key, places, StudyState(state))
        for id_, blocked in rows.workers:
            self._worker(id_).blocked = bool(blocked)
        for item in self.items.values():
            for worker in item.done_by:
                self._worker(worker).had(item.id)
        for id_, item_id, attempt, offered_to, state in rows.units:
            unit = self.units[id_] = Unit(id_, self.items[item_id], attempt, offered_to, UnitState(state))
            if unit.state is UnitState.OPEN:
                self._offers.add(unit)
        self.told = {id_: Claim(claim) for id_, claim in rows.claims}
        for id_, worker_id, study, submissions, left, submission, claim in rows.visits:
            visit = Visit(id_, self._worker(worker_id), study, now.mono, submissions)
            visit.left, visit.submission, visit.claim = left and LeftReason(left), submission, Claim(claim)
            self.visits[id_] = visit
            if visit.left is None:
                self.active[id_] = visit
                if visit.worker.visit is None or visit.worker.visit.claim is Claim.CLAIMED:
                    visit.worker.visit = visit
            self._recount(visit)
        for worker_id, unit_id, visit_id in rows.done:
            self._had(self._worker(worker_id), self.visits[visit_id], self.units[unit_id])
        for row in rows.holds:
            hold = self._hold(row, now)
            self.holds[hold.id] = hold.worker.hold = hold
            hold.worker.visit = self.visits[hold.visit]
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

    def arrive(
        self, worker_id: str, study_key: str, now: Now, submission: str | None = None
    ) -> tuple[Visit | No, Change]:
        """The worker's visit: the one that is known, or a new one if the study has a place and there is something to do.

        `submission`: what the provider calls the visit, and a claim until it says so itself; None for signed links,
        whose worker has one visit after the other.
        """
        worker = self.workers.get(worker_id) or Worker(WorkerId(worker_id))  # who is sent away leaves no trace
        study = self.studies.get(study_key)
        change = Change(now.wall)
        known = worker.visit if worker.visit is not None and worker.visit.claim is Claim.SIGNED else None
        id_, claim = None, Claim.SIGNED
        if submission is not None:
            id_ = visit_of(StudyKey(study_key), worker.id, submission)
            # Where nobody will tell, a claim is as good as it gets: it has a place that is counted, and none beside.
            known, claim = (
                self.visits.get(id_),
                self.told.get(id_, Claim.CLAIMED if self.terms.listed else Claim.SIGNED),
            )
        if known is not None:
            return known, change
        if claim is Claim.REFUTED:
            return No("ineligible"), change
        if worker.blocked:
            return No("blocked"), change
        if not self._qualified(worker):
            return No("ineligible"), change
        if self.draining:
            return No("closed"), change
        if self._at_limit(worker):
            return No("limit"), change
        if study is not None and study.state is StudyState.CLOSED:
            return No("closed"), change
        older = worker.visit
        if older is not None and claim is Claim.CLAIMED and older.claim is not Claim.CLAIMED:
            older = None  # a claim ends nothing that is more than one: it waits beside it
        if study is None or study.state is StudyState.PAUSED or not _has_place(study, claim, older):
            return No(), change
        if self._offers.first(worker) is None and not self._may_come(worker):
            return No("target"), change
        if older is not None:
            self._send_off(older, LeftReason.REPLACED, change)
        self.workers[worker.id] = worker
        visit = Visit(id_ or _new_id(VisitId, now), worker, study.key, now.mono, submission=submission, claim=claim)
        self.visits[visit.id] = self.active[visit.id] = visit
        worker.visit = worker.visit or visit
        self._recount(visit)
        body = Arrived(visit=visit.id, worker=worker.id, study=study.key, submission=submission)
        change.events.append((EventKind.ARRIVED, body))
        change.rows.append(visit.row())
        return visit, change

    def next(self, visit: Visit, now: Now) -> tuple[Hold | No, Change]:
        """The worker's open hold, or a new one."""
        worker, change = visit.worker, Change(now.wall)
        if visit.claim is Claim.REFUTED:
            return No("ineligible"), change
        if visit.left is not None:
            return No(visit.left.value), change
        if worker.visit is not visit:
            if worker.visit is not None:  # until that one ends, or the provider says that this one is real
                return No(), change
            worker.visit = visit
        if worker.hold is not None:
            return worker.hold, change
        visit.returned = False
        if worker.blocked or not self._qualified(worker):
            self._leave(visit, LeftReason.LIMIT, change)
            return No("blocked" if worker.blocked else "ineligible"), change
        if self.draining or self._at_limit(worker):
            reason = LeftReason.CLOSED if self.draining else LeftReason.LIMIT
            self._leave(visit, reason, change)
            return No(reason.value), change
        if self.paused:
            return No(), change
        unit = self._offers.first(worker)
        if unit is None:
            if self._may_come(worker):
                return No(), change
            self._leave(visit, LeftReason.TARGET, change)
            return No("target"), change
        return self._assign(unit, visit, now, change), change

    def _assign(self, unit: Unit, visit: Visit, now: Now, change: Change) -> Hold:
        worker, timeout_s = visit.worker, self.terms.timeout_s
        self._offers.hand_out(unit, worker)
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
        visit = self.visits[hold.visit]
        if late:
            other = worker.hold is None or worker.hold.unit.item is not unit.item  # else that hold is the one to count
            may = other and visit.claim is not Claim.REFUTED
            counts = may and unit.state is UnitState.OPEN and unit.item.id not in worker.did
            if counts:
                self._offers.remove(unit)
        else:
            counts = unit.state is UnitState.ASSIGNED
            self._end(hold)
        if counts:
            unit.state = UnitState.SUBMITTED
            change.rows.append(unit.row())
        hold.state, hold.nonce, hold.digest, hold.late = HoldState.DONE, frame.nonce, _digest(frame), late
        self._had(worker, visit, unit)
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
        change.answered = hold
        self._settle(hold, change)
        self._after_submission(visit, change)
        return change

    def _had(self, worker: Worker, visit: Visit, unit: Unit) -> None:
        """The worker gave answers to it. What a visit did that is not real, nobody has done."""
        item = unit.item.id
        if visit.claim is not Claim.SIGNED:
            visit.items.append(item)
        if visit.claim is not Claim.REFUTED:
            worker.done += 1
            worker.had(item)

    def _after_submission(self, visit: Visit, change: Change) -> None:
        visit.submissions += 1
        if visit.left is not None:
            self._recount(visit)  # late: if it had left without one, its place was freed
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
            self.visits[hold.visit].returned = True
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
                self.visits[hold.visit].heard = now.mono  # one timeout more to come back
                changes.append(change)
        silent = now.mono - self.terms.timeout_s
        for visit in [v for v in self.active.values() if v.heard <= silent and _holds(v) is None]:
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
                self._worker(worker).had(item.id)
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
                    self._offers.add(unit)
                change.rows.append(unit.row())
        for id_ in drop:
            unit = self.units.get(id_)
            if unit is not None and unit.state in (UnitState.OPEN, UnitState.ASSIGNED):
                if unit.state is UnitState.OPEN:
                    self._offers.remove(unit)
                unit.state = UnitState.DROPPED
                change.rows.append(unit.row())
        return change

    def admit(self, blocked: Sequence[str], allowed: Sequence[str] | None, now: Now) -> Change:
        """The blocked ones, and no others, get nothing; unless `allowed` is None, those alone get something."""
        change, wanted = Change(now.wall), set(blocked)
        if (self.allowed is None) is not (allowed is None) or self.allowed != set(allowed or ()):
            self.allowed = None if allowed is None else set(allowed)
            change.rows.append(
                ("meta", ("allowed", json.dumps(None if allowed is None else sorted(self.allowed or ()))))
            )
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

    def settle(self, claims: Sequence[tuple[str, Claim]], now: Now) -> Change:
        """What the provider says of visits: verified or refuted. Of those that did not come here it is kept in case they do."""
        change = Change(now.wall)
        for id_, claim in claims:
            visit = self.visits.get(id_)
            if visit is not None:
                if visit.claim not in (claim, Claim.SIGNED):
                    self._settle_claim(visit, claim, change)
            elif self.told.get(id_) is not claim:
                self.told[id_] = claim
                change.rows.append(("claims", (id_, claim.value)))
        return change

    def _settle_claim(self, visit: Visit, claim: Claim, change: Change) -> None:
        worker, was, visit.claim = visit.worker, visit.claim, claim
        if claim is Claim.REFUTED:
            for item in visit.items:
                worker.done -= 1
                worker.did[item] -= 1
                if not worker.did[item]:
                    del worker.did[item]
            worker.at = 0  # what it passed because of them may be done now
            if visit.left is None:
                self._send_off(visit, LeftReason.INELIGIBLE, change)
        elif was is Claim.REFUTED:
            worker.done += len(visit.items)
            for item in visit.items:
                worker.had(item)
        elif visit.left is None and worker.visit is not visit:
            if worker.visit is not None:
                self._send_off(worker.visit, LeftReason.REPLACED, change)
            worker.visit = visit
        self._recount(visit)
        change.rows.append(visit.row())

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

    def _may_come(self, worker: Worker) -> bool:
        """Whether something that this worker could do is in other hands now, or nothing was ever offered yet."""
        return not self.units or any(
            hold.unit.item.id not in worker.did and hold.unit.offered_to in (None, worker.id)
            for hold in self.holds.values()
        )

    def _qualified(self, worker: Worker) -> bool:
        return self.allowed is None or worker.id in self.allowed

    def _at_limit(self, worker: Worker) -> bool:
        return self.terms.max_units is not None and worker.done >= self.terms.max_units

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
            self._offers.add(unit, again=True)
        body = Ended(assignment=hold.id, unit=unit.id, worker=hold.worker.id, visit=hold.visit)
        change.events.append((kind, body))
        change.rows += (hold.row(), unit.row())
        self._settle(hold, change)
        self._drain_further(change)

    def _send_off(self, visit: Visit, reason: LeftReason, change: Change) -> None:
        """End a visit with what it holds."""
        hold = _holds(visit)
        if hold is not None:
            self._give_up(hold, EventKind.RETURNED, change)
        if visit.left is None:  # else it was the last hold before the end of a drain
            self._leave(visit, reason, change)

    def _leave(self, visit: Visit, reason: LeftReason, change: Change) -> None:
        visit.left = reason
        if visit.worker.visit is visit:
            visit.worker.visit = None
        del self.active[visit.id]
        self._recount(visit)
        body = Left(visit=visit.id, worker=visit.worker.id, reason=reason, submissions=visit.submissions)
        change.events.append((EventKind.LEFT, body))
        change.rows.append(visit.row())

    def _recount(self, visit: Visit) -> None:
        """The study's places taken, after the visit came, left, or was believed or not."""
        counts = (visit.left is None or visit.submissions > 0) and visit.claim is not Claim.REFUTED
        if counts is not visit.counted and visit.study in self.studies:
            visit.counted = counts
            self.studies[visit.study].taken += 1 if counts else -1

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


def _holds(visit: Visit) -> Hold | None:
    hold = visit.worker.hold
    return hold if hold is not None and hold.visit == visit.id else None


def _has_place(study: Study, claim: Claim, ending: Visit | None) -> bool:
    """Whether one more visit may begin. `ending`: the one that would end for it.

    Those who made up who they are take places too until the provider has been asked: some places more keep the study
    going meanwhile, and are all that they can hold (threats W3).
    """
    if claim is Claim.VERIFIED:
        return True
    freed = ending is not None and ending.counted and not ending.submissions and ending.study == study.key
    beside = max(5, study.places // 4) if claim is Claim.CLAIMED and study.places else 0
    return study.taken - freed < study.places + beside


def _digest(frame: Submit) -> str:
    return hashlib.blake2b(canonical(frame.answers).encode(), digest_size=16).hexdigest()


def _new_id(kind: Callable[[str], Any], now: Now) -> Any:
    """96 random bits behind the second: what is new lies together on the disk, so a commit writes few pages of it."""
    return kind(f"{int(now.wall.timestamp()):08x}" + secrets.token_urlsafe(12))
