"""The fake on a port: Tornado brings requests to the service, breaks connections when it says so, delivers webhooks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from crowdstack.fakes.prolific.service import Lost, Request, Service
from crowdstack.fakes.prolific.transport import encode
from crowdstack.fakes.prolific.world import Delivery

log = logging.getLogger(__name__)
_TICK_MS = 100
_HANG_S = 300  # no client waits longer


class _Everything(RequestHandler):
    def initialize(self, service: Service) -> None:
        self._service = service
        self._gone = asyncio.Event()

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def on_connection_close(self) -> None:
        self._gone.set()

    async def _any(self) -> None:
        request = self.request
        answer = self._service.answer(
            Request(
                method=str(request.method),
                url=f"{request.protocol}://{request.host}{request.uri}",
                authorization=request.headers.get("Authorization", ""),
                body=request.body,
            )
        )
        if isinstance(answer, Lost):
            if answer.hangs:
                try:
                    await asyncio.wait_for(self._gone.wait(), _HANG_S)
                except asyncio.TimeoutError:
                    pass
            if not self._gone.is_set():
                self.detach().close()
            return
        content, headers = encode(answer)
        self.set_status(answer.status)
        if not content:
            self.clear_header("Content-Type")
        for name, value in headers.items():
            self.set_header(name, value)
        await self.finish(content or None)

    get = post = patch = delete = put = _any


class _Courier:
    """Carries webhooks to their receivers, several at a time, and tells the service what came of each."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._client = AsyncHTTPClient(force_instance=True)
        self._jobs: set[asyncio.Task[None]] = set()

    def tick(self) -> None:
        self._service.tick()
        for delivery in self._service.deliveries():
            job = asyncio.ensure_future(self._carry(delivery))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _carry(self, delivery: Delivery) -> None:
        request = HTTPRequest(
            delivery.url, method="POST", headers=delivery.headers, body=delivery.body, request_timeout=10,
            follow_redirects=False,
        )  # fmt: skip
        try:
            ok = 200 <= (await self._client.fetch(request)).code < 300
        except (HTTPClientError, OSError) as fault:
            log.info("webhook %s to %s failed: %s", delivery.event, delivery.url, fault)
            ok = False
        self._service.delivered(delivery.event, ok)

    async def stop(self) -> None:
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        self._client.close()


@asynccontextmanager
async def serve(service: Service, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve until left; gives the origin, `http://127.0.0.1:4321`. Port 0: a free one."""
    server = HTTPServer(Application([(r".*", _Everything, {"service": service})]))
    sockets = bind_sockets(port, host)
    server.add_sockets(sockets)
    courier = _Courier(service)
    ticking = PeriodicCallback(courier.tick, _TICK_MS)
    ticking.start()
    try:
        yield f"http://{host}:{sockets[0].getsockname()[1]}"
    finally:
        ticking.stop()
        await courier.stop()
        server.stop()
        await server.close_all_connections()
