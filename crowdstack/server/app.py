"""The web side: HTTP routes, the worker socket, guards. Joins session and inbox; decides nothing about work."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import Counter as Tally
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import prometheus_client
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate
from tornado.iostream import IOStream, StreamBufferFullError, StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from crowdstack.server import hooks
from crowdstack.server.control import ControlSocket
from crowdstack.server.hooks import Took
from crowdstack.server.pool import now
from crowdstack.server.session import RETRY_S, Keep, Reply, Session
from crowdstack.server.site import HEADERS
from crowdstack.tokens import health_proof
from crowdstack.wire import worker as frames
from crowdstack.wire.configs import Limits
from crowdstack.wire.text import FrameError

if TYPE_CHECKING:
    from crowdstack.server.server import TaskServer

log = logging.getLogger(__name__)

_LOCKED = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_PLAIN = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{}</title>"
    "<style>:root{{color-scheme:light dark}}body{{font:1.1rem/1.5 system-ui;max-width:34rem;margin:20vh auto;padding:0 1rem}}"
    "</style><p>{}"
)
_FORBIDDEN = _PLAIN.format("Link not valid", "This link is not valid. Please open it again from where you got it.")
_NOBODY = _PLAIN.format(
    "Nobody's link",
    "This link was opened without a participant's ids in it, as when somebody looks at how the study is listed. Who takes part"
    " is known by them. <a href='/?preview'>See the task as a preview</a>.",
)
_RETRY_S = "5"
_CHUNK = 4096  # bytes read at once from a worker socket: its frames are small
_BUSY = f"HTTP/1.1 503 Busy\r\nRetry-After: {_RETRY_S}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


class Metrics:
    """Numbers for /metrics; a registry per server."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> prometheus_client.Counter:
            return prometheus_client.Counter(f"crowdstack_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str) -> prometheus_client.Gauge:
            return prometheus_client.Gauge(f"crowdstack_{name}", text, registry=self.registry)

        self.answers = counter("frames_answered", "Frames sent to workers, by type", "type")
        self.faults = counter("faults", "Frames that could not be understood")
        self.hooks = counter("hooks", "Hooks of the provider, by what became of them", "took")
        self.turned_away = counter("turned_away", "Connections refused by a limit", "limit")
        self.sockets = gauge("sockets", "Open worker sockets")
        self.seq = gauge("inbox_seq", "Number of the last event on disk")
        self.open_holds = gauge("open_holds", "Units in the hands of workers")
        self.free_disk = gauge("free_disk_bytes", "Free room where the inbox is")
        self.synchronous = gauge("inbox_synchronous", "How the inbox's connection says it writes; 2 is FULL")
        self._by_type = {cls: self.answers.labels(cls.__name__.lower()) for cls in frames.ToWorker.__args__}

    def answered(self, frame: frames.ToWorker) -> None:
        self._by_type[type(frame)].inc()


class Pace:
    """A bucket of frames: who has emptied it waits; nothing is lost."""

    def __init__(self, limits: Limits) -> None:
        self.taken = False  # a post is under way (of a socket's frames Tornado reads one at a time by itself)
        self._rate, self._most = limits.frames_per_s, float(limits.burst)
        self._left, self._at = self._most, time.monotonic()

    def wait_s(self) -> float:
        """Take one; how long to wait before it may be used."""
        at = time.monotonic()
        self._left = min(self._most, self._left + (at - self._at) * self._rate) - 1
        self._at = at
        return max(0.0, -self._left / self._rate)


class Door:
    """Who is in: open worker sockets, pages per worker, and strangers.

    A stranger is a connection that has shown no good link, session or proof: silent or slow, a request for a file, a
    socket before hello. It keeps nobody out: where there are too many, the one that was silent longest makes room.
    Strangers have a share of the open files for themselves, so control socket and health proof find room at any time.
    """

    def __init__(self) -> None:
        self.sockets: set[WorkSocket] = set()
        self.pages: Tally[str] = Tally()  # by worker
        self.posts: dict[str, Pace] = {}  # by visit, like `Pool.visits` for as long as the server lives
        self.strangers: dict[IOStream, str] = {}  # with their addresses, those silent longest first
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = files - max(64, files // 10)  # the rest is for disk and listener
        self._most_strangers, self._most_sockets = room // 4, room - room // 4

    def wait(self, stream: IOStream, address: str, limits: Limits) -> tuple[IOStream, str] | None:
        """A stranger that says nothing from now on; whoever must leave for it, and by which limit."""
        there = {other: of for other, of in self.strangers.items() if other is not stream and not other.closed()}
        self.strangers = {**there, stream: address}
        near = [other for other, of in self.strangers.items() if of == address]
        if len(near) > limits.waiting_per_address:
            return near[0], "waiting_per_address"
        if len(self.strangers) > min(limits.waiting_sockets, self._most_strangers):
            return next(iter(self.strangers)), "waiting_sockets"
        return None

    def know(self, stream: IOStream) -> None:
        self.strangers.pop(stream, None)

    def full(self) -> bool:
        """Whether there is no file left for another worker socket."""
        return len(self.sockets) >= self._most_sockets


class Listener(HTTPServer):
    """An HTTP server in which those who say nothing keep nobody out."""

    def guard(self, server: TaskServer) -> None:
        self._server = server

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        self._wait(stream, address)  # at once: a burst is accepted in one go
        super().handle_stream(stream, address)

    def start_request(self, server_conn: Any, request_conn: Any) -> HTTPMessageDelegate:
        self._wait(server_conn.stream, server_conn.context.address)  # what it asked before is answered
        return super().start_request(server_conn, request_conn)

    def _wait(self, stream: IOStream, address: Any) -> None:
        leaving = self._server.door.wait(stream, address[0], self._server.config.limits)
        if leaving is not None:
            other, limit = leaving
            self._server.metrics.turned_away.labels(limit).inc()
            if not other.writing():  # nothing half said
                with suppress(OSError):  # it has gone already
                    other.socket.send(_BUSY)
            other.close()


class Handler(RequestHandler):
    """What every answer has: headers that close doors, and logs without queries."""

    def initialize(self, server: TaskServer) -> None:
        self.server = server

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", _LOCKED)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Server", "crowdstack")

    def write_error(self, status_code: int, **_: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}\n")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, HTTPError):
            log.error("%s %s failed", self.request.method, self.request.path, exc_info=(typ, value, tb))


class PageHandler(Handler):
    def get(self) -> None:
        """The page. Who comes with a link must have a good one; it holds no data, so without one anybody may read it."""
        params = {name: self.get_query_argument(name, strip=False) for name in self.request.query_arguments}
        settings, at = self.server.settings, time.time()
        if "t" in params and settings.visitor(params, now=at) is None:
            self.set_status(403)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(_NOBODY if settings.names_nobody(params, now=at) else _FORBIDDEN)
            return
        page = self.server.site.page()
        self.set_header("Content-Type", page.type)
        self.set_header("Content-Security-Policy", page.policy)
        self.finish(page.content)


class FileHandler(Handler):
    """Files of the bundle's table. The path is compared as it came, so no way of writing it leads elsewhere."""

    def get(self) -> None:
        file = self.server.site.find(self.request.path)
        if file is None:
            raise HTTPError(404)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Etag", f'"{file.blob}"')
        self.set_header("Content-Type", file.type)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        self.finish(self.server.site.read(file))


class SampleHandler(Handler):
    def get(self) -> None:
        config = self.server.config
        if config.sample is None:
            raise HTTPError(404)
        self.finish({"title": config.title, "description": config.description, "data": config.sample})


class HealthHandler(Handler):
    def get(self) -> None:
        nonce = self.request.headers.get("X-Crowdstack-Nonce")
        if nonce is not None:
            config, digest = self.server.config, self.server.config_digest
            proof = health_proof(config.keys["control"], nonce=nonce, run=config.run, config=digest)
            self.set_header("X-Crowdstack-Proof", proof)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("ok")


class MetricsHandler(Handler):
    def get(self) -> None:
        if not self.server.settings.may_read_metrics(self.request.headers.get("Authorization", "")):
            raise HTTPError(404)
        metrics = self.server.metrics
        metrics.sockets.set(len(self.server.door.sockets))
        metrics.seq.set(self.server.inbox.seq)
        metrics.synchronous.set(self.server.inbox.synchronous)
        metrics.open_holds.set(len(self.server.desk.pool.holds))
        metrics.free_disk.set(self.server.inbox.free_disk())
        self.set_header("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)
        self.finish(prometheus_client.generate_latest(metrics.registry))


_STATUS = {frames.Accepted: 200, frames.Refused: 422, frames.Busy: 503}


class SubmissionsHandler(Handler):
    """The same submit frame where sockets are blocked. Needs a header and a type that no form can send."""

    async def post(self) -> None:
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip()
        if (
            kind != "application/json"
            or self.request.headers.get("Origin", self.server.config.origin) != self.server.config.origin
        ):
            raise HTTPError(403)
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        session = Session(self.server.desk)
        if scheme != "Bearer" or not session.identify(token, now()):
            self._answer(frames.Error(code="forbidden", message="this session is not valid"), 401)
            return
        assert session.visit is not None  # `identify` found it
        pace = self.server.door.posts.setdefault(session.visit, Pace(self.server.config.limits))
        if pace.taken:
            self._answer(frames.Busy(of="submit", retry_s=RETRY_S), 503)
            return
        pace.taken = True
        try:
            await asyncio.sleep(pace.wait_s())
            await self._receive(session)
        finally:
            pace.taken = False

    async def _receive(self, session: Session) -> None:
        try:
            frame = frames.FROM_WORKER.parse(self.request.body, self.server.settings.frames)
        except FrameError as fault:
            self._answer(frames.Error(code=fault.code, message=str(fault)), 413 if fault.code == "too_large" else 400)
            return
        if not isinstance(frame, frames.Submit):
            self._answer(frames.Error(code="bad_frame", message="only submit frames come here"), 400)
            return
        outcome = session.receive(frame, now())
        if isinstance(outcome, Keep):
            kept = await self.server.inbox.append(outcome.change, len(self.request.body))
            outcome = Reply(outcome.answer() if kept else outcome.busy)
        self._answer(outcome.frame, _STATUS.get(type(outcome.frame), 409))

    def _answer(self, frame: frames.ToWorker, status: int) -> None:
        self.server.metrics.answered(frame)
        self.set_status(status)
        if isinstance(frame, frames.Busy):
            self.set_header("Retry-After", str(int(frame.retry_s)))
        self.set_header("Content-Type", "application/json")
        self.finish(frames.TO_WORKER.to_json(frame))


class HooksHandler(Handler):
    """The provider's hooks. The answer has no body and says nothing of the run: anybody can send here."""

    def post(self) -> None:
        took = self.server.hooks.take(self.request.headers, self.request.body)
        self.server.metrics.hooks.labels(took.word).inc()
        if took is Took.NO_KEY:
            self.set_header("Retry-After", _RETRY_S)
        self.set_status(took.status)
        self.finish()


class Connection(WebSocketProtocol13):
    """Takes what has come in one piece: Tornado's own asks the stream three or four times a frame, the dearest part of it."""

    _come = b""

    async def _read_bytes(self, n: int) -> bytes:
        while len(self._come) < n:
            self._come += await self.stream.read_bytes(_CHUNK, partial=True)
        data, self._come = self._come[:n], self._come[n:]
        self._wire_bytes_in += n
        return data


class WorkSocket(WebSocketHandler):
    """The worker socket. Tornado reads no further frame until what `on_message` returned is done: one at a time."""

    def initialize(self, server: TaskServer) -> None:
        self.server = server
        self.session = Session(server.desk)
        self._worker: str | None = None  # counted as a page of this one
        self._faults = 0

    def prepare(self) -> None:
        if self.request.headers.get("Origin") != self.server.config.origin:
            raise HTTPError(403)
        if self.server.door.full():
            self.server.metrics.turned_away.labels("files").inc()
            self.set_header("Retry-After", _RETRY_S)
            raise HTTPError(503)

    def check_origin(self, origin: str) -> bool:
        return True  # `prepare` did, also when there is none

    log_exception = Handler.log_exception
    write_error = Handler.write_error

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        found = super().get_websocket_protocol()
        return Connection(self, False, found.params) if isinstance(found, WebSocketProtocol13) else None

    def open(self, *_: str, **__: str) -> None:
        limits = self.server.config.limits
        stream = self.ws_connection.stream  # type: ignore[union-attr]
        assert isinstance(stream, IOStream)
        stream.max_write_buffer_size = limits.write_buffer
        stream.set_nodelay(True)
        stream.read_chunk_size = _CHUNK
        self._pace = Pace(limits)
        self._stream = stream
        self.server.door.sockets.add(self)
        self._hello_due = asyncio.get_running_loop().call_later(limits.hello_s, self.close, frames.NO_HELLO, "no hello")

    def on_message(self, message: str | bytes) -> Awaitable[Any] | None:
        wait_s = self._pace.wait_s()
        return self._later(wait_s, message) if wait_s else self._receive(message)

    async def _later(self, wait_s: float, message: str | bytes) -> None:
        await asyncio.sleep(wait_s)
        done = self._receive(message)
        if done is not None:
            await done

    def _receive(self, message: str | bytes) -> Awaitable[Any] | None:
        try:
            outcome = self.session.receive(frames.FROM_WORKER.parse(message, self.server.settings.frames), now())
        except FrameError as fault:
            self._fault(fault)
            return None
        if isinstance(outcome, Reply):
            self._send(outcome.frame)
            if outcome.close is not None:
                self.close(outcome.close, "see the frame before")
            return None
        size = len(message if isinstance(message, bytes) else message.encode())
        kept = self.server.inbox.append(outcome.change, size)
        kept.add_done_callback(partial(self._answer, outcome))
        return kept

    def _answer(self, outcome: Keep, kept: asyncio.Future[bool]) -> None:
        frame = outcome.answer() if kept.result() else outcome.busy
        if outcome.hello_of is not None and not self._count_page(outcome.hello_of, outcome.known):
            self.session.visit, frame = None, frames.Busy(of="hello", retry_s=10)
        self._send(frame)

    def _count_page(self, worker: str, known: bool) -> bool:
        """A page of this worker, and no stranger any more if it is `known`; False when the worker has too many."""
        pages = self.server.door.pages
        if self._worker != worker and pages[worker] >= self.server.config.limits.sockets_per_session:
            return False
        self._forget_page()
        self._worker = worker
        pages[worker] += 1
        if known:
            self.server.door.know(self._stream)
        self._hello_due.cancel()
        return True

    def _forget_page(self) -> None:
        if self._worker is not None:
            pages = self.server.door.pages
            pages[self._worker] -= 1
            if not pages[self._worker]:
                del pages[self._worker]
            self._worker = None

    def _fault(self, fault: FrameError) -> None:
        self.server.metrics.faults.inc()
        self._faults += 1
        self._send(frames.Error(code=fault.code, message=str(fault)))
        if self._faults >= self.server.config.limits.faults:
            self.close(frames.FAULTS, "too many faults")

    def _send(self, frame: frames.ToWorker) -> None:
        self.server.metrics.answered(frame)
        connection = self.ws_connection
        if not isinstance(connection, WebSocketProtocol13) or connection.is_closing():
            return  # gone: it will ask again when it comes back
        try:
            # What `write_message` does, without the job it would start for each message.
            connection._write_frame(True, 0x1, frames.TO_WORKER.to_json(frame).encode())
        except StreamClosedError:
            pass
        except StreamBufferFullError:  # it sends but does not read
            self.server.metrics.turned_away.labels("write_buffer").inc()
            connection._abort()

    def on_close(self) -> None:
        self._hello_due.cancel()
        self._forget_page()
        self.server.door.sockets.discard(self)


def application(server: TaskServer) -> Application:
    with_server: dict[str, Any] = {"server": server}
    routes: list[Any] = [
        ("/", PageHandler, with_server),
        ("/sample.json", SampleHandler, with_server),
        ("/healthz", HealthHandler, with_server),
        ("/metrics", MetricsHandler, with_server),
        ("/v1/submissions", SubmissionsHandler, with_server),
        (hooks.PATH, HooksHandler, with_server),
        ("/v1/work", WorkSocket, with_server),
        ("/v1/control", ControlSocket, with_server),
        (".*", FileHandler, with_server),
    ]
    limits = server.config.limits
    return Application(
        routes,
        log_function=_log_request,
        websocket_ping_interval=limits.ping_s,
        websocket_max_message_size=limits.frame,
    )


def _log_request(handler: RequestHandler) -> None:
    status = handler.get_status()
    quiet = handler.request.path == "/healthz"  # asked twice a second while somebody watches
    level = logging.ERROR if status >= 500 else logging.DEBUG if quiet else logging.INFO
    log.log(level, "%s %s %d", handler.request.method, handler.request.path, status)
