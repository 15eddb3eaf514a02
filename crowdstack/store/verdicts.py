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
from crowdstack.store.base import Subject
from crowdstack.store.tables import DONE, VOIDED, utc_text, utc_time
from crowdstack.store.tallies import tallied

_PAGE = 500


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
                    page = [_submission_of(row) for row in _page(db, run, last, unit)]
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
                        f"submission {submission} has been judged meanwhile: it is {row.status} (version {row.version})",
                        hint="look at it again",
                    )
            news = [row for row in rows if row.status != verdict.status.value]
            with tallied(db, units=[row.unit_id for row in news]):
                for row in news:
                    _give(db, row, verdict, reason, by, now)
            return [_submission_of(_get(db, submission)) for submission, _ in seen]

    def pseudonym_key(self, task: TaskName) -> bytes:
        with self._database.reading() as db:
            row = tables.Task.select().where(tables.Task.name == task).first(db)
            if row is None:
                raise NotFound(f"no task {task} in this store")
            return bytes(row.pseudonym_key)


def _give(db: peewee.Database, row: tables.Submission, verdict: Verdict, reason: str, by: str, now: datetime) -> None:
    _check_settled(db, row, verdict)
    status, version = _move_unit(db, row, verdict).value, row.version + 1
    given = {tables.Submission.status: status, tables.Submission.version: version}
    tables.Submission.update(given).where(tables.Submission.id == row.id).execute(db)
    tables.Verdict.insert(
        submission=row.id, verdict=verdict.value, status=status, reason=reason, by=by, version=version, at=utc_text(now)
    ).execute(db)


def _check_settled(db: peewee.Database, row: tables.Submission, verdict: Verdict) -> None:
    """Money that has moved, or is moving, is not called back by a verdict."""
    visit = tables.Visit.select().where(tables.Visit.id == row.visit_id).get(db)
    void = db.execute_sql(f"SELECT 1 FROM visit WHERE id = ? AND {VOIDED}", (visit.id,)).fetchone() is not None
    if void and verdict is Verdict.APPROVE:
        raise Refused(
            f"submission {row.id} cannot be approved",
            why=_why_void(visit),
            hint="its unit is offered again; should the provider bring the visit back, its answers come back as well",
        )
    sent = {
        key.partition(":")[0]
        for (key,) in db.execute_sql(
            "SELECT key FROM intent WHERE run = ? AND key IN (?, ?) AND state = 'recorded'",
            (row.run_id, f"approve:{row.visit_id}", f"reject:{row.visit_id}"),
        )
    }
    if verdict is Verdict.REJECT and (visit.state == VisitState.PAID.value or "approve" in sent):
        raise Refused(
            f"submission {row.id} cannot be rejected",
            why="its visit is paid, or being paid",
            hint="`exclude` it: it stays paid, does not count, and its unit is offered again",
        )
    if not void and verdict is not Verdict.REJECT and (visit.state == VisitState.REJECTED.value or "reject" in sent):
        raise Refused(
            f"submission {row.id} can no longer be paid",
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


def _move_unit(db: peewee.Database, row: tables.Submission, verdict: Verdict) -> SubmissionStatus:
    """Bring the unit to where the verdict leaves it; what becomes of the submission."""
    unit = tables.Unit.select().where(tables.Unit.id == row.unit_id).get(db)
    dropped = unit.state == UnitState.DROPPED.value
    counts = unit.assignment == row.assignment_id and unit.state in [state.value for state in DONE]
    this = tables.Unit.id == unit.id
    if verdict is not Verdict.APPROVE:
        if counts:
            tables.Unit.update(state="open", attempt=unit.attempt + 1, withdraw=False, assignment=None, run=None).where(
                this
            ).execute(db)
        return verdict.status
    if counts:
        tables.Unit.update(state="approved").where(this).execute(db)
        return SubmissionStatus.APPROVED
    if dropped and not _another_counts(db, row):  # and if the unit comes back, it comes back done by this one
        tables.Unit.update(assignment=row.assignment_id, run=row.run_id).where(this).execute(db)
        return SubmissionStatus.APPROVED
    if dropped or unit.state in [state.value for state in DONE]:
        return SubmissionStatus.SURPLUS
    # Offered again meanwhile, and now done after all: the server is told to take the offer back.
    tables.Unit.update(
        state="approved", assignment=row.assignment_id, run=row.run_id, offered=unit.attempt, withdraw=True,
    ).where(this).execute(db)  # fmt: skip
    return SubmissionStatus.APPROVED


def _another_counts(db: peewee.Database, row: tables.Submission) -> bool:
    other = tables.Submission
    counting = other.status.in_([SubmissionStatus.SUBMITTED.value, SubmissionStatus.APPROVED.value])
    return bool(other.select().where(other.unit == row.unit_id, other.id != row.id, counting).exists(db))


def _runs_that_count(db: peewee.Database, task: TaskName) -> list[str]:
    runs = db.execute_sql(
        "SELECT id FROM run WHERE task = ?1 AND generation = (SELECT generation FROM run WHERE task = ?1 "
        "ORDER BY number DESC LIMIT 1) ORDER BY number",
        (task,),
    ).fetchall()
    if not runs:
        raise NotFound(f"no run of task {task} in this store", hint="start one with `crowdstack up`")
    return [run for (run,) in runs]


def _with_items() -> peewee.ModelSelect:
    return tables.Submission.select(tables.Submission, tables.Unit.item).join(
        tables.Unit, on=tables.Submission.unit == tables.Unit.id, attr="of"
    )


def _page(db: peewee.Database, run: str, last: tuple[int, int], unit: UnitId | None) -> list[tables.Submission]:
    row = tables.Submission
    after = peewee.Tuple(row.receipt, row.id) > peewee.Tuple(*last)
    chosen = _with_items().where(row.run == run, after)
    if unit is not None:
        chosen = chosen.where(row.unit == unit)
    return list(chosen.order_by(row.receipt, row.id).limit(_PAGE).execute(db))


def _get(db: peewee.Database, submission: int) -> tables.Submission:
    row: tables.Submission | None = _with_items().where(tables.Submission.id == submission).first(db)
    if row is None:
        raise NotFound(f"no submission {submission} in this store")
    return row


def _submission_of(row: tables.Submission) -> SubmissionRow:
    return SubmissionRow(
        submission=row.id,
        run=RunId(row.run_id),
        unit=UnitId(row.unit_id),
        item=row.of.item,
        worker=WorkerId(row.worker),
        assignment=row.assignment_id,
        visit=VisitId(row.visit_id),
        receipt=row.receipt,
        epoch=row.epoch,
        status=SubmissionStatus(row.status),
        submitted_at=utc_time(row.submitted_at),
        duration_s=row.duration_s,
        answers=json.loads(row.answers),
        signals=json.loads(row.signals),
        bundle=row.bundle,
        late=row.late,
        version=row.version,
    )
