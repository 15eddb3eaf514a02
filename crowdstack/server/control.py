"""The server's side of the control socket: proof, lease, events out, offers in (docs/protocol.md).

`Lease` decides who may speak; `ControlSocket` is the conversation.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tornado.iostream import IOStream
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from crowdstack.errors import Busy
from crowdstack.model import Claim, StudyState
from crowdstack.ports import HookKey
from crowdstack.server.pool import now
from crowdstack.server.rows import Change
from crowdstack.tokens import Secret, control_proof, unb64
from crowdstack.wire import control as frames
from crowdstack.wire.text import FrameError

if TYPE_CHECKING:
    from crowdstack.server.server import TaskServer

log = logging.getLogger(__name__)

LEASE_S = 30.0
_PROOF_S = 5.0
_AT_ONCE = 100  # events in one frame at most
_RETRY_S = 2.0
_TOLD = (Claim.VERIFIED, Claim.REFUTED)


@dataclass(slots=True)
class Lease:
    """Who may act on the run: one client at a time, under a term that grows with each new holder."""

    client: str
    term: int
    until: float  # monotonic

    def claim(self, client: str, term: int, now: float) -> int | frames.Held | frames.Fenced:
        """The term to go on under; or that another client has the lease, or that this term is over."""
        if term and (client, term) == (self.client, self.term):
            self.until = now + LEASE_S
            return term
        if term:
            return frames.Fenced()
        if client != self.client and now < self.until:
            return frames.Held(remaining_s=round(self.until - now, 1))
        self.client, self.term, self.until = client, self.term + 1, now + LEASE_S
        return self.term


class ControlSocket(WebSocketHandler):
    """One client. Frames are taken one at a time; what is answered with `applied` is on disk."""

    def initialize(self, server: TaskServer) -> None:
        self.server = server
        self._nonce = secrets.token_urlsafe(32)
        self.term = 0  # 0: not proven yet
        self._sent: int | None = None  # last event sent; None before `resume`
        self._under_way: deque[tuple[int, int, int]] = deque()  # (last seq, events, bytes) not acknowledged
        self._events = self._bytes = 0  # their sums
        self._hears = False  # of hooks

    def prepare(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin is not None and origin != self.server.config.origin:
            raise HTTPError(403)

    @property
    def max_message_size(self) -> int:
        return frames.BOUNDS.size

    def check_origin(self, origin: str) -> bool:
        return True  # `prepare` did

    def open(self, *_: str, **__: str) -> None:
        self.set_nodelay(True)
        stream = self.ws_connection.stream  # type: ignore[union-attr]
        assert isinstance(stream, IOStream)
        self._stream = stream
        self.server.controls.add(self)
        inbox = self.server.inbox
        self._send(frames.Challenge(nonce=self._nonce, inbox=inbox.id, epoch=inbox.epoch))
        self._proof_due = asyncio.get_running_loop().call_later(_PROOF_S, self.close, 1008, "no proof")

    def on_close(self) -> None:
        self._proof_due.cancel()
        self.server.controls.discard(self)

    async def on_message(self, message: str | bytes) -> None:
        try:
            frame = frames.FROM_CLIENT.parse(message, frames.BOUNDS)
            if isinstance(frame, frames.Auth) and not self.term:
                await self._authenticate(frame)
            elif not self.term:
                self.close(1008, "prove yourself first")
            else:
                await self._follow(frame)
        except FrameError as fault:
            log.warning("a control frame cannot be followed: %s", fault)
            self.close(1008, "bad frame")

    async def _authenticate(self, frame: frames.Auth) -> None:
        """Nothing but a proof is believed, and nothing is told to who has none."""
        server = self.server
        config, inbox, lease = server.config, server.inbox, server.lease

        def proof(side: str, term: int) -> str:
            return control_proof(
                config.keys["control"],
                side,
                origin=config.origin,
                inbox=inbox.id,
                nonce_s=self._nonce,
                nonce_c=frame.nonce,
                term=term,
            )

        if not hmac.compare_digest(proof("client/v1", frame.term), frame.mac):
            self.close(1008, "not proven")
            return
        self._proof_due.cancel()
        claimed = lease.claim(frame.client, frame.term, time.monotonic())
        if not isinstance(claimed, int):
            self._send(claimed)
            self.close(1000, "another client leads")
            return
        if claimed != inbox.term and not await inbox.lease_to(frame.client, claimed):
            self.close(1011, "the disk refuses")
            return
        self.term = claimed
        server.door.know(self._stream)
        for other in [other for other in server.controls if other is not self and other.term]:
            other.fence()
        self._send(frames.Welcome(term=claimed, lease_s=LEASE_S, mac=proof("server/v1", claimed)))

    def fence(self) -> None:
        self.term = 0
        self._sent = None
        self._send(frames.Fenced())
        self.close(1000, "fenced")

    async def _follow(self, frame: frames.FromClient) -> None:
        server = self.server
        server.lease.until = time.monotonic() + LEASE_S
        if isinstance(frame, frames.Ack):
            while self._under_way and self._under_way[0][0] <= frame.seq:
                _, events, size = self._under_way.popleft()
                self._events -= events
                self._bytes -= size
            self.pump()
        elif isinstance(frame, frames.Release):
            await server.inbox.release(frame.seq)
        elif isinstance(frame, frames.Resume):
            self._resume(frame)
        elif isinstance(frame, frames.NewEpoch):
            await self._new_epoch(frame)
        elif isinstance(frame, frames.Renew):
            self._send(frames.Applied(of=frame.id))
        elif isinstance(frame, frames.Hooks):
            server.hooks.key = _hook_key(frame)
            self._hears = True
            self._send(frames.Applied(of=frame.id))
        elif not isinstance(frame, frames.Auth):
            kept = await server.inbox.append(self._change(frame))
            self._send(frames.Applied(of=frame.id) if kept else frames.Busy(of=frame.id, retry_s=_RETRY_S))

    def _change(self, frame: frames.Units | frames.Workers | frames.Open | frames.Claims | frames.Drain) -> Change:
        pool, at = self.server.desk.pool, now()
        if isinstance(frame, frames.Units):
            unknown = {put.item for put in frame.put} - pool.items.keys() - {told.item for told in frame.items}
            if unknown:
                raise FrameError(f"units of {len(unknown)} items that were never told")
            return pool.offer(frame.items, frame.put, frame.drop, at)
        if isinstance(frame, frames.Workers):
            return pool.admit(frame.blocked, frame.allowed, at)
        if isinstance(frame, frames.Open):
            if frame.state not in list(StudyState):
                raise FrameError("not a state of a study")
            return pool.open_study(frame.study, frame.places, StudyState(frame.state), at)
        if isinstance(frame, frames.Claims):
            if not all(put.claim in _TOLD for put in frame.put):
                raise FrameError("a claim is verified or refuted")
            return pool.settle([(put.visit, Claim(put.claim)) for put in frame.put], at)
        return pool.drain(frame.now, at)

    def look(self) -> None:
        """A hook came. A leader that connects now looks anyhow."""
        if self.term and self._hears:
            self._send(frames.Look())

    # -------------------------------------------------------------------------------------------- events

    def _resume(self, frame: frames.Resume) -> None:
        inbox = self.server.inbox
        after = frame.after or inbox.start
        if (frame.inbox, frame.epoch, frame.chain) != (inbox.id, inbox.epoch, inbox.chain_at(after)):
            self._send(frames.Regressed(inbox=inbox.id, epoch=inbox.epoch, have=inbox.seq))
            return
        self._sent, self._events, self._bytes = after, 0, 0
        self._under_way.clear()
        self._send(frames.Resumed(inbox=inbox.id, epoch=inbox.epoch, after=after, seq=inbox.seq))
        self.pump()

    async def _new_epoch(self, frame: frames.NewEpoch) -> None:
        inbox = self.server.inbox
        self._sent = None
        try:
            await inbox.new_epoch(frame.epoch, frame.above)
        except Busy:
            self._send(frames.Busy(of=frame.id, retry_s=_RETRY_S))
            return
        start = frames.chain_start(inbox.id, inbox.epoch)
        self._send(frames.Applied(of=frame.id, inbox=inbox.id, epoch=inbox.epoch, seq=inbox.start, chain=start))

    def pump(self) -> None:
        """Send what is on disk and was not sent yet, as far as the window allows."""
        inbox = self.server.inbox
        while self._sent is not None and self._sent < inbox.seq:
            room = min(frames.WINDOW_EVENTS - self._events, _AT_ONCE)
            if room <= 0 or self._bytes >= frames.WINDOW_BYTES:
                return
            again = self._sent < inbox.again
            batch: list[frames.Entry] = []
            size = 0
            for entry in inbox.entries(self._sent, room):
                if batch and (
                    self._bytes + size + len(entry.body) > frames.WINDOW_BYTES
                    or again is not (entry.seq <= inbox.again)
                ):
                    break
                batch.append(entry)
                size += len(entry.body)
            self._sent = batch[-1].seq
            self._under_way.append((self._sent, len(batch), size))
            self._events += len(batch)
            self._bytes += size
            self._send(frames.Events(again=again, events=tuple(batch)))

    def _send(self, frame: frames.FromServer) -> None:
        try:
            self.write_message(frames.FROM_SERVER.to_json(frame)).add_done_callback(lambda sent: sent.exception())
        except WebSocketClosedError:
            pass  # it will resume where it was


def _hook_key(frame: frames.Hooks) -> HookKey:
    try:
        secret = Secret(unb64(frame.secret))
    except ValueError:
        raise FrameError("the key of hooks is not base64url") from None
    if not secret:
        raise FrameError("the key of hooks is empty: anybody could sign with it")
    return HookKey(secret=secret, event=frame.event, timestamp=frame.timestamp, signature=frame.signature)
