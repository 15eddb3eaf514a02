"""The store: one SQLite file that holds the truth about tasks (ports.Store says what each verb promises).

Its verbs stand by subject: `runs` (runs, units, offers), `events` (what the inbox tells), `listing` (what the provider
tells), `money` (intents, payments), `verdicts` (review, export), `people` (workers), `memory` (an adapter's notes). Several processes may
have it open; each opens its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdstack.errors import LockHeld
from crowdstack.folder import open_private
from crowdstack.model import RunId
from crowdstack.store import tables
from crowdstack.store.backups import backup
from crowdstack.store.database import Database
from crowdstack.store.events import Events
from crowdstack.store.listing import Listings
from crowdstack.store.memory import Memories
from crowdstack.store.migrations import migrate
from crowdstack.store.money import MoneyBook
from crowdstack.store.people import People
from crowdstack.store.runs import Runs
from crowdstack.store.verdicts import Verdicts


class PeeweeStore(Runs, Events, Listings, MoneyBook, Verdicts, People, Memories):
    def __init__(self, path: Path) -> None:
        """Open `path`, made and migrated if need be. Refused on a network file system; StateMismatch if it is newer."""
        database = Database(path)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        super().__init__(database)

    def client_id(self) -> str:
        """Of this store in this place: a copy elsewhere is somebody else, who has to wait for the lease."""
        with self._database.reading() as db:
            stored = str(tables.Identity.select().get(db).client)
        place = f"{stored}\0{platform.node()}\0{self._database.path.resolve()}"
        return hashlib.blake2b(place.encode(), digest_size=16).hexdigest()

    def backup(self, to: str) -> None:
        backup(self._database, Path(to).absolute())

    @contextmanager
    def reconciler_lock(self, run: RunId) -> Iterator[None]:
        """The kernel holds it and frees it when the process dies, however it dies; the file's text only says who."""
        path = self._database.path.with_name(f"{run}.lock")
        fd = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
                raise LockHeld(
                    f"run {run} has a reconciler already (process {owner or 'unknown'})", where=str(path)
                ) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)

    def close(self) -> None:
        self._database.close()
