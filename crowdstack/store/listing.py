"""What the provider tells of its visits, and what follows from it for claims, answers and the ledger (decisions/0009).

A listing is compared with the rows; only visits that stand otherwise than before are touched, all of them at once. What
follows is read off the rows (never off what happened in between), so a listing that was missed is made good by the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any

import peewee

from crowdstack.model import Claim, ListedState, ListedVisit, Money, RunId, StudyKey, VisitId, WorkerId
from crowdstack.ports import Listing
from crowdstack.store.base import Subject
from crowdstack.store.database import many
from crowdstack.store.tables import DONE, VOIDED, in_sql, utc_text, utc_time
from crowdstack.store.tallies import tallied

REFUTED_AFTER = timedelta(minutes=2)  # a provider lists those who begin, but not at once

_CHARGED = in_sql(state for state in ListedState if state.charged)
_WAITING = in_sql([ListedState.RESERVED, ListedState.ACTIVE, ListedState.AWAITING])
_DONE = in_sql(DONE)
_THESE = "SELECT value FROM json_each(:visits)"

_KNOWN = """
    SELECT id, listed, submission, code, started_at, handed_in_at, return_asked FROM visit
    WHERE run = ? AND listed IS NOT NULL"""
_LISTED = """
    INSERT INTO visit (id, listed, submission, code, started_at, handed_in_at, return_asked, run, worker, study,
                       state, submissions, claim, claim_told)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'listed', 0, 'verified', 0)
    ON CONFLICT (id) DO UPDATE SET
        listed = excluded.listed, submission = excluded.submission, code = excluded.code,
        started_at = excluded.started_at, handed_in_at = excluded.handed_in_at, return_asked = excluded.return_asked,
        study = excluded.study"""
# Of one whose arrival was lost nothing says that its link was signed.
_UNPROVEN = "(claim IN ('claimed', 'refuted') OR claim = 'signed' AND study IS NULL)"
_VERIFY = f"UPDATE visit SET claim = 'verified', claim_told = 0 WHERE id = ? AND {_UNPROVEN}"
_UNLISTED = f"""
    SELECT id FROM visit WHERE run = ? AND (study = ? OR study IS NULL) AND {_UNPROVEN} AND claim <> 'refuted'
        AND listed IS NULL AND arrived_at < ?"""
_REFUTE = "UPDATE visit SET claim = 'refuted', claim_told = 0 WHERE id = ?"

_BOOK = f"""
    INSERT INTO payment (run, visit, purpose, study, minor, currency, at, declined)
    SELECT run, id, 'reward', study, :minor, :currency, :at, 0 FROM visit WHERE id IN ({_THESE}) AND listed IN {_CHARGED}
    ON CONFLICT (visit, purpose) DO NOTHING"""
# Rejected there: by us, or by hand. Taken back by hand it waits for us again, unless we are the ones who rejected it.
_SETTLED = f"""
    UPDATE visit SET
        ended_at = COALESCE(ended_at, handed_in_at, arrived_at),
        state = CASE WHEN listed IN {_CHARGED} THEN 'paid' WHEN listed = 'rejected' THEN 'rejected'
                     WHEN submissions > 0 THEN 'left' WHEN arrived_at IS NOT NULL THEN 'empty' ELSE 'listed' END
    WHERE id IN ({_THESE}) AND (
        listed IN {_CHARGED} AND state <> 'paid'
        OR listed = 'rejected' AND state NOT IN ('paid', 'rejected')
        OR listed IN {_WAITING} AND state = 'rejected'
           AND NOT EXISTS (SELECT 1 FROM intent WHERE run = visit.run AND key = 'reject:' || visit.id AND state <> 'refused'))"""

_OF_THESE = f"submission.visit IN (SELECT id FROM visit WHERE id IN ({_THESE}) AND {VOIDED})"
_OPEN_AGAIN = f"""
    UPDATE unit SET state = 'open', attempt = attempt + 1, withdraw = 0, assignment = NULL, run = NULL
    WHERE state IN {_DONE} AND id IN (SELECT unit FROM submission WHERE {_OF_THESE})
        AND assignment IN (SELECT assignment FROM submission WHERE {_OF_THESE})"""
_VOID = f"""
    UPDATE submission SET status = 'void' WHERE {_OF_THESE} AND status IN ('submitted', 'approved', 'surplus')"""

# Void no more; whether the last word on it was an approval.
_BACK = f"""
    SELECT submission.id, unit, assignment, submission.run, 'approve' IS
        (SELECT verdict FROM verdict WHERE submission = submission.id ORDER BY verdict.id DESC LIMIT 1)
    FROM visit JOIN submission ON submission.visit = visit.id
    WHERE visit.id IN ({_THESE}) AND status = 'void' AND NOT {VOIDED} AND visit.state <> 'rejected'
    ORDER BY submission.id"""
_DONE_AFTER_ALL = """
    UPDATE unit SET state = ?, assignment = ?, run = ?, offered = attempt, withdraw = 1
    WHERE id = ? AND state = 'open'"""  # the server is told to take its offer back
_DROPPED_BUT_DONE = f"""
    UPDATE unit SET assignment = ?, run = ? WHERE id = ? AND state = 'dropped'
    AND NOT EXISTS (SELECT 1 FROM submission WHERE unit = unit.id AND status IN {_DONE})"""


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a listing says of one visit, as its row keeps it."""

    listed: str
    submission: str
    code: str | None
    started_at: str | None
    handed_in_at: str | None
    return_asked: bool


