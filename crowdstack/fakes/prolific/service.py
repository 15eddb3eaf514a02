"""One request at a time: token, faults, late reads, errors in the service's two forms. No sockets: http.py and
transport.py bring requests here and take answers away."""

from __future__ import annotations

import hmac
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from crowdstack.fakes.prolific import account_routes, control, message_routes, router, study_routes
from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.past import Past
from crowdstack.fakes.prolific.refusal import Refusal, invalid
from crowdstack.fakes.prolific.router import Answer
from crowdstack.fakes.prolific.settings import DAY_S
from crowdstack.fakes.prolific.world import Delivery

CONTROL = "/_fake/"
_ROUTES = (account_routes, study_routes, message_routes)  # imported for their routes


class Request(NamedTuple):
    method: str
    url: str  # scheme, host, path, query
    authorization: str
    body: bytes


class Lost(NamedTuple):
    """No answer: the connection ends at once, or nothing comes."""

    hangs: bool


class Service:
    """`clock` (unix seconds) moves the fake's time with each request; without it time is the driver's alone.

    `keep` is called after each change and before the answer: what is answered is kept.
    """

    def __init__(
        self,
        fake: FakeProlific,
        *,
        control_token: str = "control-token",
        clock: Callable[[], float] | None = None,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        self.fake = fake
        self.control_token = control_token
        self.requests: Counter[str] = Counter()  # "GET /api/v1/studies/" -> how many; with " 429" behind for failures
        self._clock = clock
        self._keep = keep
        self._past = Past()
        self._lock = threading.RLock()

    def answer(self, request: Request) -> Answer | Lost:
        with self._lock:
            self._tick()
            path = urlsplit(request.url).path
            try:
                if path.startswith(CONTROL):
                    return self._control(request)
                return self._dated(self._api(request, path))
            finally:
                self._kept()

    def tick(self) -> None:
        """Let time pass up to the clock; what happened by itself is kept."""
        with self._lock:
            self._tick()
            self._kept()

    @contextmanager
    def paused(self) -> Iterator[FakeProlific]:
        """The account, while no request is answered: for a judge in another thread."""
        with self._lock:
            yield self.fake

    def deliveries(self) -> list[Delivery]:
        with self._lock:
            return self.fake.deliveries()

    def delivered(self, event: str, ok: bool) -> None:
        with self._lock:
            self.fake.delivered(event, ok)
            self._kept()

    # ------------------------------------------------------------------------------------------------ inside

    def _tick(self) -> None:
        if self._clock is not None:
            self.fake.world.advance_to(self._clock() + self.fake.world.meta.offset)
        self._remember()

    def _kept(self) -> None:
        self._remember()
        self._keep()

    def _remember(self) -> None:
        if self.fake.world.faults.rates.get("stale"):
            self._past.note(self.fake.world, keep_s=DAY_S)

    def _api(self, request: Request, path: str) -> Answer | Lost:
        try:
            route, keys = router.find(request.method, path)
            self._require(request, self.fake.world.meta.token)
        except Refusal as refusal:
            return _refused(refusal, bare=False)
        name = f"{route.method} {route.template}"
        self.requests[name] += 1
        fault = self.fake.world.faults.draw(request.method, path)
        if fault is not None:
            self.requests[f"{name} {fault}"] += 1
        if fault is None or not self.fake.world.faults.is_before(fault):
            answer = self._done(request, route, keys)
            if fault is None:
                return answer
        return self._broken(fault)

    def _done(self, request: Request, route: router.Route, keys: tuple[str, ...]) -> Answer:
        """What was asked for, done."""
        faults, world = self.fake.world.faults, self.fake.world
        if request.method == "GET" and faults.chance("stale"):
            world = self._past.seen(world, faults.span_s("stale_s"))
        try:
            url, query = _parts(request.url)
            return router.handle(world, route, keys, url, query, _json(request.body))
        except Refusal as refusal:
            return _refused(refusal, route.bare)

    def _broken(self, fault: str) -> Answer | Lost:
        if fault == "429":
            after = self.fake.world.faults.retry_after_s()
            headers = {} if after is None else {"Retry-After": str(after)}
            return Answer(429, {"message": "Too many requests", "detail": "Request was throttled."}, headers)
        if fault.startswith("5xx"):
            if self.fake.world.faults.random.random() < 0.5:
                return Answer(502, "<html><body><h1>502 Bad Gateway</h1></body></html>", {"Content-Type": "text/html"})
            return _refused(Refusal(500, "Internal server error"), bare=False)
        return Lost(hangs=fault.startswith("timeout"))

    def _control(self, request: Request) -> Answer:
        try:
            self._require(request, self.control_token)
            url, query = _parts(request.url)
            name = f"{request.method} {urlsplit(url).path}"
            return Answer(200, control.handle(self.fake, self.requests, name, query, _json(request.body)))
        except Refusal as refusal:
            return _refused(refusal, bare=False)

    def _require(self, request: Request, token: str) -> None:
        if not hmac.compare_digest(request.authorization.encode(), f"Token {token}".encode()):
            raise Refusal(401, "Unauthorized", "Invalid token.")

    def _dated(self, answer: Answer | Lost) -> Answer | Lost:
        """With the fake's own time."""
        if isinstance(answer, Lost):
            return answer
        return answer._replace(headers={"Date": formatdate(self.fake.now, usegmt=True), **answer.headers})


def _parts(url: str) -> tuple[str, dict[str, str]]:
    found = urlsplit(url)
    return f"{found.scheme}://{found.netloc}{found.path}", dict(parse_qsl(found.query, keep_blank_values=True))


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError as fault:
        raise invalid(f"JSON parse error: {fault}") from None


def _refused(refusal: Refusal, bare: bool) -> Answer:
    """Numbers of `error_code` are not known: 1000 and the status stand in."""
    detail = {
        "status": refusal.status,
        "error_code": 1000 + refusal.status,
        "title": refusal.title,
        "detail": refusal.detail,
        "additional_information": "",
    }
    return Answer(refusal.status, detail if bare and refusal.status == 400 else {"error": detail})
