"""The way to a task server: links, pages and sockets, as a browser goes it. Whoever cannot get through is told `Away`."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketError, websocket_connect

from crowdstack import tokens
from crowdstack.model import WorkerId
from crowdstack.wire.configs import CrowdConfig
from crowdstack.wire.text import Bounds
from crowdstack.wire.worker import (
    FROM_WORKER,
    LINK_REFUSED,
    PROTOCOL,
    TO_WORKER,
    Busy,
    Done,
    Error,
    FromWorker,
    Hello,
    Reload,
    ToWorker,
    Wait,
    Welcome,
)

log = logging.getLogger(__name__)

_BUNDLE = re.compile(r'<meta name="crowdstack-bundle" content="([^"]*)">')
_BOUNDS = Bounds(size=4 * 1024 * 1024)
_LINK_LIVES_S = 30 * 24 * 3600
_KNOCKING = 20  # workers that may be between dialling and `welcome`: the server has room for few strangers
_PING_S = 30
_UNREACHABLE = (OSError, HTTPClientError, StreamClosedError, WebSocketError)


class Away(Exception):
    """The server is down, restarting or done with this connection: come again in a moment."""


class Forbidden(Exception):
    """The server does not let this worker in with what it showed."""


@dataclass(frozen=True, slots=True)
class Address:
    """A page as the browser has it in its address bar."""

    url: str
    origin: str
    params: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Address:
        parts = urlsplit(url)
        return cls(url, f"{parts.scheme}://{parts.netloc}", dict(parse_qsl(parts.query, keep_blank_values=True)))


class Site:
    def __init__(self, config: CrowdConfig, *, connections: int) -> None:
        self._config = config
        self._signer = tokens.Signer(config.link_key, "link")
        self._http = AsyncHTTPClient(force_instance=True, max_clients=connections)
        self._answers = True
        self._door = asyncio.Semaphore(_KNOCKING)

    def signed(self, worker: WorkerId) -> Address:
        """The mock provider's link for this worker."""
        now = int(time.time())
        token = self._signer.sign(
            tokens.link_claims(
                run=self._config.run,
                study=self._config.study,
                provider="mock",
                worker=worker,
                origin=self._config.origin,
                issued=now,
                expires=now + _LINK_LIVES_S,
            )
        )
        return Address.of(tokens.link_url(self._config.origin, token))

    async def enter(self, address: Address, session: str | None) -> tuple[Line, ToWorker]:
        """Load the page, open its socket, say hello; the open line and what was answered."""
        async with self._door:
            line = await self._dial(address, session)
            try:
                return line, await line.hello()
            except BaseException:
                await line.close()
                raise

    async def _dial(self, address: Address, session: str | None) -> Line:
        try:
            page = await self._http.fetch(address.url, raise_error=False)
            if page.code == 403:
                raise Forbidden("the server refuses the link")
            if page.code != 200:
                raise Away(f"the page answers {page.code}")
            socket = await self._socket(address.origin)
        except _UNREACHABLE as fault:
            self._note_answering(False)
            raise Away(str(fault)) from fault
        self._note_answering(True)
        found = _BUNDLE.search(page.body.decode())
        bundle = found[1] if found else ""
        params = None if session else address.params
        return Line(socket, Hello(protocol=PROTOCOL, bundle=bundle, session=session, params=params))

    async def _socket(self, origin: str) -> WebSocketClientConnection:
        request = HTTPRequest(origin.replace("http", "ws", 1) + "/v1/work", headers={"Origin": origin})
        opening = asyncio.ensure_future(websocket_connect(request, ping_interval=_PING_S))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(*_UNREACHABLE):
                (await opening).close()  # it cannot be dropped half open
            raise

    def close(self) -> None:
        self._http.close()

    def _note_answering(self, answers: bool) -> None:
        if answers != self._answers:
            log.info("the server answers again" if answers else "the server does not answer; workers come again")
        self._answers = answers


class Line:
    """An open socket and the hello that goes with it."""

    def __init__(self, socket: WebSocketClientConnection, hello: Hello) -> None:
        self._socket = socket
        self._hello = hello
        self._over = False

    async def hello(self) -> ToWorker:
        return await self.ask(self._hello, Welcome, Wait, Done)

    async def ask(self, frame: FromWorker, *answers: type[ToWorker]) -> ToWorker:
        """The server's answer: one of `answers` or an Error. Other frames are passed over, `busy` is waited out."""
        while True:
            heard = await self._exchange(frame, answers)
            if isinstance(heard, Busy):
                await asyncio.sleep(heard.retry_s)
            elif isinstance(heard, Error) and heard.code == "too_fast":
                await asyncio.sleep(1)
            else:
                return heard

    async def close(self) -> None:
        """Say goodbye and wait until the server has heard it."""
        self._socket.close()
        while await self._read() is not None:
            pass

    async def _exchange(self, frame: FromWorker, answers: tuple[type[ToWorker], ...]) -> ToWorker:
        try:
            await self._socket.write_message(FROM_WORKER.to_json(frame))
        except WebSocketClosedError:
            pass  # why it closed is told by reading
        while (text := await self._read()) is not None:
            heard = TO_WORKER.parse(text, _BOUNDS)
            if isinstance(heard, Reload):
                raise Away("the page is old")
            if isinstance(heard, (Busy, Error, *answers)):
                return heard
        if self._socket.close_code == LINK_REFUSED:
            raise Forbidden("the server refuses the link")
        raise Away(f"the socket was closed ({self._socket.close_code})")

    async def _read(self) -> str | bytes | None:
        """The next message; None once the socket is closed, however often it is asked."""
        text = None if self._over else await self._socket.read_message()
        self._over = text is None
        return text