class Listings(Subject):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kept: dict[StudyKey, Listing] = {}  # the last one: a round is shorter than the time between two

    def keep_listing(self, run: RunId, study: StudyKey, listing: Listing, *, gross: Money, now: datetime) -> None:
        if self._kept.get(study) is listing:
            return
        with self._database.writing() as db:
            self._run_row(db, run)
            news = _news(db, run, listing.visits)
            listed = {visit.visit for visit in listing.visits}
            before = utc_text(listing.at - REFUTED_AFTER)
            unlisted = [visit for (visit,) in db.execute_sql(_UNLISTED, (run, study, before)) if visit not in listed]
            if changed := [*news, *unlisted]:
                with tallied(db, units=units_of(db, changed), visits=changed):
                    many(db, _VERIFY, [(visit,) for visit in news])
                    many(
                        db, _LISTED, [(visit, *astuple(of), run, worker, study) for visit, (of, worker) in news.items()]
                    )
                    many(db, _REFUTE, [(visit,) for visit in unlisted])
                    _settle(db, changed, gross, now)
                    _void(db, changed)
                    bring_back(db, changed)
            db.execute_sql(
                "INSERT INTO listing (study, at) VALUES (?, ?) ON CONFLICT (study) DO UPDATE SET at = excluded.at",
                (study, utc_text(listing.at)),
            )
        self._kept[study] = listing

    def listed_counts(self, run: RunId) -> Mapping[ListedState, int]:
        with self._database.reading() as db:
            found = db.execute_sql(
                "SELECT listed, COUNT(*) FROM visit INDEXED BY visit_run_listed "
                "WHERE run = ? AND listed IS NOT NULL GROUP BY listed",
                (run,),
            )
            return {ListedState(listed): number for listed, number in found}

    def awaiting_review(self, run: RunId) -> tuple[int, datetime | None]:
        with self._database.reading() as db:
            waiting, first = db.execute_sql(
                "SELECT COUNT(*), MIN(handed_in_at) FROM visit INDEXED BY visit_run_listed "
                "WHERE run = ? AND listed = 'awaiting' AND state NOT IN ('paid', 'rejected')",
                (run,),
            ).fetchone()
            return waiting, None if first is None else utc_time(first)

    def without_answers(self, run: RunId, limit: int) -> list[ListedVisit]:
        with self._database.reading() as db:
            found = db.execute_sql(
                "SELECT id, submission, worker, listed, code, started_at, handed_in_at, return_asked OR EXISTS "
                "(SELECT 1 FROM intent WHERE run = visit.run AND key = 'ask_return:' || visit.id AND state = 'done') "
                "FROM visit INDEXED BY visit_run_listed WHERE run = ? AND listed = 'awaiting' AND submissions = 0 "
                "AND state NOT IN ('paid', 'rejected') ORDER BY handed_in_at, id LIMIT ?",
                (run, limit),
            )
            return [
                ListedVisit(
                    visit=VisitId(visit),
                    submission=submission,
                    worker=WorkerId(worker),
                    state=ListedState(listed),
                    code=code,
                    started_at=None if started_at is None else utc_time(started_at),
                    completed_at=None if handed_in_at is None else utc_time(handed_in_at),
                    return_asked=bool(return_asked),
                )
                for visit, submission, worker, listed, code, started_at, handed_in_at, return_asked in found
            ]

    def untold_claims(self, run: RunId, limit: int) -> list[tuple[VisitId, Claim]]:
        with self._database.reading() as db:
            found = db.execute_sql(
                "SELECT id, claim FROM visit INDEXED BY visit_run_claim_untold "
                "WHERE run = ? AND claim_told = 0 AND claim IN ('verified', 'refuted') LIMIT ?",
                (run, limit),
            )
            return [(VisitId(visit), Claim(claim)) for visit, claim in found]

    def mark_claims_told(self, run: RunId, visits: Sequence[VisitId]) -> None:
        with self._database.writing() as db:
            many(db, "UPDATE visit SET claim_told = 1 WHERE id = ? AND run = ?", [(visit, run) for visit in visits])


