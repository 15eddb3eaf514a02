"""The schema's versions. `PRAGMA user_version` says which one a file has; opening brings it to the newest.

Each step is one transaction together with its version number, so a file is at one version or the next, never between.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import peewee

from crowdstack.errors import StateMismatch
from crowdstack.store.backups import backup
from crowdstack.store.database import Database
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
