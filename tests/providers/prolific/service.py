"""Somebody on this machine's loopback who answers as Prolific would, word for word as a test says.

Every request is held against the published document, every answer of a test too unless it is `odd` on purpose.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from crowdstack.providers.prolific.api import Prolific
from crowdstack.providers.prolific.transport import Transport
from crowdstack.tokens import Secret
from tests.contracts.prolific_contract import check_answer, check_request

TOKEN = "canary-Zx81-this-is-the-token"
WORKSPACE = "60a1000000000000000000aa"
PROJECT = "60a1000000000000000000bb"
STUDY = "60a1000000000000000000cc"
GROUP = "60a1000000000000000000dd"
SUBMISSION = "60a1000000000000000000ee"
PARTICIPANT = "60a1000000000000000000ff"

DROP = "drop"  # close the connection with no answer
STALL = "stall"  # begin to answer, never end
TRICKLE = "trickle"  # answer drop by drop
OPEN = "open"  # the same, where the end of the connection is the end of the answer
CUT = "cut"  # promise more bytes than come


@dataclass
class Heard:
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Said:
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None
    odd: bool = False


class Service:
    """What it heard, and what it will say: the answers to one line in their order, the last one again and again."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.faults: list[str] = []
        self._answers: dict[str, list[Said]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.pauses = 0  # of 50 ms each, that it made while somebody waited for it
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def says(
        self,
        line: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        fault: str | None = None,
        odd: bool = False,
    ) -> None:
        """`line`: method and path below /api/v1."""
        method, path = line.split(" ")
        said = Said(status, body, headers or {}, fault, odd)
        self._answers.setdefault(f"{method} /api/v1{path}", []).append(said)

    def lines(self) -> list[str]:
        return [heard.line.replace("/api/v1", "") for heard in self.heard]

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def pause(self) -> bool:
        """Keep the client waiting a while; whether all is over."""
        self.pauses += 1
        return self._over.wait(0.05)

    def answer(self, heard: Heard) -> Said:
        self.heard.append(heard)
        waiting = self._answers.get(heard.line)
        if not waiting:
            self.faults.append(f"nobody expected {heard.line}")
            return Said(404, {"error": {"status": 404, "error_code": 1, "title": "?", "detail": heard.line}}, odd=True)
        said = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        try:
            check_request(heard.method, heard.path, heard.query, heard.body)
            if not said.odd and said.fault is None:
                check_answer(heard.method, heard.path, said.status, said.body)
        except AssertionError as fault:
            self.faults.append(str(fault))
        return said

    def _handler(service) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                said = service.answer(
                    Heard(
                        method=self.command,
                        path=parts.path,
                        query={name: found[-1] for name, found in parse_qs(parts.query).items()},
                        headers=dict(self.headers.items()),
                        body=json.loads(raw) if raw else None,
                    )
                )
                if said.fault == DROP:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                data = b"" if said.body is None else data
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                if said.fault != OPEN:
                    self.send_header("Content-Length", str(len(data) + (1 if said.fault else 0)))
                self.end_headers()
                if said.fault in (TRICKLE, OPEN):
                    for byte in data:
                        self.wfile.write(bytes([byte]))
                        if service.pause():
                            return
                else:
                    self.wfile.write(data)
                while said.fault == STALL and not service.pause():
                    pass
                if said.fault:
                    self.close_connection = True

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the client went away, as some tests want it
                    pass

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve

        return Handler


@contextmanager
def a_service() -> Iterator[Service]:
    service = Service()
    try:
        yield service
    finally:
        service.close()
    assert service.faults == []


class Naps:
    """Sleeping that takes no time and is remembered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def transport(service: Service, **changes: Any) -> Transport:
    given: dict[str, Any] = {"origin": service.origin, "sleep": Naps()}
    return Transport(Secret(TOKEN.encode()), **{**given, **changes})


def prolific(service: Service, **changes: Any) -> Prolific:
    return Prolific(transport(service, **changes), workspace=WORKSPACE, currency="GBP")


# ---------------------------------------------------------------------------------------------------- builders


def a_study(**changes: Any) -> dict[str, Any]:
    """A whole study as the service shows it."""
    return {
        "id": STUDY,
        "name": "Birds",
        "internal_name": "birds-1",
        "description": "Look at birds",
        "external_study_url": "https://example.org/?p={{%PROLIFIC_PID%}}",
        "prolific_id_option": "url_parameters",
        "completion_codes": [],
        "total_available_places": 10,
        "estimated_completion_time": 5,
        "reward": 75.0,
        "status": "UNPUBLISHED",
        "not_in_the_document": {"a": 1},
        **changes,
    }


def a_line(id_: str = STUDY, **changes: Any) -> dict[str, Any]:
    return {"id": id_, "name": "Birds", "internal_name": "birds-1", "status": "UNPUBLISHED", **changes}


def listed(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A submission as lists show it."""
    return {
        "id": f"60b{number:021d}",
        "participant_id": PARTICIPANT,
        "status": "AWAITING REVIEW",
        "started_at": "2026-11-02T09:00:00.123Z",
        "completed_at": None,
        "has_siblings": False,
        "study_code": "C1",
        **changes,
    }


def detail(**changes: Any) -> dict[str, Any]:
    return {
        "id": SUBMISSION,
        "participant": PARTICIPANT,
        "status": "APPROVED",
        "started_at": "2026-11-02T09:00:00+00:00",
        "completed_at": "2026-11-02T09:05:00Z",
        "entered_code": "C1",
        "study_id": STUDY,
        **changes,
    }


def an_error(detail: Any = "that is wrong", *, status: int = 400, bare: bool = False, title: str = "Bad") -> Any:
    said = {"status": status, "error_code": 140_000, "title": title, "detail": detail}
    return said if bare else {"error": said}


def cost(currency: str = "GBP") -> dict[str, Any]:
    part = {name: {"amount": 100, "currency": currency} for name in ("rewards", "fees", "tax")}
    return {"rewards": part, "bonuses": part}
