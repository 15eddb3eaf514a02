"""What the subjects of the store share: the database and the way from a row to a value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import peewee

from crowdstack.errors import NotFound
from crowdstack.model import Cursor, Run, RunId, RunState, TaskName
from crowdstack.store import tables
from crowdstack.store.database import Database
from crowdstack.store.tables import utc_time

Row = TypeVar("Row", bound=tables.Table)


def to_json(value: Any) -> str:
    """ValueError for NaN and infinities: no table holds what JSON cannot say."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def rows_of(db: peewee.Database, table: type[Row], which: str, values: Sequence[object]) -> list[Row]:
    """The rows that this end of a SELECT chooses, values as the database has them. For what every round of a reconciler reads: peewee needs ten times as long
    to put such a statement together as SQLite to answer it."""
    statement, names = _selection(table)  # type: ignore[arg-type]  # peewee is untyped
    rows = []
    for found in db.execute_sql(f"{statement} {which}", values).fetchall():
        row = table(__no_default__=True)
        row.__data__.update(zip(names, found, strict=True))
        rows.append(row)
    return rows


@cache
def _selection(table: type[tables.Table]) -> tuple[str, list[str]]:
    fields = table._meta.sorted_fields
    columns = ", ".join(field.column_name for field in fields)
    return f"SELECT {columns} FROM {table._meta.table_name}", [field.name for field in fields]


class Subject:
    """A part of the store's verbs, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _run_row(self, db: peewee.Database, run: RunId) -> tables.Run:
        found = rows_of(db, tables.Run, "WHERE id = ?", (run,))
        if not found:
            raise NotFound(f"no run {run} in this store", where=str(self._database.path))
        return found[0]

    def _cursor_row(self, db: peewee.Database, run: RunId) -> Cursor | None:
        for row in rows_of(db, tables.Cursor, "WHERE run = ?", (run,)):
            return Cursor(inbox=row.inbox, epoch=row.epoch, seq=row.seq, chain=row.chain)
        return None


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
