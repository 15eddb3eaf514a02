"""Any panel that sends people to a link with their ids in it and takes a completion code or redirect: no interface to call.

Places are counted by the task server. Whom to pay is written into books: the operator hands them to the panel as a CSV file
(`crowdstack pay list`) and brings back what the panel did (`crowdstack pay import`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowdstack.errors import Refused
from crowdstack.model import Money, StudyKey, TaskName, VisitId, WorkerId, gross_of
from crowdstack.providers.books import Books

_CONFIRMED = "CREATE TABLE IF NOT EXISTS confirmed (visit TEXT PRIMARY KEY REFERENCES visit (id), state TEXT NOT NULL)"
PAID, DECLINED = "paid", "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentLine:
    """One visit of the list. `state`: to_pay, reject (do not pay), paid or declined (what the panel said)."""

    study: StudyKey
    visit: VisitId
    worker: WorkerId
    submission: str | None  # the panel's id of the visit, as it was in the link
    reward: Money
    state: str


class GenericProvider(Books):
    """ports.Provider by books. `settings`: the spec's `provider`, with `fee_bp` and `vat_bp` in hundredths of a percent."""

    name = "panel"

    def __init__(self, path: Path, settings: Mapping[str, Any], *, task: TaskName | None = None) -> None:
        super().__init__(path, task=task)
        self._fee_bp, self._vat_bp = int(settings.get("fee_bp", 0)), int(settings.get("vat_bp", 0))
        with self._writing():
            self._db.execute(_CONFIRMED)

    def gross(self, reward: Money) -> Money:
        return gross_of(reward, fee_bp=self._fee_bp, vat_bp=self._vat_bp)

    def payments(self) -> list[PaymentLine]:
        """Everybody whose visit was approved or rejected, in order of study and visit."""
        with self._told():
            found = self._db.execute(
                "SELECT visit.study, visit.id, worker, submission, minor, currency, visit.state, confirmed.state "
                "FROM visit JOIN study ON study.key = visit.study LEFT JOIN confirmed ON confirmed.visit = visit.id "
                "ORDER BY visit.study, visit.id"
            ).fetchall()
        return [
            PaymentLine(
                study=StudyKey(study),
                visit=VisitId(visit),
                worker=WorkerId(worker),
                submission=submission,
                reward=Money(minor, currency),
                state=said or ("to_pay" if state == "charged" else "reject"),
            )
            for study, visit, worker, submission, minor, currency, state, said in found
        ]

    def confirm(self, said: Iterable[tuple[str, str]]) -> int:
        """What the panel did: (the panel's id of the visit, `paid` or `declined`); how many were news.

        Refused, and nothing is taken over, for an id that is on no list, a state that is neither, and a payment of a visit
        that we asked not to pay.
        """
        known = {line.submission or line.visit: line for line in self.payments()}
        news = 0
        with self._writing():
            for submission, state in said:
                line = known.get(submission)
                if line is None:
                    raise Refused(
                        f"visit {submission!r} is not on the payment list", hint="compare `crowdstack pay list`"
                    )
                if state not in (PAID, DECLINED):
                    raise Refused(f"visit {submission!r}: {state!r} is neither {PAID!r} nor {DECLINED!r}")
                if state == PAID and line.state == "reject":
                    raise Refused(f"visit {submission!r} was paid by the panel, and we rejected it")
                if state != line.state:
                    self._db.execute(
                        "INSERT INTO confirmed VALUES (?, ?) ON CONFLICT (visit) DO UPDATE SET state = excluded.state",
                        (line.visit, state),
                    )
                    news += 1
        return news
