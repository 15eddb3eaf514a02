"""A task server as a process, with units to give out: started, killed, and read from its disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from crowdstack.assets import folder
from crowdstack.folder import RunFolder, private_folder, write_private
from crowdstack.model import EventKind, StudyState, Submitted
from crowdstack.server.pool import now
from crowdstack.server.server import serve
from crowdstack.tokens import PURPOSES, Signer, derive, link_claims, link_url
from crowdstack.wire.configs import BundleFile, ServerConfig
from crowdstack.wire.control import ItemData, UnitPut, parse_event

CLIENT = folder("task_apps") / "client" / "client.js"
STYLE = folder("task_apps") / "html" / "crowdstack.css"
Rows = list[dict[str, Any]]


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """What `condition` says once it is true."""
    end = monotonic() + timeout_s
    while not (found := condition()):
        if monotonic() > end:
            raise TimeoutError("the condition never came true")
        threading.Event().wait(0.02)
    return found


@contextmanager
def serving(config: ServerConfig, run_folder: RunFolder, blobs: Path, rows: Rows) -> Iterator[None]:
    """A server that offers `rows`, in a thread of its own: Playwright holds this one's event loop."""
    ready = threading.Event()
    stop: list[Callable[[], None]] = []

    async def run() -> None:
        async with serve(config, run_folder, blobs) as server:
            over = asyncio.Event()
            loop = asyncio.get_running_loop()
            stop.append(lambda: loop.call_soon_threadsafe(over.set))
            pool = server.desk.pool
            items = [ItemData(item=f"i{n}", data=row) for n, row in enumerate(rows)]
            units = [UnitPut(unit=f"u-{n:020}", item=f"i{n}", attempt=1) for n in range(len(rows))]
            assert await server.inbox.append(pool.offer(items, units, (), now()))
            assert await server.inbox.append(pool.open_study("study-1", 100, StudyState.OPEN, now()))
            ready.set()
            await over.wait()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(asyncio.run, run())
        until(lambda: ready.is_set() or done.done())
        try:
            yield
        finally:
            for each in stop:
                each()
            done.result()


class Running:
    """A server and its folder: in a process of its own if it is `killable`, else in this one, which is quicker."""

    def __init__(self, root: Path, page: str | Path, rows: Rows, *, killable: bool = False, **settings: Any) -> None:
        private_folder(root)
        self.folder = RunFolder(private_folder(root / "run"))
        self.blobs = private_folder(root / "blobs")
        self._process: subprocess.Popen[bytes] | None = None
        self._here = ExitStack()
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        keys = {purpose: derive(b"r" * 32, "run-1", purpose) for purpose in PURPOSES}
        given: dict[str, Any] = {
            "answers": None,
            "timeout_s": 600,
            "units_per_visit": None,
            "max_units": None,
            "sample": None,
            "completion": "Your code is C7QX2P.",
            **settings,
        }
        self.config = ServerConfig(
            run="run-1",
            task="browser",
            title="A task",
            description="",
            host="127.0.0.1",
            port=port,
            origin=f"http://127.0.0.1:{port}",
            keys=keys,
            bundle="",
            files={},
            **given,
        )
        self.set_page(page)
        self._here.enter_context(serving(self.config, self.folder, self.blobs, rows))
        if killable:
            self._here.close()
            self.start()

    def set_page(self, page: str | Path) -> None:
        """Another task app: a new bundle in server.json."""
        contents = {
            "/": (page.encode() if isinstance(page, str) else page.read_bytes(), "text/html; charset=utf-8"),
            "/client.js": (CLIENT.read_bytes(), "text/javascript; charset=utf-8"),
            "/crowdstack.css": (STYLE.read_bytes(), "text/css; charset=utf-8"),
        }
        files = {}
        for url, (content, kind) in contents.items():
            blob = hashlib.sha256(content).hexdigest()
            (self.blobs / blob).write_bytes(content)
            files[url] = BundleFile(blob=blob, type=kind)
        bundle = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        self.config = replace(self.config, bundle=bundle, files=files)
        write_private(self.folder.server_config, self.config.to_bytes())

    def start(self) -> None:
        """After `kill`: listening on return."""
        self.folder.server_process.unlink(missing_ok=True)
        with self.folder.server_log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "crowdstack.server", "--run-folder", self.folder.root, "--blobs", self.blobs],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        until(self.folder.server_process.exists)

    def kill(self) -> None:
        """SIGKILL; gone on return."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        self._here.close()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def link(self, worker: str = "w1") -> str:
        claims = link_claims(
            run=self.config.run,
            study="study-1",
            provider="mock",
            worker=worker,
            origin=self.config.origin,
            issued=0,
            expires=None,
        )
        return link_url(self.config.origin, Signer(self.config.keys["link"], "link").sign(claims))

    def events(self) -> list[tuple[EventKind, Any]]:
        """All events, as they are on the disk now."""
        with closing(sqlite3.connect(f"file:{self.folder.inbox}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT seq, body FROM events ORDER BY seq").fetchall()
        return [(event.kind, event.body) for event in (parse_event(seq, body) for seq, body in rows)]

    def submissions(self) -> list[Submitted]:
        return [body for _, body in self.events() if isinstance(body, Submitted)]

    def answers(self) -> list[Any]:
        return [dict(each.answers) for each in self.submissions()]


def frame(text: str | bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found
