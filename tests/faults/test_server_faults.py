"""The server's files damaged behind its back, and more people than it may open files for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from crowdstack.errors import InboxRegressed
from crowdstack.model import Cursor, Event, Submitted
from crowdstack.server.client import ControlClient
from crowdstack.tokens import derive
from crowdstack.wire import worker as frames
from tests.faults.test_server_disk import free_port, listening, process, stock
from tests.server.world import ROOT, RUN, Page

LABELS = {n: {"label": "yes" if n % 3 else "no"} for n in range(20)}


def reconciler(origin: str) -> ControlClient:
    return ControlClient(origin, derive(ROOT, RUN, "control"), "store-0000000000000")


async def leave(client: ControlClient, page: Page) -> None:
    """Both connections are over, to their last word."""
    socket = client._socket
    assert socket is not None
    await client.close()
    while await asyncio.wait_for(socket.read_message(), 10) is not None:
        pass
    page.close()
    await page.closed()


async def heard(client: ControlClient) -> tuple[Cursor, dict[int, object]]:
    """Everything the server has to tell: the cursor after it, and answers by receipt."""
    batch, answers = await client.next_batch(5), {}
    assert batch is not None
    cursor = batch.cursor
    while batch is not None:
        cursor = batch.cursor
        for event in batch.events:
            assert isinstance(event, Event), "no damage passes for an event"
            if isinstance(event.body, Submitted):
                assert event.receipt is not None
                assert event.receipt not in answers
                answers[event.receipt] = event.body.answers
        await client.ack(cursor.seq)
        batch = await client.next_batch(0.3)
    return cursor, answers


def cut(log: Path) -> None:
    os.truncate(log, log.stat().st_size // 2)


def flip(log: Path) -> None:
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_log_that_lost_its_end_is_noticed_and_what_was_stored_stays_true(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"

    async def work() -> tuple[Cursor, dict[int, object]]:
        await listening(tmp_path)
        await stock(origin, 40)
        page = await Page.of(origin, "ann")
        for answers in LABELS.values():
            assert isinstance(await page.submit((await page.take()).assignment, answers), frames.Accepted)
        client = reconciler(origin)
        await client.connect(None)
        found = await heard(client)
        await leave(client, page)
        return found

    async def after(stored: Cursor, known: dict[int, object]) -> None:
        await listening(tmp_path)
        page = await Page.of(origin, "bob")
        client = reconciler(origin)
        with pytest.raises(InboxRegressed):
            await client.connect(stored)
        start = await client.new_epoch(stored)
        assert (start.epoch, start.seq) == (stored.epoch + 1, stored.seq)
        assert await client.connect(start) == start
        cursor, again = await heard(client)
        assert 0 < len(again) < len(known)
        assert again.items() <= known.items(), "what is told again is what was told, under the first receipt"
        accepted = await page.submit((await page.take()).assignment, {"label": "no"})
        assert isinstance(accepted, frames.Accepted)
        assert accepted.receipt > cursor.seq
        await leave(client, page)

    with process(tmp_path, port) as child:
        stored, known = asyncio.run(work())
        assert list(known.values()) == list(LABELS.values())
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    damage(tmp_path / "run" / "inbox.db-wal")
    with process(tmp_path, port):
        asyncio.run(after(stored, known))


def test_with_its_open_files_used_up_it_turns_others_away_and_goes_on_with_those_inside(tmp_path: Path) -> None:
    port = free_port()

    async def dial() -> tuple[bytes, asyncio.StreamWriter]:
        """What a connection hears at once, if anything; it stays open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await asyncio.wait_for(reader.read(200), 2), writer
        except asyncio.TimeoutError:
            return b"", writer

    async def story() -> None:
        await listening(tmp_path)
        origin = f"http://127.0.0.1:{port}"
        await stock(origin, 3)
        page = await Page.of(origin, "ann")
        unit = await page.take()
        dialled = await asyncio.gather(*(dial() for _ in range(1000)))
        refused = [said for said, _ in dialled if said]
        assert all(said.startswith(b"HTTP/1.1 503 ") and b"Retry-After" in said for said in refused)
        assert 800 < len(refused) < 1000
        assert isinstance(await page.submit(unit.assignment, {"label": "yes"}), frames.Accepted)
        for _, writer in dialled:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in dialled), return_exceptions=True)
        assert isinstance(await page.submit((await page.take()).assignment, {"label": "no"}), frames.Accepted)
        page.close()
        await page.closed()

    few = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
    with process(tmp_path, port, under=few) as child:
        asyncio.run(story())
        assert child.poll() is None
    assert "Too many open files" not in (tmp_path / "server.log").read_text(), (
        "those turned away used up the spare ones"
    )