def _news(db: peewee.Database, run: RunId, visits: Iterable[ListedVisit]) -> dict[str, tuple[_Standing, WorkerId]]:
    """Those that stand otherwise than their rows say. A state we do not know is none to go by: the one before holds."""
    known = {
        visit: _Standing(listed, submission, code, started_at, handed_in_at, bool(return_asked))
        for visit, listed, submission, code, started_at, handed_in_at, return_asked in db.execute_sql(_KNOWN, (run,))
    }
    news: dict[str, tuple[_Standing, WorkerId]] = {}
    for told in visits:
        was = known.get(told.visit)
        if was is not None and told.state is ListedState.UNKNOWN:
            continue
        stands = _Standing(
            told.state.value, told.submission, told.code,
            _text(told.started_at), _text(told.completed_at), told.return_asked,
        )  # fmt: skip
        if stands != was:
            news[told.visit] = stands, told.worker
    return news


def _text(at: datetime | None) -> str | None:
    return None if at is None else utc_text(at)


def units_of(db: peewee.Database, visits: Sequence[str]) -> list[str]:
    """The units that these visits answered."""
    found = db.execute_sql(f"SELECT DISTINCT unit FROM submission WHERE visit IN ({_THESE})", _these(visits))
    return [unit for (unit,) in found]


def _these(visits: Sequence[str]) -> dict[str, object]:
    return {"visits": json.dumps(list(visits))}


def _settle(db: peewee.Database, visits: Sequence[str], gross: Money, now: datetime) -> None:
    """What the provider charged is paid, whoever approved it; what it rejected is rejected."""
    booked = {"minor": gross.minor, "currency": gross.currency, "at": utc_text(now)}
    db.execute_sql(_BOOK, {**_these(visits), **booked})
    db.execute_sql(_SETTLED, _these(visits))


def _void(db: peewee.Database, visits: Sequence[str]) -> None:
    db.execute_sql(_OPEN_AGAIN, _these(visits))
    db.execute_sql(_VOID, _these(visits))


def bring_back(db: peewee.Database, visits: Sequence[str]) -> None:
    """Void submissions of those visits that may be paid after all: they count, or are surplus where the unit is taken."""
    execute = db.cursor().execute
    for submission, unit, assignment, run, approved in execute(_BACK, _these(visits)).fetchall():
        status = "approved" if approved else "submitted"
        if not (
            execute(_DONE_AFTER_ALL, (status, assignment, run, unit)).rowcount
            or execute(_DROPPED_BUT_DONE, (assignment, run, unit)).rowcount
        ):
            status = "surplus"
        execute("UPDATE submission SET status = ? WHERE id = ?", (status, submission))
