"""The line to the task server: what the server has to know, told over it as totals, and not again while it stays the same.

A line is proven anew after each loss (`loop`), and what was told over an older one does not count: the server may be another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from crowdstack.model import Admission, RunId, StudyKey, StudyState
from crowdstack.plan.decide import Observed
from crowdstack.plan.desired import Desired
from crowdstack.ports import Control, HookKey, Store

CHUNK = 500  # units, or claims, told at once

Aside = Callable[..., Awaitable[Any]]  # runs a verb of the store where it may block


class Line:
    """`control`, proven; and what was told over it."""

    def __init__(self, control: Control, run: RunId, store: Store, aside: Aside) -> None:
        self.control = control
        self._run, self._store, self._aside = run, store, aside
        self._places: tuple[StudyKey, int, StudyState] | None = None
        self._admission: Admission | None = None
        self._draining: bool | None = None  # `now` of the last `drain`
        self._key: HookKey | None = None

    async def tell(self, desired: Desired, observed: Observed, admission: Admission) -> None:
        """Who may come, for how many there is room, and which of those who came are real."""
        await self._tell_admission(admission)
        await self._tell_places(desired, observed)
        await self._tell_claims()

    async def _tell_admission(self, admission: Admission) -> None:
        if admission != self._admission:
            await self.control.set_workers(*admission)
            self._admission = admission

    async def _tell_places(self, desired: Desired, observed: Observed) -> None:
        """The server counts every visit that left with submissions, so rejected ones are added to the provider's places."""
        study, visits = observed.study, observed.visits
        if study is None:
            return
        places, state = study.places + visits.rejected, study.state
        if desired.managed:  # it lets people in itself: whoever it let in may come
            places += visits.empty
            state = StudyState.CLOSED if study.state is StudyState.CLOSED else StudyState.OPEN
        told = (desired.study, places, state)
        if told != self._places:
            await self.control.open_study(desired.study, places=places, state=state)
            self._places = told

    async def _tell_claims(self) -> None:
        while claims := await self._aside(self._store.untold_claims, self._run, CHUNK):
            await self.control.settle_claims(claims)
            await self._aside(self._store.mark_claims_told, self._run, [visit for visit, _ in claims])

    async def tell_key(self, key: HookKey) -> bool:
        """By which the server knows a provider's hooks; whether it was news over this line."""
        if key == self._key:
            return False
        await self.control.set_hook_key(key)
        self._key = key
        return True

    async def offer(self) -> None:
        """Every unit whose last attempt, or drop, the server has not confirmed."""
        while True:
            items, units, drop = await self._aside(self._store.unoffered, self._run, CHUNK)
            if not units and not drop:
                break
            await self.control.offer(items, units, drop)
            await self._aside(self._store.mark_offered, self._run, units, drop)

    async def drain(self) -> None:
        now = await self._aside(self._store.drain_now, self._run)
        if self._draining != now:
            await self.control.drain(now=now)
            self._draining = now
