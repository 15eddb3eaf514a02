"""A worker that a panel sends: takes a place, works on the page, hands in with its code, and comes again.

How a visit ends is drawn by seed, worker and number of the place, so a crowd that was killed goes on with the same end.
What it has taken the panel tells, what it gave the journal.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from enum import Enum
from random import Random

from crowdstack.crowd.conduct import Conduct
from crowdstack.crowd.journal import Journal, Visit
from crowdstack.crowd.panel import Panel, Place, PlaceState, Unreachable
from crowdstack.crowd.site import Address, Away, Forbidden, Site
from crowdstack.crowd.worker import Visitor
from crowdstack.model import WorkerId
from crowdstack.wire.configs import PanelConfig

log = logging.getLogger(__name__)

_LOOK_S = 1.0  # between two looks at the panel, at first; then ever longer
_LONGEST_S = 30.0
_EARLY = 10  # units: whoever leaves in the middle leaves before


class Fate(str, Enum):
    """How a visit ends."""

    HANDS_IN = "hands_in"
    RETURNS = "returns"
    TIMES_OUT = "times_out"
    NO_CODE = "no_code"


@dataclass(frozen=True, slots=True)
class Course:
    fate: Fate
    leaves_after: int | None = None  # units


def course(config: PanelConfig, *, seed: int, worker: WorkerId, number: int) -> Course:
    """What happens in this worker's visit of this number."""
    random = Random(f"{seed}/{worker}/{number}/fate")
    drawn, after = random.random(), random.randrange(_EARLY)
    for fate, rate in ((Fate.RETURNS, config.returns), (Fate.TIMES_OUT, config.times_out)):
        if drawn < rate:
            return Course(fate, after)
        drawn -= rate
    return Course(Fate.NO_CODE if drawn < config.no_code else Fate.HANDS_IN)


class Participant(Visitor):
    def __init__(
        self,
        conduct: Conduct,
        config: PanelConfig,
        *,
        seed: int,
        site: Site,
        journal: Journal,
        panel: Panel,
        room: asyncio.Semaphore,
    ) -> None:
        super().__init__(conduct, seed=seed, site=site, journal=journal)
        self._config, self._seed = config, seed
        self._panel = panel
        self._at_work = room  # so many may have the page open at a time
        self._looked = 0  # times in a row that there was nothing for it

    async def work(self) -> str:
        """Come as long as there are answers to give; those of visits that came to nothing are given again."""
        while True:
            try:
                places = await self._panel.places(self._name)
                self._note_gone(places)
                taken = next((place for place in places if place.state is PlaceState.TAKEN), None)
                for place in places:
                    if place.state is PlaceState.ASKED_BACK:
                        await self._panel.give_back(self._name, place)
                if taken is None and self._conduct.left(self._journal.accepted_by(self._name)) == 0:
                    return "all done"
                if taken is None and self._looked and self._nothing_since(places):
                    await self._look_later()
                if not await self._come(taken, places):
                    await self._look_later()
            except (Away, Unreachable) as fault:
                log.debug("%s: %s", self._name, fault)
                await self._rest(self._missed)
                self._missed += 1

    async def _come(self, taken: Place | None, places: list[Place]) -> bool:
        """Take a place, or go on with the one that was taken; whether there was one."""
        async with self._at_work:  # so that nobody who has a place waits until its time is over
            place = taken or await self._panel.reserve(self._name)
            if place is None:
                return False
            number = 1 + next((n for n, known in enumerate(places) if known.id == place.id), len(places))
            course_ = course(self._config, seed=self._seed, worker=self._name, number=number)
            await self._take(place, course_)
        if course_.fate is Fate.TIMES_OUT:
            await self._wait_until_gone(place)
        return True

    async def _take(self, place: Place, course_: Course) -> None:
        """Work on a place, and end it as it is to end."""
        url = await self._panel.start(self._name, place)
        if url is None:
            return
        completion = None
        try:
            done = await self._visit(Address.of(url), place=place.id, leaves_after=course_.leaves_after)
            completion = done.completion if done is not None else None
        except Forbidden as fault:
            if (visit := self._journal.visit(self._name)) and visit.place == place.id:
                self._journal.note_left(visit, "forbidden")  # its session is dead; the address may still be good
                return
            log.error("%s: %s", self._name, fault)
            await self._panel.give_back(self._name, place)
            await self._look_later()
            return
        given = self._given(place)
        self._looked = 0 if given else self._looked + 1
        await self._journal.durable()
        if course_.fate is Fate.RETURNS:
            await self._panel.give_back(self._name, place)
        elif course_.fate is not Fate.TIMES_OUT:
            await self._panel.complete(
                self._name, place, None if given and course_.fate is Fate.NO_CODE else completion
            )

    def _given(self, place: Place) -> int:
        """Answers that were accepted on this place."""
        visit = self._journal.visit_of(place.id)
        return 0 if visit is None else self._journal.accepted_in(visit)

    def _note_gone(self, places: list[Place]) -> None:
        for place in places if self._panel.tells else ():
            visit = self._journal.visit_of(place.id)
            if place.state is PlaceState.GONE and visit is not None and not self._journal.is_void(visit):
                self._journal.note_void(Visit(worker=self._name, visit=visit, session="", place=place.id))

    def _nothing_since(self, places: list[Place]) -> bool:
        return bool(places) and not self._given(places[-1])

    async def _wait_until_gone(self, place: Place) -> None:
        """It has left the page, and does not know better than to wait until the panel takes the place back."""
        while any(
            found.id == place.id and found.state is PlaceState.TAKEN for found in await self._panel.places(self._name)
        ):
            if not self._panel.tells:
                await self._panel.give_back(self._name, place)
            await asyncio.sleep(_LOOK_S)

    async def _look_later(self) -> None:
        await asyncio.sleep(min(_LONGEST_S, _LOOK_S * 2.0 ** min(self._looked, 10)) * self._random.uniform(0.5, 1.0))
        self._looked += 1
