"""Runs, the units they work on, the tallies of both, and what the server has been told of them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import peewee

from crowdstack.errors import StateMismatch
from crowdstack.model import (
    Item,
    ItemId,
    ItemOffer,
    Run,
    RunId,
    RunState,
    TaskName,
    UnitCounts,
    UnitId,
    UnitOffer,
    UnitState,
    VisitCounts,
    WorkerId,
)
from crowdstack.ports import Rehearsal
from crowdstack.store import tables
from crowdstack.store.base import Subject, rows_of, run_of, to_json
from crowdstack.store.database import many
from crowdstack.store.events import forget_offers
from crowdstack.store.layout import lay_out
from crowdstack.store.tables import utc_text
from crowdstack.store.tallies import UNCOUNTED, tallied, tally_anew


class Runs(Subject):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._read_at: dict[RunId, int] = {}  # revision of the items that `unoffered` last read

    def tasks(self) -> list[TaskName]:
        with self._database.reading() as db:
            return [TaskName(row.name) for row in tables.Task.select().order_by(tables.Task.name).execute(db)]

    def runs(self, task: TaskName) -> list[Run]:
        with self._database.reading() as db:
            found = tables.Run.select().where(tables.Run.task == task).order_by(tables.Run.number).execute(db)
            return [run_of(row) for row in found]

    def live_run(self, task: TaskName) -> Run | None:
        return next((run for run in self.runs(task) if run.closed_at is None), None)

    def run(self, run: RunId) -> Run:
        with self._database.reading() as db:
            return run_of(self._run_row(db, run))

    def open_run(
        self,
        task: TaskName,
        *,
        settings: Mapping[str, Any],
        items: Iterable[Item],
        repeats: int,
        fresh: bool,
        now: datetime,
    ) -> Run:
        with self._database.writing() as db:
            return run_of(_open_run(db, task, settings, items, repeats, fresh, now))

    def rehearse(
        self,
        task: TaskName,
        *,
        settings: Mapping[str, Any],
        items: Iterable[Item],
        repeats: int,
        fresh: bool,
        now: datetime,
    ) -> Rehearsal:
        new = self.live_run(task) is None
        with self._database.rehearsing() as db:
            row = _open_run(db, task, settings, items, repeats, fresh, now)
            return Rehearsal(
                run=RunId(row.id),
                new=new,
                units=_unit_counts(db, row),
                visits=_visit_counts(row),
                offers=_offers(db, row),
            )

    def basis(self, task: TaskName) -> str:
        with self._database.reading() as db:
            found = db.execute_sql(
                "SELECT run.id, settings, closed_at, revision FROM run JOIN generation ON generation.id = generation "
                "WHERE run.task = ? ORDER BY number DESC LIMIT 1",
                (task,),
            ).fetchone()
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()

    def want(self, run: RunId, state: RunState, now: datetime, *, drain_now: bool = False) -> None:
        with self._database.writing() as db:
            row = self._run_row(db, run)
            if row.wanted == RunState.DESTROYED.value and state is not RunState.DESTROYED:
                raise StateMismatch(
                    f"run {run} is being destroyed", hint="wait until it is gone, then `up` opens the next"
                )
            row.wanted = state.value
            row.drain_now = row.drain_now or drain_now
            changed = {tables.Run.wanted: row.wanted, tables.Run.drain_now: row.drain_now}
            tables.Run.update(changed).where(tables.Run.id == run).execute(db)

    def drain_now(self, run: RunId) -> bool:
        with self._database.reading() as db:
            return bool(self._run_row(db, run).drain_now)

    def set_reached(self, run: RunId, state: RunState, now: datetime) -> None:
        with self._database.writing() as db:
            row = self._run_row(db, run)
            closed = row.closed_at or (utc_text(now) if state is RunState.DESTROYED else None)
            changed = {tables.Run.reached: state.value, tables.Run.closed_at: closed}
            tables.Run.update(changed).where(tables.Run.id == run).execute(db)

    def unit_counts(self, run: RunId) -> UnitCounts:
        with self._database.reading() as db:
            return _unit_counts(db, self._run_row(db, run))

    def visit_counts(self, run: RunId) -> VisitCounts:
        with self._database.reading() as db:
            return _visit_counts(self._run_row(db, run))

    def recount(self, run: RunId) -> UnitCounts:
        with self._database.reading() as db:
            row = self._run_row(db, run)
            return _recount(db, row)

    def offers(self, run: RunId) -> tuple[int, int]:
        with self._database.reading() as db:
            return _offers(db, self._run_row(db, run))

    def unoffered(self, run: RunId, limit: int) -> tuple[list[ItemOffer], list[UnitOffer], list[UnitId]]:
        with self._database.reading() as db:
            generation = self._run_row(db, run).generation_id
            self._read_at[run] = _revision(db, generation)
            found = db.execute_sql(
                "SELECT id, item, attempt, offered_to FROM unit INDEXED BY unit_generation_offer_due "
                "WHERE generation = ? AND offered < attempt AND state <> 'dropped' LIMIT ?",
                (generation, limit),
            ).fetchall()
            units = [
                UnitOffer(unit=UnitId(unit), item=ItemId(item), attempt=attempt, offered_to=worker)
                for unit, item, attempt, worker in found
            ]
            drop = db.execute_sql(
                "SELECT id FROM unit INDEXED BY unit_generation_withdraw WHERE generation = ? AND withdraw = 1 LIMIT ?",
                (generation, limit - len(units)),
            ).fetchall()
            return _item_offers(db, generation, units), units, [UnitId(unit) for (unit,) in drop]

    def mark_offered(self, run: RunId, units: Sequence[UnitOffer], dropped: Sequence[UnitId] = ()) -> None:
        with self._database.writing() as db:
            generation = self._run_row(db, run).generation_id
            now_at = _revision(db, generation)
            if self._read_at.setdefault(run, now_at) != now_at:
                return  # items changed since they were read: what was sent is old, so all of it is due again
            with tallied(db, units=[*(unit.unit for unit in units), *dropped]):
                told = [(unit.attempt, unit.unit, unit.attempt) for unit in units]
                many(db, "UPDATE unit SET offered = ? WHERE id = ? AND offered < ?", told)
                many(db, "UPDATE unit SET withdraw = 0 WHERE id = ?", [(unit,) for unit in dropped])


def _open_run(
    db: peewee.Database,
    task: TaskName,
    settings: Mapping[str, Any],
    items: Iterable[Item],
    repeats: int,
    fresh: bool,
    now: datetime,
) -> tables.Run:
    tables.Task.insert(name=task, pseudonym_key=secrets.token_bytes(32)).on_conflict_ignore().execute(db)
    last: tables.Run | None = (
        tables.Run.select().where(tables.Run.task == task).order_by(tables.Run.number.desc()).first(db)
    )
    if last is not None and last.closed_at is None:
        if last.wanted == RunState.DESTROYED.value:
            raise StateMismatch(f"run {last.id} is being destroyed", hint="wait until it is gone")
        run, generation = RunId(last.id), last.generation_id
        tables.Run.update(settings=to_json(settings)).where(tables.Run.id == run).execute(db)
    else:
        number = 1 if last is None else last.number + 1
        run = RunId(f"{task}-{number}")
        generation = tables.Generation.insert(task=task).execute(db) if last is None or fresh else last.generation_id
        tables.Run.insert(
            id=run, task=task, number=number, generation=generation, wanted=RunState.LIVE.value,
            settings=to_json(settings), opened_at=utc_text(now),
        ).execute(db)  # fmt: skip
        forget_offers(db, generation)
        tally_anew(db, generation)
    if lay_out(db, generation, items, repeats):
        db.execute_sql("UPDATE generation SET revision = revision + 1 WHERE id = ?", (generation,))
        tally_anew(db, generation)
    opened: tables.Run = tables.Run.select().where(tables.Run.id == run).get(db)
    return opened


def _generation(db: peewee.Database, generation: int) -> tables.Generation:
    (row,) = rows_of(db, tables.Generation, "WHERE id = ?", (generation,))
    return row


def _revision(db: peewee.Database, generation: int) -> int:
    return int(_generation(db, generation).revision)


def _offers(db: peewee.Database, run: tables.Run) -> tuple[int, int]:
    row = _generation(db, run.generation_id)
    return row.attempts, row.offered


def _unit_counts(db: peewee.Database, run: tables.Run) -> UnitCounts:
    row = _generation(db, run.generation_id)
    (before,) = db.execute_sql(
        "SELECT COALESCE(SUM(done), 0) FROM run WHERE generation = ? AND number < ?", (run.generation_id, run.number)
    ).fetchone()
    return UnitCounts(
        total=row.open + row.assigned + row.submitted + row.approved,
        before=before,
        open=row.open,
        stuck=_stuck(db, run.generation_id),
        assigned=row.assigned,
        submitted=row.submitted,
        approved=row.approved,
        excluded=row.excluded,
        rejected=row.rejected,
        surplus=row.surplus,
        void=row.void,
    )


def _recount(db: peewee.Database, run: tables.Run) -> UnitCounts:
    units: dict[str, int] = dict(
        db.execute_sql("SELECT state, COUNT(*) FROM unit WHERE generation = ? GROUP BY state", (run.generation_id,))
    )
    submissions: dict[str, int] = dict(
        db.execute_sql(
            "SELECT status, COUNT(*) FROM submission JOIN unit ON unit.id = submission.unit "
            "WHERE generation = ? GROUP BY status",
            (run.generation_id,),
        )
    )
    (before,) = db.execute_sql(
        "SELECT COUNT(*) FROM unit JOIN run ON run.id = unit.run "
        "WHERE unit.generation = ? AND state IN ('submitted', 'approved') AND number < ?",
        (run.generation_id, run.number),
    ).fetchone()
    units.pop(UnitState.DROPPED.value, None)
    uncounted = {status.value: submissions.get(status.value, 0) for status in UNCOUNTED}
    return UnitCounts(
        total=sum(units.values()), before=before, stuck=_stuck(db, run.generation_id), **units, **uncounted
    )


def _stuck(db: peewee.Database, generation: int) -> int:
    """Open units whose named worker has answered them, without being accepted (and who was that worker)."""
    (units,) = db.execute_sql(
        "SELECT COUNT(*) FROM unit INDEXED BY unit_generation_named_again "
        "WHERE generation = ? AND attempt > 1 AND offered_to IS NOT NULL AND state = 'open' "
        "AND EXISTS (SELECT 1 FROM submission JOIN visit ON visit.id = submission.visit "
        "            WHERE unit = unit.id AND submission.worker = offered_to AND claim <> 'refuted')",
        (generation,),
    ).fetchone()
    return int(units)


def _visit_counts(run: tables.Run) -> VisitCounts:
    return VisitCounts(
        active=run.active,
        left=run.left,
        paid=run.paid,
        rejected=run.rejected,
        empty=run.empty,
        listed=run.listed,
        unverified=run.unverified,
    )


def _item_offers(db: peewee.Database, generation: int, units: Sequence[UnitOffer]) -> list[ItemOffer]:
    """The data of the units' items, and who has answered them already. Answers under a name that was made up bar nobody."""
    wanted = json.dumps(list(dict.fromkeys(unit.item for unit in units)))
    data = db.execute_sql(
        "SELECT item, data FROM item WHERE generation = ?2 AND item IN (SELECT value FROM json_each(?1))",
        (wanted, generation),
    ).fetchall()
    done_by: dict[str, list[WorkerId]] = {}
    for item, worker in db.execute_sql(
        "SELECT DISTINCT item, submission.worker FROM unit JOIN submission ON submission.unit = unit.id "
        "JOIN visit ON visit.id = submission.visit WHERE generation = ?2 AND item IN (SELECT value FROM json_each(?1)) "
        "AND claim <> 'refuted' ORDER BY submission.worker",
        (wanted, generation),
    ):
        done_by.setdefault(item, []).append(WorkerId(worker))
    return [
        ItemOffer(item=ItemId(item), data=json.loads(text), done_by=tuple(done_by.get(item, ()))) for item, text in data
    ]
