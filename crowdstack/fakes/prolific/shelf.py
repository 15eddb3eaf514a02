"""Keeps an account in one SQLite file: what was answered survives a kill. Only records that changed are written."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

from crowdstack.errors import StateMismatch
from crowdstack.fakes.prolific import hooks
from crowdstack.fakes.prolific import records as r
from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.states import StudyStatus, SubmissionStatus
from crowdstack.folder import private_file

_KINDS: dict[str, type[r.Record]] = {
    "meta": r.Meta, "workspaces": r.Workspace, "projects": r.Project, "studies": r.Study,
    "submissions": r.Submission, "people": r.Person, "groups": r.Group, "bulks": r.Bulk, "messages": r.Message,
    "secrets": r.Secret, "subscriptions": r.Subscription, "events": r.HookEvent, "laters": r.Later,
    "effects": r.Effect, "lines": r.WalletLine,
}  # fmt: skip


class Shelf:
    """One process at a time: a second one that writes meanwhile is told so."""

    def __init__(self, path: Path, fake: FakeProlific) -> None:
        private_file(path)
        self._world = fake.world
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS record (kind TEXT, id TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, id))"
            )
            kept = self._db.execute("SELECT kind, id, body FROM record ORDER BY rowid").fetchall()
        except sqlite3.DatabaseError as fault:
            raise StateMismatch(
                "this file does not hold the state of a fake, or another process has it open",
                where=str(path), why=str(fault), hint="name another file with --state",
            ) from fault  # fmt: skip
        if kept:
            self._load(kept)
            hooks.requeue(self._world)

    def _load(self, kept: list[tuple[str, str, str]]) -> None:
        tables = self._world.tables()
        for table in tables.values():
            table.clear()
        for kind, key, body in kept:
            tables[kind][key] = _record(kind, json.loads(body))
        (self._world.meta,) = tables["meta"].values()
        self._world.removed.clear()
        self._world.reindex()

    def keep(self) -> None:
        """Write what changed since the last time; on return it is in the file."""
        rows = [
            (kind, key, json.dumps(_plain(record)))
            for kind, table in self._world.tables().items()
            for key, record in table.items()
            if r.changed(record, r.TO_SAVE)
        ]
        if not rows and not self._world.removed:
            return
        rows.append(("meta", self._world.meta.id, json.dumps(_plain(self._world.meta))))  # with the time
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("DELETE FROM record WHERE kind = ? AND id = ?", self._world.removed)
        self._db.executemany("INSERT INTO record VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body", rows)
        self._db.execute("COMMIT")
        self._world.removed.clear()

    def close(self) -> None:
        self._db.close()


def _plain(record: r.Record) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _record(kind: str, body: dict[str, Any]) -> r.Record:
    if kind == "studies":
        body["status"] = StudyStatus(body["status"])
    elif kind == "submissions":
        body |= {"status": SubmissionStatus(body["status"]), "bonuses": tuple(body["bonuses"])}
    elif kind == "bulks":
        body["lines"] = tuple((submission, amount) for submission, amount in body["lines"])
    record = _KINDS[kind](**body)
    r.changed(record, r.TO_SAVE)
    return record
