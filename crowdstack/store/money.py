"""What is written down before it is sent, what it may cost, and what was paid.

E, the exposure of a task: paid so far, bonuses that were promised, and for each study what may still be charged if
nothing more is done (threats section 4), with what its visits may be topped up by.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import peewee

from crowdstack.errors import NotFound, OverBudget
from crowdstack.model import (
    EndedVisit,
    IntentState,
    ListedState,
    Money,
    PaidVisit,
    RunId,
    StudyKey,
    SubmissionStatus,
    TaskName,
    VisitId,
    VisitState,
    WorkerId,
)
from crowdstack.ports import Intent, IntentDraft
from crowdstack.store import tables
from crowdstack.store.base import Subject, rows_of, to_json
from crowdstack.store.listing import bring_back, units_of
from crowdstack.store.tables import ON_TOP, in_sql, utc_text, utc_time
from crowdstack.store.tallies import tallied

_PAGE = 500
_LEFT = "state = 'left'"
# Who has handed in at the provider has left for good, whatever our server still thinks.
_HANDED_IN = (
    "listed = 'awaiting' AND claim IN ('signed', 'verified') "
    "AND (state = 'left' OR state = 'active' AND submissions > 0)"
)
# Charged if somebody or time approves them: a late finisher comes back from `timed_out`.
_CHARGEABLE = in_sql(
    [ListedState.RESERVED, ListedState.ACTIVE, ListedState.AWAITING, ListedState.TIMED_OUT, ListedState.UNKNOWN]
)
_BONUSES = ("bonus", "top_up")
_RECORDED, _DONE, _REFUSED = IntentState.RECORDED.value, IntentState.DONE.value, IntentState.REFUSED.value

_DECLINED = "(SELECT visit FROM payment INDEXED BY payment_declined WHERE purpose = 'reward' AND declined = 1)"
_UNTOPPED = f"""
    SELECT visit.id, visit.worker, visit.submission, intent.state IS '{_RECORDED}'
    FROM visit LEFT JOIN intent ON intent.run = visit.run AND intent.key = 'top_up:' || visit.id
    WHERE visit.run = ? AND visit.state = 'paid' AND intent.state IS NOT '{_DONE}' AND visit.id NOT IN {_DECLINED}
    ORDER BY handed_in_at, ended_at, visit.id LIMIT ?"""
# Where a provider tells of visits it has seen them begin and end; elsewhere our server has.
_TIMES = f"""
    SELECT (julianday(handed_in_at) - julianday(started_at)) * 86400 FROM visit INDEXED BY visit_run_listed
    WHERE run = ?1 AND listed IN {in_sql([ListedState.AWAITING, ListedState.APPROVED, ListedState.PARTIAL])}
        AND handed_in_at > started_at
    UNION ALL
    SELECT (julianday(MAX(submitted_at)) - julianday(arrived_at)) * 86400
    FROM visit JOIN submission ON submission.visit = visit.id
    WHERE visit.run = ?1 AND state IN ('left', 'paid') AND listed IS NULL AND visit.id NOT IN {_DECLINED}
        AND NOT EXISTS (SELECT 1 FROM listing WHERE listing.study = visit.study)
    GROUP BY visit.id HAVING arrived_at IS NOT NULL"""
# What each visit of a study may be topped up by: as it was fixed, or else as its places were listed with.
_TOP_UP = f"""
    SELECT COALESCE(MAX(CASE WHEN kind = 'fix_top_up' THEN top_up END), MAX(top_up)), MAX(currency),
           COUNT(CASE WHEN kind = 'top_up' THEN 1 END)
    FROM intent INDEXED BY intent_study_top_up WHERE study = ? AND {ON_TOP} AND state <> '{_REFUSED}'"""
# Paid visits that are not topped up, as they were not paid after all.
_NEVER = f"""
    SELECT COUNT(*) FROM payment INDEXED BY payment_declined
    WHERE study = ? AND purpose = 'reward' AND declined = 1 AND NOT EXISTS
        (SELECT 1 FROM intent WHERE run = payment.run AND key = 'top_up:' || visit AND state <> '{_REFUSED}')"""


class MoneyBook(Subject):
    def ended_visits(
        self, run: RunId, limit: int, *, judged: bool = False, handed_in: bool = False
    ) -> list[EndedVisit]:
        with self._database.reading() as db:
            found = db.execute_sql(
                f"SELECT id, worker, submissions, submission FROM visit WHERE run = ?1 AND {_HANDED_IN if handed_in else _LEFT} "
                "AND NOT (?3 AND EXISTS (SELECT 1 FROM submission WHERE visit = visit.id AND status = 'submitted')) "
                f"ORDER BY {'handed_in_at' if handed_in else 'ended_at'}, id LIMIT ?2",
                (run, limit, judged),
            ).fetchall()
            statuses: dict[str, dict[SubmissionStatus, int]] = {}
            for visit, status, number in db.execute_sql(
                "SELECT visit, status, COUNT(*) FROM json_each(?) JOIN submission ON visit = value GROUP BY visit, status",
                (json.dumps([visit for visit, *_ in found]),),
            ):
                statuses.setdefault(visit, {})[SubmissionStatus(status)] = number
            return [
                EndedVisit(
                    visit=VisitId(visit),
                    worker=WorkerId(worker),
                    submissions=submissions,
                    statuses=statuses.get(visit, {}),
                    submission=submission,
                )
                for visit, worker, submissions, submission in found
            ]

    def exposure(self, task: TaskName, currency: str) -> Money:
        with self._database.reading() as db:
            return _exposure(db, task, currency)

    def paid(self, task: TaskName, currency: str) -> Money:
        with self._database.reading() as db:
            return _paid(db, task, currency)

    def places(self, study: StudyKey) -> int:
        with self._database.reading() as db:
            (most,) = db.execute_sql(
                "SELECT COALESCE(MAX(places), 0) FROM intent WHERE study = ? AND state <> ?", (study, _REFUSED)
            ).fetchone()
            return int(most)

    def gross(self, study: StudyKey) -> Money | None:
        with self._database.reading() as db:
            found = db.execute_sql(
                "SELECT minor, currency FROM intent WHERE study = ? AND places IS NOT NULL AND state <> ? "
                "ORDER BY id DESC LIMIT 1",
                (study, _REFUSED),
            ).fetchone()
            return None if found is None else Money(*found)

    def top_up(self, study: StudyKey) -> Money | None:
        with self._database.reading() as db:
            minor, currency, _ = db.execute_sql(_TOP_UP, (study,)).fetchone()
            return None if minor is None else Money(minor, currency)

    def untopped(self, run: RunId, limit: int) -> list[PaidVisit]:
        with self._database.reading() as db:
            return [
                PaidVisit(visit=VisitId(visit), worker=WorkerId(worker), submission=submission, sent=bool(sent))
                for visit, worker, submission, sent in db.execute_sql(_UNTOPPED, (run, limit)).fetchall()
            ]

    def visit_times(self, run: RunId) -> list[float]:
        with self._database.reading() as db:
            return [seconds for (seconds,) in db.execute_sql(_TIMES, (run,)).fetchall()]

    def record_intents(
        self, run: RunId, drafts: Sequence[IntentDraft], *, budget: Money | None, now: datetime
    ) -> list[Intent]:
        with self._database.writing() as db:
            task = TaskName(self._run_row(db, run).task_id)
            before = None if budget is None else _exposure(db, task, budget.currency)
            recorded = [_record(db, run, draft, now) for draft in drafts]
            if budget is not None and before is not None:
                after = _exposure(db, task, budget.currency)
                if before < after and budget < after:
                    raise OverBudget(
                        f"{drafts[0].key} could bring the cost of {task} to {after}",
                        why=f"the budget is {budget}; {before} of it are paid or promised already",
                        hint="raise budget.max, or list fewer places",
                    )
            return recorded

    def finish_intents(self, done: Sequence[tuple[int, IntentState, str | None]], now: datetime) -> None:
        with self._database.writing() as db:
            for number, state, result in done:
                found = rows_of(db, tables.Intent, "WHERE id = ?", (number,))
                if not found:
                    raise NotFound(f"no intent {number} in this store")
                db.execute_sql(
                    "UPDATE intent SET state = ?, result = ?, finished_at = ? WHERE id = ?",
                    (state.value, result, utc_text(now), number),
                )
                if state is IntentState.DONE:
                    _settle(db, found[0], now)

    def keep_declined(self, task: TaskName, payments: Collection[tuple[VisitId, str]]) -> None:
        with self._database.writing() as db:
            db.execute_sql(
                "UPDATE payment SET declined = (visit, purpose) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) "
                "WHERE run IN (SELECT id FROM run WHERE task = ?)",
                (json.dumps([list(payment) for payment in payments]), task),
            )

    def open_intents(self, run: RunId) -> list[Intent]:
        with self._database.reading() as db:
            chosen = rows_of(db, tables.Intent, "WHERE run = ? AND state = ? ORDER BY id", (run, _RECORDED))
            return [_intent_of(row) for row in chosen]

    def intent(self, run: RunId, key: str) -> Intent | None:
        with self._database.reading() as db:
            found = rows_of(db, tables.Intent, "WHERE run = ? AND key = ? AND state <> ?", (run, key, _REFUSED))
            return _intent_of(found[0]) if found else None

    def journal(self, run: RunId) -> Iterator[Intent]:
        last = 0
        while True:
            with self._database.reading() as db:
                chosen = rows_of(db, tables.Intent, "WHERE run = ? AND id > ? ORDER BY id LIMIT ?", (run, last, _PAGE))
                page = [_intent_of(row) for row in chosen]
            if not page:
                return
            yield from page
            last = page[-1].id


def _intent_of(row: tables.Intent) -> Intent:
    return Intent(
        id=row.id,
        run=RunId(row.run_id),
        key=row.key,
        kind=row.kind,
        body=json.loads(row.body),
        state=IntentState(row.state),
        at=utc_time(row.at),
        result=row.result,
    )


def _record(db: peewee.Database, run: RunId, draft: IntentDraft, now: datetime) -> Intent:
    """The intent of this key: the one that is there, or (new or refused before) this draft as `recorded`."""
    found = rows_of(db, tables.Intent, "WHERE run = ? AND key = ?", (run, draft.key))
    if not found or found[0].state == _REFUSED:
        costs = draft.gross or draft.owed or draft.top_up
        db.execute_sql(
            "INSERT INTO intent (run, key, kind, body, state, at, study, places, minor, currency, top_up) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, key) DO UPDATE SET kind = excluded.kind, "
            "body = excluded.body, state = excluded.state, at = excluded.at, study = excluded.study, "
            "places = excluded.places, minor = excluded.minor, currency = excluded.currency, "
            "top_up = excluded.top_up, result = NULL, finished_at = NULL",
            (
                run, draft.key, draft.kind, to_json(dict(draft.body)), _RECORDED, utc_text(now), draft.study,
                draft.places, None if costs is None else costs.minor, None if costs is None else costs.currency,
                None if draft.top_up is None else draft.top_up.minor,
            ),
        )  # fmt: skip
        found = rows_of(db, tables.Intent, "WHERE run = ? AND key = ?", (run, draft.key))
    return _intent_of(found[0])


def _settle(db: peewee.Database, intent: tables.Intent, now: datetime) -> None:
    """A done `approve` has paid its visit: say so and book it. A done `reject` ends it unpaid. A done bonus is booked."""
    if intent.kind not in ("approve", "reject", *_BONUSES):
        return
    body = json.loads(intent.body)
    if intent.kind in _BONUSES:
        _book(db, intent.run_id, body, f"bonus:{body['payment']}", now)
        return
    found = rows_of(db, tables.Visit, "WHERE id = ?", (body["visit"],))
    if not found:
        raise NotFound(f"no visit {body['visit']} in this store", why=f"intent {intent.key} is about it")
    (visit,) = found
    state = VisitState.PAID if intent.kind == "approve" else VisitState.REJECTED
    if visit.state == VisitState.PAID.value:
        state = VisitState.PAID  # the provider told that it was charged: nothing takes that back
    with tallied(db, units=units_of(db, [visit.id]), visits=[visit.id]):
        db.execute_sql("UPDATE visit SET state = ? WHERE id = ?", (state.value, visit.id))
        if state is VisitState.PAID:
            bring_back(db, [visit.id])
    if intent.kind == "approve":
        _book(db, visit.run_id, body, "reward", now)


def _book(db: peewee.Database, run: str, body: Mapping[str, Any], purpose: str, now: datetime) -> None:
    """A line of the ledger, unless it is there."""
    amount = Money.parse(body["amount"])
    db.execute_sql(
        "INSERT INTO payment (run, visit, purpose, study, minor, currency, at, declined) VALUES (?, ?, ?, ?, ?, ?, ?, 0) "
        "ON CONFLICT (visit, purpose) DO NOTHING",
        (run, body["visit"], purpose, body["study"], amount.minor, amount.currency, utc_text(now)),
    )


def _paid(db: peewee.Database, task: str, currency: str) -> Money:
    (minor,) = db.execute_sql(
        "SELECT COALESCE(SUM(minor), 0) FROM payment JOIN run ON run.id = payment.run "
        "WHERE task = ? AND currency = ? AND declined = 0",
        (task, currency),
    ).fetchone()
    return Money(minor, currency)


def _exposure(db: peewee.Database, task: str, currency: str) -> Money:
    """Paid, bonuses without a result, and per study its unpaid places at the greatest price it was ever listed for. A closed study owes only for
    visits that are still to be settled; where the provider tells of them, for those that it may still charge, once it
    was asked after the end (somebody may have taken a place just before). Each of these visits, and each paid one without a
    payment of that name, may be topped up."""
    owed = 0
    for run, study, places, minor in db.execute_sql(
        "SELECT intent.run, study, MAX(places), MAX(minor) FROM intent JOIN run ON run.id = intent.run "
        "WHERE task = ? AND currency = ? AND places IS NOT NULL AND state <> ? GROUP BY study",
        (task, currency, _REFUSED),
    ).fetchall():
        (charged,) = db.execute_sql(
            "SELECT COUNT(*) FROM payment WHERE study = ? AND purpose = 'reward'", (study,)
        ).fetchone()
        unpaid = max(0, places - charged)
        closed, listed_at = db.execute_sql(
            "SELECT (SELECT MIN(finished_at) FROM intent WHERE study = ?1 AND kind = 'close' AND state = ?2), "
            "       (SELECT at FROM listing WHERE study = ?1)",
            (study, _DONE),
        ).fetchone()
        if closed is not None and listed_at is None:
            (unsettled,) = db.execute_sql("SELECT active + left FROM run WHERE id = ?", (run,)).fetchone()
            unpaid = min(unpaid, unsettled)
        elif closed is not None and listed_at >= closed:
            (chargeable,) = db.execute_sql(
                f"SELECT COUNT(*) FROM visit WHERE run = ? AND study = ? AND listed IN {_CHARGEABLE} AND state <> 'paid'",
                (run, study),
            ).fetchone()
            unpaid = min(unpaid, chargeable)
        top_up, _, topped = db.execute_sql(_TOP_UP, (study,)).fetchone()
        (never,) = db.execute_sql(_NEVER, (study,)).fetchone()
        owed += unpaid * minor + (unpaid + charged - topped - never) * (top_up or 0)
    (promised,) = db.execute_sql(
        "SELECT COALESCE(SUM(minor), 0) FROM intent JOIN run ON run.id = intent.run "
        f"WHERE task = ? AND currency = ? AND kind IN {_BONUSES} AND state = ?",
        (task, currency, _RECORDED),
    ).fetchone()
    return _paid(db, task, currency) + Money(owed + promised, currency)
