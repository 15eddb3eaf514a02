"""The loop: keep what the server tells, observe, decide, act; until the run is gone.

Level-triggered: each round goes by what store and provider say and remembers nothing that matters. Every fault ends in
one place: the line to the server is dropped and the next round begins with what the store says.

Killed in between: an event that was not acknowledged is told again; one that was kept is no news; an intent without a
result is sent again (`act`); offers, places and `drain` are told to the server as totals; and a run whose inbox is empty
(`drained`) needs no server to go on to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, TypeVar

from crowdstack.errors import Busy, CredentialsMissing, CrowdstackError, InboxRegressed, LockHeld, Refused, StoreMoved
from crowdstack.model import IntentState, Run, RunId, RunState, StudyKey, StudyState
from crowdstack.plan.actions import Action, CloseStudy, Drain, OfferUnits, ResumeStudy, Spending, TearDown, draft
from crowdstack.plan.decide import Observed, Rest, RestState, decide
from crowdstack.plan.desired import Desired
from crowdstack.ports import Clock, Control, Crowd, HookKey, Provider, Store
from crowdstack.reconcile.act import record_and_send, send_recorded
from crowdstack.reconcile.door import Door
from crowdstack.reconcile.line import Line
from crowdstack.reconcile.observe import hear, observe

T = TypeVar("T")

_AT_ONCE_S = 0.01
_ROUND_S = 0.15  # between two looks while people work
_IDLE_S = 0.6  # while nothing happens
_REFUSED_S = 30.0  # until something that was refused is tried again
_NOTE_S = 1.0
_REVIVE_S = (2.0, 60.0)  # pause between two attempts to bring the server back: first, longest
_BACKUP_S = 600.0  # between two copies of the store
_FAULT_S = (0.1, 5.0)  # pause after a fault: first, longest
_BUSY_S = (0.5, 15.0)  # until a provider (or store) that was busy is asked again: first, longest
_SENDING_S = 10.0  # spent at most on sending in one round, bar the last request: listings and answers have their turn
_HEARING_S = 5.0  # spent at most on news from the server before the next round
_UNDERWAY = timedelta(seconds=2)  # longer than an event takes from the server's disk to us
_WATCH_S = 3600.0  # until it is seen whether hooks are still subscribed to: a provider gives up on them in days
_UNWATCHED_S = 60.0  # the same where that failed
_SPEND_S = 15.0  # left of the lease when more is spent: longer than a request to a provider may take


async def reconcile(
    run: RunId,
    *,
    store: Store,
    control_factory: Callable[[], Control],
    provider: Provider,
    crowd: Crowd,
    revive: Callable[[], None],
    tear_down: Callable[[], None],
    backup: str,
    clock: Clock,
    log: logging.Logger,
    ready: Callable[[], None] = lambda: None,
    hooks_at: Callable[[], str | None] = lambda: None,
) -> None:
    """Bring the run to what is wanted of it and keep it so; returns once it is destroyed.

    `revive` brings the stack up again (its server may have died); `tear_down` destroys it, removes the inbox and proves
    that nothing is left; both may be repeated. `backup`: file for copies of the store, now and then and before the end. `ready` is called
    once this is the run's one reconciler. `hooks_at`: where the server takes hooks, if a provider can reach it.
    LockHeld when another reconciler is at it; StoreMoved when the store was taken away.
    """
    with store.reconciler_lock(run), ThreadPoolExecutor(1, "reconcile") as worker:
        ready()
        loop = _Loop(
            run, store, control_factory, provider, crowd, revive, tear_down, backup, clock, log, worker, hooks_at
        )
        try:
            await loop.live()
        finally:
            await loop.drop_line()


class _Busy(Exception):
    """Provider or store cannot be used now; the line to the server is as good as before."""

    def __init__(self, fault: Busy) -> None:
        super().__init__(str(fault))
        self.retry_s = fault.retry_s or 0.0


class _Backoff:
    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.reset()

    def reset(self) -> None:
        self._next_s = self._first_s

    def next_s(self) -> float:
        now_s, self._next_s = self._next_s, min(self._next_s * 2, self._longest_s)
        return now_s


class _Loop:
    def __init__(
        self,
        run: RunId,
        store: Store,
        control_factory: Callable[[], Control],
        provider: Provider,
        crowd: Crowd,
        revive: Callable[[], None],
        tear_down: Callable[[], None],
        backup: str,
        clock: Clock,
        log: logging.Logger,
        worker: ThreadPoolExecutor,
        hooks_at: Callable[[], str | None],
    ) -> None:
        self._run, self._store, self._provider, self._crowd = run, store, provider, crowd
        self._control_factory, self._revive, self._destroy, self._backup = control_factory, revive, tear_down, backup
        self._clock, self._log, self._worker, self._hooks_at = clock, log, worker, hooks_at
        self._line: Line | None = None  # to the server, while there is one
        self._door = Door(provider, log)
        self._hooks: tuple[str | None, HookKey | None] = None, None  # where they are subscribed to come, and their key
        self._watch_at = float("-inf")  # when that is seen to again
        self._heard_until = datetime.min.replace(tzinfo=timezone.utc)  # the server was silent, so all before is stored
        self._refused: dict[str, tuple[str, float]] = {}  # key -> why, until when it is left alone
        self._settings: Any = None
        self._noted: tuple[Rest | None, float] = (None, float("-inf"))
        self._revived = _Backoff(*_REVIVE_S)
        self._revive_at = float("-inf")
        self._backup_at = float("-inf")
        self._took_s = 0.0  # the last round

    async def live(self) -> None:
        fault_pause, busy_pause = _Backoff(*_FAULT_S), _Backoff(*_BUSY_S)
        quiet_until = float("-inf")
        wait_s = _AT_ONCE_S
        while True:
            try:
                if self._line is None and not await self._aside(self._store.drained, self._run):
                    await self._connect()
                heard = await self._listen(wait_s)
                if (begun := self._clock.monotonic()) < quiet_until:
                    wait_s = _ROUND_S
                    continue
                try:
                    done, acted = await self._round()
                finally:
                    self._took_s = self._clock.monotonic() - begun
                busy_pause.reset()
                if done:
                    return
                wait_s = _AT_ONCE_S if acted else _ROUND_S if heard else min(max(wait_s, _ROUND_S) * 1.5, _IDLE_S)
                fault_pause.reset()
            except (LockHeld, StoreMoved):
                raise
            except _Busy as fault:
                self._log.warning("%s", fault)
                quiet_until = self._clock.monotonic() + max(busy_pause.next_s(), fault.retry_s)
                wait_s = _ROUND_S
            except Exception as fault:  # the edge: whatever it was, begin anew with what the store says
                await self.drop_line()
                if isinstance(fault, CrowdstackError):
                    self._log.warning("%s", fault)
                    await self._tell(fault)
                else:
                    self._log.exception("a round failed")
                await self._clock.sleep(fault_pause.next_s())

    async def _tell(self, fault: CrowdstackError) -> None:
        """What passes by itself needs no word; the rest `status` shows."""
        if not isinstance(fault, Busy):
            with contextlib.suppress(CrowdstackError):  # perhaps it is the store that fails
                await self._note(Rest(RestState.NEEDS_PERSON, str(fault)))

    # -------------------------------------------------------------------------------------------- the server

    async def _connect(self) -> None:
        """A proven line, resumed where the store is. Without an answer the stack is brought up again, in a while."""
        control: Control | None = None
        try:
            control = self._control_factory()
            cursor = await self._aside(self._store.cursor, self._run)
            try:
                position = await control.connect(cursor)
            except InboxRegressed as fault:
                assert cursor is not None, "an inbox cannot know less than nothing"
                self._log.warning("%s; it goes on in a new epoch", fault)
                position = await control.new_epoch(cursor)
            if position != cursor:
                await self._aside(self._store.adopt_inbox, self._run, position)
            if cursor is not None and position != cursor:
                position = await control.connect(position)
        except CrowdstackError as fault:
            if control is not None:
                await control.close()
            if isinstance(fault, LockHeld):
                raise
            self._log.warning("no line to the server: %s", fault)
            await self._bring_back()
            return
        self._line = Line(control, self._run, self._store, self._aside)
        if self._hooks_at() != self._hooks[0]:
            self._watch_at = float("-inf")
        self._revived.reset()
        self._log.info("connected at event %d of inbox %s, epoch %d", position.seq, position.inbox, position.epoch)

    async def _bring_back(self) -> None:
        if self._clock.monotonic() < self._revive_at:
            return
        try:
            await self._aside(self._revive)
        except CrowdstackError as fault:  # `up` may be at it this moment: LockHeld
            self._log.warning("the stack cannot be brought up: %s", fault)
        self._revive_at = self._clock.monotonic() + self._revived.next_s()

    async def drop_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.control.close()

    async def _listen(self, wait_s: float) -> bool:
        """Store what the server tells, then acknowledge it: until `wait_s` passed in silence, or a round's time in news. While
        rounds are slow, because the provider is, as long as the last one: answers are not held up by it."""
        if self._line is None:
            await self._clock.sleep(max(wait_s, _ROUND_S))
            return False
        control = self._line.control
        end: float | None = None
        while (now := self._clock.monotonic()) < (end or now + 1):
            asked = self._clock.now()
            batch = await control.next_batch(wait_s if end is None else max(_AT_ONCE_S, end - now))
            if batch is None:
                self._heard_until = asked - _UNDERWAY
                break
            end = end or now + min(max(self._took_s, _ROUND_S), _HEARING_S)
            await self._aside(self._store.keep, self._run, batch)
            await control.ack(batch.cursor.seq)
        return end is not None

    # -------------------------------------------------------------------------------------------- one round

    async def _round(self) -> tuple[bool, bool]:
        """Observe, decide, act once. (the run is gone, something was done)"""
        if self._line is not None and self._line.control.hinted():
            await self._aside(self._provider.hint, StudyKey(self._run))
        run, desired, observed = await self._asked(self._look, self._clock.monotonic())
        decision = decide(desired, observed)
        admission = await self._aside(partial(self._store.admission, desired.task, **desired.admission_rules))
        listed = observed.study is not None and observed.study.state is not StudyState.CLOSED
        barred = None
        if listed or any(isinstance(action, Spending) for action in decision.actions):
            barred = await self._aside(self._door.tell, desired.study, admission, self._clock.monotonic())
            decision = replace(decision, rest=barred or decision.rest)
        if barred or not self._may_spend():
            not_now = Spending | ResumeStudy if barred else Spending  # nobody is to be let in, or only nobody more
            decision = replace(decision, actions=tuple(a for a in decision.actions if not isinstance(a, not_now)))
        if self._line is not None:
            await self._line.tell(desired, observed, admission)
            if observed.study is not None:
                await self._watch(self._line, desired.study)
        await self._note(decision.rest)
        if TearDown() in decision.actions:
            await self._end()
            return True, True
        refused = await self._asked(
            partial(
                record_and_send,
                run.id,
                decision.actions,
                store=self._store,
                provider=self._provider,
                budget=desired.budget,
                may_spend=self._may_spend,
                now=self._clock.now(),
                enough=self._enough(),
            )
        )
        self._leave_alone(refused, self._clock.monotonic())
        if self._line is not None:
            await self._to_server(self._line, decision.actions)
        if observed.study is not None and observed.study.state is StudyState.OPEN and self._line is not None:
            await self._aside(self._crowd.ensure)
        await self._reach(run, observed)
        await self._back_up()
        return False, any(not isinstance(action, Drain) and action.key not in refused for action in decision.actions)

    def _look(self, now: float) -> tuple[Run, Desired, Observed]:
        """What an earlier life left unsent is sent first; then: what is wanted, and what is there."""
        try:
            left = send_recorded(
                self._run,
                store=self._store,
                provider=self._provider,
                may_spend=self._may_spend,
                now=self._clock.now(),
                resting={key for key, (_, until) in self._refused.items() if until > now},
                enough=self._enough(),
            )
        except Busy as fault:  # what is still left must not keep us from looking: it may be hundreds
            self._log.warning("%s", fault)
        else:
            self._leave_alone(left, now)
        run = self._store.run(self._run)
        if run.settings != self._settings:  # another `up`: what was refused may be allowed now
            self._settings, self._refused = run.settings, {}
        desired = _desired(run)
        # At the end nobody waits for visits of which something was refused once: they may be hundreds. The study is to close.
        given_up, closing = run.wanted is RunState.DESTROYED, CloseStudy(study=desired.study).key
        self._refused = {
            key: (why, until)
            for key, (why, until) in self._refused.items()
            if until > now or (given_up and key != closing)
        }
        listed_at = hear(run, desired, store=self._store, provider=self._provider, now=self._clock.now())
        observed = observe(
            run,
            desired,
            store=self._store,
            provider=self._provider,
            connected=self._line is not None,
            refused={key: why for key, (why, _) in self._refused.items()},
            all_heard=listed_at is None or listed_at <= self._heard_until or self._store.drained(run.id),
        )
        if observed.offers[0] == observed.offers[1]:  # the server has confirmed them, whoever made them
            self._finish(self._open_intents(OfferUnits.kind))
        return run, desired, observed

    def _enough(self) -> Callable[[], bool]:
        """Whether sending has had its time, from now on. Asked in the worker's thread, where our clock is not."""
        end = time.monotonic() + _SENDING_S
        return lambda: time.monotonic() >= end

    def _may_spend(self) -> bool:
        """Whether what is sent now arrives before anybody else can lead this run: a copy of us may just wake up."""
        return self._line is not None and self._line.control.lease_left_s() >= _SPEND_S

    def _leave_alone(self, refused: Mapping[str, str], now: float) -> None:
        for key, why in refused.items():
            self._log.warning("%s refused: %s", key, why)
            self._refused[key] = (why, now + _REFUSED_S)

    async def _watch(self, line: Line, study: StudyKey) -> None:
        """Have the provider tell of changes, so that they are looked at soon. Whatever becomes of it, all is looked at now and
        then as without it: hooks change when something is heard, never what."""
        if (now := self._clock.monotonic()) >= self._watch_at and (at := self._hooks_at()) is not None:
            self._watch_at, self._hooks = now + _WATCH_S, (at, self._hooks[1])
            try:
                self._hooks = at, await self._aside(self._provider.watch, study, at)
            except (Busy, Refused, CredentialsMissing) as fault:
                self._log.warning("no webhooks for now, the provider is looked at every so often: %s", fault)
                self._watch_at = now + (_UNWATCHED_S if isinstance(fault, Busy) else _WATCH_S)
        key = self._hooks[1]
        if key is not None and await line.tell_key(key):
            await self._aside(self._provider.hint, study)  # what came without a line was told to nobody

    async def _unwatch(self) -> None:
        """Once; what is left behind tells nobody anything, and is taken over by the next run at the same address."""
        if (at := self._hooks_at()) is None:
            return
        try:
            await self._aside(self._provider.unwatch, StudyKey(self._run), at)
        except (Busy, Refused, CredentialsMissing) as fault:
            self._log.warning("webhooks to %s may still be subscribed to: %s", at, fault)

    async def _to_server(self, line: Line, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, OfferUnits):
                await self._aside(self._record, action)
                await line.offer()
            elif isinstance(action, Drain):
                await line.drain()

    async def _reach(self, run: Run, observed: Observed) -> None:
        study = observed.study
        paused = run.wanted is RunState.PAUSED and (study is None or study.state is not StudyState.OPEN)
        reached = RunState.PAUSED if paused else RunState.LIVE
        if self._line is not None and run.reached is not reached and run.wanted in (reached, RunState.LIVE):
            await self._aside(self._store.set_reached, run.id, reached, self._clock.now())

    async def _note(self, rest: Rest) -> None:
        """Tell `status`: at once when the state changes, else every second."""
        last, at = self._noted
        now = self._clock.monotonic()
        if last is not None and last.state is rest.state and now < at + _NOTE_S:
            return
        if last is None or last.state is not rest.state:
            self._log.info("%s: %s", rest.state.value, rest.why)
        await self._aside(self._store.note, self._run, rest.state.value, rest.why, self._clock.now())
        self._noted = (rest, now)

    async def _back_up(self) -> None:
        """Now and then, for `crowdstack restore`: what came later the inbox tells again. The run goes on without one."""
        if self._clock.monotonic() < self._backup_at:
            return
        self._backup_at = self._clock.monotonic() + _BACKUP_S
        try:
            await self._copy()
        except (CrowdstackError, OSError) as fault:
            self._log.warning("no backup of the store was made: %s", fault)

    async def _copy(self) -> None:
        """Copy the store; what the copy holds the server may forget."""
        cursor = await self._aside(self._store.cursor, self._run)
        await self._aside(self._store.backup, self._backup)
        if self._line is not None and cursor is not None:
            await self._line.control.release(cursor.seq)

    # -------------------------------------------------------------------------------------------- the end

    async def _end(self) -> None:
        """Every event is stored and everybody settled with: back it all up, then take everything away.

        Killed anywhere in here, the next life comes here again: `drained` is in the store and each step may be repeated.
        """
        await self._aside(self._record, TearDown())
        await self._copy()
        await self._aside(self._crowd.stop)
        await self._unwatch()
        await self.drop_line()
        try:
            await self._aside(self._destroy)
        except LockHeld as fault:  # `up` is at the stack this moment; nobody else leads this run
            raise Busy("the stack is in use") from fault
        await self._aside(lambda: self._finish(self._open_intents(TearDown.kind)))
        await self._aside(self._store.note, self._run, RestState.DONE.value, "it was taken down", self._clock.now())
        await self._aside(self._store.set_reached, self._run, RunState.DESTROYED, self._clock.now())
        self._log.info("%s is gone", self._run)

    # -------------------------------------------------------------------------------------------- small change

    def _record(self, action: Action) -> None:
        """Write an action down that is not the provider's."""
        now = self._clock.now()
        self._store.record_intents(self._run, [draft(action, now)], budget=None, now=now)

    def _open_intents(self, kind: str) -> list[int]:
        return [intent.id for intent in self._store.open_intents(self._run) if intent.kind == kind]

    def _finish(self, intents: list[int]) -> None:
        if intents:
            self._store.finish_intents([(intent, IntentState.DONE, None) for intent in intents], self._clock.now())

    async def _asked(self, verb: Callable[..., T], *arguments: Any) -> T:
        """`_aside` for what asks the provider. _Busy where it would be Busy: nothing is wrong with the line to the server."""
        try:
            return await self._aside(verb, *arguments)
        except Busy as fault:
            raise _Busy(fault) from fault

    async def _aside(self, verb: Callable[..., T], *arguments: Any) -> T:
        """Store, provider and stack block: one worker thread runs their verbs, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, verb, *arguments)


def _desired(run: Run) -> Desired:
    return Desired.from_settings(run.settings["desired"], run=run.id)
