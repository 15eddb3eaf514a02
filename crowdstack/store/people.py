"""Workers as the operator looks at them: who came, in which visits, what they were paid; and whom the operator wants no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import peewee

from crowdstack.errors import NotFound
from crowdstack.model import (
    Admission,
    Claim,
    ListedState,
    Money,
    RunId,
    StudyKey,
    TaskName,
    VisitId,
    VisitState,
    WorkerId,
)
from crowdstack.ports import PaymentRow, VisitRow, WorkerRow
from crowdstack.store.base import Subject
from crowdstack.store.database import many
from crowdstack.store.tables import utc_text, utc_time

_WORKERS = """
    SELECT visit.worker, COUNT(*), SUM(visit.submissions), MAX(visit.arrived_at),
           EXISTS (SELECT 1 FROM block WHERE block.task = ?1 AND block.worker = visit.worker)
    FROM visit JOIN run ON run.id = visit.run
    WHERE run.task = ?1 AND visit.worker > ?2 GROUP BY visit.worker ORDER BY visit.worker LIMIT ?3"""
_VISITS = """
    SELECT visit.id, visit.run, visit.worker, visit.study, visit.submission, visit.claim, visit.listed, visit.state,
           visit.submissions, visit.code, visit.arrived_at, visit.ended_at
    FROM visit JOIN run ON run.id = visit.run
    WHERE run.task = ?1 AND (visit.worker = ?2 OR visit.id = ?2 OR visit.submission = ?2)
    ORDER BY COALESCE(visit.arrived_at, visit.started_at, visit.handed_in_at), visit.id"""
_PAYMENTS = """
    SELECT payment.run, payment.visit, visit.worker, visit.submission, payment.purpose, payment.minor, payment.currency,
           payment.at, payment.declined
    FROM payment JOIN run ON run.id = payment.run JOIN visit ON visit.id = payment.visit
    WHERE run.task = ? ORDER BY payment.id"""


class People(Subject):
    def workers(self, task: TaskName, *, limit: int = 50, after: str = "") -> list[WorkerRow]:
        with self._database.reading() as db:
            return [
                WorkerRow(
                    worker=WorkerId(worker),
                    visits=visits,
                    submissions=submissions,
                    last_came=None if last is None else utc_time(last),
                    blocked=bool(blocked),
                )
                for worker, visits, submissions, last, blocked in db.execute_sql(_WORKERS, (task, after, limit))
            ]

    def visits(self, task: TaskName, named: str) -> list[VisitRow]:
        with self._database.reading() as db:
            return [_visit_of(row) for row in db.execute_sql(_VISITS, (task, named)).fetchall()]

    def payments(self, task: TaskName) -> list[PaymentRow]:
        with self._database.reading() as db:
            return [
                PaymentRow(
                    run=RunId(run),
                    visit=VisitId(visit),
                    worker=WorkerId(worker),
                    submission=submission,
                    purpose=purpose,
                    amount=Money(minor, currency),
                    at=utc_time(at),
                    declined=bool(declined),
                )
                for run, visit, worker, submission, purpose, minor, currency, at, declined in db.execute_sql(
                    _PAYMENTS, (task,)
                ).fetchall()
            ]

    def blocked(self, task: TaskName) -> tuple[WorkerId, ...]:
        with self._database.reading() as db:
            found = db.execute_sql("SELECT worker FROM block WHERE task = ? ORDER BY worker", (task,)).fetchall()
            return tuple(WorkerId(worker) for (worker,) in found)

    def block(self, task: TaskName, workers: list[WorkerId], *, reason: str, by: str, now: datetime) -> None:
        with self._database.writing() as db:
            _check_task(db, task)
            for worker in workers:
                db.execute_sql(
                    "INSERT INTO block (task, worker, reason, by, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (task, worker, reason, by, utc_text(now)),
                )

    def admission(
        self,
        task: TaskName,
        *,
        block: Sequence[WorkerId] = (),
        require: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Admission:
        with self._database.reading() as db:
            out = db.execute_sql(
                "SELECT worker FROM block WHERE task = ?1 UNION "
                "SELECT worker FROM qualification WHERE task = ?1 AND name IN (SELECT value FROM json_each(?2)) UNION "
                "SELECT value FROM json_each(?3) ORDER BY worker",
                (task, json.dumps(list(exclude)), json.dumps(list(block))),
            ).fetchall()
            holders = db.execute_sql(
                "SELECT worker FROM qualification WHERE task = ?1 AND name IN (SELECT value FROM json_each(?2)) "
                "GROUP BY worker HAVING COUNT(*) = ?3 ORDER BY worker",
                (task, json.dumps(list(require)), len(set(require))),
            ).fetchall()
            allowed = tuple(WorkerId(worker) for (worker,) in holders) if require else None
            return Admission(tuple(WorkerId(worker) for (worker,) in out), allowed)

    def qualifications(self, task: TaskName, worker: WorkerId) -> dict[str, int]:
        with self._database.reading() as db:
            return dict(
                db.execute_sql(
                    "SELECT name, score FROM qualification WHERE task = ? AND worker = ? ORDER BY name", (task, worker)
                ).fetchall()
            )

    def qualify(
        self, task: TaskName, workers: list[WorkerId], name: str, score: int, *, by: str, now: datetime
    ) -> None:
        with self._database.writing() as db:
            _check_task(db, task)
            many(
                db,
                "INSERT INTO qualification (task, worker, name, score, by, at) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (task, name, worker) DO UPDATE SET score = excluded.score, by = excluded.by, at = excluded.at",
                [(task, worker, name, score, by, utc_text(now)) for worker in workers],
            )

    def revoke(self, task: TaskName, workers: list[WorkerId], name: str) -> int:
        with self._database.writing() as db:
            gone = "DELETE FROM qualification WHERE task = ? AND worker = ? AND name = ?"
            return sum(int(db.execute_sql(gone, (task, worker, name)).rowcount) for worker in workers)

    def unblock(self, task: TaskName, workers: list[WorkerId]) -> int:
        with self._database.writing() as db:
            return sum(_deleted(db, task, worker) for worker in workers)


def _check_task(db: peewee.Database, task: str) -> None:
    if not db.execute_sql("SELECT 1 FROM task WHERE name = ?", (task,)).fetchone():
        raise NotFound(
            f"task {task} was never up: its workers are known from its first run on", hint="crowdstack up SPEC"
        )


def _deleted(db: peewee.Database, task: str, worker: str) -> int:
    return int(db.execute_sql("DELETE FROM block WHERE task = ? AND worker = ?", (task, worker)).rowcount)


def _visit_of(row: tuple[Any, ...]) -> VisitRow:
    visit, run, worker, study, submission, claim, listed, state, submissions, code, arrived, ended = row
    return VisitRow(
        visit=VisitId(visit),
        run=RunId(run),
        worker=WorkerId(worker),
        study=None if study is None else StudyKey(study),
        submission=submission,
        claim=Claim(claim),
        listed=None if listed is None else ListedState(listed),
        state=VisitState(state),
        submissions=submissions,
        code=code,
        arrived_at=None if arrived is None else utc_time(arrived),
        ended_at=None if ended is None else utc_time(ended),
    )
