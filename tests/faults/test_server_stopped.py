"""A server that stood still (a paused machine, SIGSTOP): the monotonic clock went on, and nobody could answer meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from crowdstack.wire import worker as frames
from tests.faults.test_server_disk import free_port, listening, process, stock
from tests.server.world import Page


def test_no_hold_is_over_because_the_server_stood_still(tmp_path: Path) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"

    async def story(server: int) -> None:
        await listening(tmp_path)
        await stock(origin, 1)
        ann, bob = await Page.of(origin, "ann"), await Page.of(origin, "bob")
        unit = await ann.take()
        os.kill(server, signal.SIGSTOP)
        await asyncio.sleep(6.5)  # longer than the whole hold of 6 s
        os.kill(server, signal.SIGCONT)
        for _ in range(20):  # over several of its looks at the clock
            assert isinstance(await bob.next(), frames.Wait), "ann still holds the only unit"
            await asyncio.sleep(0.1)
        assert isinstance(await ann.submit(unit.assignment, {"label": "yes"}), frames.Accepted)
        assert isinstance(await bob.next(), frames.Done)
        for page in (ann, bob):
            page.close()
            await page.closed()

    with process(tmp_path, port, timeout_s=6) as child:
        asyncio.run(story(child.pid))
