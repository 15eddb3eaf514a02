"""What is paid at Prolific and what is not: a verdict on a submission, bonuses, what it all costs. A part of the adapter.

Approving and rejecting may be repeated. A bonus may not: `pay_bonus` says how it is paid once.
"""

from __future__ import annotations

from crowdstack.errors import Busy, NotYet, Refused, Unclear
from crowdstack.model import Money, StudyKey, VisitId, WorkerId, gross_of, visit_of
from crowdstack.providers.prolific.answers import Submission, SubmissionStatus
from crowdstack.providers.prolific.api import Rejection
from crowdstack.providers.prolific.sight import Sight, shown
from crowdstack.providers.prolific.terms import rejection


class Payments(Sight):
    def approve(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None = None) -> None:
        found = self._verified(key, visit, worker, submission)
        if found.status in (SubmissionStatus.APPROVED, SubmissionStatus.PARTIALLY_APPROVED):
            return
        if found.status is SubmissionStatus.ACTIVE:
            raise NotYet(f"submission {found.id} was not handed in yet: it cannot be approved")
        if found.status is not SubmissionStatus.AWAITING_REVIEW:
            raise Refused(f"submission {found.id} is {found.status.value}: it cannot be paid any more")
        self._api.approve(found.id)
        self._changed(key)

    def reject(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, reason: str, submission: str | None = None
    ) -> None:
        found = self._verified(key, visit, worker, submission)
        if found.status is SubmissionStatus.REJECTED:
            return
        if found.status is not SubmissionStatus.AWAITING_REVIEW:
            raise Refused(f"submission {found.id} is {found.status.value}: it cannot be rejected")
        category = Rejection.NO_DATA if found.code is None or "nothing" in reason else Rejection.LOW_EFFORT
        self._api.reject(found.id, message=rejection(reason), category=category)
        self._changed(key)

    def pay_bonus(
        self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None, *, payment: str, net: Money
    ) -> None:
        """Setting up is free and may be repeated; paying is neither idempotent nor readable. So what had been paid before is
        noted first, and from there on only the submission's own list of bonuses is believed. One at a time for each
        submission, else nobody could tell which of them is shown."""
        found = self._verified(key, visit, worker, submission)
        notes, name, turn = self._notes(key), f"bonus:{payment}", f"paying:{found.id}"
        if notes.get(turn) not in (None, "", payment):
            raise NotYet(f"another bonus to submission {found.id} is not shown yet")
        if not notes.get(name):
            before = self._on_top(found.id)
            setup = self._api.create_bonus(found.study, {found.id: net}, booked=self.gross(net))
            notes.put(turn, payment)
            notes.put(name, str(before))
            try:
                self._api.pay_bonus(setup.id)
            except Unclear:
                raise
            except (Busy, Refused):  # nothing was paid: it may be sent again
                notes.put(name, "")
                notes.put(turn, "")
                raise
        with shown(found.study):
            on_top = self._on_top(found.id)
        if on_top < int(notes.get(name) or 0) + net.minor:
            raise Unclear(
                f"bonus {payment} of {net} to submission {found.id} was sent and is not shown yet",
                hint="if it stays so, look at the submission on Prolific's site; it is not sent again",
            )
        notes.put(turn, "")

    def _on_top(self, submission: str) -> int:
        """Minor units that were paid as bonuses so far."""
        return sum(bonus.minor for bonus in self._api.fetch_submission(submission).bonuses or ())

    def ask_return(self, key: StudyKey, submission: str, reason: str) -> None:
        self._api.request_return(submission, [reason])
        self._changed(key)

    def _verified(self, key: StudyKey, visit: VisitId, worker: WorkerId, submission: str | None) -> Submission:
        """The provider's record of just this visit, seen by this process (I8)."""
        if submission is None:
            raise Refused(f"visit {visit} has no id at the provider: it cannot be paid or rejected there")
        known = (found for found in self._listed(key) if found.id == submission)
        found = next(known, None) or self._api.fetch_submission(submission)
        ours = visit_of(key, worker, found.id)
        if found.study != self._id(key) or found.participant != worker or ours != visit:
            raise Refused(f"submission {submission} belongs to another study or participant than visit {visit}")
        return found

    def gross(self, reward: Money) -> Money:
        """The greater of the provider's own quote and our table of fees, for one visit."""
        table = gross_of(reward, fee_bp=self._settings["fee_bp"], vat_bp=self._settings["vat_bp"])
        if reward not in self._quotes:
            self._quotes[reward] = self._api.quote(reward, 1)
        return max(table, self._quotes[reward])

    def spent(self) -> Money | None:
        """By the provider's cost of every study of this task."""
        ids = [id_ for run in self._runs() if (id_ := self._memory(run).get("study"))]
        costs = [self._api.fetch_cost(id_).total for id_ in ids]
        return None if not costs else sum(costs[1:], start=costs[0])
