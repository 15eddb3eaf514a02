"""The fake as users run it: a process on a port, killed and started again, webhooks over real sockets."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fakes.lab import APPROVING, DRAFT, Api
from tests.stories.stage import wait_until


class Fake:
    """A process and its two clients."""

    def __init__(self, process: subprocess.Popen[str], origin: str) -> None:
        self.process = process
        self.origin = origin
        self.api = Api(requests.Session(), origin)
        self._control = requests.Session()
        self._control.headers["Authorization"] = "Token control-token"

    def control(self, verb: str, **body: Any) -> Any:
        answer = self._control.request(
            "POST" if body else "GET", f"{self.origin}/_fake/{verb}", json=body or None, timeout=5
        )
        assert answer.ok, answer.text
        return answer.json()

    def live(self, **fields: Any) -> str:
        study = self.api.post("/studies/", DRAFT | fields)["id"]
        self.api.act(study, "PUBLISH")
        self.control("advance", seconds=2)
        return str(study)


@contextmanager
def running(*options: str) -> Iterator[Fake]:
    command = [sys.executable, "-m", "crowdstack", "fake", "prolific", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"(http://127\.0\.0\.1:\d+) plays Prolific", line)
            assert found, line
            yield Fake(process, found[1])
        finally:
            process.kill()


def test_a_study_is_run_over_http() -> None:
    with running("--fees", "none", "--set", "pay_lag_s=0") as fake:
        study = fake.live()
        submission = fake.control("reserve", study=study, participant="anna")["submission"]
        assert fake.control("start", submission=submission)["url"].endswith(f"v={submission}")
        fake.control("complete", submission=submission, code=APPROVING)
        assert fake.api.get(f"/submissions/{submission}/")["status"] == "APPROVED"
        page = fake.api.get("/submissions/", study=study, page_size=1)
        assert page["_links"]["self"]["href"].startswith(fake.origin)
        assert fake.control("wallet")["balance"] == 9_900
        fake.process.send_signal(signal.SIGTERM)
        assert fake.process.wait(10) == 0


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    options = ("--state", str(tmp_path / "fake.db"), "--fees", "none", "--wallet", "50.00 USD")
    with running(*options) as fake:
        study = fake.live()
        submission = fake.control("reserve", study=study, participant="anna")["submission"]
        fake.control("start", submission=submission)
        fake.control("advance", seconds=3600)
        before = (fake.api.get(f"/studies/{study}/"), fake.control("wallet"), fake.control("effects"))
    with running(*options) as fake:
        assert (fake.api.get(f"/studies/{study}/"), fake.control("wallet"), fake.control("effects")) == before
        assert fake.api.get("/users/me/")["currency_code"] == "USD"
        fake.control("complete", submission=submission, code=APPROVING)
        assert fake.api.get(f"/submissions/{submission}/")["status"] == "APPROVED"


def test_an_answer_may_be_lost_after_the_effect() -> None:
    with running() as fake:
        for kind, fault in (("drop_after", requests.ConnectionError), ("timeout_after", requests.ReadTimeout)):
            fake.control("faults/force", kind=kind, path="/studies/$", method="POST")
            with pytest.raises(fault):
                fake.api.session.post(f"{fake.origin}/api/v1/studies/", json=DRAFT, timeout=1)
        assert len(fake.api.get("/studies/")["results"]) == 2


def test_webhooks_reach_their_receiver() -> None:
    heard: list[tuple[dict[str, str], bytes]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((dict(self.headers), body))
            self.send_response(500 if len(heard) == 1 else 204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with running() as fake:
            workspace = fake.api.get("/workspaces/")["results"][0]["id"]
            fake.api.post("/hooks/secrets/", {"workspace_id": workspace})
            target = f"http://127.0.0.1:{server.server_port}/"
            made = fake.api.send(
                "POST",
                "/hooks/subscriptions/",
                {"workspace_id": workspace, "event_type": "study.status.change", "target_url": target},
            )
            secret = made.headers["X-Hook-Secret"]
            fake.api.post(f"/hooks/subscriptions/{made.json()['id']}/", {"secret": secret})
            fake.live()
            wait_until(lambda: len(heard) >= 2, within_s=20, what="two webhooks")
            fake.control("advance", seconds=3600)
            wait_until(lambda: len(heard) >= 3, within_s=20, what="the one that failed, again")
            said = [json.loads(body)["status"] for _, body in heard]
            assert sorted(set(said)) == ["ACTIVE", "PUBLISHING"]
            assert len({headers["X-Event-Id"] for headers, _ in heard}) == 2
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--wallet", "5 pounds"], "not an amount"),
        (["--wallet", "5.00 EUR"], "GBP or USD"),
        (["--fault", "429"], "NAME=VALUE"),
        (["--fault", "430=0.1"], "no fault"),
        (["--fault", "429=2"], "between 0 and 1"),
        (["--set", "speed=1"], "no setting"),
        (["--set", "freed_is_active=1"], "true or false"),
    ],
)
def test_what_cannot_be_understood_is_told(options: list[str], said: str) -> None:
    command = [sys.executable, "-m", "crowdstack", "fake", "prolific", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_port_in_use_is_told() -> None:
    with running() as fake:
        port = fake.origin.rpartition(":")[2]
        command = [sys.executable, "-m", "crowdstack", "fake", "prolific", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 4
    assert f"cannot listen on port {port}" in ended.stderr
