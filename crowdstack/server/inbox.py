"""The durable log: every event of a run and the state it leads to, in one SQLite file. Knows the disk and no protocol.

`append` promises: its future is True once the change is on disk, whole; False once it is certain that it never will be.
Changes are written in the order they came. While one commit is under way (in a thread: the disk is what takes time),
the next ones gather, and go together in the next commit.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from crowdstack.errors import Busy, Refused
from crowdstack.folder import private_file
from crowdstack.server.rows import Change, Snapshot
from crowdstack.wire.configs import Limits
from crowdstack.wire.control import Entry, chain_next, chain_start, event_text, told_again

log = logging.getLogger(__name__)

DISK_FAULT = 3  # exit code: after a failed fsync nothing in memory can be trusted

_FORMAT = 2  # of the tables below
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (seq INTEGER PRIMARY KEY, salt BLOB NOT NULL, body TEXT NOT NULL, chain TEXT NOT NULL);
CREATE TABLE items (item TEXT PRIMARY KEY, n INTEGER NOT NULL, data TEXT NOT NULL, done_by TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units (unit TEXT PRIMARY KEY, item TEXT NOT NULL REFERENCES items, attempt INTEGER NOT NULL,
  offered_to TEXT, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE workers (worker TEXT PRIMARY KEY, blocked INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE studies (study TEXT PRIMARY KEY, places INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE visits (visit TEXT PRIMARY KEY, worker TEXT NOT NULL, study TEXT NOT NULL, submissions INTEGER NOT NULL,
  left TEXT, submission TEXT, claim TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE claims (visit TEXT PRIMARY KEY, claim TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE assignments (assignment TEXT PRIMARY KEY, unit TEXT NOT NULL REFERENCES units, worker TEXT NOT NULL,
  visit TEXT NOT NULL REFERENCES visits, at REAL NOT NULL, state TEXT NOT NULL, nonce TEXT, digest TEXT, late INTEGER NOT NULL,
  receipt INTEGER UNIQUE) WITHOUT ROWID;
"""
_COLUMNS = {
    "meta": ("key", "value"),
    "items": ("item", "n", "data", "done_by"),
    "units": ("unit", "item", "attempt", "offered_to", "state"),
    "workers": ("worker", "blocked"),
    "studies": ("study", "places", "state"),
    "visits": ("visit", "worker", "study", "submissions", "left", "submission", "claim"),
    "claims": ("visit", "claim"),
    "assignments": ("assignment", "unit", "worker", "visit", "at", "state", "nonce", "digest", "late", "receipt"),
}
_FIXED = {
    "units": ("item",),
    "visits": ("worker", "study", "submission"),
    "assignments": ("unit", "worker", "visit"),
}  # never different later: no need to check again
_SAVE = {
    table: f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))}) ON CONFLICT ({columns[0]}) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in columns[1:] if column not in _FIXED.get(table, ()))
    for table, columns in _COLUMNS.items()
}
_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?)"
Group = list[tuple[Change, "asyncio.Future[bool]"]]
_EPOCH = datetime.fromtimestamp(0, timezone.utc)  # the time of changes that have no events
_PASSING = ("full", "locked", "readonly", "unable to open")  # what is wrong with a disk that gets better by itself
_POISON = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.DataError, OverflowError, ValueError)


