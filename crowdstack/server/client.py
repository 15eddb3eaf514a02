"""The reconciler's end of the control socket: `ControlClient` implements `ports.Control`.

It says nothing but its own proof before the server has proven itself, and believes no event whose chain does not fit.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from crowdstack.errors import Busy, InboxRegressed, LockHeld, StateMismatch
from crowdstack.model import (
    Claim,
    Cursor,
    Event,
    ItemOffer,
    StudyKey,
    StudyState,
    UnitId,
    UnitOffer,
    VisitId,
    WorkerId,
)
from crowdstack.ports import Batch, HookKey, Unreadable
from crowdstack.tokens import Secret, b64, control_proof
from crowdstack.wire import control as frames
from crowdstack.wire.text import FrameError

_ANSWER_S = 15.0
_CHUNK = 1024 * 1024  # bytes of items in one frame
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps

Asking = (
    frames.NewEpoch
    | frames.Units
    | frames.Workers
    | frames.Open
    | frames.Claims
    | frames.Drain
    | frames.Hooks
    | frames.Renew
)
T = TypeVar("T")


class ControlClient:
    """`origin` is the server's own address, as in links; `dial` is where to reach it if a proxy stands there."""

    def __init__(self, origin: str, key: Secret, client: str, *, dial: str | None = None) -> None:
        self._origin, self._key, self._client = origin, key, client
        self._url = re.sub(r"^http", "ws", dial or origin) + "/v1/control"
        self._socket: WebSocketClientConnection | None = None
        self._term = 0
        self._lease_s = 0.0
        self._led_until = 0.0  # by `_now_s`
        self._jobs: list[asyncio.Future[None]] = []
        self._events: asyncio.Queue[frames.Events | None] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[frames.Applied | frames.Busy]] = {}
        self._cursor: Cursor | None = None
        self._hinted = False

    # -------------------------------------------------------------------------------------------- connecting

    async def connect(self, cursor: Cursor | None) -> Cursor:
        async with self._proven() as challenge:
            known = cursor or Cursor(
                inbox=challenge.inbox,
                epoch=challenge.epoch,
                seq=0,
                chain=frames.chain_start(challenge.inbox, challenge.epoch),
            )
            self._send(frames.Resume(inbox=known.inbox, epoch=known.epoch, after=known.seq, chain=known.chain))
            answer = await self._read()
            if isinstance(answer, frames.Regressed):
                raise InboxRegressed(
                    f"the server's inbox ({answer.inbox}, epoch {answer.epoch}, event {answer.have}) does not continue"
                    f" what is stored ({known.inbox}, epoch {known.epoch}, event {known.seq})",
                    have=answer.have,
                    hint="it was lost, cut or restored; a new epoch tells again what it has",
                )
            if not isinstance(answer, frames.Resumed):
                raise StateMismatch("the server did not resume")
            self._cursor = Cursor(inbox=answer.inbox, epoch=answer.epoch, seq=answer.after, chain=known.chain)
            return self._cursor

    async def new_epoch(self, cursor: Cursor) -> Cursor:
        async with self._proven() as challenge:
            epoch = 1 + max(challenge.epoch, cursor.epoch if cursor.inbox == challenge.inbox else 0)
            self._send(frames.NewEpoch(id=_id(), epoch=epoch, above=cursor.seq))
            answer = await self._read()
        if not isinstance(answer, frames.Applied) or answer.inbox is None or answer.epoch is None:
            raise Busy("the server cannot start a new epoch now")
        assert answer.seq is not None
        assert answer.chain is not None
        return Cursor(inbox=answer.inbox, epoch=answer.epoch, seq=answer.seq, chain=answer.chain)

    @asynccontextmanager
    async def _proven(self) -> AsyncIterator[frames.Challenge]:
        """A fresh connection whose other end holds the key too; afterwards frames are sorted as they come."""
        await self.close()
        try:
            self._socket = await asyncio.wait_for(
                websocket_connect(self._url, max_message_size=frames.BOUNDS.size, ping_interval=20), _ANSWER_S
            )
            challenge = await self._prove()
            yield challenge
        except BaseException as fault:
            await self.close()
            if isinstance(fault, (OSError, HTTPClientError, WebSocketClosedError, asyncio.TimeoutError, FrameError)):
                raise Busy(
                    f"the task server at {self._origin} cannot be reached: {fault or type(fault).__name__}"
                ) from fault
            raise
        self._jobs = [asyncio.ensure_future(self._sort()), asyncio.ensure_future(self._keep_lease())]

    async def _prove(self) -> frames.Challenge:
        challenge = await self._read()
        if not isinstance(challenge, frames.Challenge):
            raise StateMismatch(f"{self._origin} is not a task server")
        nonce = secrets.token_urlsafe(32)

        def proof(side: str, term: int) -> str:
            return control_proof(
                self._key,
                side,
                origin=self._origin,
                inbox=challenge.inbox,
                nonce_s=challenge.nonce,
                nonce_c=nonce,
                term=term,
            )

        asked = _now_s()
        mac = proof("client/v1", self._term)
        self._send(frames.Auth(nonce=nonce, client=self._client, term=self._term, mac=mac))
        welcome = await self._read()
        if isinstance(welcome, frames.Held):
            raise LockHeld(
                "another reconciler leads this run", hint=f"it ends {welcome.remaining_s:.0f} s after its last word"
            )
        if isinstance(welcome, frames.Fenced):
            self._term = 0  # ours is over; the next attempt asks for a new one
            raise Busy("another reconciler has led this run meanwhile")
        if not isinstance(welcome, frames.Welcome):
            raise StateMismatch(f"{self._origin} did not prove itself")
        if not hmac.compare_digest(welcome.mac, proof("server/v1", welcome.term)):
            raise StateMismatch(f"whoever answers at {self._origin} does not hold this run's key")
        self._term = welcome.term
        self._lease_s = welcome.lease_s
        self._led_until = asked + welcome.lease_s
        return challenge

    def lease_left_s(self) -> float:
        return max(0.0, self._led_until - _now_s())

    async def close(self) -> None:
        for job in self._jobs:
            job.cancel()
        self._led_until = 0.0
        await asyncio.gather(*self._jobs, return_exceptions=True)
        self._jobs = []
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._events = asyncio.Queue()
        self._fail_answers()

    # -------------------------------------------------------------------------------------------- events

    async def next_batch(self, timeout_s: float) -> Batch | None:
        try:
            told = await asyncio.wait_for(self._events.get(), timeout_s)
        except asyncio.TimeoutError:
            return None
        if told is None:
            self._events.put_nowait(None)  # it stays lost until `connect`
            raise Busy("the connection to the task server was lost")
        assert self._cursor is not None
        before = at = self._cursor
        events: list[Event | Unreadable] = []
        for entry in told.events:
            if entry.seq != at.seq + 1:
                raise Busy(f"event {entry.seq} came after {at.seq}")
            chain = frames.chain_next(at.chain, entry.seq, bytes.fromhex(entry.salt), entry.body)
            at = Cursor(inbox=at.inbox, epoch=at.epoch, seq=entry.seq, chain=chain)
            try:
                events.append(frames.parse_event(entry.seq, entry.body))
            except FrameError as fault:
                events.append(Unreadable(seq=entry.seq, raw=entry.body, error=str(fault)))
        self._cursor = at
        return Batch(before=before, events=tuple(events), cursor=at, again=told.again)

    async def ack(self, seq: int) -> None:
        self._send(frames.Ack(seq=seq))

    async def release(self, seq: int) -> None:
        self._send(frames.Release(seq=seq))

    # -------------------------------------------------------------------------------------------- offers

    async def offer(self, items: Sequence[ItemOffer], units: Sequence[UnitOffer], drop: Sequence[UnitId] = ()) -> None:
        told = [frames.ItemData(item=each.item, data=each.data, done_by=tuple(each.done_by)) for each in items]
        for chunk in _chunks(told):
            await self._ask(frames.Units(id=_id(), items=tuple(chunk), put=(), drop=()))
        put = tuple(
            frames.UnitPut(unit=each.unit, item=each.item, attempt=each.attempt, offered_to=each.offered_to)
            for each in units
        )
        await self._ask(frames.Units(id=_id(), items=(), put=put, drop=tuple(drop)))

    async def set_workers(self, blocked: Sequence[WorkerId], allowed: Sequence[WorkerId] | None = None) -> None:
        await self._ask(
            frames.Workers(id=_id(), blocked=tuple(blocked), allowed=None if allowed is None else tuple(allowed))
        )

    async def open_study(self, study: StudyKey, *, places: int, state: StudyState) -> None:
        await self._ask(frames.Open(id=_id(), study=study, places=places, state=state.value))

    async def settle_claims(self, claims: Sequence[tuple[VisitId, Claim]]) -> None:
        put = tuple(frames.ClaimPut(visit=visit, claim=claim.value) for visit, claim in claims)
        await self._ask(frames.Claims(id=_id(), put=put))

    async def drain(self, *, now: bool = False) -> None:
        await self._ask(frames.Drain(id=_id(), now=now))

    async def set_hook_key(self, key: HookKey) -> None:
        told = frames.Hooks(
            id=_id(), secret=b64(key.secret), event=key.event, timestamp=key.timestamp, signature=key.signature
        )
        await self._ask(told)

    def hinted(self) -> bool:
        hinted, self._hinted = self._hinted, False
        return hinted

    async def _ask(self, frame: Asking) -> frames.Applied:
        """Send it and wait until the server goes by it: until it is durable, where it is to last."""
        answer: asyncio.Future[frames.Applied | frames.Busy] = asyncio.get_running_loop().create_future()
        self._answers[frame.id] = answer
        asked = _now_s()
        try:
            self._send(frame)
            applied = await asyncio.wait_for(answer, _ANSWER_S)
            self._led_until = asked + self._lease_s  # whatever it was, the server counts from its arrival
        except (asyncio.TimeoutError, WebSocketClosedError) as fault:
            raise Busy("the task server did not answer") from fault
        finally:
            self._answers.pop(frame.id, None)
        if isinstance(applied, frames.Busy):
            raise Busy("the task server cannot write now: its disk is full")
        return applied

    # -------------------------------------------------------------------------------------------- inside

    def _send(self, frame: frames.FromClient) -> None:
        if self._socket is None:
            raise Busy("not connected to the task server")
        try:
            sent = self._socket.write_message(frames.FROM_CLIENT.to_json(frame))
        except WebSocketClosedError as fault:
            raise Busy("the connection to the task server was lost") from fault
        asyncio.ensure_future(sent).add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _read(self) -> frames.FromServer:
        assert self._socket is not None
        raw = await asyncio.wait_for(self._socket.read_message(), _ANSWER_S)
        if raw is None:
            raise WebSocketClosedError
        return frames.FROM_SERVER.parse(raw, frames.BOUNDS)

    async def _sort(self) -> None:
        """Events to the queue, answers to who waits for them, until the connection is lost."""
        socket = self._socket
        assert socket is not None
        try:
            while (raw := await socket.read_message()) is not None:
                frame = frames.FROM_SERVER.parse(raw, frames.BOUNDS)
                if isinstance(frame, frames.Events):
                    self._events.put_nowait(frame)
                elif isinstance(frame, frames.Look):
                    self._hinted = True
                elif isinstance(frame, (frames.Applied, frames.Busy)) and frame.of in self._answers:
                    _settle(self._answers[frame.of], frame)
                elif isinstance(frame, frames.Fenced):
                    self._term, self._led_until = 0, 0.0
                    break
        except FrameError:
            pass  # not what a task server says: as good as lost
        finally:
            socket.close()
            self._events.put_nowait(None)
            self._fail_answers()

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                await self._ask(frames.Renew(id=_id()))
            except Busy:
                return  # `_sort` tells

    def _fail_answers(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WebSocketClosedError())


def _now_s() -> float:
    return time.clock_gettime(_BOOTTIME)


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _chunks(items: Iterable[frames.ItemData]) -> Iterable[list[frames.ItemData]]:
    """Items in frames of bounded size, weighed as they travel."""
    chunk: list[frames.ItemData] = []
    size = 0
    for item in items:
        alone = frames.Units(id="", items=(item,), put=(), drop=())
        weight = len(frames.FROM_CLIENT.to_json(alone).encode())
        if chunk and size + weight > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += weight
    if chunk:
        yield chunk


def _id() -> Any:
    return secrets.token_urlsafe(16)
