"""Connections that say nothing, or nearly nothing: they keep nobody out."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from crowdstack.engine.detached import prove
from crowdstack.server.client import ControlClient
from crowdstack.tokens import config_digest, derive
from crowdstack.wire import worker as frames
from crowdstack.wire.configs import ServerConfig
from tests.faults.test_server_disk import free_port, listening, process, stock
from tests.server.world import ROOT, RUN, Page


@asynccontextmanager
async def silent(port: int, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many connections that say nothing."""
    dialled = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield [reader for reader, _ in dialled]
    finally:
        for _, writer in dialled:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in dialled), return_exceptions=True)


@pytest.mark.parametrize("files", [256, 1024])
def test_silent_connections_from_one_address_turn_away_nobody(tmp_path: Path, files: int) -> None:
    """As many as there are files for, and more: the launcher's proof, the reconciler and a new worker are served."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"

    async def story() -> None:
        await listening(tmp_path)
        await stock(origin, 3)
        before = await Page.of(origin, "ann")
        unit = await before.take()
        config = ServerConfig.from_bytes((tmp_path / "run" / "server.json").read_bytes())
        async with silent(port, files) as strangers:
            assert await asyncio.to_thread(prove, config, config_digest(config.to_bytes()))
            client = ControlClient(origin, derive(ROOT, RUN, "control"), "store-0000000000000")
            await client.connect(None)
            new = await Page.of(origin, "bob")
            for page, assignment in ((before, unit.assignment), (new, (await new.take()).assignment)):
                assert isinstance(await page.submit(assignment, {"label": "yes"}), frames.Accepted)
            assert (await strangers[0].read()).startswith(b"HTTP/1.1 503 "), "who was silent longest makes room"
            assert not strangers[-1].at_eof()
            await client.close()
            for page in (before, new):
                page.close()
                await page.closed()

    with process(tmp_path, port, under=["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"]):
        asyncio.run(story())
    assert "Too many open files" not in (tmp_path / "server.log").read_text()


def test_it_opens_as_many_files_as_the_machine_allows(tmp_path: Path) -> None:
    with process(tmp_path, free_port(), under=["sh", "-c", 'ulimit -S -n 128; exec "$@"', "sh"]) as child:
        asyncio.run(listening(tmp_path))
        soft, hard = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
        assert soft == hard > 128
