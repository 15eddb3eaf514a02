"""The durable log on a real file: what is told is on disk, and what is not on disk is not told."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest

from crowdstack.errors import Busy, Refused
from crowdstack.model import Arrived, EventKind
from crowdstack.server.inbox import Inbox
from crowdstack.server.rows import Change
from crowdstack.wire.control import chain_next, parse_event

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


@asynccontextmanager
async def inbox(folder: Path, *, keep: int = 0) -> AsyncIterator[Inbox]:
    made = Inbox(folder / "inbox.db", group=500, ballast=0, keep=keep)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def doomed(folder: Path) -> AsyncIterator[tuple[Inbox, asyncio.Event]]:
    """An inbox in a process whose end is only noted."""
    ended = asyncio.Event()
    made = Inbox(folder / "inbox.db", group=500, ballast=0, on_fault=ended.set)
    try:
        yield made, ended
    finally:
        made._thread.shutdown()
        made._read.close()
        made._write.close()


def fails(fault: Exception) -> Callable[..., None]:
    def failing(*_: object, **__: object) -> None:
        raise fault

    return failing


def arrival(n: int, worker: str = "") -> Change:
    """A visit begins: one event, one row."""
    change = Change(AT)
    body = Arrived(visit=f"v{n}", worker=worker or f"w{n}", study="s")  # type: ignore[arg-type]
    change.events.append((EventKind.ARRIVED, body))
    change.rows.append(("visits", (f"v{n}", worker or f"w{n}", "s", 0, None, None, "signed")))
    return change


def workers(of: Inbox) -> list[str]:
    return [parse_event(entry.seq, entry.body).body.worker for entry in of.entries(0, 1000)]  # type: ignore[union-attr]


def on_disk(folder: Path) -> int:
    """Events as another process sees them."""
    db = sqlite3.connect(folder / "inbox.db")
    try:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        db.close()


def test_what_was_kept_is_on_disk_and_survives(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path) as first:
            assert first.synchronous == 2
            kept = [first.append(arrival(n)) for n in range(1200)]
            assert await kept[0]
            assert on_disk(tmp_path) >= 1
            assert all(await asyncio.gather(*kept))
            assert on_disk(tmp_path) == 1200
        async with inbox(tmp_path) as second:
            assert (second.seq, second.id) == (1200, first.id)
            assert await second.append(arrival(1200))
            assert second.seq == 1201

    asyncio.run(story())


def test_the_chain_runs_through_groups_and_restarts(tmp_path: Path) -> None:
    async def story() -> None:
        for start in (0, 3):
            async with inbox(tmp_path) as box:
                for n in range(start, start + 3):
                    await box.append(arrival(n))
        async with inbox(tmp_path) as box:
            chain = box.base_chain
            for entry in box.entries(0, 100):
                chain = chain_next(chain, entry.seq, bytes.fromhex(entry.salt), entry.body)
            assert chain == box.chain_at(6)

    asyncio.run(story())


def test_a_poison_frame_spares_its_group(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path) as box:
            again = asyncio.Event()
            box.on_lost = again.set
            group = [box.append(arrival(n)) for n in range(3)]
            poison = box.append(arrival(3, worker="half a pair \ud800"))
            group += [box.append(arrival(n)) for n in range(4, 7)]
            assert all(await asyncio.gather(*group))
            assert not await poison
            assert again.is_set()  # memory held the poison, so it is read again
            assert workers(box) == ["w0", "w1", "w2", "w4", "w5", "w6"]
            assert [entry.seq for entry in box.entries(0, 100)] == [1, 2, 3, 4, 5, 6]

    asyncio.run(story())


def test_what_depends_on_poison_is_not_kept_either(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path) as box:
            orphan = Change(AT)
            orphan.rows.append(("units", ("u", "no such item", 1, None, "open")))
            good, bad = box.append(arrival(1)), box.append(orphan)
            assert (await good, await bad) == (True, False)

    asyncio.run(story())


def test_seq_goes_on_after_the_log_is_trimmed_to_empty(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path) as box:
            for n in range(5):
                await box.append(arrival(n))
            chain = box.chain_at(5)
            await box.release(5)
            assert on_disk(tmp_path) == 0
        async with inbox(tmp_path) as box:
            assert (box.seq, box.chain_at(5)) == (5, chain)
            await box.append(arrival(5))
            (entry,) = box.entries(5, 10)
            assert entry.seq == 6
            assert chain_next(chain or "", 6, bytes.fromhex(entry.salt), entry.body) == box.chain_at(6)

    asyncio.run(story())


def test_what_was_released_stays_until_the_file_is_large(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path, keep=400_000) as box:
            for n in range(20):
                await box.append(arrival(n))
            await box.release(10)
            assert on_disk(tmp_path) == 20
            while box._used() < 400_000:
                for n in range(500):
                    box.append(arrival(n))
                await box.flush()
            await box.release(10)
            assert [entry.seq for entry in box.entries(10, 2)] == [11, 12]
            assert on_disk(tmp_path) == box.seq - 10

    asyncio.run(story())


def test_a_new_epoch_tells_everything_again_under_its_first_receipts(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path) as box:
            for n in range(3):
                await box.append(arrival(n))
            for _ in range(2):  # a repeat changes nothing
                await box.new_epoch(2, above=50)
            assert (box.epoch, box.start, box.seq, box.again) == (2, 50, 53, 53)
            await box.append(arrival(3))
            events = [parse_event(entry.seq, entry.body) for entry in box.entries(50, 100)]
            assert [(event.seq, event.receipt) for event in events] == [(51, 1), (52, 2), (53, 3), (54, 54)]
        async with inbox(tmp_path) as box:
            assert (box.epoch, box.start, box.seq, box.again) == (2, 50, 54, 53)

    asyncio.run(story())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database, but it is long enough to look like a file of one" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 + path.read_bytes()[8192:]),
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    async def fill() -> None:
        async with inbox(tmp_path) as box:
            await asyncio.gather(*(box.append(arrival(n)) for n in range(300)))

    asyncio.run(fill())
    path = tmp_path / "inbox.db"
    damage(path)
    before = path.read_bytes()
    with pytest.raises(Refused, match=r"inbox\.db cannot be used"):
        Inbox(path, group=500, ballast=0)
    assert path.read_bytes() == before


def test_after_close_nothing_is_promised(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path) as box:
            last = box.append(arrival(0))
        assert await last
        assert not await box.append(arrival(1))

    asyncio.run(story())


@pytest.mark.parametrize("act", [lambda box: box.release(1), lambda box: box.new_epoch(2, above=50)])
def test_a_full_disk_makes_a_rare_change_wait_and_a_broken_one_ends_the_process(
    tmp_path: Path, act: Callable[[Inbox], Awaitable[None]]
) -> None:
    async def story() -> None:
        async with doomed(tmp_path) as (box, ended):
            await box.append(arrival(0))
            box._set = fails(sqlite3.OperationalError("database or disk is full"))  # type: ignore[method-assign]
            with pytest.raises(Busy):
                await act(box)
            assert await box.append(arrival(1))
            assert not ended.is_set()
            box._set = fails(sqlite3.OperationalError("disk I/O error"))  # type: ignore[method-assign]
            answer = asyncio.ensure_future(act(box))  # type: ignore[arg-type]
            await asyncio.wait_for(ended.wait(), 5)
            assert not answer.done()
            answer.cancel()

    asyncio.run(story())


def test_a_fault_that_nobody_foresaw_ends_the_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with doomed(tmp_path) as (box, ended):
            box._put = fails(TypeError("not foreseen"))  # type: ignore[method-assign]
            kept = box.append(arrival(0))
            await asyncio.wait_for(ended.wait(), 5)
            assert not kept.done()

    asyncio.run(story())
    assert "Traceback" in caplog.text
    assert "not foreseen" in caplog.text


def test_memory_that_cannot_be_read_again_ends_the_process(tmp_path: Path) -> None:
    async def story() -> None:
        async with doomed(tmp_path) as (box, ended):
            box.on_lost = fails(KeyError("memory"))
            kept = box.append(arrival(0, worker="half a pair \ud800"))
            await asyncio.wait_for(ended.wait(), 5)
            assert not kept.done() or not kept.result()

    asyncio.run(story())


def test_a_closed_inbox_takes_no_rare_change(tmp_path: Path) -> None:
    async def story() -> None:
        async with inbox(tmp_path) as box:
            await box.append(arrival(0))
        with pytest.raises(Busy):
            await box.release(1)

    asyncio.run(story())
