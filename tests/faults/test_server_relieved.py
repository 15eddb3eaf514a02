"""SIGTERM, and SIGHUP with a new bundle, while 50 pages are at work: nobody loses a hold or an answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from tornado.websocket import WebSocketClosedError

from crowdstack.engine.detached import prove
from crowdstack.folder import write_private
from crowdstack.tokens import config_digest
from crowdstack.wire import worker as frames
from crowdstack.wire.configs import ServerConfig
from tests.faults.test_server_disk import free_port, listening, process, stock
from tests.faults.test_server_killed import logged
from tests.server.world import Page, link, nonce

OLD, NEW = "b" * 64, "c" * 64
PAGES, UNITS = 50, 300


class Worker:
    """A page with its browser: what was not answered is sent again, to the next server too."""

    def __init__(self, origin: str, n: int) -> None:
        self._origin, self._name = origin, f"w{n}"
        self._bundle, self._session = OLD, ""
        self._unsent: frames.Submit | None = None
        self.held = ""  # the assignment in hand
        self.receipts: dict[str, int] = {}
        self.closed: list[int | None] = []  # codes, one for each connection that was ended from the other side
        self.reloads = 0

    async def work(self, done: Callable[[], bool]) -> None:
        while not done():
            page = await self._join()
            try:
                while not done() and await self._go_on(page):
                    pass
            except (AssertionError, WebSocketClosedError):  # closed from the other side
                self.closed.append(await page.closed())
                return
            finally:
                page.close()

    async def _join(self) -> Page:
        page = await Page.open(self._origin)
        token = None if self._session else link(self._origin, self._name)
        answer = await page.hello(token, session=self._session or None, bundle=self._bundle)
        assert isinstance(answer, frames.Welcome), answer
        self._session = page.session
        return page

    async def _go_on(self, page: Page) -> bool:
        """One unit further; False when the page must be opened anew."""
        if self._unsent is None:
            unit = await page.next()
            if isinstance(unit, frames.Reload):
                self.reloads += 1
                self._bundle = NEW
                return False
            assert isinstance(unit, frames.Assigned), unit
            assert self.held in ("", unit.assignment), "the unit in hand is still the worker's"
            self.held = unit.assignment
            await asyncio.sleep(0.2)
            self._unsent = frames.Submit(assignment=unit.assignment, nonce=nonce(), answers={"label": "yes"})
        answer = await page.ask(self._unsent)
        assert isinstance(answer, frames.Accepted), answer
        self.receipts[answer.assignment] = answer.receipt
        self._unsent, self.held = None, ""
        return True


def accepted(workers: list[Worker]) -> int:
    return sum(len(worker.receipts) for worker in workers)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def play(
    folder: Path, story: Callable[[list[Worker], int, int], Awaitable[None]], port: int, workers: list[Worker]
) -> int:
    """The exit code of a server that this story ends."""
    with process(folder, port) as child:

        async def run() -> None:
            await listening(folder)
            await story(workers, child.pid, port)

        asyncio.run(run())
        return child.wait(20)


async def assert_nothing_lost(port: int, workers: list[Worker]) -> None:
    seen = {key: receipt for worker in workers for key, receipt in worker.receipts.items()}
    assert {event.body.assignment: event.receipt for event in await logged(port)} == seen


def test_a_new_server_takes_over_from_one_that_was_told_to_stop_while_50_pages_are_at_work(tmp_path: Path) -> None:
    port = free_port()
    workers = [Worker(f"http://127.0.0.1:{port}", n) for n in range(PAGES)]

    async def stopped(workers: list[Worker], server: int, port: int) -> None:
        await stock(f"http://127.0.0.1:{port}", UNITS)
        working = asyncio.gather(*(worker.work(lambda: False) for worker in workers))
        await until(lambda: accepted(workers) >= PAGES)
        os.kill(server, signal.SIGTERM)
        await working
        assert [worker.closed for worker in workers] == [[frames.RESTART]] * PAGES
        assert sum(bool(worker.held) for worker in workers) > PAGES // 2, "it ended in the middle of their work"

    async def goes_on(workers: list[Worker], server: int, port: int) -> None:
        before = {worker: len(worker.receipts) for worker in workers}
        more = [worker.work(lambda w=worker: len(w.receipts) > before[w]) for worker in workers]  # type: ignore[misc]
        await asyncio.gather(*more)
        await assert_nothing_lost(port, workers)
        os.kill(server, signal.SIGTERM)

    assert play(tmp_path, stopped, port, workers) == 0
    assert play(tmp_path, goes_on, port, workers) == 0


def test_a_new_bundle_reloads_50_pages_at_work_between_two_units(tmp_path: Path) -> None:
    port = free_port()
    workers = [Worker(f"http://127.0.0.1:{port}", n) for n in range(PAGES)]

    async def changed(workers: list[Worker], server: int, port: int) -> None:
        await stock(f"http://127.0.0.1:{port}", UNITS)
        working = asyncio.gather(*(worker.work(lambda: all(w.reloads for w in workers)) for worker in workers))
        await until(lambda: accepted(workers) >= PAGES)
        path = tmp_path / "run" / "server.json"
        config = replace(ServerConfig.from_bytes(path.read_bytes()), bundle=NEW)
        write_private(path, config.to_bytes())
        os.kill(server, signal.SIGHUP)
        await working
        assert [(worker.reloads, worker.closed) for worker in workers] == [(1, [])] * PAGES
        assert await asyncio.to_thread(prove, config, config_digest(config.to_bytes()))
        await assert_nothing_lost(port, workers)
        os.kill(server, signal.SIGTERM)

    assert play(tmp_path, changed, port, workers) == 0
