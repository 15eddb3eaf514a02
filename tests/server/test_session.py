"""Two invited workers with two tabs each, others who claim who they are, in one's name too; frames doubled and reordered,
restarts, a disk that refuses, a provider that tells who is real: what must hold all the while.

The session, the pool and the inbox as they are, without sockets; time passes when the machine says so.
"""

from __future__ import annotations

import asyncio
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crowdstack.model import Claim, EventKind, StudyKey, StudyState, Submitted, UnitState, WorkerId, visit_of
from crowdstack.server.inbox import Inbox
from crowdstack.server.pool import Now, Pool
from crowdstack.server.rows import Change
from crowdstack.server.session import Desk, Keep, Session
from crowdstack.server.settings import Settings
from crowdstack.wire import worker as frames
from crowdstack.wire.configs import Claims
from crowdstack.wire.control import ItemData, UnitPut, parse_event
from tests.server.world import STUDY, config, link
from tests.size import FULL

INVITED = ("ann", "bob")
CLAIMED = ("ann", "cleo")
SUBMISSIONS = ("s1", "s2")
ORIGIN = "http://127.0.0.1:8000"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TIMEOUT_S = 100


def _visit(worker: str, submission: str) -> str:
    return visit_of(StudyKey(STUDY), WorkerId(worker), submission)


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._loop = asyncio.new_event_loop()
        self._at = 0.0
        folder = Path(self._folder.name)
        claims = Claims(worker="PID", submission="SID")
        self._settings = Settings(config(folder / "blobs", port=8000, timeout_s=TIMEOUT_S, claims=claims))
        self._path = folder / "inbox.db"
        self.tokens: dict[str, str] = {}
        self.seen: dict[str, tuple[str, str]] = {}  # assignment -> (worker, unit)
        self.sent: list[tuple[str, frames.Submit]] = []
        self.receipts: dict[tuple[str, str], tuple[int, Any]] = {}  # (assignment, nonce) -> (receipt, answers)
        self.refuted: set[str] = set()  # visits that were, at some time
        self._open()
        items = [ItemData(item=f"i{n}", data={}) for n in range(3)]
        put = [UnitPut(unit=f"i{n}-{k}".ljust(22, "_"), item=f"i{n}", attempt=1) for n in range(3) for k in range(2)]
        self._keep(self.pool.offer(items, put, [], self.now))
        self._keep(self.pool.open_study(STUDY, 50, StudyState.OPEN, self.now))

    @property
    def now(self) -> Now:
        return Now(START + timedelta(seconds=self._at), self._at)

    def _open(self) -> None:
        self.inbox = Inbox(self._path, group=500, ballast=0)
        self.pool = Pool(self._settings.terms, self.inbox.assignment)
        self.inbox.on_lost = lambda: self.pool.load(self.inbox.snapshot(), self.now)
        self.inbox.on_lost()
        desk = Desk(self._settings, self.pool, lambda: False, lambda: self.inbox.stuck)
        self.tabs = {(worker, tab): Session(desk) for worker in {*INVITED, *CLAIMED} for tab in range(2)}

    def _keep(self, change: Change) -> bool:
        async def keep() -> bool:
            return await self.inbox.append(change)

        return self._loop.run_until_complete(keep())

    def _say(self, tab: tuple[str, int], frame: frames.FromWorker) -> frames.ToWorker:
        outcome = self.tabs[tab].receive(frame, self.now)
        if isinstance(outcome, Keep):
            return outcome.answer() if self._keep(outcome.change) else outcome.busy
        return outcome.frame

    tabs_ = st.tuples(st.sampled_from(sorted({*INVITED, *CLAIMED})), st.integers(0, 1))

    @rule(tab=st.tuples(st.sampled_from(INVITED), st.integers(0, 1)))
    def hello(self, tab: tuple[str, int]) -> None:
        answer = self._say(tab, frames.Hello(protocol=1, bundle="", params={"t": link(ORIGIN, tab[0])}))
        assert isinstance(answer, (frames.Welcome, frames.Done))
        assert not isinstance(answer, frames.Welcome) or self.pool.visits[answer.visit].claim is Claim.SIGNED

    @rule(tab=st.tuples(st.sampled_from(CLAIMED), st.integers(0, 1)), submission=st.sampled_from(SUBMISSIONS))
    def hello_by_claim(self, tab: tuple[str, int], submission: str) -> None:
        params = {"t": link(ORIGIN, "*"), "PID": tab[0], "SID": submission}
        answer = self._say(tab, frames.Hello(protocol=1, bundle="", params=params))
        assert isinstance(answer, (frames.Welcome, frames.Done))
        assert not isinstance(answer, frames.Welcome) or answer.visit == _visit(tab[0], submission)

    @rule(
        worker=st.sampled_from(CLAIMED),
        submission=st.sampled_from(SUBMISSIONS),
        claim=st.sampled_from([Claim.VERIFIED, Claim.REFUTED]),
    )
    def the_provider_tells(self, worker: str, submission: str, claim: Claim) -> None:
        visit = _visit(worker, submission)
        assert self._keep(self.pool.settle([(visit, claim)], self.now))
        if claim is Claim.REFUTED:
            self.refuted.add(visit)

    @rule()
    def units_of_refuted_visits_are_offered_again(self) -> None:
        attempts = dict.fromkeys(self.pool.units, 1)
        for body in self._counted():
            attempts[body.unit] += body.visit in self.refuted
        put = [
            UnitPut(unit=unit.id, item=unit.item.id, attempt=attempts[unit.id])
            for unit in self.pool.units.values()
            if attempts[unit.id] > unit.attempt
        ]
        assert self._keep(self.pool.offer([], put, [], self.now))
        assert all(self.pool.units[each.unit].state is not UnitState.SUBMITTED for each in put)

    @rule(tab=tabs_)
    def next(self, tab: tuple[str, int]) -> None:
        answer = self._say(tab, frames.Next())
        if isinstance(answer, frames.Assigned):
            owner = self.seen.setdefault(answer.assignment, (tab[0], answer.unit))
            assert owner == (tab[0], answer.unit)

    @precondition(lambda self: self.seen)
    @rule(tab=tabs_, data=st.data(), nonce=st.sampled_from(["n" * 22, "m" * 22]), label=st.sampled_from(["yes", "no"]))
    def submit(self, tab: tuple[str, int], data: st.DataObject, nonce: str, label: str) -> None:
        assignment = data.draw(st.sampled_from(list(self.seen)))
        self._submit(tab, frames.Submit(assignment=assignment, nonce=nonce, answers={"label": label}))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        worker, frame = data.draw(st.sampled_from(self.sent))
        self._submit((worker, 0), frame)

    def _submit(self, tab: tuple[str, int], frame: frames.Submit) -> None:
        answer = self._say(tab, frame)
        self.sent.append((tab[0], frame))
        known = self.receipts.get((frame.assignment, frame.nonce))
        if isinstance(answer, frames.Accepted):
            assert self.seen[frame.assignment][0] == tab[0]
            if known is None:
                assert not [key for key in self.receipts if key[0] == frame.assignment]
                self.receipts[frame.assignment, frame.nonce] = (answer.receipt, dict(frame.answers))
            else:
                assert (answer.receipt, dict(frame.answers)) == known
        elif known is not None and known[1] == frame.answers and self.seen[frame.assignment][0] == tab[0]:
            assert isinstance(answer, frames.Error)
            assert answer.code == "hello_first"

    @precondition(lambda self: self.seen)
    @rule(tab=tabs_, data=st.data())
    def give_back(self, tab: tuple[str, int], data: st.DataObject) -> None:
        self._say(tab, frames.Return(assignment=data.draw(st.sampled_from(list(self.seen)))))

    @rule(seconds=st.sampled_from([1, TIMEOUT_S / 2, TIMEOUT_S]))
    def time_passes(self, seconds: float) -> None:
        self._at += seconds
        for change in self.pool.tick(self.now):
            self._keep(change)

    @rule()
    def restart(self) -> None:
        self._loop.run_until_complete(self.inbox.close())
        self._open()

    @rule(tab=tabs_)
    def the_disk_refuses(self, tab: tuple[str, int]) -> None:
        """What could not be kept never was: memory is the disk's again."""
        outcome = self.tabs[tab].receive(frames.Next(), self.now)
        if isinstance(outcome, Keep):
            outcome.change.rows.append(("units", ("x", "no such item", 1, None, "open")))
            assert not self._keep(outcome.change)

    @invariant()
    def memory_is_what_the_disk_says(self) -> None:
        again = Pool(self._settings.terms, self.inbox.assignment)
        again.load(self.inbox.snapshot(), self.now)
        for pool in (again, self.pool):
            held = [hold.unit.id for hold in pool.holds.values()]
            assert len(held) == len(set(held))
            assert len({hold.worker.id for hold in pool.holds.values()}) == len(held)
            for hold in pool.holds.values():
                visit = pool.visits[hold.visit]
                assert hold.worker.visit is visit
                assert pool.active[visit.id] is visit
                assert visit.claim is not Claim.REFUTED
        assert {id_: unit.state for id_, unit in again.units.items()} == {
            id_: unit.state for id_, unit in self.pool.units.items()
        }
        assert again.holds.keys() == self.pool.holds.keys()
        assert again.active.keys() == self.pool.active.keys()
        assert {key: study.taken for key, study in again.studies.items()} == {
            key: study.taken for key, study in self.pool.studies.items()
        }
        assert self.pool.studies[STUDY].taken == sum(
            (visit.left is None or visit.submissions > 0) and visit.claim is not Claim.REFUTED
            for visit in self.pool.visits.values()
        )
        assert again.told == self.pool.told
        assert {visit.row() for visit in again.visits.values()} == {visit.row() for visit in self.pool.visits.values()}
        for worker in again.workers.values():
            other = self.pool.workers[worker.id]
            assert (worker.done, worker.did) == (other.done, other.did)

    @invariant()
    def the_log_holds_each_receipt_once_and_nothing_else(self) -> None:
        kinds = (EventKind.SUBMITTED, EventKind.LATE)
        events = [parse_event(entry.seq, entry.body) for entry in self.inbox.entries(0, 10_000)]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        logged = {
            (event.body.assignment, event.body.nonce): (event.seq, event.body.answers)  # type: ignore[union-attr]
            for event in events
            if event.kind in kinds
        }
        assert logged == self.receipts
        counted = [body for body in self._counted() if body.visit not in self.refuted]
        assert len(counted) == len({body.unit for body in counted})
        assert len(counted) == len({(body.worker, body.unit[:2]) for body in counted})

    def _counted(self) -> list[Any]:
        events = [parse_event(entry.seq, entry.body).body for entry in self.inbox.entries(0, 10_000)]
        return [body for body in events if isinstance(body, Submitted) and body.counts]

    def teardown(self) -> None:
        self._loop.run_until_complete(self.inbox.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._folder.cleanup()


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=300 if FULL else 15, stateful_step_count=25, deadline=None)
