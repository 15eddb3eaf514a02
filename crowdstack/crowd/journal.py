"""What the crowd sent and what it saw accepted, on disk: one JSON line each in `journal.jsonl`.

Where a panel sends the workers, it also says which of its places a visit has, and whether the visit came to nothing.

A line is in force once it is fsynced. Answers are journaled before they are sent, under the nonce they keep, so
that a crowd killed at any instant sends the same again and never anything else for an assignment that was accepted.
Written by one process (`crowd` holds the folder's lock); read by tests and people.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowdstack.errors import Refused, StateMismatch
from crowdstack.folder import open_private, sync_folder
from crowdstack.model import AssignmentId, UnitId, VisitId, WorkerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A visit that has not ended as far as its worker knows; `session` takes it up again."""

    worker: WorkerId
    visit: VisitId
    session: str
    place: str = ""  # the panel's name for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place that a worker took at a panel that keeps no books of its own (panel.LinkPanel). `state`: panel.PlaceState."""

    worker: WorkerId
    place: str
    state: str
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Answers on their way: sent again after any fault, always under this nonce."""

    worker: WorkerId
    visit: VisitId
    unit: UnitId
    assignment: AssignmentId
    nonce: str
    answers: Mapping[str, Any]
    item: str = ""  # as the unit shows it, where the answers are recorded ones


class Journal:
    """Lines are written in the order they were noted; `durable` returns once everything noted so far is on disk."""

    def __init__(self, path: Path) -> None:
        self._receipts: dict[AssignmentId, int] = {}
        self._accepted_by: Counter[WorkerId] = Counter()
        self._accepted_in: Counter[VisitId] = Counter()
        self._void: set[VisitId] = set()
        self._visit_of: dict[str, VisitId] = {}  # by the panel's place
        self._places: dict[WorkerId, dict[str, Place]] = {}
        self._pending: dict[AssignmentId, Attempt] = {}
        self._visits: dict[WorkerId, Visit] = {}
        self._given: dict[str, dict[AssignmentId, Attempt]] = {}  # by item
        new = not path.exists()
        self._fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if new:
            sync_folder(path.parent)
        self._path = path
        self._load()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._lines: list[str] = []
        self._next: asyncio.Task[None] | None = None  # will write the lines noted and not yet taken
        self._last: asyncio.Task[None] | None = None  # wrote or writes those before

    @property
    def accepted(self) -> int:
        """How many assignments were accepted in all."""
        return len(self._receipts)

    def accepted_by(self, worker: WorkerId) -> int:
        """Without those of visits that came to nothing: these are to be given again."""
        return self._accepted_by[worker]

    def accepted_in(self, visit: VisitId) -> int:
        return self._accepted_in[visit]

    def visit_of(self, place: str) -> VisitId | None:
        """The visit that was made on this place of a panel, if the server let the worker in."""
        return self._visit_of.get(place)

    def is_void(self, visit: VisitId) -> bool:
        return visit in self._void

    def places(self, worker: WorkerId) -> list[Place]:
        """As last noted, in the order in which they were taken."""
        return list(self._places.get(worker, {}).values())

    def given(self, item: str) -> list[Mapping[str, Any]]:
        """Answers to this item that are accepted or on their way, without those of visits that came to nothing."""
        attempts = self._given.get(item, {}).values()
        return [attempt.answers for attempt in attempts if attempt.visit not in self._void]

    def pending(self, worker: WorkerId) -> list[Attempt]:
        """Sent by this worker, and nobody knows what became of it."""
        return [attempt for attempt in self._pending.values() if attempt.worker == worker]

    def receipt(self, assignment: AssignmentId) -> int | None:
        return self._receipts.get(assignment)

    def visit(self, worker: WorkerId) -> Visit | None:
        return self._visits.get(worker)

    def note_visit(self, visit: Visit) -> None:
        self._note("visit", visit)

    def note_left(self, visit: Visit, why: str) -> None:
        self._note("left", visit, why=why)

    def note_void(self, visit: Visit) -> None:
        """The panel took its place back: whatever was accepted in it does not count."""
        self._note("void", visit)

    def note_place(self, place: Place) -> None:
        self._note("place", place)

    def note_sent(self, attempt: Attempt) -> None:
        """To be followed by `durable` before the answers leave."""
        self._note("sent", attempt)

    def note_accepted(self, attempt: Attempt, receipt: int, *, late: bool) -> None:
        self._note("accepted", attempt, receipt=receipt, late=late)

    def note_refused(self, attempt: Attempt, why: str) -> None:
        """These answers will never be taken: they are not sent again."""
        self._note("refused", attempt, why=why)

    async def durable(self) -> None:
        """A disk that says no is told here as Refused, to everybody who waits and ever after."""
        if group := self._next or self._last:
            await asyncio.shield(group)

    async def close(self) -> None:
        try:
            await self.durable()
        finally:
            self._thread.shutdown()
            os.close(self._fd)

    def _note(self, event: str, what: Visit | Attempt | Place, **more: Any) -> None:
        line = {"event": event, **{name: getattr(what, name) for name in what.__slots__}, **more}
        self._apply(line)
        self._lines.append(json.dumps(line, separators=(",", ":")) + "\n")
        if self._next is None:
            self._next = asyncio.create_task(self._write(after=self._last))

    async def _write(self, after: asyncio.Task[None] | None) -> None:
        """One group: all lines noted while the group before it was written. Many workers wait for one fsync."""
        if after is not None:
            await after
        group, self._lines = "".join(self._lines).encode(), []
        self._last, self._next = self._next, None
        await asyncio.get_running_loop().run_in_executor(self._thread, self._to_disk, group)

    def _to_disk(self, group: bytes) -> None:
        view = memoryview(group)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as fault:
            raise Refused("the journal cannot be written", where=str(self._path), why=str(fault)) from fault

    def _load(self) -> None:
        """Take up what an earlier process left; a last line that was torn off by its death is cut away."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            whole, _, torn = file.read().rpartition(b"\n")
        if torn:
            os.ftruncate(self._fd, len(whole) + 1 if whole else 0)
        for number, text in enumerate(whole.splitlines(), start=1):
            try:
                self._apply(json.loads(text))
            except (ValueError, KeyError, TypeError) as fault:
                raise StateMismatch(
                    "a line of the crowd's journal cannot be read", where=f"{self._path}:{number}", why=str(fault)
                ) from fault

    def _apply(self, line: Mapping[str, Any]) -> None:
        event = line["event"]
        if event == "place":
            place = Place(**{name: line[name] for name in Place.__slots__})
            self._places.setdefault(place.worker, {})[place.place] = place
            return
        if event in ("visit", "left", "void"):
            self._apply_visit(event, Visit(**{name: line[name] for name in Visit.__slots__ if name in line}))
            return
        attempt = Attempt(**{name: line[name] for name in Attempt.__slots__ if name in line})
        if event == "sent":
            self._pending[attempt.assignment] = attempt
            self._given.setdefault(attempt.item, {})[attempt.assignment] = attempt
            return
        self._pending.pop(attempt.assignment, None)
        if event == "refused":
            self._given.get(attempt.item, {}).pop(attempt.assignment, None)
        if event == "accepted" and attempt.assignment not in self._receipts:
            self._receipts[attempt.assignment] = line["receipt"]
            self._accepted_in[attempt.visit] += 1
            self._accepted_by[attempt.worker] += attempt.visit not in self._void

    def _apply_visit(self, event: str, visit: Visit) -> None:
        if event == "visit":
            self._visits[visit.worker] = visit
            if visit.place:
                self._visit_of[visit.place] = visit.visit
        elif event == "left":
            self._visits.pop(visit.worker, None)
        elif visit.visit not in self._void:
            self._void.add(visit.visit)
            self._accepted_by[visit.worker] -= self._accepted_in[visit.visit]


def accepted(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of accepted answers by assignment, each with whether its visit came to nothing (`void`). A line that is not
    whole was never in force."""
    seen: dict[str, dict[str, Any]] = {}
    void: set[str] = set()
    for text in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["event"] == "accepted":
            seen.setdefault(line["assignment"], line)
        elif line["event"] == "void":
            void.add(line["visit"])
    return {assignment: {**line, "void": line["visit"] in void} for assignment, line in seen.items()}
