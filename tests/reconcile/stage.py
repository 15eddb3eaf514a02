"""A whole run in one process: the real store, rules and books; a server, people, stack and clock that the test plays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from crowdstack.errors import Busy, InboxRegressed
from crowdstack.model import Cursor, Drained, EventKind, ItemOffer, RunState, StudyKey, StudyState, UnitId, UnitOffer
from crowdstack.plan.desired import Desired
from crowdstack.ports import Batch, HookKey
from crowdstack.providers.mock import MockProvider
from crowdstack.reconcile.loop import reconcile
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import NOW, TASK, Inbox, items
from tests.money.world import Killed, Life, Mortal
from tests.plan.builders import desired


class FakeClock:
    """Time passes when somebody waits for it."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)


@dataclass
class Server:
    """ports.Control and the server behind it. People come as soon as there is a place, do one unit and leave."""

    inbox: Inbox
    clock: FakeClock
    said: list[str] = field(default_factory=list)
    up: bool = True
    gone: bool = False
    people: bool = True
    units: dict[UnitId, int] = field(default_factory=dict)
    done: int = 0
    places: int = 0
    sent: int = 0
    acked: int = 0
    lease_s: float = 30.0  # left, whenever it is asked for
    hook_key: HookKey | None = None
    hooked: bool = False  # a hook came
    line_breaks: int = 0  # how many more times the line breaks after a batch was told

    def _answer(self, what: str) -> None:
        if not self.up or self.gone:
            raise Busy("no answer")
        self.said.append(what)

    async def connect(self, cursor: Cursor | None) -> Cursor:
        self._answer("connect")
        if cursor is not None and cursor.seq > self.inbox.seq:
            raise InboxRegressed("the inbox was lost", have=self.inbox.seq)
        self.sent = cursor.seq if cursor else 0
        return cursor or self.inbox.at(0)

    async def new_epoch(self, cursor: Cursor) -> Cursor:
        self._answer("new_epoch")
        self.inbox.epoch += 1
        self.inbox.seq = self.sent = cursor.seq
        self.inbox.events.clear()
        return self.inbox.at(cursor.seq)

    async def next_batch(self, timeout_s: float) -> Batch | None:
        await self.clock.sleep(timeout_s)
        if not self.up or self.gone:
            raise Busy("the line is dead")
        if self.sent == self.inbox.seq:
            return None
        batch = self.inbox.batch(self.sent)
        self.sent = self.inbox.seq
        if self.line_breaks:
            self.line_breaks -= 1
            self.up = False
        return batch

    async def ack(self, seq: int) -> None:
        self._answer(f"ack {seq}")
        self.acked = max(self.acked, seq)

    async def offer(self, items: Sequence[ItemOffer], units: Sequence[UnitOffer], drop: Sequence[UnitId] = ()) -> None:
        self._answer("offer")
        for unit in units:
            self.units[unit.unit] = unit.attempt
        self._people_come()

    async def set_workers(self, blocked: Sequence[Any], allowed: Sequence[Any] | None = None) -> None:
        self._answer(" ".join(["workers", *blocked, *([] if allowed is None else ["only", *allowed])]))

    async def open_study(self, study: StudyKey, *, places: int, state: StudyState) -> None:
        self._answer(f"open {places} {state.value}")
        self.places = places if state is StudyState.OPEN else 0
        self._people_come()

    def _people_come(self) -> None:
        while self.people and self.done < self.places and self.units:
            unit = next(iter(self.units))
            del self.units[unit]
            self.inbox.work(unit, f"worker-{self.inbox.epoch}-{self.inbox.seq}")
            self.done += 1

    async def drain(self, *, now: bool = False) -> None:
        self._answer("drain")
        if not any(event.kind is EventKind.DRAINED for event in self.inbox.events):
            self.inbox.say(EventKind.DRAINED, Drained())

    async def set_hook_key(self, key: HookKey) -> None:
        self._answer("hooks")
        self.hook_key = key

    def hinted(self) -> bool:
        hinted, self.hooked = self.hooked, False
        return hinted

    async def release(self, seq: int) -> None:
        self._answer(f"release {seq}")

    def lease_left_s(self) -> float:
        return self.lease_s

    async def close(self) -> None:
        pass


class Crowd:
    def __init__(self) -> None:
        self.at_work = False

    def ensure(self) -> None:
        self.at_work = True

    def running(self) -> bool:
        return self.at_work

    def stop(self) -> None:
        self.at_work = False

    def links(self) -> Sequence[str]:
        return ()


class Stage:
    def __init__(self, folder: Path, *, units: int = 4, **more: Any) -> None:
        self.folder = folder
        self.store = PeeweeStore(folder / "store.db")
        self.provider = MockProvider(folder / "mock.db")
        self.clock = FakeClock()
        self.crowd = Crowd()
        wish = replace(desired(items=units, **more), task=TASK)
        names = [f"item-{n}" for n in range(units)]
        settings = {"desired": wish.to_settings()}
        self.run = self.store.open_run(TASK, settings=settings, items=items(*names), repeats=1, fresh=False, now=NOW)
        self.desired = Desired.from_settings(settings["desired"], run=self.run.id)
        self.server = Server(Inbox(self.store, self.run), self.clock)
        self.hooks_at: str | None = None
        self.revived = 0
        self.torn_down = 0

    def revive(self) -> None:
        self.revived += 1
        assert not self.server.gone, "a stack that was taken down is brought up again"
        self.server.up = True

    def tear_down(self) -> None:
        self.torn_down += 1
        assert self.store.drained(self.run.id), "the inbox goes while it has events that nobody stored"
        assert not self.crowd.at_work, "the crowd is left behind"
        self.server.gone = True

    def live(self, life: Life | None = None) -> None:
        """One life of the reconciler: to its end, or until it is killed."""
        life = life or Life()

        def mortal(inner: Any) -> Any:
            return Mortal(inner, life)

        try:
            asyncio.run(
                reconcile(
                    self.run.id,
                    store=mortal(self.store),
                    control_factory=lambda: MortalServer(self.server, life),  # type: ignore[arg-type,return-value]
                    provider=mortal(self.provider),
                    crowd=mortal(self.crowd),
                    revive=life.around(self.revive),
                    tear_down=life.around(self.tear_down),
                    backup=str(self.folder / "backup.db"),
                    clock=self.clock,
                    log=logging.getLogger("tests.reconcile"),
                    hooks_at=lambda: None if self.server.gone else self.hooks_at,
                )
            )
        except Killed:
            pass

    def close(self) -> None:
        self.store.close()
        self.provider.close()

    @property
    def reached(self) -> RunState | None:
        return self.store.run(self.run.id).reached

    def effects(self) -> list[tuple[str, int | None]]:
        return [(verb, total) for verb, _, total in self.provider.effects()]


class MortalServer:
    """The server's verbs as one life of the reconciler calls them."""

    def __init__(self, server: Server, life: Life) -> None:
        self._server, self._life = server, life

    def __getattr__(self, name: str) -> Any:
        verb, life = getattr(self._server, name), self._life
        if name in ("lease_left_s", "hinted"):
            return verb

        async def called(*arguments: Any, **more: Any) -> Any:
            if name == "close":
                return None  # a dead process's sockets are closed too
            life.around(lambda: None)() if life.before else None
            answer = await verb(*arguments, **more)
            life.around(lambda: None)() if not life.before else None
            return answer

        return called
