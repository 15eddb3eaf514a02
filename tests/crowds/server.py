"""The task server without sockets and disk: the real pool, its log of events, and the reconciler's line to it.

Nothing here fails to reach the disk; what a server's own crash does is tested in tests/server and tests/faults.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import datetime, timezone
from typing import Any

from crowdstack.errors import Busy
from crowdstack.model import Claim, Cursor, Event, ItemOffer, StudyKey, StudyState, UnitId, UnitOffer, VisitId, WorkerId
from crowdstack.ports import Batch, HookKey
from crowdstack.server.pool import Fault, No, Now, Pool, Terms
from crowdstack.server.rows import Change, Hold, HoldState, Visit
from crowdstack.wire.control import ItemData, UnitPut
from crowdstack.wire.worker import Submit

MOST = 40  # events told at once


class Pause:
    """Awaited: let so many seconds of the reconciler's own time pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self.seconds


class Server:
    def __init__(self, terms: Terms, wall: Callable[[], float]) -> None:
        self.pool = Pool(terms, self._past)
        self.log: list[Event] = []
        self.accepted = 0
        self._wall = wall
        self._assignments: dict[str, tuple[Any, ...]] = {}
        self._nonces = 0

    def now(self) -> Now:
        return Now(datetime.fromtimestamp(self._wall(), timezone.utc), self._wall())

    def _past(self, assignment: str) -> tuple[Any, ...] | None:
        return self._assignments.get(assignment)

    def keep(self, change: Change) -> None:
        first = len(self.log) + 1
        for kind, body in change.events:
            seq = len(self.log) + 1
            self.log.append(Event(seq=seq, at=change.at, kind=kind, body=body, receipt=seq))
        for table, values in change.rows:
            if table == "assignments":
                self._assignments[values[0]] = values
        if change.answered is not None:
            self._assignments[change.answered.id] = change.answered.row(first)[1]
        for told in change.kept:
            told(first)

    def tick(self) -> Now:
        now = self.now()
        for change in self.pool.tick(now):
            self.keep(change)
        return now

    # ------------------------------------------------------------------ a page

    def arrive(self, worker: str, study: str, submission: str) -> Visit | No:
        visit, change = self.pool.arrive(worker, study, self.tick(), submission)
        self.keep(change)
        if isinstance(visit, Visit):
            visit.heard = self._wall()
        return visit

    def next(self, visit: Visit) -> Hold | No:
        now = self.tick()
        visit.heard = now.mono
        found, change = self.pool.next(visit, now)
        self.keep(change)
        return found

    def submit(self, hold: Hold, worker: str, answers: dict[str, Any]) -> bool:
        """Whether the answers were taken; perhaps late."""
        now = self.tick()
        self._nonces += 1
        frame = Submit(assignment=hold.id, nonce=f"nonce-{self._nonces:012d}", answers=answers, signals={})
        found = self.pool.asked(frame, worker, now)
        if isinstance(found, Fault) or found.state is HoldState.DONE:
            return False
        self.pool.visits[found.visit].heard = now.mono
        self.keep(self.pool.accept(found, frame, "bundle", now))
        self.accepted += 1
        return True

    def give_back(self, hold: Hold, worker: str) -> None:
        _, change = self.pool.give_back(hold.id, worker, self.tick())
        self.keep(change)


class Line:
    """ports.Control over the pool. `fails` is asked before each verb: True is a lost connection."""

    def __init__(
        self,
        server: Server,
        *,
        around: Callable[[Callable[..., Any]], Callable[..., Any]],
        fails: Callable[[], bool],
        lease_s: Callable[[], float],
        most: Callable[[], int],
    ) -> None:
        self._server, self._around, self._fails = server, around, fails
        self._lease_s, self._most = lease_s, most
        self._at = 0  # last event told
        self._told = False  # something, by the last call

    def _do(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        if self._fails():
            raise Busy("the line to the server was lost")
        return self._around(verb)(*arguments)

    def _cursor(self, seq: int) -> Cursor:
        return Cursor(inbox="inbox-of-the-simulation", epoch=1, seq=seq, chain=f"chain/{seq}")

    async def connect(self, cursor: Cursor | None) -> Cursor:
        self._do(lambda: None)
        self._at = 0 if cursor is None else cursor.seq
        return self._cursor(self._at)

    async def new_epoch(self, cursor: Cursor) -> Cursor:
        raise AssertionError("this inbox forgets nothing")

    async def next_batch(self, timeout_s: float) -> Batch | None:
        for waited in (False, True):
            if batch := self._do(self._news):
                self._told = True
                return batch  # type: ignore[no-any-return]
            if waited or self._told:  # the round that news began goes on at once
                break
            await Pause(timeout_s)
        self._told = False
        return None

    def _news(self) -> Batch | None:
        self._server.tick()
        events = tuple(self._server.log[self._at : self._at + self._most()])
        if not events:
            return None
        before, self._at = self._cursor(self._at), events[-1].seq
        return Batch(before=before, events=events, cursor=self._cursor(self._at))

    async def ack(self, seq: int) -> None:
        self._do(lambda: None)

    async def offer(self, items: Sequence[ItemOffer], units: Sequence[UnitOffer], drop: Sequence[UnitId] = ()) -> None:
        told = [ItemData(item=one.item, data=dict(one.data), done_by=tuple(one.done_by)) for one in items]
        put = [
            UnitPut(unit=unit.unit, item=unit.item, attempt=unit.attempt, offered_to=unit.offered_to) for unit in units
        ]
        self._do(lambda: self._server.keep(self._server.pool.offer(told, put, drop, self._server.now())))

    async def set_workers(self, blocked: Sequence[WorkerId], allowed: Sequence[WorkerId] | None = None) -> None:
        self._do(lambda: self._server.keep(self._server.pool.admit(blocked, allowed, self._server.now())))

    async def open_study(self, study: StudyKey, *, places: int, state: StudyState) -> None:
        self._do(lambda: self._server.keep(self._server.pool.open_study(study, places, state, self._server.now())))

    async def settle_claims(self, claims: Sequence[tuple[VisitId, Claim]]) -> None:
        self._do(lambda: self._server.keep(self._server.pool.settle(claims, self._server.now())))

    async def drain(self, *, now: bool = False) -> None:
        self._do(lambda: self._server.keep(self._server.pool.drain(now, self._server.now())))

    async def set_hook_key(self, key: HookKey) -> None:
        raise AssertionError("nobody subscribed to hooks")

    def hinted(self) -> bool:
        return False

    async def release(self, seq: int) -> None:
        self._do(lambda: None)

    def lease_left_s(self) -> float:
        return self._lease_s()

    async def close(self) -> None:
        pass
