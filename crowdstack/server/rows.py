"""What pool and inbox have in common: items, units, holds, visits as the pool knows them, and the row that keeps each.

`Change` goes from the pool to the inbox, `Snapshot` comes back when memory is built again. No rules, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from crowdstack.model import (
    AssignmentId,
    Claim,
    EventBody,
    EventKind,
    LeftReason,
    StudyKey,
    StudyState,
    UnitId,
    UnitState,
    VisitId,
    WorkerId,
)

Row = tuple[str, tuple[Any, ...]]  # table, values in the order of its columns


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

    def row(self) -> Row:
        return "items", (self.id, self.n, self.data, json.dumps(sorted(self.done_by)))


@dataclass(slots=True, eq=False)
class Unit:
    id: UnitId
    item: Item
    attempt: int
    offered_to: str | None
    state: UnitState

    def row(self) -> Row:
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
    submission: str | None = None  # the provider's id of it
    claim: Claim = Claim.SIGNED
    counted: bool = False  # among its study's `taken`
    items: list[str] = field(default_factory=list)  # of its submissions; only where it might turn out not to be real

    def row(self) -> Row:
        left = self.left and self.left.value
        claim = self.claim.value
        return "visits", (self.id, self.worker.id, self.study, self.submissions, left, self.submission, claim)


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
    receipt: int | None = None  # once its answers are on disk

    def row(self, receipt: int | None = None) -> Row:
        values = (self.id, self.unit.id, self.worker.id, self.visit, self.at, self.state.value)
        return "assignments", (*values, self.nonce, self.digest, int(self.late), receipt)


@dataclass(slots=True, eq=False)
class Worker:
    id: WorkerId
    blocked: bool = False
    done: int = 0
    did: dict[str, int] = field(default_factory=dict)  # items not to be had (again), and how often they were
    at: int = 0  # position in the line of items
    visit: Visit | None = None  # the active one, which units go to
    hold: Hold | None = None

    def had(self, item: str) -> None:
        self.did[item] = self.did.get(item, 0) + 1

    def row(self) -> Row:
        return "workers", (self.id, int(self.blocked))


@dataclass(slots=True, eq=False)
class Study:
    key: StudyKey
    places: int
    state: StudyState
    taken: int = 0  # visits active, or ended with a submission, that are not known to be made up

    def row(self) -> Row:
        return "studies", (self.key, self.places, self.state.value)


@dataclass(slots=True)
class Change:
    """One decision: its events and the rows as they are after it, kept all together or not at all."""

    at: datetime
    events: list[tuple[EventKind, EventBody]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    answered: Hold | None = None  # done by this: its row is kept too, with the first event's number as its receipt
    size: int = 0  # bytes of the frame it came in
    kept: list[Callable[[int], None]] = field(default_factory=list)  # told the first event's number once it is on disk

    def __bool__(self) -> bool:
        return bool(self.events or self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The tables of the inbox, as `Pool.load` needs them."""

    items: Iterable[tuple[Any, ...]]
    units: Iterable[tuple[Any, ...]]
    workers: Iterable[tuple[Any, ...]]
    studies: Iterable[tuple[Any, ...]]
    visits: Iterable[tuple[Any, ...]]
    holds: Iterable[tuple[Any, ...]]  # open assignments
    done: Iterable[tuple[str, str, str]]  # (worker, unit, visit) of assignments with answers
    claims: Iterable[tuple[str, str]]  # (visit, claim) as the provider told before the visit came
    allowed: Iterable[str] | None  # workers; None: everybody
    draining: bool
    drained: bool