class Inbox:
    """One file, one event loop. `on_lost` is called after something could not be kept: memory must be read again."""

    def __init__(
        self,
        path: Path,
        *,
        group: int,
        ballast: int,
        keep: int = 0,
        on_fault: Callable[[], None] = lambda: os._exit(DISK_FAULT),
    ) -> None:
        self.path = path
        self.on_lost: Callable[[], None] = lambda: None
        self.on_kept: Callable[[], None] = lambda: None
        self._on_fault = on_fault
        self._group, self._ballast_size, self._keep = group, ballast, keep
        self._ballast = path.with_suffix(".ballast")
        self._waiting: deque[tuple[Change, asyncio.Future[bool]]] = deque()
        self._acts: deque[tuple[Callable[[], None], asyncio.Future[None]]] = deque()
        self._undecided = 0  # bytes of the frames whose changes wait
        self._closed = False
        self.stuck = False  # the disk did not take the last group; tried again after the next look at it
        self._busy = False  # a commit is under way, or scheduled
        self._thread = ThreadPoolExecutor(1, "inbox")
        self._write, self._read = _open(path)
        self.synchronous = int(self._write.execute("PRAGMA synchronous").fetchone()[0])  # 2: FULL, read back
        meta = self._meta()
        self.id, self.epoch = meta["inbox"], int(meta["epoch"])
        self.start = int(meta["start"])  # the epoch's events have greater numbers
        self.base = int(meta["base"])  # events up to here were released
        self.base_chain = meta["base_chain"]
        self.again = int(meta["again"])  # events up to here are told again in this epoch
        self.term, self.client = int(meta["term"]), meta["client"]
        last = self._read.execute("SELECT seq, chain FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        self.seq: int = last[0] if last else self.base  # as far as it is on disk
        self._chain: str = last[1] if last else self.base_chain
        self._keep_ballast()

    # -------------------------------------------------------------------------------------------- writing

    def full(self, limits: Limits) -> bool:
        """Whether as much waits for the disk as may."""
        return len(self._waiting) >= limits.waiting_submits or self._undecided >= limits.waiting_bytes

    def append(self, change: Change, size: int = 0) -> asyncio.Future[bool]:
        """Keep it; `size`: the bytes it came in. An empty change is a barrier: its future is done once everything before
        it is decided."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._closed or not (change or self._busy):
            future.set_result(not self._closed)
            return future
        self._waiting.append((change, future))
        change.size = size
        self._undecided += size
        self._wake()
        return future

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._step, self._commit_next)

    def _step(self, step: Callable[[], None]) -> None:
        """Whatever goes wrong in a step and is not foreseen there is a fault: it must not leave pages waiting for ever."""
        try:
            step()
        except Exception as cause:
            self.fault(cause)

    def fault(self, cause: BaseException) -> None:
        """Nothing in memory can be trusted any more: this process ends, the next one reads the disk."""
        log.critical("%s: the server cannot go on: %s", self.path, cause, exc_info=cause)
        self._on_fault()

    async def flush(self) -> None:
        await self.append(Change(_EPOCH))

    def _commit_next(self) -> None:
        """Write what waits, and leave the commit to the thread."""
        while self._acts:
            act, future = self._acts.popleft()
            if future.done():  # who asked has gone
                continue
            try:
                act()
            except (sqlite3.Error, ValueError) as cause:
                if not (isinstance(cause, ValueError) or _passes(cause)):
                    raise
                future.set_exception(Busy(f"{self.path} cannot be written: {cause}"))
            else:
                future.set_result(None)
        group: Group = []
        while self._waiting and len(group) < self._group:
            group.append(self._waiting.popleft())
            self._undecided -= group[-1][0].size
        if not group:
            self._busy = False
            return
        if not any(change for change, _ in group):
            self._tell(group, [self.seq] * len(group))
            asyncio.get_running_loop().call_soon(self._step, self._commit_next)
            return
        try:
            outcome = self._execute(group)
        except sqlite3.Error as fault:
            self._failed(group, fault)
            return
        job = asyncio.get_running_loop().run_in_executor(self._thread, self._write.commit)
        job.add_done_callback(lambda done: self._step(lambda: self._committed(group, outcome, done.exception())))

    def _execute(self, group: Group) -> list[int | None]:
        """One transaction, not committed yet; for each change the number of its first event, or None if it is poison."""
        try:
            self._write.execute("BEGIN IMMEDIATE")
            seqs: list[int | None]
            seqs, at = self._put([change for change, _ in group], self.seq, self._chain)
        except _POISON:
            self._write.rollback()
            seqs, at = self._execute_apart(group)
        self._after = at
        return seqs

    def _execute_apart(self, group: Group) -> tuple[list[int | None], tuple[int, str]]:
        """The same, each change by itself, so that a poisonous one spares the others."""
        seqs: list[int | None] = []
        at = (self.seq, self._chain)
        self._write.execute("BEGIN IMMEDIATE")
        for change, _ in group:
            self._write.execute("SAVEPOINT one")
            try:
                firsts, after = self._put([change], *at)
            except _POISON as fault:
                log.error("a change cannot be kept: %s", type(fault).__name__)
                self._write.execute("ROLLBACK TO one")
                seqs.append(None)
            else:
                seqs += firsts
                at = after
            self._write.execute("RELEASE one")
        return seqs, at

    def _put(self, changes: Sequence[Change], seq: int, chain: str) -> tuple[list[int | None], tuple[int, str]]:
        """Write these; the numbers of their first events, and where the log stands after them."""
        firsts: list[int | None] = []
        events: list[tuple[Any, ...]] = []
        rows: dict[str, dict[Any, tuple[Any, ...]]] = {table: {} for table in _COLUMNS}  # parents first; the last stays
        for change in changes:
            firsts.append(seq + 1)
            for kind, body in change.events:
                seq += 1
                text, salt = event_text(change.at, kind, body), secrets.token_bytes(16)
                chain = chain_next(chain, seq, salt, text)
                events.append((seq, salt, text, chain))
            for table, values in change.rows:
                rows[table][values[0]] = values
            if change.answered is not None:
                table, values = change.answered.row(receipt=firsts[-1])
                rows[table][values[0]] = values
        self._write.executemany(_EVENT, events)
        for table, kept in rows.items():
            if kept:
                self._write.executemany(_SAVE[table], kept.values())
        return firsts, (seq, chain)

    def _committed(self, group: Group, seqs: list[int | None], fault: BaseException | None) -> None:
        if fault is not None:
            self._failed(group, fault)
            return
        self.seq, self._chain = self._after
        self._tell(group, seqs)
        if None in seqs:
            self._lost([])
        self.on_kept()
        self._commit_next()

    def _tell(self, group: Group, seqs: list[int | None] | list[int]) -> None:
        for (change, future), seq in zip(group, seqs, strict=True):
            if seq is not None:
                for kept in change.kept:
                    kept(seq)
            if not future.done():
                future.set_result(seq is not None)

    def _failed(self, group: Group, fault: BaseException) -> None:
        """The disk did not take the group: none of it is kept."""
        if not _passes(fault):
            raise fault
        if self._write.in_transaction:
            self._write.rollback()
        if "full" in str(fault) and self._ballast.exists():
            log.warning("the disk is full: freeing %s", self._ballast)
            self._ballast.unlink()
            self._waiting.extendleft(reversed(group))
            self._undecided += sum(change.size for change, _ in group)
            self._commit_next()
            return
        log.error("nothing can be kept now: %s: %s", self.path, fault)
        self.stuck = True
        self._lost(group)
        self._commit_next()

    def _lost(self, group: Group) -> None:
        """What waits was decided on a memory that is wrong now: refuse it all, and read memory again."""
        refused = [*group, *self._waiting]
        self._waiting.clear()
        self._undecided = 0
        self.on_lost()
        for _, future in refused:
            if not future.done():
                future.set_result(False)

    def _keep_ballast(self) -> None:
        """A file to throw away when the disk is full, so that answers already given still fit."""
        if self._ballast.exists() or self.free_disk() < 4 * self._ballast_size:
            return
        fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._ballast_size)
        except (AttributeError, OSError):  # not on every system, and never worth failing for
            self._ballast.unlink()
        finally:
            os.close(fd)

    def free_disk(self) -> int:
        found = os.statvfs(self.path.parent)
        return found.f_bavail * found.f_frsize

    def watch_disk(self) -> int:
        """Free bytes; the ballast is laid in again when there is room, and what was stuck is tried again."""
        self.stuck = False
        self._keep_ballast()
        return self.free_disk()

    async def close(self) -> None:
        last = self.append(Change(_EPOCH))
        self._closed = True
        await last
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        self._read.close()
        self._write.close()

    # -------------------------------------------------------------------------------------------- reading

    def snapshot(self) -> Snapshot:
        """What is on disk, for `Pool.load`."""
        rows, meta = self._read.execute, self._meta()
        return Snapshot(
            items=rows("SELECT * FROM items ORDER BY n"),
            units=rows("SELECT units.* FROM units JOIN items USING (item) ORDER BY n, unit"),
            workers=rows("SELECT * FROM workers"),
            studies=rows("SELECT * FROM studies"),
            visits=rows("SELECT * FROM visits"),
            holds=rows("SELECT * FROM assignments WHERE state = 'open'"),
            done=rows("SELECT worker, unit, visit FROM assignments WHERE state = 'done'"),
            claims=rows("SELECT * FROM claims"),
            allowed=json.loads(meta.get("allowed", "null")),
            draining="draining" in meta,
            drained="drained" in meta,
        )

    def assignment(self, id_: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._read.execute(
            "SELECT * FROM assignments WHERE assignment = ?", (id_,)
        ).fetchone()
        return row

    def entries(self, after: int, limit: int) -> list[Entry]:
        rows = self._read.execute(
            "SELECT seq, salt, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        )
        return [Entry(seq=seq, salt=salt.hex(), body=body) for seq, salt, body in rows.fetchall()]

    def chain_at(self, seq: int) -> str | None:
        """The chain after event `seq`; None if it is not one of this epoch, or was released."""
        if seq == self.base:
            return self.base_chain
        row = self._read.execute("SELECT chain FROM events WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else str(row[0])

    def _meta(self) -> dict[str, str]:
        return dict(self._read.execute("SELECT key, value FROM meta"))

    # -------------------------------------------------------------------------------------------- rare changes

    async def lease_to(self, client: str, term: int) -> bool:
        """Remember who has the lease; durable on return."""
        self.client, self.term = client, term
        change = Change(_EPOCH)
        change.rows += (("meta", ("client", client)), ("meta", ("term", str(term))))
        return await self.append(change)

    async def release(self, seq: int) -> None:
        """Events up to `seq` may be deleted, for the client holds them in a backup. They are once the file is large."""
        await self._alone(lambda: self._release(min(seq, self.seq)))

    def _release(self, seq: int) -> None:
        chain = self.chain_at(seq)
        if seq <= self.base or chain is None or self._used() < self._keep:
            return
        with self._write:
            self._write.execute("BEGIN IMMEDIATE")
            self._write.execute("DELETE FROM events WHERE seq <= ?", (seq,))
            self._set(base=seq, base_chain=chain)
        self.base, self.base_chain = seq, chain

    def _used(self) -> int:
        """Bytes of the file that hold something."""
        pages, free, size = (
            int(self._write.execute(f"PRAGMA {what}").fetchone()[0])
            for what in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    async def new_epoch(self, epoch: int, above: int) -> None:
        """Start `epoch` above both sides' last number and tell everything again; already there: nothing."""
        await self._alone(lambda: self._new_epoch(epoch, above))

    def _new_epoch(self, epoch: int, above: int) -> None:
        if epoch <= self.epoch:
            return
        start = seq = max(self.seq, above)
        first = chain = chain_start(self.id, epoch)
        with self._write:
            self._write.execute("BEGIN IMMEDIATE")
            for old, salt, body in self._write.execute("SELECT seq, salt, body FROM events ORDER BY seq").fetchall():
                seq += 1
                text = told_again(body, old)
                chain = chain_next(chain, seq, salt, text)
                self._write.execute(_EVENT, (seq, salt, text, chain))
            self._write.execute("DELETE FROM events WHERE seq <= ?", (start,))
            self._set(epoch=epoch, start=start, base=start, base_chain=first, again=seq)
        self.epoch, self.start, self.base, self.base_chain, self.again = epoch, start, start, first, seq
        self.seq, self._chain = seq, chain

    def _set(self, **values: object) -> None:
        for key, value in values.items():
            self._write.execute(_SAVE["meta"], (key, str(value)))

    async def _alone(self, act: Callable[[], None]) -> None:
        """Do something between two commits."""
        if self._closed:
            raise Busy(f"{self.path} is closed")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._acts.append((act, future))
        self._wake()
        await future


def _passes(fault: BaseException) -> bool:
    """Full or locked disks pass; any other fault ends the process."""
    return isinstance(fault, sqlite3.OperationalError) and any(words in str(fault) for words in _PASSING)


def _open(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """A connection to write and one to read (it sees what is committed, and never waits). Refused: a file that is no inbox."""
    private_file(path)
    write = _connect(path)
    try:
        if write.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise Refused(f"{path}: this file system cannot hold the inbox safely", hint="use a local disk")
        write.execute("PRAGMA synchronous = FULL")
        write.execute("PRAGMA wal_autocheckpoint = 8000")  # pages: the hot ones are copied once for many commits
        write.execute("PRAGMA foreign_keys = ON")
        if write.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            _create(write)
        found = write.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise sqlite3.DatabaseError(str(found[0]))
        if write.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
            raise sqlite3.DatabaseError("another version of crowdstack wrote it")
        return write, _connect(path)
    except sqlite3.DatabaseError as fault:
        write.close()
        raise Refused(
            f"{path} cannot be used: {fault}",
            why="the disk damaged it, it is full, or it is not an inbox of this version",
            hint="move it with its -wal and -shm away to start afresh: what was stored already is safe in the store",
        ) from fault
    except BaseException:
        write.close()
        raise


def _connect(path: Path) -> sqlite3.Connection:
    # Statements run in the loop's thread, commits in the inbox's: never at the same time.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0, cached_statements=64)
    db.execute("PRAGMA cell_size_check = ON")
    return db


def _create(db: sqlite3.Connection) -> None:
    inbox = secrets.token_urlsafe(16)
    meta = {
        "inbox": inbox,
        "epoch": 1,
        "start": 0,
        "base": 0,
        "base_chain": chain_start(inbox, 1),
        "again": 0,
        "term": 0,
        "client": "",
    }
    with db:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";\n"):
            with closing(db.execute(statement)):
                pass
        db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.executemany(_SAVE["meta"], [(key, str(value)) for key, value in meta.items()])
