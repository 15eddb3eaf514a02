"""The schema's versions. `PRAGMA user_version` says which one a file has; opening brings it to the newest.

Each step is one transaction together with its version number, so a file is at one version or the next, never between.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import peewee

from crowdstack.errors import StateMismatch
from crowdstack.folder import private_file, sync_folder
from crowdstack.store.database import Database, connect
from crowdstack.store.tables import Identity, create_statements

Step = Callable[[peewee.Database], None]


def create(db: peewee.Database) -> None:
    """Version 1."""
    for statement in create_statements(db):
        db.execute_sql(statement)
    Identity.insert(client=secrets.token_urlsafe(16)).execute(db)


STEPS: tuple[Step, ...] = (create,)  # step n (from 1) makes version n


def migrate(database: Database, steps: Sequence[Step] = STEPS) -> None:
    """Bring the file to version len(steps); one that holds data is copied first, to `<store>.v<version>`.

    Two processes may try at once: each step looks at the version again inside its transaction.
    """
    with database.reading() as db:
        found = version(db)
    if found > len(steps):
        raise StateMismatch(
            f"the store has version {found}, this program knows {len(steps)}",
            where=str(database.path),
            hint="use the newer crowdstack that wrote it",
        )
    if 0 < found < len(steps):
        backup(database, database.path.with_name(f"{database.path.name}.v{found}"))
    for number in range(found + 1, len(steps) + 1):
        with database.writing() as db:
            if version(db) < number:
                steps[number - 1](db)
                db.execute_sql(f"PRAGMA user_version = {number}")


def version(db: peewee.Database) -> int:
    return int(db.execute_sql("PRAGMA user_version").fetchone()[0])


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
