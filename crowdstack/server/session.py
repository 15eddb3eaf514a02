"""One page's conversation with the server: frames in, replies out. Knows the protocol, no socket and no disk.

What `receive` returns is either a `Reply`, to be sent at once, or a `Keep`: a change that must be on disk before its
answer may be sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from json import loads
from typing import Any

from crowdstack.server.pool import Fault, No, Now, Pool
from crowdstack.server.rows import Change, Hold, HoldState, Visit
from crowdstack.server.settings import Settings
from crowdstack.wire.worker import (
    LINK_REFUSED,
    PROTOCOL,
    Accepted,
    Assigned,
    Busy,
    Done,
    Error,
    FromWorker,
    Hello,
    Next,
    Refused,
    Reload,
    Return,
    Returned,
    Submit,
    ToWorker,
    Wait,
    Welcome,
)

_SESSION_S = 12 * 3600
_WAIT_S = 5.0
RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Reply:
    frame: ToWorker
    close: int | None = None  # close code, when this is the last word


@dataclass(frozen=True, slots=True)
class Keep:
    """`answer` may be asked, and sent, once `change` is on disk; `busy` is what to send when it cannot be kept."""

    change: Change
    answer: Callable[[], ToWorker]
    busy: Busy
    hello_of: str | None = None  # who came just now: the worker, or in a claimed visit this and the visit
    known: bool = True  # by more than ids that anybody could have made up


@dataclass(slots=True)
class Desk:
    """What all conversations share; `settings` is exchanged when the configuration is read again."""

    settings: Settings
    pool: Pool
    full: Callable[[], bool]  # as much waits for the disk as may
    stuck: Callable[[], bool]  # the disk takes nothing now: decide nothing


@dataclass(slots=True)
class Session:
    desk: Desk
    visit: str | None = None  # known once the page was welcomed
    worker: str = ""
    bundle: str = ""

    def receive(self, frame: FromWorker, now: Now) -> Reply | Keep:
        if isinstance(frame, Hello):
            return self._hello(frame, now)
        pool = self.desk.pool
        visit = pool.visits.get(self.visit) if self.visit is not None else None
        if visit is None:
            return Reply(Error(code="hello_first", message="say hello first"))
        visit.heard = now.mono
        if self.desk.stuck():
            return Reply(_busy(frame))
        if isinstance(frame, Submit):
            return self._submit(frame, now)
        if isinstance(frame, Next):
            return self._next(frame, visit, now)
        return self._return(frame, now)

    # -------------------------------------------------------------------------------------------- hello

    def _hello(self, frame: Hello, now: Now) -> Reply | Keep:
        settings = self.desk.settings
        if frame.protocol != PROTOCOL:
            return Reply(Error(code="protocol", message=f"this server speaks protocol {PROTOCOL}"))
        if not self._current(frame.bundle):
            return Reply(Reload())
        claims = self._claims(frame, now.wall.timestamp())
        if claims is None:
            return Reply(Error(code="forbidden", message="this link is not valid"), close=LINK_REFUSED)
        pool, busy = self.desk.pool, _busy(frame)
        worker, submission = claims["worker"], claims.get("submission")
        name = worker if submission is None else f"{worker} {submission}"
        visit: Visit | No | None = pool.visits.get(claims.get("visit", ""))
        if visit is not None:
            change = Change(now.wall)
        elif self.desk.stuck():
            return Keep(Change(now.wall), lambda: busy, busy, name, known=submission is None)
        else:
            visit, change = pool.arrive(worker, claims["study"], now, submission)
        if isinstance(visit, No):
            refusal = self._no(visit, worker, submission)
            return Keep(change, lambda: refusal, busy, name, known=submission is None)
        visit.heard = now.mono
        welcoming = self._welcoming(visit.id, claims, frame.bundle or settings.config.bundle, now)
        return Keep(change, welcoming, busy, name)

    def _claims(self, frame: Hello, now: float) -> dict[str, Any] | None:
        """Who this is: by the session of an earlier welcome, or else by the link."""
        settings = self.desk.settings
        claims = settings.session(frame.session, now=now) if frame.session is not None else None
        if claims is None and frame.params is not None:
            claims = settings.visitor(frame.params, now=now)
        return claims

    def _welcoming(self, visit_id: str, claims: dict[str, Any], bundle: str, now: Now) -> Callable[[], ToWorker]:
        def answer() -> ToWorker:
            desk = self.desk
            self.visit, self.worker, self.bundle = visit_id, claims["worker"], bundle
            told = {
                "run": desk.settings.config.run,
                "study": claims["study"],
                "worker": self.worker,
                "visit": visit_id,
                "bundle": bundle,
                "exp": int(now.wall.timestamp()) + _SESSION_S,
            }
            if "submission" in claims:
                told["submission"] = claims["submission"]
            token = desk.settings.sessions.sign(told)
            progress = desk.pool.progress(desk.pool.visits[visit_id])
            return Welcome(session=token, worker=self.worker, visit=visit_id, progress=progress)

        return answer

    def identify(self, token: str, now: Now) -> bool:
        """Take the place of a page that was welcomed before (POST fallback); whether its session is good."""
        claims = self.desk.settings.session(token, now=now.wall.timestamp())
        if claims is None or claims["visit"] not in self.desk.pool.visits:
            return False
        self.visit, self.worker, self.bundle = claims["visit"], claims["worker"], claims["bundle"]
        return True

    def _current(self, bundle: str) -> bool:
        return bundle in ("", self.desk.settings.config.bundle)

    # -------------------------------------------------------------------------------------------- work

    def _next(self, frame: Next, visit: Visit, now: Now) -> Reply | Keep:
        if not self._current(self.bundle):  # the bundle changed under an open page: between two units it may reload
            return Reply(Reload())
        found, change = self.desk.pool.next(visit, now)
        if isinstance(found, No):
            no = self._no(found, self.worker, visit.submission, visit)
            return Keep(change, lambda: no, _busy(frame))
        answer = self._assigned(found, visit, now)
        return Keep(change, lambda: answer, _busy(frame))

    def _assigned(self, hold: Hold, visit: Visit, now: Now) -> Assigned:
        remaining_s = round(max(0.0, hold.expires - now.mono), 1)
        return Assigned(
            assignment=hold.id,
            unit=hold.unit.id,
            kind="work",
            data=loads(hold.unit.item.data),
            deadline=(now.wall + timedelta(seconds=remaining_s)).isoformat(timespec="seconds")[:19] + "Z",
            remaining_s=remaining_s,
            progress=self.desk.pool.progress(visit),
        )

    def _submit(self, frame: Submit, now: Now) -> Reply | Keep:
        desk = self.desk
        if desk.full():
            return Reply(_busy(frame))
        hold = desk.pool.asked(frame, self.worker, now)
        if isinstance(hold, Fault):
            return Reply(Error(code=hold.code, message=hold.message, assignment=frame.assignment))
        change = Change(now.wall)  # heard before: only wait until that is on disk
        if hold.state is not HoldState.DONE:
            if faults := desk.settings.faults(frame.answers):
                return Reply(Refused(assignment=frame.assignment, errors=faults))
            change = desk.pool.accept(hold, frame, self.bundle, now)

        def answer() -> ToWorker:
            assert hold.receipt is not None  # `Pool` sets it before anybody is told
            return Accepted(assignment=frame.assignment, nonce=frame.nonce, receipt=hold.receipt, late=hold.late)

        return Keep(change, answer, _busy(frame))

    def _return(self, frame: Return, now: Now) -> Reply | Keep:
        hold, change = self.desk.pool.give_back(frame.assignment, self.worker, now)
        if isinstance(hold, Fault):
            return Reply(Error(code=hold.code, message=hold.message, assignment=frame.assignment))
        answer = Returned(assignment=frame.assignment)
        return Keep(change, lambda: answer, _busy(frame))

    def _no(self, answer: No, worker: str, submission: str | None, visit: Visit | None = None) -> Wait | Done:
        if answer.reason is None:
            # Sooner than a silent visit is over, so that who waits as told keeps its place.
            return Wait(retry_s=min(_WAIT_S, self.desk.settings.config.timeout_s / 3))
        return Done(reason=answer.reason, completion=self.desk.settings.completion(worker, submission, visit))


def _busy(frame: FromWorker) -> Busy:
    assignment = frame.assignment if isinstance(frame, (Submit, Return)) else None
    return Busy(of=type(frame).__name__.lower(), retry_s=RETRY_S, assignment=assignment)
