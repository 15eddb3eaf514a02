"""What each event of the inbox does to the tables.

Robust in order: an event that finds its traces already there is no news; answers whose beginning was lost are taken all
the same. What cannot be (an unknown unit, a second submission of one assignment) the tables refuse.
Plain SQL: this is the one hot path of the store (benchmarks/store.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict

import peewee

from crowdstack.model import Arrived, Assigned, Claim, Cursor, Drained, Ended, Event, EventKind, Left, RunId, Submitted
from crowdstack.store.base import to_json
from crowdstack.store.tables import VOIDED, utc_text

# One that was thought lost with its inbox, which has it all the same, goes on; one of which the provider told first is
# as it told, and now somebody is there.
_ARRIVED = """
    INSERT INTO visit (id, run, worker, study, submission, claim, state, submissions, arrived_at, claim_told, return_asked)
    VALUES (?, ?, ?, ?, ?, ?, 'active', 0, ?, 1, 0)
    ON CONFLICT (id) DO UPDATE SET
        state = CASE WHEN state IN ('paid', 'rejected') THEN state ELSE 'active' END,
        arrived_at = COALESCE(arrived_at, excluded.arrived_at), ended_at = NULL
    WHERE state IN ('left', 'empty') AND reason IS NULL OR arrived_at IS NULL"""
_ASSIGNED = """
    INSERT INTO assignment (id, unit, visit, worker, state, at) VALUES (?, ?, ?, ?, 'held', ?)
    ON CONFLICT (id) DO UPDATE SET state = 'held' WHERE state = 'lost'"""
_HELD = "UPDATE unit SET state = 'assigned', assignment = ?, run = ? WHERE id = ? AND state IN ('open', 'assigned')"
_STORED = "SELECT 1 FROM submission WHERE assignment = ?"
_ANSWERED = """
    INSERT INTO assignment (id, unit, visit, worker, state, at) VALUES (?, ?, ?, ?, 'submitted', ?)
    ON CONFLICT (id) DO UPDATE SET state = 'submitted'"""
_DONE = """
    UPDATE unit SET state = 'submitted', assignment = ?, run = ?, offered = attempt
    WHERE id = ? AND state IN ('open', 'assigned')"""  # an offer that was still due is not made any more
# The visit is rejected at the provider, or being so: no answer in it can be paid any more, so none counts.
_REJECTED = "SELECT 1 FROM intent WHERE run = ? AND key = 'reject:' || ? AND state <> 'refused'"
_VOID = f"SELECT 1 FROM visit WHERE id = ? AND {VOIDED}"  # so the provider says
_AGAIN = """
    UPDATE unit SET state = 'open', attempt = attempt + 1, assignment = NULL, run = NULL
    WHERE id = ? AND state IN ('open', 'assigned')"""  # the server takes it for done
_SUBMITTED = """
    INSERT INTO submission (run, unit, assignment, visit, worker, inbox, epoch, seq, receipt, status,
                            submitted_at, duration_s, answers, signals, bundle, late, version)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"""
_WORKED = """
    UPDATE visit SET submissions = submissions + 1, state = CASE state WHEN 'empty' THEN 'left' ELSE state END
    WHERE id = ?"""  # one that had ended with nothing has something to be paid for now
_ENDED = "UPDATE assignment SET state = ? WHERE id = ? AND state = 'held'"
_FREED = "UPDATE unit SET state = 'open', assignment = NULL, run = NULL WHERE id = ? AND assignment = ? AND state = 'assigned'"
_LEFT = """
    UPDATE visit SET submissions = MAX(submissions, ?), ended_at = ?, reason = ?,
                     state = CASE WHEN MAX(submissions, ?) > 0 THEN 'left' ELSE 'empty' END
    WHERE id = ? AND state = 'active'"""
_DRAINED = "UPDATE run SET drained = 1 WHERE id = ?"


class Effects:
    """Applies events of one run's inbox, one after the other, inside the caller's transaction."""

    def __init__(self, db: peewee.Database, run: RunId, inbox: Cursor, *, again: bool) -> None:
        self._execute = db.cursor().execute  # the driver's own: a third of the time was peewee's wrapping
        self._run = run
        self._inbox = inbox
        self._again = again
        self._visits: set[str] = set()  # known to be there

    def apply(self, event: Event) -> bool:
        """Whether it was news. Raises what the database raises when a table refuses it."""
        at = utc_text(event.at)
        body = event.body
        if isinstance(body, Submitted):
            return self._submitted(event, body, at)
        if isinstance(body, Assigned):
            self._arrived(body.visit, body.worker, at)
            news = self._changed(_ASSIGNED, (body.assignment, body.unit, body.visit, body.worker, at))
            return news and (self._changed(_HELD, (body.assignment, self._run, body.unit)) or True)
        if isinstance(body, Arrived):
            return self._arrived(body.visit, body.worker, at, study=body.study, submission=body.submission)
        if isinstance(body, Ended):
            news = self._changed(_ENDED, (event.kind.value, body.assignment))
            return news and (self._changed(_FREED, (body.unit, body.assignment)) or True)
        if isinstance(body, Left):
            return self._changed(_LEFT, (body.submissions, at, body.reason.value, body.submissions, body.visit))
        assert isinstance(body, Drained)
        return self._changed(_DRAINED, (self._run,))

    def _arrived(
        self, visit: str, worker: str, at: str, *, study: str | None = None, submission: str | None = None
    ) -> bool:
        if visit in self._visits:
            return False
        self._visits.add(visit)
        claim = (Claim.SIGNED if submission is None else Claim.CLAIMED).value
        return self._changed(_ARRIVED, (visit, self._run, worker, study, submission, claim, at))

    def _submitted(self, event: Event, body: Submitted, at: str) -> bool:
        if self._again and self._found(_STORED, (body.assignment,)):
            return False
        late = body.late or event.kind is EventKind.LATE
        self._arrived(body.visit, body.worker, at)
        self._execute(_ANSWERED, (body.assignment, body.unit, body.visit, body.worker, at))
        void = self._found(_VOID, (body.visit,))
        unpaid = void or (body.counts and self._found(_REJECTED, (self._run, body.visit)))
        if body.counts and unpaid:
            self._execute(_AGAIN, (body.unit,))
        counts = body.counts and not unpaid and self._changed(_DONE, (body.assignment, self._run, body.unit))
        status = "void" if void else "submitted" if counts else "surplus"
        self._execute(
            _SUBMITTED,
            (
                self._run, body.unit, body.assignment, body.visit, body.worker,
                self._inbox.inbox, self._inbox.epoch, event.seq, event.receipt, status,
                at, body.duration_s, to_json(dict(body.answers)), to_json(dict(body.signals)), body.bundle,
                late,
            ),
        )  # fmt: skip
        self._execute(_WORKED, (body.visit,))
        return True

    def _found(self, sql: str, values: tuple[object, ...]) -> bool:
        return self._execute(sql, values).fetchone() is not None

    def _changed(self, sql: str, values: tuple[object, ...]) -> bool:
        return bool(self._execute(sql, values).rowcount)


def raw_text(event: Event) -> str:
    """An event as ASCII text for quarantine: any value can be written so."""
    return json.dumps({"kind": event.kind.value, **asdict(event.body)}, default=str)
