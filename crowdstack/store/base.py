"""What the subjects of the store share: the database and the way from a row to a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import peewee

from crowdstack.errors import NotFound
from crowdstack.model import Cursor, Run, RunId, RunState, TaskName
from crowdstack.store import tables
from crowdstack.store.database import Database
from crowdstack.store.tables import utc_time


def to_json(value: Any) -> str:
    """ValueError for NaN and infinities: no table holds what JSON cannot say."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Subject:
    """A part of the store's verbs, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _run_row(self, db: peewee.Database, run: RunId) -> tables.Run:
        row: tables.Run | None = tables.Run.select().where(tables.Run.id == run).first(db)
        if row is None:
            raise NotFound(f"no run {run} in this store", where=str(self._database.path))
        return row

    def _cursor_row(self, db: peewee.Database, run: RunId) -> Cursor | None:
        row = tables.Cursor.select().where(tables.Cursor.run == run).first(db)
        return None if row is None else Cursor(inbox=row.inbox, epoch=row.epoch, seq=row.seq, chain=row.chain)


def run_of(row: tables.Run) -> Run:
    settings: Mapping[str, Any] = json.loads(row.settings)
    return Run(
        id=RunId(row.id),
        task=TaskName(row.task_id),
        number=row.number,
        wanted=RunState(row.wanted),
        reached=None if row.reached is None else RunState(row.reached),
        settings=settings,
        opened_at=utc_time(row.opened_at),
        closed_at=None if row.closed_at is None else utc_time(row.closed_at),
    )
