"""The file under the store: opened privately, one verb at a time, every fault told in our words.

WAL, synchronous=FULL, foreign keys, a wait of 5 s for other processes and then `Busy`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import peewee

from crowdstack.errors import Busy, CrowdstackError, Refused, StateMismatch, StoreMoved
from crowdstack.folder import private_file, private_folder

# File systems whose locks do not hold between machines, or that copy files behind our back (threats section 3).
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "9p"}
_NETWORK_FUSE = ("sshfs", "rclone", "s3fs", "gcsfuse", "glusterfs", "google-drive", "onedrive", "dropbox", "juicefs")
_SYNCED = ("Dropbox", "OneDrive", "Google Drive", "iCloudDrive")


def mount_of(path: Path, mounts: str) -> str:
    """The type of the file system that holds `path`, by the text of /proc/mounts; "" when it does not say."""
    best, found = -1, ""
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        folder = Path(point.replace("\\040", " "))
        if path.is_relative_to(folder) and len(folder.parts) >= best:
            best, found = len(folder.parts), kind
    return found


def shared(path: Path, mounts: str) -> str | None:
    """Why a database must not lie at `path`; None if it may."""
    kind = mount_of(path, mounts)
    if kind in _NETWORK or (kind.startswith("fuse") and any(name in kind for name in _NETWORK_FUSE)):
        return f"it is on a network file system ({kind}), where SQLite's locks do not hold"
    synced = next((part for part in path.parts if part in _SYNCED), None)
    return f"{synced} copies files while they are written" if synced else None


class Database:
    """One connection, shared by the threads of a process under one lock. `path`'s folder becomes private (0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        private_folder(self.path.parent)
        mounts = Path("/proc/mounts")
        why = shared(self.path.parent.resolve(), mounts.read_text() if mounts.exists() else "")
        if why:
            raise Refused(f"{self.path} cannot be a store", why=why, hint="name a folder on a local disk (--state)")
        private_file(self.path)  # SQLite gives -wal and -shm the same mode
        self._lock = threading.RLock()
        self.peewee = connect(self.path)
        with self._told(), _alone_in(self.path.parent):
            self.peewee.connect()
            self._file = self.path.stat().st_ino

    def close(self) -> None:
        with self._lock:
            self.peewee.close()

    def reading(self) -> AbstractContextManager[peewee.Database]:
        """One consistent view of everything read inside."""
        return self._transaction("DEFERRED", "ROLLBACK")

    def writing(self) -> AbstractContextManager[peewee.Database]:
        """One transaction, IMMEDIATE: it waits for its turn before it reads anything. All or nothing, durable at the end."""
        return self._transaction("IMMEDIATE", "COMMIT")

    def rehearsing(self) -> AbstractContextManager[peewee.Database]:
        """As `writing`, and undone at the end."""
        return self._transaction("IMMEDIATE", "ROLLBACK")

    @contextmanager
    def _transaction(self, begin: str, end: str) -> Iterator[peewee.Database]:
        with self._lock, self._told():
            self._check_place()
            self.peewee.execute_sql(f"BEGIN {begin}")
            try:
                yield self.peewee
                self.peewee.execute_sql(end)
            finally:
                # Not peewee's `atomic`: a full disk makes SQLite roll back by itself, and its second ROLLBACK hides why.
                if self.peewee.connection().in_transaction:
                    self.peewee.execute_sql("ROLLBACK")

    def _check_place(self) -> None:
        """StoreMoved when the open file is not the one at `path` any more: what is written to it nobody would find."""
        try:
            there = os.stat(self.path).st_ino
        except FileNotFoundError:
            there = 0
        if there != self._file:
            raise StoreMoved(
                "the store was moved, deleted or replaced while it was open",
                where=str(self.path),
                hint="put it back, or `crowdstack restore`, then the same command again",
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (peewee.DatabaseError, sqlite3.DatabaseError) as fault:
            raise in_our_words(fault, self.path) from fault


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process after the other: two that turn the same new file to WAL at once are told "locked" without a wait."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class _Direct(peewee.SqliteDatabase):  # type: ignore[misc]  # peewee is untyped
    """Gives statements to the driver as they are: what peewee adds to each, a log and its own exceptions in place of the
    driver's, takes longer than most statements do."""

    def execute_sql(self, sql: str, params: Any = None) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self.connection().execute(sql, params or ())
        return cursor


def connect(path: Path) -> peewee.SqliteDatabase:
    return _Direct(
        str(path),
        pragmas=(
            ("journal_mode", "wal"),
            ("synchronous", "full"),
            ("foreign_keys", 1),
            ("cache_size", -16_000),
            ("temp_store", "memory"),
        ),
        timeout=5,
        thread_safe=False,  # ours is the lock: one connection for all threads
        check_same_thread=False,
    )


def in_our_words(fault: Exception, path: Path) -> CrowdstackError:
    text = str(fault)
    if "locked" in text or "busy" in text:
        return Busy("the store is in use by another process", where=str(path), hint="try again in a moment")
    if "full" in text:
        return Busy("the disk is full", where=str(path), why=text, hint="free some space; nothing was half written")
    if "disk I/O error" in text:  # SQLite's word for a full disk too, where a file of its own cannot grow
        hint = "see whether the disk is full or failing; nothing was half written"
        return Busy("the disk does not take what the store writes", where=str(path), why=text, hint=hint)
    if "malformed" in text or "not a database" in text:
        return StateMismatch(
            "the store cannot be read",
            where=str(path),
            why=text,
            hint="`crowdstack restore` puts the last backup in its place; the inbox tells the rest again",
        )
    if "readonly" in text or "unable to open" in text:
        return Refused("the store cannot be written", where=str(path), why=text)
    return StateMismatch("the store refused", where=str(path), why=text)


def many(db: peewee.Database, sql: str, rows: Iterable[Sequence[Any]]) -> None:
    """One statement for many rows (peewee has none that is not built row by row)."""
    db.cursor().executemany(sql, rows)
