"""Keeping what the inbox tells: each event once, its effects and the cursor in one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime

import peewee

from crowdstack.errors import Gap
from crowdstack.model import Cursor, Event, RunId
from crowdstack.ports import Batch, Unreadable
from crowdstack.store import tables
from crowdstack.store.base import Subject, to_json
from crowdstack.store.effects import Effects, raw_text
from crowdstack.store.tables import utc_text, utc_time
from crowdstack.store.tallies import tallied, tally_anew

# What a table or the codec says of a value it cannot hold. A locked or full database is not among them.
_REFUSALS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
             ValueError, TypeError, OverflowError)  # fmt: skip


class Events(Subject):
    def cursor(self, run: RunId) -> Cursor | None:
        with self._database.reading() as db:
            return self._cursor_row(db, run)

    def adopt_inbox(self, run: RunId, cursor: Cursor) -> None:
        with self._database.writing() as db:
            row = self._run_row(db, run)
            have = self._cursor_row(db, run)
            if have is None or (have.inbox, have.epoch) != (cursor.inbox, cursor.epoch):
                _abandon(db, run)
                forget_offers(db, row.generation_id, withdraw=have is not None and have.inbox == cursor.inbox)
                tally_anew(db, row.generation_id)
            _move_cursor(db, run, cursor)

    def keep(self, run: RunId, batch: Batch) -> int:
        with self._database.writing() as db:
            have = self._cursor_row(db, run)
            fresh = _after(have, batch)
            if not fresh:
                return 0
            with tallied(db, units=_named(fresh, "unit"), visits=_named(fresh, "visit")):
                news = _take(db, run, batch, fresh)
            _move_cursor(db, run, batch.cursor)
        return news

    def quarantined(self, run: RunId) -> int:
        with self._database.reading() as db:
            return int(tables.Quarantine.select().where(tables.Quarantine.run == run).count(db))

    def drained(self, run: RunId) -> bool:
        with self._database.reading() as db:
            return bool(self._run_row(db, run).drained)

    def note(self, run: RunId, state: str, text: str, now: datetime) -> None:
        with self._database.writing() as db:
            said = to_json([state, text, utc_text(now)])
            db.execute_sql("UPDATE run SET note = ? WHERE id = ?", (said, run))

    def noted(self, run: RunId) -> tuple[str, str, datetime] | None:
        with self._database.reading() as db:
            said = self._run_row(db, run).note
        if said is None:
            return None
        state, text, at = json.loads(said)
        return state, text, utc_time(at)


def _after(have: Cursor | None, batch: Batch) -> Sequence[Event | Unreadable]:
    """The events of `batch` that come after `have`; Gap unless they follow it without a hole in the same inbox."""
    hint = "connect again from the cursor"
    if have is None or (have.inbox, have.epoch) != (batch.before.inbox, batch.before.epoch):
        raise Gap("the events come from an inbox that this run has not adopted", hint="adopt_inbox first")
    if [event.seq for event in batch.events] != list(range(batch.before.seq + 1, batch.cursor.seq + 1)):
        raise Gap(f"events {batch.before.seq + 1} to {batch.cursor.seq} do not follow each other", hint=hint)
    if batch.before.seq > have.seq:
        raise Gap(f"event {batch.before.seq + 1} came after {have.seq}", hint=hint)
    for known in (batch.before, batch.cursor):
        if known.seq == have.seq and known.chain != have.chain:
            raise Gap(f"event {have.seq} is not the one that is stored", hint=hint)
    return batch.events[have.seq - batch.before.seq :]


def _named(events: Sequence[Event | Unreadable], what: str) -> set[str]:
    """The units or visits that these events are about."""
    return {getattr(event.body, what) for event in events if isinstance(event, Event) and hasattr(event.body, what)}


def _take(db: peewee.Database, run: RunId, batch: Batch, events: Sequence[Event | Unreadable]) -> int:
    """Apply them, or if one cannot be stored each by itself, that one set aside; how many were news."""
    db.execute_sql("SAVEPOINT events")
    try:
        effects = Effects(db, run, batch.cursor, again=batch.again)
        news = sum(effects.apply(event) if isinstance(event, Event) else _refuse(event) for event in events)
    except _REFUSALS as fault:
        db.execute_sql("ROLLBACK TO events")
        if len(events) > 1:
            news = sum(_take(db, run, batch, [event]) for event in events)
        else:
            _quarantine(db, run, batch.cursor, events[0], str(fault))
            news = 1
    db.execute_sql("RELEASE events")
    return news


def _refuse(event: Unreadable) -> bool:
    raise ValueError(event.error)


def _move_cursor(db: peewee.Database, run: RunId, to: Cursor) -> None:
    db.execute_sql(
        "INSERT OR REPLACE INTO cursor (run, inbox, epoch, seq, chain) VALUES (?, ?, ?, ?, ?)",
        (run, to.inbox, to.epoch, to.seq, to.chain),
    )


def _quarantine(db: peewee.Database, run: RunId, inbox: Cursor, entry: Event | Unreadable, error: str) -> None:
    raw = entry.raw if isinstance(entry, Unreadable) else raw_text(entry)

    def storable(text: str) -> str:
        return text.encode("utf-8", "backslashreplace").decode()

    tables.Quarantine.insert(
        run=run, inbox=inbox.inbox, epoch=inbox.epoch, seq=entry.seq, raw=storable(raw), error=storable(error)
    ).execute(db)


def forget_offers(db: peewee.Database, generation: int, *, withdraw: bool = False) -> None:
    """It is not known what the inbox offers: open units are due again, the others are not. One that was cut or restored
    may still have those others open: there they are to be withdrawn (what it has not, it ignores)."""
    db.execute_sql(
        "UPDATE unit SET offered = CASE WHEN state IN ('open', 'assigned') THEN 0 ELSE attempt END, "
        "withdraw = ? AND state NOT IN ('open', 'assigned') WHERE generation = ?",
        (withdraw, generation),
    )


def _abandon(db: peewee.Database, run: RunId) -> None:
    """The run's inbox may be gone with its holds and open visits: units are open again, visits have ended (no event
    says why: no reason). What an inbox still has it tells again, and that brings them back. What its server knew of
    claims may be gone as well."""
    db.execute_sql(
        "UPDATE assignment SET state = 'lost' WHERE state = 'held' AND visit IN (SELECT id FROM visit WHERE run = ?)",
        (run,),
    )
    db.execute_sql(
        "UPDATE unit SET state = 'open', assignment = NULL, run = NULL WHERE run = ? AND state = 'assigned'", (run,)
    )
    db.execute_sql(
        "UPDATE visit SET state = CASE WHEN submissions > 0 THEN 'left' ELSE 'empty' END, "
        "ended_at = arrived_at WHERE run = ? AND state = 'active'",
        (run,),
    )
    db.execute_sql("UPDATE visit SET claim_told = 0 WHERE run = ? AND claim IN ('verified', 'refuted')", (run,))
