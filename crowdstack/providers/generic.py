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

_CONFIRMED = """
CREATE TABLE IF NOT EXISTS confirmed (
    visit TEXT NOT NULL REFERENCES visit (id), purpose TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (visit, purpose))"""
_LINES = """
    SELECT line.study, line.visit, worker, submission, line.purpose, net, currency, COALESCE(confirmed.state, line.state)
    FROM (SELECT study, visit.id AS visit, 'reward' AS purpose, minor AS net, currency,
                 CASE visit.state WHEN 'charged' THEN 'to_pay' ELSE 'reject' END AS state
          FROM visit JOIN study ON study.key = visit.study
          UNION ALL
          SELECT study, visit, purpose, net, currency, 'to_pay' FROM debit JOIN visit ON visit.id = visit
          WHERE purpose <> 'reward') AS line
    JOIN visit ON visit.id = line.visit
    LEFT JOIN confirmed ON confirmed.visit = line.visit AND confirmed.purpose = line.purpose
    ORDER BY line.study, line.visit, line.purpose <> 'reward', line.purpose"""
_DECLINED = """
    SELECT visit.study, debit.minor FROM confirmed JOIN debit USING (visit, purpose) JOIN visit ON visit.id = debit.visit
    WHERE confirmed.state = 'declined'"""
PAID, DECLINED = "paid", "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentLine:
    """One payment of the list. `purpose`: reward, or `bonus:<its name>`; `amount`: what the worker gets; `state`: to_pay, reject
    (do not pay), paid or declined (what the panel said)."""

    study: StudyKey
    visit: VisitId
    worker: WorkerId
    submission: str | None  # the panel's id of the visit, as it was in the link
    purpose: str
    amount: Money
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the panel did with one line of the list. `visit`: its own id of it. `study`: where it has the same id in several."""

    visit: str
    state: str
    purpose: str = "reward"
    study: str | None = None


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

    def spent(self) -> Money | None:
        """Without what the panel declined to pay."""
        spent = super().spent()
        with self._told():
            declined = [minor for study, minor in self._db.execute(_DECLINED) if self._ours(study)]
        return spent and spent - Money(sum(declined), spent.currency)

    def payments(self) -> list[PaymentLine]:
        """Everybody whose visit was approved or rejected, and every bonus, in order of study and visit."""
        with self._told():
            found = self._db.execute(_LINES).fetchall()
        return [
            PaymentLine(
                study=StudyKey(study),
                visit=VisitId(visit),
                worker=WorkerId(worker),
                submission=submission,
                purpose=purpose,
                amount=Money(net, currency),
                state=state,
            )
            for study, visit, worker, submission, purpose, net, currency, state in found
            if self._ours(study)
        ]

    def confirm(self, said: Iterable[Said]) -> int:
        """Take over what the panel did; how many were news.

        Refused, and nothing is taken over, for a line that is not on the list, a state that is neither `paid` nor `declined`
        nor the list's own, and a payment of a visit that we asked not to pay.
        """
        known: dict[tuple[str, str], list[PaymentLine]] = {}
        for line in self.payments():
            known.setdefault((line.submission or line.visit, line.purpose), []).append(line)
        news = 0
        with self._writing():
            for one in said:
                line = _meant(one, known.get((one.visit, one.purpose), []))
                if one.state == line.state:  # the list as it was given, or told before
                    continue
                if one.state not in (PAID, DECLINED):
                    raise Refused(f"visit {one.visit!r}: {one.state!r} is neither {PAID!r} nor {DECLINED!r}")
                if one.state == PAID and line.state == "reject":
                    raise Refused(f"visit {one.visit!r} was paid by the panel, and we rejected it")
                self._db.execute(
                    "INSERT INTO confirmed VALUES (?, ?, ?) "
                    "ON CONFLICT (visit, purpose) DO UPDATE SET state = excluded.state",
                    (line.visit, line.purpose, one.state),
                )
                news += 1
        return news


def _meant(said: Said, lines: list[PaymentLine]) -> PaymentLine:
    """The one line of the list that it is about."""
    found = [line for line in lines if said.study in (None, line.study)]
    if len(found) != 1:
        what = "" if said.purpose == "reward" else f" for {said.purpose!r}"
        where = f" in several studies{what}: name which, in a column study" if found else f"{what}"
        raise Refused(
            f"visit {said.visit!r} is {'' if found else 'not '}on the payment list{where}",
            hint="compare `crowdstack pay list`",
        )
    return found[0]
