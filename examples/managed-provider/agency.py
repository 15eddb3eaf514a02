"""An agency for temporary work, as a service: jobs with seats, shifts of people who took one, pay. It plays the company.

    AGENCY_TOKEN=... python agency.py 8770

It lets people in itself and knows who came, by whom it was paid, and takes 10 % on top. State is in memory. What a client asks
for twice by the same `ref` is there once.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FEE_PERCENT = 10
HOLDING = ("working", "ended", "paid")  # states of a shift that holds a seat; `refused` and `left` do not


class No(Exception):
    """An answer that is no yes."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Agency:
    """The rules, one request at a time. Money is in cents."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.shifts: dict[str, dict[str, Any]] = {}
        self.lists: dict[str, dict[str, Any]] = {}  # ref of a client -> who is out, who alone is in
        self.messages: dict[str, dict[str, Any]] = {}

    def job(self, id_: str) -> dict[str, Any]:
        return self.jobs.get(id_) or _no(404, f"there is no job {id_}")

    def shift(self, id_: str) -> dict[str, Any]:
        return self.shifts.get(id_) or _no(404, f"there is no shift {id_}")

    def find_jobs(self, ref: str) -> list[dict[str, Any]]:
        return [self.told(job) for job in self.jobs.values() if job["ref"] == ref]

    def told(self, job: dict[str, Any]) -> dict[str, Any]:
        of = [shift for shift in self.shifts.values() if shift["job"] == job["id"]]
        spent = sum(_gross(job["reward"]) for shift in of if shift["state"] == "paid")
        tips = [cents for shift in of for cents in shift["tips"].values()]
        return {**job, "spent": spent + sum(map(_gross, tips))}

    def post_job(self, body: dict[str, Any]) -> dict[str, Any]:
        for job in self.jobs.values():
            if job["ref"] == body["ref"]:
                return self.told(job)
        if body["seats"] < 1 or body["reward"] < 1:
            _no(400, "a job has seats and a reward")
        fields = ("ref", "list", "title", "link", "seats", "reward", "currency")
        job = {"id": secrets.token_hex(6), "state": "open", **{name: body[name] for name in fields}}
        self.jobs[job["id"]] = job
        return self.told(job)

    def patch_job(self, id_: str, body: dict[str, Any]) -> dict[str, Any]:
        job = self.job(id_)
        if job["state"] == "closed" and body != {"state": "closed"}:
            _no(409, "a job that was closed stays so")
        if body.get("seats", job["seats"]) < job["seats"]:
            _no(409, "seats cannot be taken away")
        job.update({name: body[name] for name in ("seats", "state") if name in body})
        return self.told(job)

    def take(self, id_: str, person: str) -> dict[str, Any]:
        """A person comes."""
        job = self.job(id_)
        known = self.lists.get(job["list"], {"out": [], "only": None})
        of = [shift for shift in self.shifts.values() if shift["job"] == id_]
        if person in known["out"] or (known["only"] is not None and person not in known["only"]):
            _no(403, "this job is not shown to you")
        if any(shift["person"] == person for shift in of):
            _no(409, "everybody comes once")
        if job["state"] != "open" or sum(shift["state"] in HOLDING for shift in of) >= job["seats"]:
            _no(409, "no seat is free")
        shift = {"id": secrets.token_hex(6), "job": id_, "person": person, "state": "working", "code": None, "tips": {}}
        shift |= {"reason": None, "asked_back": False}
        self.shifts[shift["id"]] = shift
        return {**shift, "link": f"{job['link']}&person={person}&shift={shift['id']}"}

    def end(self, id_: str, code: str | None) -> dict[str, Any]:
        """The person hands in; without a code, leaves."""
        shift = self.shift(id_)
        if shift["state"] != "working":
            _no(409, f"the shift is {shift['state']}")
        shift.update(state="left" if code is None else "ended", code=code)
        return shift

    def settle(self, id_: str, state: str, reason: str | None) -> dict[str, Any]:
        shift = self.shift(id_)
        if shift["state"] not in ("ended", state):
            _no(409, f"the shift is {shift['state']}, it cannot be {state}")
        shift.update(state=state, reason=reason)
        return shift

    def tip(self, id_: str, ref: str, cents: int) -> dict[str, Any]:
        self.shift(id_)["tips"].setdefault(ref, cents)
        return self.shift(id_)


def _gross(cents: int) -> int:
    return cents + -(-cents * FEE_PERCENT // 100)


def _no(status: int, why: str) -> Any:
    raise No(status, why)


ROUTES: dict[tuple[str, str], Callable[..., Any]] = {  # what follows the agency: parts of the path, then the body
    ("GET", "/jobs"): lambda agency, body: agency.find_jobs(body["ref"]),
    ("POST", "/jobs"): lambda agency, body: agency.post_job(body),
    ("GET", "/jobs/(\\w+)"): lambda agency, id_, body: agency.told(agency.job(id_)),
    ("PATCH", "/jobs/(\\w+)"): lambda agency, id_, body: agency.patch_job(id_, body),
    ("GET", "/jobs/(\\w+)/shifts"): lambda agency, id_, body: [
        shift for shift in agency.shifts.values() if shift["job"] == agency.job(id_)["id"]
    ],
    ("POST", "/jobs/(\\w+)/shifts"): lambda agency, id_, body: agency.take(id_, body["person"]),
    ("GET", "/shifts/(\\w+)"): lambda agency, id_, body: agency.shift(id_),
    ("POST", "/shifts/(\\w+)/end"): lambda agency, id_, body: agency.end(id_, body["code"]),
    ("POST", "/shifts/(\\w+)/pay"): lambda agency, id_, body: agency.settle(id_, "paid", None),
    ("POST", "/shifts/(\\w+)/refuse"): lambda agency, id_, body: agency.settle(id_, "refused", body["reason"]),
    ("POST", "/shifts/(\\w+)/ask-back"): lambda agency, id_, body: agency.shift(id_).update(asked_back=True),
    ("POST", "/shifts/(\\w+)/tips"): lambda agency, id_, body: agency.tip(id_, body["ref"], body["cents"]),
    ("GET", "/lists/([\\w-]+)"): lambda agency, ref, body: agency.lists.get(ref),
    ("PUT", "/lists/([\\w-]+)"): lambda agency, ref, body: agency.lists.update({ref: body}),
    ("POST", "/messages"): lambda agency, body: agency.messages.setdefault(body["ref"], body),
    ("GET", "/price"): lambda agency, body: {"gross": _gross(int(body["reward"]))},
}


@contextmanager
def played(agency: Agency, token: str, port: int = 0) -> Iterator[str]:
    """Served by a thread of this process; its address."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            there = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else {name: value[0] for name, value in parse_qs(there.query).items()}
            try:
                if self.headers.get("Authorization") != f"Bearer {token}":
                    _no(401, "who are you?")
                status, told = 200, self.route(there.path, body)
            except No as no:
                status, told = no.status, {"why": str(no)}
            except (KeyError, TypeError, ValueError) as fault:
                status, told = 400, {"why": f"not understood: {fault!r}"}
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def route(self, path: str, body: Any) -> Any:
            for (method, pattern), verb in ROUTES.items():
                if method == self.command and (found := re.fullmatch(pattern, path)):
                    with one_at_a_time:
                        return verb(agency, *found.groups(), body)
            return _no(404, "there is no such thing")

        do_GET = do_POST = do_PATCH = do_PUT = answer

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="agency")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with played(Agency(), os.environ["AGENCY_TOKEN"], int(sys.argv[1])) as address:
        print(address, flush=True)
        threading.Event().wait()
