"""A town: the real task server with units on offer, and a folder from which crowds are played against it."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from crowdstack.folder import RunFolder
from crowdstack.model import StudyState
from crowdstack.server.pool import now
from crowdstack.server.server import TaskServer, serve
from crowdstack.tokens import Secret
from crowdstack.wire.configs import BundleFile, ServerConfig
from crowdstack.wire.control import ItemData, UnitPut
from tests.crowd.builders import LABEL, LINK_KEY, crowd_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = b"<!doctype html><html><head></head><body>A page.</body></html>"


class Town:
    def __init__(self, folder: Path) -> None:
        self.run = RunFolder(folder / "run")
        self.blobs = folder / "blobs"
        for path in (self.run.root, self.blobs, self.run.crowd):
            path.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(PAGE).hexdigest()
        (self.blobs / digest).write_bytes(PAGE)
        self._page = BundleFile(blob=digest, type="text/html; charset=utf-8")
        self.origin = ""

    def server_config(self, *, port: int = 0, **changes: Any) -> ServerConfig:
        settings: dict[str, Any] = {
            "answers": LABEL,
            "timeout_s": 6,
            "units_per_visit": None,
            "max_units": None,
            "sample": None,
            "completion": "Thank you.",
            "bundle": "b" * 16,
        }
        keys = {purpose: Secret(purpose.encode().ljust(32)) for purpose in ("session", "control", "metrics")}
        return ServerConfig(
            run="birds-1",
            task="birds",
            title="Birds",
            description="",
            host="127.0.0.1",
            port=port,
            origin=f"http://127.0.0.1:{port}",
            keys={**keys, "link": LINK_KEY},
            files={"/": self._page},
            **{**settings, **changes},
        )

    @asynccontextmanager
    async def server(self, **changes: Any) -> AsyncIterator[TaskServer]:
        async with serve(self.server_config(**changes), self.run, self.blobs) as server:
            self.origin = server.origin
            yield server

    # ------------------------------------------------------------------ the crowd
    def write_crowd(self, **changes: Any) -> None:
        config = crowd_config(origin=self.origin, **changes)
        (self.run.crowd / "crowd.json").write_bytes(config.to_bytes())

    def journal(self, event: str = "accepted") -> list[dict[str, Any]]:
        path = self.run.crowd / "journal.jsonl"
        text = path.read_text() if path.exists() else ""
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in lines if line["event"] == event]

    def crowd_process(self) -> subprocess.Popen[bytes]:
        return self.start("crowdstack.crowd", "--folder", str(self.run.crowd), log=self.run.crowd / "crowd.log")

    # ------------------------------------------------------------------ the server as a process
    def server_process(self, port: int, **changes: Any) -> subprocess.Popen[bytes]:
        self.run.server_config.write_bytes(self.server_config(port=port, **changes).to_bytes())
        arguments = ("--run-folder", str(self.run.root), "--blobs", str(self.blobs))
        return self.start("crowdstack.server", *arguments, log=self.run.server_log)

    def start(self, module: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment,
            )

    # ------------------------------------------------------------------ what the server wrote down
    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Bodies of the inbox's events of these kinds (or all), each with its receipt."""
        with closing(sqlite3.connect(f"file:{self.run.inbox}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT seq, body FROM events ORDER BY seq").fetchall()
        bodies = [{"receipt": seq, **json.loads(body)} for seq, body in rows]
        return [body for body in bodies if not kinds or body["kind"] in kinds]

    def assert_journal_is_inbox(self) -> int:
        """Every receipt that a worker saw is an event with those answers, once, and no event is without one. How many."""
        seen = sorted(
            (line["receipt"], line["assignment"], line["nonce"], line["answers"]["label"]) for line in self.journal()
        )
        kept = [
            (event["receipt"], event["assignment"], event["nonce"], event["answers"]["label"])
            for event in self.events("submitted", "late")
        ]
        assert seen == sorted(kept)
        assert len({assignment for _, assignment, *_ in kept}) == len(kept)
        return len(kept)


async def offer(
    server: TaskServer,
    items: int,
    *,
    repeats: int = 1,
    offered_to: Callable[[int, int], str | None] = lambda i, r: None,
) -> None:
    """Put units up: `item-0` and so on; repeat r of item i for `offered_to(i, r)` only, if that is somebody."""
    data = [ItemData(item=f"item-{i}", data={"id": f"item-{i}", "text": f"bird {i}"}) for i in range(items)]
    units = [
        UnitPut(unit=f"unit-{i:08d}-{r:08d}", item=f"item-{i}", attempt=1, offered_to=offered_to(i, r))
        for i in range(items)
        for r in range(repeats)
    ]
    assert await server.inbox.append(server.desk.pool.offer(data, units, (), now()))


async def open_study(server: TaskServer, places: int = 1000, state: StudyState = StudyState.OPEN) -> None:
    assert await server.inbox.append(server.desk.pool.open_study("birds-1", places, state, now()))


def write_recording(path: Path, answers: Iterable[tuple[int, str, str]]) -> Path:
    """A CSV of (number of the item, worker, label)."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "worker", "label"])
        writer.writerows((f"item-{number}", worker, label) for number, worker, label in answers)
    return path


@contextmanager
def ended_at_last(*processes: subprocess.Popen[bytes]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes of a test (append those started later): killed and waited for, whatever happens."""
    started = list(processes)
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


async def until(condition: Callable[[], Any], *, within_s: float, what: str) -> None:
    end = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"waited {within_s:.0f} s for {what}"
        await asyncio.sleep(0.01)
