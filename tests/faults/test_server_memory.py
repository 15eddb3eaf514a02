"""Memory runs out on the server's machine, and the kernel ends the server in the middle of its work."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from tornado.websocket import WebSocketClosedError

from crowdstack.wire import worker as frames
from tests.faults.memory import LIMIT, STEP, small_cage
from tests.faults.test_power_cut import stored_answers
from tests.faults.test_server_disk import free_port, listening, process, stock
from tests.server.world import Page, nonce

UNITS = 2 * LIMIT // STEP
KILLED_AT = 20  # without a cgroup


def kill_at(process_id: int, call: int) -> Callable[[], None]:
    calls = itertools.count(1)
    return lambda: os.kill(process_id, signal.SIGKILL) if next(calls) == call else None


def test_killed_for_want_of_memory_the_server_has_kept_every_accepted_answer(tmp_path: Path) -> None:
    """Where no memory cgroup can be made, SIGKILL stands for it: it is what the kernel sends, at a moment of ours."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    sent: dict[str, frames.Submit] = {}
    accepted: dict[str, int] = {}

    async def work(eat: Callable[[], None]) -> None:
        await listening(tmp_path)
        await stock(origin, UNITS)
        page = await Page.of(origin, "ann")
        try:
            for number in range(UNITS):
                unit = await page.take()
                submit = frames.Submit(
                    assignment=unit.assignment, nonce=nonce(), answers={"label": "yes", "note": f"{number}"}
                )
                sent[unit.assignment] = submit
                eat()
                answer = await page.ask(submit)
                assert isinstance(answer, frames.Accepted)
                accepted[unit.assignment] = answer.receipt
        finally:
            page.close()

    async def after() -> None:
        await listening(tmp_path)
        page = await Page.of(origin, "ann")
        stored = await stored_answers(origin)
        assert {receipt: sent[assignment].answers for assignment, receipt in accepted.items()}.items() <= stored.items()
        again = {}
        for assignment, submit in sent.items():
            answer = await page.ask(submit)
            assert isinstance(answer, frames.Accepted)
            again[assignment] = answer.receipt
        assert again.items() >= accepted.items()
        assert await stored_answers(origin) == {
            again[assignment]: submit.answers for assignment, submit in sent.items()
        }
        page.close()
        await page.closed()

    with small_cage() as cage:
        with process(tmp_path, port, under=cage.under if cage else None) as child:
            with cage.greedy() if cage else nullcontext(kill_at(child.pid, KILLED_AT)) as eat:
                with pytest.raises((AssertionError, WebSocketClosedError), match=r"closed|^$"):
                    asyncio.run(work(eat))
                assert child.wait(20) == -signal.SIGKILL
        assert cage is None or cage.killed() >= 1
        print(f"{len(accepted)} accepted before it was killed, {'in a cgroup' if cage else 'by the test'}")
    assert 0 < len(accepted) < UNITS
    with process(tmp_path, port):
        asyncio.run(after())
