"""One simulated worker: comes, takes units, answers by its conduct, and comes again until there is nothing left for it.

Whatever fails on the way, it starts over from the journal: takes up its visit, sends again what may have been lost.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

from crowdstack.crowd.conduct import Conduct, Way
from crowdstack.crowd.journal import Attempt, Journal, Visit
from crowdstack.crowd.site import Address, Away, Forbidden, Line, Site
from crowdstack.model import AssignmentId, UnitId, VisitId
from crowdstack.wire.worker import (
    Accepted,
    Assigned,
    Done,
    Error,
    Next,
    Refused,
    Return,
    Returned,
    Submit,
    Wait,
    Welcome,
)

log = logging.getLogger(__name__)

_FINAL = ("limit", "blocked", "closed")  # reasons after which the server will have nothing for this worker, ever
_LONGER_S = 1.5  # beyond the hold's time, since the server looks for expired ones once a second
_ASKS = 3  # how often a worker that still has answers to give hears "nothing for you" before it believes it


class Visitor:
    """What every worker does on the page, whoever sent it there."""

    def __init__(self, conduct: Conduct, *, seed: int, site: Site, journal: Journal) -> None:
        self._conduct = conduct
        self._name = conduct.worker
        self._site = site
        self._journal = journal
        self._missed = 0  # times in a row that it came in vain
        self._given_up: Counter[UnitId] = Counter()
        self._random = Random(f"{seed}/{self._name}/patience")

    async def _rest(self, times: int) -> None:
        """Longer each time, and not all at once: 0.1 s up to 2 s."""
        await asyncio.sleep(min(2.0, 0.1 * 2.0**times) * self._random.uniform(0.5, 1.0))

    async def _visit(self, address: Address, *, place: str = "", leaves_after: int | None = None) -> Done | None:
        """One connection, from dialling to `done`. None: it left with a unit in its hands, once `leaves_after` units were
        accepted in this visit."""
        known = self._journal.visit(self._name)
        if known is not None and known.place != place:
            known = None
        line, answer = await self._site.enter(address, known.session if known else None)
        try:
            while isinstance(answer, Wait):  # no place for it now
                await asyncio.sleep(answer.retry_s)
                answer = await line.hello()
            if isinstance(answer, Done):
                return self._ended(answer)
            if not isinstance(answer, Welcome):
                raise _fault(answer)
            self._missed = 0
            visit = Visit(worker=self._name, visit=VisitId(answer.visit), session=answer.session, place=place)
            self._journal.note_visit(visit)
            for attempt in self._journal.pending(self._name):
                await self._send(line, attempt)
            return await self._units(line, visit, leaves_after)
        finally:
            await line.close()

    def _ended(self, done: Done) -> Done:
        if visit := self._journal.visit(self._name):
            self._journal.note_left(visit, done.reason)
        return done

    async def _units(self, line: Line, visit: Visit, leaves_after: int | None) -> Done | None:
        while True:
            answer = await line.ask(Next(), Assigned, Wait, Done)
            if isinstance(answer, Wait):
                await asyncio.sleep(answer.retry_s)
            elif isinstance(answer, Done):
                return self._ended(answer)
            elif not isinstance(answer, Assigned):
                raise _fault(answer)
            elif leaves_after is not None and self._journal.accepted_in(visit.visit) >= leaves_after:
                return None
            else:
                await self._unit(line, visit, answer)

    async def _unit(self, line: Line, visit: Visit, given: Assigned) -> None:
        unit = UnitId(given.unit)
        act = self._conduct.act(given.data, self._given_up[unit])
        if act.pause_s:
            await asyncio.sleep(act.pause_s)
            act = self._conduct.act(given.data, self._given_up[unit])
        if act.way is Way.VANISH:
            self._given_up[unit] += 1
            await line.close()
            await asyncio.sleep(given.remaining_s + _LONGER_S)
            raise Away("it had left without a word")
        if act.way is Way.ANSWER:
            assert act.answers is not None
            for answers in (act.wrong, act.answers):
                if answers is None:
                    continue
                attempt = self._attempt(visit, given, answers, act.item)
                self._journal.note_sent(attempt)
                await self._journal.durable()
                taken = await self._send(line, attempt)
                if taken and act.twice:
                    await self._send(line, attempt)
                if taken:
                    return
        await self._give_back(line, given)

    def _attempt(self, visit: Visit, given: Assigned, answers: Mapping[str, Any], item: str) -> Attempt:
        return Attempt(
            worker=self._name,
            visit=visit.visit,
            unit=UnitId(given.unit),
            assignment=AssignmentId(given.assignment),
            nonce=secrets.token_urlsafe(16),
            answers=answers,
            item=item,
        )

    async def _send(self, line: Line, attempt: Attempt) -> bool:
        """Whether the answers were accepted; either way the journal says what became of them."""
        submit = Submit(assignment=attempt.assignment, nonce=attempt.nonce, answers=attempt.answers)
        answer = await line.ask(submit, Accepted, Refused)
        if isinstance(answer, Accepted):
            before = self._journal.receipt(attempt.assignment)
            if before is None:
                self._journal.note_accepted(attempt, answer.receipt, late=answer.late)
            elif before != answer.receipt:
                log.error("assignment %s has receipts %d and %d", attempt.assignment, before, answer.receipt)
                self._journal.note_accepted(attempt, answer.receipt, late=answer.late)
            return True
        if isinstance(answer, Error):
            log.warning("%s: answers to %s met %s", self._name, attempt.assignment, answer.code)
        self._journal.note_refused(attempt, answer.code if isinstance(answer, Error) else "schema")
        return False

    async def _give_back(self, line: Line, given: Assigned) -> None:
        """Return the unit. If it comes back again and again, ask more and more slowly."""
        await line.ask(Return(assignment=given.assignment), Returned)
        times = self._given_up[UnitId(given.unit)]
        self._given_up[UnitId(given.unit)] += 1
        if times:
            await self._rest(times)


class Worker(Visitor):
    """Comes by a link that is signed for it."""

    def __init__(self, conduct: Conduct, *, seed: int, site: Site, journal: Journal) -> None:
        super().__init__(conduct, seed=seed, site=site, journal=journal)
        self._address = site.signed(self._name)

    async def work(self) -> str:
        """Visit until all is done; why it ended. Everything it saw accepted is in the journal by then."""
        empty = 0  # in a row that ended with nothing left for it
        while self._has_reason_to_come():
            try:
                done = await self._visit(self._address)
            except Away as fault:
                log.debug("%s: %s", self._name, fault)
                await self._rest(self._missed)
                self._missed += 1
                continue
            except Forbidden as fault:
                if visit := self._journal.visit(self._name):
                    self._journal.note_left(visit, "forbidden")  # its session is dead; the link may still be good
                    continue
                log.error("%s: %s", self._name, fault)
                return "forbidden"
            assert done is not None, "nothing makes it leave before"
            reason = done.reason
            if reason in _FINAL:
                return reason
            if reason == "target":
                empty += 1
                if self._conduct.left(self._journal.accepted_by(self._name)) is None or empty == _ASKS:
                    return reason
                await self._rest(empty + 1)
            else:
                empty = 0
        return "all done"

    def _has_reason_to_come(self) -> bool:
        return (
            self._conduct.left(self._journal.accepted_by(self._name)) != 0
            or self._journal.visit(self._name) is not None  # told nobody yet that it is over
            or bool(self._journal.pending(self._name))
        )


def _fault(answer: object) -> Exception:
    """An error where units or a welcome were expected."""
    assert isinstance(answer, Error)
    if answer.code == "forbidden":
        return Forbidden(answer.message)
    log.warning("the server answers %s: %s", answer.code, answer.message)
    return Away(f"{answer.code}: {answer.message}")
