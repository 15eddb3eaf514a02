"""What an adapter notes on a run, to find it again after a crash."""

from __future__ import annotations

from collections.abc import Callable

import peewee

from crowdstack.model import RunId
from crowdstack.ports import Memory
from crowdstack.store.base import Subject
from crowdstack.store.database import Database


class Memories(Subject):
    def memory(self, run: RunId) -> Memory:
        """Of a run that is not there (yet) nothing was noted, and NotFound is what noting it meets."""
        return _RunMemory(self._database, run, self._run_row)


class _RunMemory:
    def __init__(self, database: Database, run: RunId, check: Callable[[peewee.Database, RunId], object]) -> None:
        self._database = database
        self._run = run
        self._check = check

    def get(self, name: str) -> str | None:
        with self._database.reading() as db:
            values = (self._run, name)
            found = db.execute_sql("SELECT value FROM memory WHERE run = ? AND name = ?", values).fetchone()
            return None if found is None else str(found[0])

    def put(self, name: str, value: str) -> None:
        with self._database.writing() as db:
            self._check(db, self._run)
            values = (self._run, name, value)
            db.execute_sql("INSERT OR REPLACE INTO memory (run, name, value) VALUES (?, ?, ?)", values)
