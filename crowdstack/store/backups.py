"""Backups: a true copy of the store, and the newest of them put back in its place.

What came after a backup is in the task server's inbox, which keeps every event until a run's last backup is made.
"""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

import peewee

from crowdstack.errors import NotFound, StateMismatch
from crowdstack.folder import private_file, sync_folder
from crowdstack.store.database import Database, connect


def backup(database: Database, to: Path) -> None:
    """A copy at `to`, whole or not at all: made by SQLite's backup call, checked, then renamed into place."""
    temp = to.with_name(f".{to.name}.{secrets.token_hex(8)}")
    private_file(temp)
    copy = connect(temp)
    try:
        copy.connect()
        with database.reading() as db:
            counted = _row_counts(db)  # the first read fixes the view that the copy is made of
            db.connection().backup(copy.connection())
        verdict = copy.execute_sql("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok" or _row_counts(copy) != counted:
            raise StateMismatch("the backup is not a true copy", where=str(temp), why=str(verdict))
        copy.execute_sql("PRAGMA journal_mode = delete")  # one file, nothing beside it
        copy.close()
        temp.replace(to)
        sync_folder(to.parent)
    finally:
        copy.close()
        for left in (temp, temp.with_name(temp.name + "-wal"), temp.with_name(temp.name + "-shm")):
            left.unlink(missing_ok=True)


def _row_counts(db: peewee.Database) -> dict[str, int]:
    return {name: db.execute_sql(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in sorted(db.get_tables())}


def restore(path: Path, backups: Path) -> tuple[Path, Path | None]:
    """Put the newest file of `backups` in the place of the store at `path`; which one, and what was there is kept where.

    Nobody may have the store open. NotFound without a backup.
    """
    found = sorted(backups.glob("*.db"), key=lambda file: file.stat().st_mtime_ns)
    if not found:
        raise NotFound("there is no backup to put back", where=str(backups))
    temp = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    private_file(temp)
    shutil.copyfile(found[-1], temp)
    aside = _set_aside(path)
    temp.replace(path)
    sync_folder(path.parent)
    return found[-1], aside


def _set_aside(path: Path) -> Path | None:
    """Rename a database and the files beside it, so that none of them is taken for a part of the next."""
    aside = path.with_name(f"{path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}")
    was_there = path.exists()
    for end in ("-shm", "-wal", ""):
        part = path.with_name(path.name + end)
        if part.exists():
            part.replace(aside.with_name(aside.name + end))
    return aside if was_there else None
