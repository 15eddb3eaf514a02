"""Whoever holds the port or reaches it without the key learns nothing and changes nothing (threats C1, C2)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler, websocket_connect

from crowdstack.errors import Busy, StateMismatch
from crowdstack.server.client import ControlClient
from crowdstack.tokens import Secret, b64, control_proof, derive
from crowdstack.wire import control as frames
from tests.server.world import ROOT, RUN, a_server, nonce

KEY = derive(ROOT, RUN, "control")


class Squatter(WebSocketHandler):
    """Took the port; answers as a server would, without the key."""

    heard: list[str] = []
    answers: list[frames.FromServer] = []

    def check_origin(self, origin: str) -> bool:
        return True

    def open(self, *_: Any, **__: Any) -> None:
        self.write_message(frames.FROM_SERVER.to_json(frames.Challenge(nonce="s" * 43, inbox="i" * 22, epoch=1)))

    def on_message(self, message: str | bytes) -> None:
        self.heard.append(str(message))
        for answer in self.answers:
            self.write_message(frames.FROM_SERVER.to_json(answer))


def test_a_squatter_learns_nothing_and_is_not_believed(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            squat = HTTPServer(Application([("/v1/control", Squatter)]))
            squat.listen(0, "127.0.0.1")
            (listening,) = squat._sockets.values()
            origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
            event = frames.Events(again=False, events=(frames.Entry(seq=1, salt="00", body="{}"),))
            Squatter.heard.clear()
            Squatter.answers[:] = [frames.Welcome(term=1, lease_s=30, mac="0" * 64), event]
            client = ControlClient(origin, KEY, "store-0000000000000")
            with pytest.raises(StateMismatch, match="does not hold this run's key"):
                await client.connect(None)
            with pytest.raises(Busy):
                await client.drain()
            (auth,) = Squatter.heard  # one proof, and nothing after it
            assert "resume" not in auth
            for encoded in (KEY.hex(), b64(KEY), repr(bytes(KEY))):
                assert encoded not in auth
            # The proof it got opens nothing at the true server, which asked with another nonce at another address.
            socket = await websocket_connect(server.origin.replace("http", "ws") + "/v1/control")
            await socket.read_message()
            await socket.write_message(auth)
            assert await asyncio.wait_for(socket.read_message(), 5) is None
            socket.close()
            assert server.inbox.term == 0
            await client.close()
            squat.stop()
            await squat.close_all_connections()

    asyncio.run(story())


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "http://127.0.0.1:1"},
        {"inbox": "other"},
        {"nonce_s": "x"},
        {"nonce_c": "x"},
        {"term": 7},
        {"side": "server/v1"},
        {"key": Secret(bytes(32))},
    ],
)
def test_a_proof_of_anything_else_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            socket = await websocket_connect(server.origin.replace("http", "ws") + "/v1/control")
            challenge = frames.FROM_SERVER.parse(await socket.read_message() or "", frames.BOUNDS)
            assert isinstance(challenge, frames.Challenge)
            own = nonce()
            proven: dict[str, Any] = {
                "key": KEY,
                "side": "client/v1",
                "origin": server.origin,
                "inbox": server.inbox.id,
                "nonce_s": challenge.nonce,
                "nonce_c": own,
                "term": 0,
                **change,
            }
            mac = control_proof(**proven)
            auth = frames.Auth(nonce=own, client="store-0000000000000", term=0, mac=mac)
            await socket.write_message(frames.FROM_CLIENT.to_json(auth))
            assert await asyncio.wait_for(socket.read_message(), 5) is None
            socket.close()
            assert server.inbox.term == 0

    asyncio.run(story())


def test_without_a_proof_no_frame_is_followed(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server:
            for frame in (
                frames.Drain(id=nonce(), now=True),
                frames.Resume(inbox=server.inbox.id, epoch=1, after=0, chain=""),
            ):
                socket = await websocket_connect(server.origin.replace("http", "ws") + "/v1/control")
                await socket.read_message()
                await socket.write_message(frames.FROM_CLIENT.to_json(frame))
                assert await asyncio.wait_for(socket.read_message(), 5) is None
                socket.close()
            assert not server.desk.pool.draining

    asyncio.run(story())
