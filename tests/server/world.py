"""A small world for the server's tests: a configuration, a bundle, pages that speak the protocol."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from crowdstack.folder import RunFolder
from crowdstack.model import Cursor, ItemOffer, StudyState, UnitOffer
from crowdstack.server.client import ControlClient
from crowdstack.server.server import TaskServer, serve
from crowdstack.tokens import PURPOSES, Signer, derive, link_claims
from crowdstack.wire import worker as frames
from crowdstack.wire.configs import BundleFile, Limits, ServerConfig
from crowdstack.wire.text import Bounds

RUN, STUDY = "birds-1", "birds-1-s"
ROOT = bytes(range(32))
PAGE = b"<!doctype html><html><head><title>t</title></head><body><script>let a = 1</script></body></html>"
ANSWERS = {
    "type": "object",
    "properties": {"label": {"enum": ["yes", "no"]}, "note": {"type": "string"}},
    "required": ["label"],
}


def blob(blobs: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    blobs.mkdir(exist_ok=True)
    (blobs / digest).write_bytes(content)
    return digest


def config(blobs: Path, *, port: int = 0, limits: dict[str, Any] | None = None, **changes: Any) -> ServerConfig:
    files = {
        "/": BundleFile(blob=blob(blobs, PAGE), type="text/html; charset=utf-8"),
        "/client.js": BundleFile(blob=blob(blobs, b"'use strict'"), type="text/javascript; charset=utf-8"),
        "/images/a.png": BundleFile(blob=blob(blobs, b"\x89PNG"), type="image/png"),
    }
    made = ServerConfig(
        run=RUN,
        task="birds",
        title="Birds",
        description="Is it a bird?",
        host="127.0.0.1",
        port=port,
        origin=f"http://127.0.0.1:{port}",
        keys={purpose: derive(ROOT, RUN, purpose) for purpose in PURPOSES},
        bundle="b" * 64,
        files=files,
        answers=ANSWERS,
        timeout_s=600,
        units_per_visit=None,
        max_units=None,
        sample=None,
        completion="Thank you!",
        limits=Limits(**{"disk_reserve": 0, "ballast": 0, **(limits or {})}),
    )
    return replace(made, **changes)


def nonce() -> str:
    return secrets.token_urlsafe(16)


def unit_id(item: str, repeat: int = 0) -> str:
    return f"unit-{item}-{repeat}".ljust(22, "_")


def link(origin: str, worker: str, /, **changes: Any) -> str:
    claims = link_claims(run=RUN, study=STUDY, provider="mock", worker=worker, origin=origin, issued=0, expires=None)
    return Signer(derive(ROOT, RUN, "link"), "link").sign({**claims, **changes})


class Page:
    """A worker's page: one socket."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket
        self.session = ""

    @classmethod
    async def open(cls, origin: str) -> Page:
        request = HTTPRequest(origin.replace("http", "ws", 1) + "/v1/work", headers={"Origin": origin})
        return cls(await websocket_connect(request))

    @classmethod
    async def of(cls, origin: str, worker: str, **changes: Any) -> Page:
        """Opened by the worker's link, and welcome."""
        page = await cls.open(origin)
        answer = await page.hello(link(origin, worker, **changes))
        assert isinstance(answer, frames.Welcome), answer
        return page

    async def ask(self, frame: frames.FromWorker | str | bytes) -> frames.ToWorker:
        text = frame if isinstance(frame, (str, bytes)) else frames.FROM_WORKER.to_json(frame)
        await self.socket.write_message(text, binary=isinstance(text, bytes))
        return await self.hear()

    async def hear(self) -> frames.ToWorker:
        raw = await asyncio.wait_for(self.socket.read_message(), 10)
        assert raw is not None, f"closed: {self.socket.close_code} {self.socket.close_reason}"
        return frames.TO_WORKER.parse(raw, Bounds(1 << 24))

    async def closed(self) -> int | None:
        """The close code, once it comes."""
        while await asyncio.wait_for(self.socket.read_message(), 10) is not None:
            pass
        return self.socket.close_code

    async def hello(self, token: str | None = None, *, session: str | None = None, bundle: str = "") -> frames.ToWorker:
        params = None if token is None else {"t": token}
        answer = await self.ask(frames.Hello(protocol=1, bundle=bundle, params=params, session=session))
        if isinstance(answer, frames.Welcome):
            self.session = answer.session
        return answer

    async def next(self) -> frames.ToWorker:
        return await self.ask(frames.Next())

    async def take(self) -> frames.Assigned:
        answer = await self.next()
        assert isinstance(answer, frames.Assigned), answer
        return answer

    async def submit(self, assignment: str, answers: dict[str, Any], with_nonce: str = "") -> frames.ToWorker:
        return await self.ask(frames.Submit(assignment=assignment, nonce=with_nonce or nonce(), answers=answers))

    def close(self) -> None:
        self.socket.close()


@asynccontextmanager
async def control(server: TaskServer, client: str = "store-0000000000000") -> AsyncIterator[ControlClient]:
    made = ControlClient(server.origin, derive(ROOT, RUN, "control"), client)
    try:
        yield made
    finally:
        await made.close()


async def offer(client: ControlClient, items: Iterable[str], *, repeats: int = 1, places: int = 1000) -> Cursor:
    """Connect, offer `repeats` units of each item, open the study."""
    cursor = await client.connect(None)
    items = list(items)
    await client.offer(
        [ItemOffer(item=each, data={"text": f"about {each}"}) for each in items],
        [UnitOffer(unit=unit_id(each, k), item=each, attempt=1) for each in items for k in range(repeats)],
    )
    await client.open_study(STUDY, places=places, state=StudyState.OPEN)
    return cursor


async def told(client: ControlClient, *, until: int | None = None) -> list[Any]:
    """Events that come (until event `until`), acknowledged."""
    events: list[Any] = []
    while batch := await client.next_batch(5.0 if until and (not events or events[-1].seq < until) else 0.2):
        events.extend(batch.events)
        await client.ack(batch.cursor.seq)
        if until and events[-1].seq >= until:
            break
    return events


@asynccontextmanager
async def a_server(folder: Path, *, units: int = 0, **changes: Any) -> AsyncIterator[TaskServer]:
    """A server in this loop; with `units`, so many items are offered and the study is open."""
    root = folder / "run"
    root.mkdir(mode=0o700, exist_ok=True)
    async with serve(config(folder / "blobs", **changes), RunFolder(root), folder / "blobs") as server:
        if units:
            async with control(server) as client:
                await offer(client, [f"item{n}" for n in range(units)])
        yield server
