"""Units and submissions as people read them, and the verdicts they give.

A unit counts one submission. Approved, it stays done; excluded or rejected, the unit is offered again. Answers that come
to be approved when somebody else has done the unit meanwhile become `surplus`: paid, not counted. What is `void` no
verdict makes good: its visit is not paid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime

import peewee

from crowdstack.errors import NotFound, Refused, StateMismatch
from crowdstack.model import (
    Claim,
    ListedState,
    RunId,
    SubmissionStatus,
    TaskName,
    UnitId,
    UnitState,
    Verdict,
    VisitId,
    VisitState,
    WorkerId,
)
from crowdstack.ports import SubmissionRow, UnitRow
from crowdstack.store import tables
from crowdstack.store.base import Subject, rows_of
from crowdstack.store.tables import DONE, VOIDED, utc_text, utc_time
from crowdstack.store.tallies import tallied

_PAGE = 500
_SUBMISSIONS = """
    SELECT submission.id, submission.run, submission.unit, unit.item, worker, submission.assignment, visit, receipt,
           epoch, status, submitted_at, duration_s, answers, signals, bundle, late, version
    FROM submission JOIN unit ON unit.id = submission.unit"""
_OPEN_AGAIN = """
    UPDATE unit SET state = 'open', attempt = attempt + 1, withdraw = 0, assignment = NULL, run = NULL WHERE id = ?"""
# Offered again meanwhile, and now done after all: the server is told to take the offer back.
_DONE_AFTER_ALL = """
    UPDATE unit SET state = 'approved', assignment = ?, run = ?, offered = attempt, withdraw = 1 WHERE id = ?"""


class Verdicts(Subject):
    def units(self, run: RunId, *, state: UnitState | None = None, limit: int = 50, after: str = "") -> list[UnitRow]:
        with self._database.reading() as db:
            found = db.execute_sql(
                "SELECT unit.id, item, repeat, unit.state, attempt, worker, "
                "       (SELECT COUNT(*) FROM submission WHERE unit = unit.id) "
                "FROM unit LEFT JOIN assignment ON assignment.id = unit.assignment "
                "WHERE generation = ? AND unit.state = COALESCE(?, unit.state) "
                "AND unit.rowid > COALESCE((SELECT rowid FROM unit WHERE id = ?), 0) ORDER BY unit.rowid LIMIT ?",
                (self._run_row(db, run).generation_id, None if state is None else state.value, after, limit),
            ).fetchall()
            return [
                UnitRow(
                    unit=UnitId(unit),
                    item=item,
                    repeat=repeat,
                    state=UnitState(now),
                    attempt=attempt,
                    worker=worker,
                    submissions=submissions,
                )
                for unit, item, repeat, now, attempt, worker, submissions in found
            ]

    def submissions(self, task: TaskName, *, unit: UnitId | None = None) -> Iterator[SubmissionRow]:
        """Page by page, so that a long export neither holds the database nor fills the memory."""
        with self._database.reading() as db:
            runs = _runs_that_count(db, task)
        for run in runs:
            last = (-1, 0)
            while True:
                with self._database.reading() as db:
                    page = _page(db, run, last, unit)
                if not page:
                    break
                yield from page
                last = (page[-1].receipt, page[-1].submission)

    def answer_fields(self, task: TaskName) -> list[str]:
        with self._database.reading() as db:
            runs = json.dumps(_runs_that_count(db, task))
            found = db.execute_sql(
                "SELECT DISTINCT field.key FROM json_each(?) AS counted JOIN submission ON run = counted.value "
                "JOIN json_each(answers) AS field ORDER BY field.key",
                (runs,),
            )
            return [key for (key,) in found]

    def judge(
        self, submission: int, verdict: Verdict, *, reason: str, by: str, version: int | None, now: datetime
    ) -> SubmissionRow:
        (row,) = self.judge_all([(submission, version)], verdict, reason=reason, by=by, now=now)
        return row

    def judge_all(
        self, seen: Sequence[tuple[int, int | None]], verdict: Verdict, *, reason: str, by: str, now: datetime
    ) -> list[SubmissionRow]:
        with self._database.writing() as db:
            rows = [_get(db, submission) for submission, _ in seen]
            for row, (submission, version) in zip(rows, seen, strict=True):
                if version is not None and version != row.version:
                    raise StateMismatch(
                        f"submission {submission} has been judged meanwhile: it is {row.status.value} (version {row.version})",
                        hint="look at it again",
                    )
            news = [row for row in rows if row.status is not verdict.status]
            with tallied(db, units=[row.unit for row in news]):
                for row in news:
                    _give(db, row, verdict, reason, by, now)
            return [_get(db, submission) for submission, _ in seen]

    def pseudonym_key(self, task: TaskName) -> bytes:
        with self._database.reading() as db:
            row = tables.Task.select().where(tables.Task.name == task).first(db)
            if row is None:
                raise NotFound(f"no task {task} in this store")
            return bytes(row.pseudonym_key)


def _give(db: peewee.Database, row: SubmissionRow, verdict: Verdict, reason: str, by: str, now: datetime) -> None:
    _check_settled(db, row, verdict)
    status, version = _move_unit(db, row, verdict).value, row.version + 1
    db.execute_sql("UPDATE submission SET status = ?, version = ? WHERE id = ?", (status, version, row.submission))
    db.execute_sql(
        "INSERT INTO verdict (submission, verdict, status, reason, by, version, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (row.submission, verdict.value, status, reason, by, version, utc_text(now)),
    )


def _check_settled(db: peewee.Database, row: SubmissionRow, verdict: Verdict) -> None:
    """Money that has moved, or is moving, is not called back by a verdict."""
    (visit,) = rows_of(db, tables.Visit, "WHERE id = ?", (row.visit,))
    void = db.execute_sql(f"SELECT 1 FROM visit WHERE id = ? AND {VOIDED}", (row.visit,)).fetchone() is not None
    if void and verdict is Verdict.APPROVE:
        raise Refused(
            f"submission {row.submission} cannot be approved",
            why=_why_void(visit),
            hint="its unit is offered again; should the provider bring the visit back, its answers come back as well",
        )
    sent = {
        key.partition(":")[0]
        for (key,) in db.execute_sql(
            "SELECT key FROM intent WHERE run = ? AND key IN (?, ?) AND state = 'recorded'",
            (row.run, f"approve:{row.visit}", f"reject:{row.visit}"),
        )
    }
    if verdict is Verdict.REJECT and (visit.state == VisitState.PAID.value or "approve" in sent):
        raise Refused(
            f"submission {row.submission} cannot be rejected",
            why="its visit is paid, or being paid",
            hint="`exclude` it: it stays paid, does not count, and its unit is offered again",
        )
    if not void and verdict is not Verdict.REJECT and (visit.state == VisitState.REJECTED.value or "reject" in sent):
        raise Refused(
            f"submission {row.submission} can no longer be paid",
            why="its visit was rejected at the provider",
            hint="pay the worker there if that was a mistake",
        )


def _why_void(visit: tables.Visit) -> str:
    if visit.claim == Claim.REFUTED.value:
        return "the provider does not know its visit: the ids in the page's address were made up"
    return {
        ListedState.RETURNED: "the worker returned its visit at the provider",
        ListedState.TIMED_OUT: "its visit timed out at the provider",
        ListedState.SCREENED_OUT: "its visit was screened out at the provider",
        ListedState.REJECTED: "its visit was rejected at the provider",
    }[ListedState(visit.listed)]


def _move_unit(db: peewee.Database, row: SubmissionRow, verdict: Verdict) -> SubmissionStatus:
    """Bring the unit to where the verdict leaves it; what becomes of the submission."""
    (unit,) = rows_of(db, tables.Unit, "WHERE id = ?", (row.unit,))
    dropped, done = unit.state == UnitState.DROPPED.value, unit.state in [state.value for state in DONE]
    counts = done and unit.assignment == row.assignment
    if verdict is not Verdict.APPROVE:
        if counts:
            db.execute_sql(_OPEN_AGAIN, (row.unit,))
        return verdict.status
    if counts:
        db.execute_sql("UPDATE unit SET state = 'approved' WHERE id = ?", (row.unit,))
        return SubmissionStatus.APPROVED
    if dropped and not _another_counts(db, row):  # and if the unit comes back, it comes back done by this one
        db.execute_sql("UPDATE unit SET assignment = ?, run = ? WHERE id = ?", (row.assignment, row.run, row.unit))
        return SubmissionStatus.APPROVED
    if dropped or done:
        return SubmissionStatus.SURPLUS
    db.execute_sql(_DONE_AFTER_ALL, (row.assignment, row.run, row.unit))
    return SubmissionStatus.APPROVED


def _another_counts(db: peewee.Database, row: SubmissionRow) -> bool:
    found = db.execute_sql(
        "SELECT 1 FROM submission WHERE unit = ? AND id <> ? AND status IN ('submitted', 'approved')",
        (row.unit, row.submission),
    )
    return found.fetchone() is not None


def _runs_that_count(db: peewee.Database, task: TaskName) -> list[str]:
    runs = db.execute_sql(
        "SELECT id FROM run WHERE task = ?1 AND generation = (SELECT generation FROM run WHERE task = ?1 "
        "ORDER BY number DESC LIMIT 1) ORDER BY number",
        (task,),
    ).fetchall()
    if not runs:
        raise NotFound(f"no run of task {task} in this store", hint="start one with `crowdstack up`")
    return [run for (run,) in runs]


def _page(db: peewee.Database, run: str, last: tuple[int, int], unit: UnitId | None) -> list[SubmissionRow]:
    this, values = ("", ()) if unit is None else ("AND submission.unit = ?", (unit,))
    which = (
        f"WHERE submission.run = ? AND (receipt, submission.id) > (?, ?) {this} ORDER BY receipt, submission.id LIMIT ?"
    )
    return _chosen(db, which, (run, *last, *values, _PAGE))


def _get(db: peewee.Database, submission: int) -> SubmissionRow:
    for row in _chosen(db, "WHERE submission.id = ?", (submission,)):
        return row
    raise NotFound(f"no submission {submission} in this store")


def _chosen(db: peewee.Database, which: str, values: Sequence[object]) -> list[SubmissionRow]:
    return [
        SubmissionRow(
            submission=id_,
            run=RunId(run),
            unit=UnitId(unit),
            item=item,
            worker=WorkerId(worker),
            assignment=assignment,
            visit=VisitId(visit),
            receipt=receipt,
            epoch=epoch,
            status=SubmissionStatus(status),
            submitted_at=utc_time(submitted_at),
            duration_s=duration_s,
            answers=json.loads(answers),
            signals=json.loads(signals),
            bundle=bundle,
            late=bool(late),
            version=version,
        )
        for (
            id_, run, unit, item, worker, assignment, visit, receipt, epoch, status, submitted_at, duration_s,
            answers, signals, bundle, late, version,
        ) in db.execute_sql(f"{_SUBMISSIONS} {which}", values).fetchall()
    ]  # fmt: skip
