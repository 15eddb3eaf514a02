"""The whole server over real sockets, in this process."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import Busy, InboxRegressed, LockHeld
from crowdstack.model import Cursor, EventKind, ItemOffer, UnitOffer
from crowdstack.server.server import TaskServer
from crowdstack.wire import worker as frames
from tests.server.world import Page, a_server, config, control, link, nonce, offer, told, unit_id

Story = Callable[[TaskServer], Awaitable[None]]


def play(folder: Path, story: Story, *, units: int = 3, **changes: Any) -> None:
    async def run() -> None:
        async with a_server(folder, units=units, **changes) as server:
            await story(server)

    asyncio.run(run())


def test_a_unit_goes_out_and_comes_back_as_an_event(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        async with control(server) as client:
            await offer(client, ["crow"])
            page = await Page.of(server.origin, "ann")
            unit = await page.take()
            assert unit.data == {"text": "about crow"}
            accepted = await page.submit(unit.assignment, {"label": "yes"})
            assert isinstance(accepted, frames.Accepted)
            events = await told(client, until=accepted.receipt)
            assert [event.kind for event in events] == [EventKind.ARRIVED, EventKind.ASSIGNED, EventKind.SUBMITTED]
            assert events[-1].receipt == accepted.receipt
            assert events[-1].body.answers == {"label": "yes"}
            done = await page.next()
            assert done == frames.Done(reason="target", completion={"message": "Thank you!"})
            page.close()

    play(tmp_path, story, units=0)


def test_the_same_submit_gets_the_same_receipt_in_every_tab(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        first, second = await Page.of(server.origin, "ann"), await Page.of(server.origin, "ann")
        unit, same = await first.take(), await second.take()
        assert unit.assignment == same.assignment
        key = nonce()
        submits = [page.submit(unit.assignment, {"label": "no"}, key) for page in (first, second)]
        one, other = await asyncio.gather(*submits)
        assert isinstance(one, frames.Accepted)
        assert one == other == await first.submit(unit.assignment, {"label": "no"}, key)
        changed = await first.submit(unit.assignment, {"label": "yes"}, key)
        assert isinstance(changed, frames.Error)
        assert changed.code == "nonce_reused"
        late = await second.submit(unit.assignment, {"label": "no"})
        assert isinstance(late, frames.Error)
        assert late.code == "already_submitted"
        first.close(), second.close()

    play(tmp_path, story)


def test_answers_that_do_not_fit_are_refused_and_the_hold_goes_on(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.of(server.origin, "ann")
        unit = await page.take()
        answer = await page.submit(unit.assignment, {"label": "perhaps", "note": 3})
        assert isinstance(answer, frames.Refused)
        assert {fault.path for fault in answer.errors} == {"/label", "/note"}
        assert isinstance(await page.submit(unit.assignment, {"label": "yes"}), frames.Accepted)
        page.close()

    play(tmp_path, story)


def test_a_restart_keeps_holds_visits_and_receipts(tmp_path: Path) -> None:
    held: dict[str, Any] = {}

    async def before(server: TaskServer) -> None:
        page = await Page.of(server.origin, "ann")
        unit = await page.take()
        held.update(port=server.port, key=nonce(), first=unit.assignment)
        held["accepted"] = await page.submit(unit.assignment, {"label": "yes"}, held["key"])
        held.update(second=(await page.take()).assignment, session=page.session)
        page.close()

    async def after(server: TaskServer) -> None:
        page = await Page.open(server.origin)
        assert isinstance(await page.hello(session=held["session"]), frames.Welcome)
        assert (await page.take()).assignment == held["second"]
        assert await page.submit(held["first"], {"label": "yes"}, held["key"]) == held["accepted"]
        assert isinstance(await page.submit(held["second"], {"label": "no"}), frames.Accepted)
        page.close()

    play(tmp_path, before)
    play(tmp_path, after, units=0, port=held["port"])


def test_a_page_is_told_to_come_back_when_the_server_stops(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path, units=1) as server:
            page = await Page.of(server.origin, "ann")
            closed = asyncio.ensure_future(page.closed())
            await asyncio.sleep(0)
        assert await closed == frames.RESTART
        page.close()

    asyncio.run(story())


def test_a_page_of_an_older_bundle_reloads_between_two_units(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.open(server.origin)
        assert isinstance(await page.hello(link(server.origin, "ann"), bundle="b" * 64), frames.Welcome)
        unit = await page.take()
        server.reread(replace(server.config, bundle="c" * 64, answers=None))
        assert isinstance(await page.submit(unit.assignment, {"anything": 1}), frames.Accepted)
        assert isinstance(await page.next(), frames.Reload)
        assert isinstance(await page.hello(session=page.session, bundle="b" * 64), frames.Reload)
        assert isinstance(await page.hello(session=page.session, bundle="c" * 64), frames.Welcome)
        await page.take()
        page.close()

    play(tmp_path, story)


def test_a_second_client_is_held_off_and_the_old_term_is_fenced(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        async with control(server) as first, control(server, "another-000000000000") as second:
            await first.connect(None)
            with pytest.raises(LockHeld):
                await second.connect(None)
            server.lease.until = 0.0  # the lease runs out
            await second.connect(None)
            with pytest.raises(Busy):
                await first.next_batch(5)
            with pytest.raises(Busy):
                await first.drain()
            with pytest.raises(LockHeld):
                await first.connect(None)
            assert not server.desk.pool.draining

    play(tmp_path, story)


def test_a_client_knows_for_how_long_nobody_else_can_lead(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        async with control(server) as first, control(server, "another-000000000000") as second:
            assert first.lease_left_s() == 0
            await first.connect(None)
            left = server.lease.until - time.monotonic()
            assert 20 < first.lease_left_s() <= left, "never longer than the server keeps others off"
            server.lease.until = 0.0
            await second.connect(None)
            with pytest.raises(Busy):
                await first.next_batch(5)
            assert first.lease_left_s() == 0
            assert second.lease_left_s() > 20
            await second.close()
            assert second.lease_left_s() == 0

    play(tmp_path, story)


def test_a_client_that_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.of(server.origin, "ann")
        async with control(server) as client:
            await client.connect(None)
            batch = await client.next_batch(5)
            assert batch is not None
            await page.take()
            await client.connect(batch.cursor)
            (assigned,) = await told(client)
            assert (assigned.seq, assigned.kind) == (batch.cursor.seq + 1, EventKind.ASSIGNED)
        page.close()

    play(tmp_path, story)


def test_an_inbox_restored_from_an_older_copy_has_regressed_and_starts_a_new_epoch(tmp_path: Path) -> None:
    known: dict[str, Cursor] = {}

    async def work(server: TaskServer) -> None:
        async with control(server) as client:
            await client.connect(None)
            page = await Page.of(server.origin, "ann")
            await page.submit((await page.take()).assignment, {"label": "yes"})
            page.close()
            batch = await client.next_batch(5)
            while batch is not None:
                known["cursor"] = batch.cursor
                batch = await client.next_batch(0.3)

    async def after(server: TaskServer) -> None:
        async with control(server) as client:
            page = await Page.of(server.origin, "bob")
            with pytest.raises(InboxRegressed) as regressed:
                await client.connect(known["cursor"])
            assert regressed.value.have == 1
            start = await client.new_epoch(known["cursor"])
            assert (start.epoch, start.seq) == (2, known["cursor"].seq)
            assert await client.connect(start) == start
            batch = await client.next_batch(5)
            assert batch is not None
            assert batch.again
            assert [(event.seq, event.receipt) for event in batch.events] == [(start.seq + 1, 1)]  # type: ignore[union-attr]
            await client.ack(batch.cursor.seq)
            await page.take()
            batch = await client.next_batch(5)
            assert batch is not None
            assert not batch.again
            page.close()

    async def nothing(server: TaskServer) -> None:
        assert server.inbox.seq == 0

    play(tmp_path, nothing)
    for name in tmp_path.glob("run/inbox.db*"):
        shutil.copy(name, tmp_path / name.name)
    play(tmp_path, work, units=0)
    for name in tmp_path.glob("run/inbox.db*"):
        name.unlink()
    for name in tmp_path.glob("inbox.db*"):
        shutil.copy(name, tmp_path / "run" / name.name)
    play(tmp_path, after, units=0)


def test_a_slow_client_has_at_most_a_window_of_events_under_way(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        async with control(server) as client:
            await client.connect(None)
            page = await Page.of(server.origin, "ann")
            for _ in range(260):
                unit = await page.take()
                await page.ask(frames.Return(assignment=unit.assignment))
            page.close()
            (socket,) = server.controls
            assert socket._events == 500
            assert len(await told(client, until=521)) == 521

    play(tmp_path, story, limits={"frames_per_s": 1e6, "burst": 10**6})


def test_a_worker_with_too_many_pages_waits(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        pages = [await Page.of(server.origin, "ann") for _ in range(4)]
        fifth = await Page.open(server.origin)
        assert isinstance(await fifth.hello(link(server.origin, "ann")), frames.Busy)
        pages[0].close()
        await pages[0].closed()
        assert isinstance(await fifth.hello(link(server.origin, "ann")), frames.Welcome)
        for page in (fifth, *pages):
            page.close()

    play(tmp_path, story)


def test_before_hello_nothing_else_is_followed(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.open(server.origin)
        for frame in (frames.Next(), frames.Return(assignment="a" * 22)):
            answer = await page.ask(frame)
            assert isinstance(answer, frames.Error)
            assert answer.code == "hello_first"
        page.close()

    play(tmp_path, story)


def test_a_quick_page_is_slowed_down_and_loses_nothing(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page = await Page.of(server.origin, "ann")
        start = asyncio.get_running_loop().time()
        for _ in range(20):
            await page.socket.write_message('{"type":"next"}')
        answers = [await page.hear() for _ in range(20)]
        assert asyncio.get_running_loop().time() - start >= 15 / 20
        assert len({answer.assignment for answer in answers}) == 1  # type: ignore[union-attr]
        page.close()

    play(tmp_path, story, limits={"frames_per_s": 20, "burst": 5})


def test_a_fixed_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        from crowdstack.folder import RunFolder

        other = tmp_path / "other"
        other.mkdir()
        with pytest.raises(OSError, match="in use"):
            await TaskServer(config(tmp_path / "blobs", port=server.port), RunFolder(other), tmp_path / "blobs").start()

    play(tmp_path, story, units=0)


def test_a_clock_that_fails_ends_the_process(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        ended = asyncio.Event()
        server.inbox._on_fault = ended.set

        def failing(_: object) -> list[Any]:
            raise KeyError("no such hold")

        server.desk.pool.tick = failing  # type: ignore[method-assign]
        await asyncio.wait_for(ended.wait(), 5)

    play(tmp_path, story)


def test_items_are_weighed_as_they_travel_whatever_they_are_written_in(tmp_path: Path) -> None:
    items = [ItemOffer(item=f"item{n}", data={"text": "\N{PARROT}" * 50_000}) for n in range(20)]
    units = [UnitOffer(unit=unit_id(each.item), item=each.item, attempt=1) for each in items]

    async def story(server: TaskServer) -> None:
        async with control(server) as client:
            await client.connect(None)
            await client.offer(items, units)
        assert len(server.desk.pool.units) == 20

    play(tmp_path, story, units=0)


def test_on_a_full_disk_nothing_is_decided_until_it_was_looked_at_again(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        server._ticking.cancel()
        ann, inbox = await Page.of(server.origin, "ann"), server.inbox
        unit = await ann.take()
        sound, lost, losses = inbox._put, inbox.on_lost, []

        def full(*_: object) -> Any:
            raise sqlite3.OperationalError("database or disk is full")

        def count() -> None:
            losses.append(1)
            lost()

        inbox._put, inbox.on_lost = full, count  # type: ignore[method-assign]
        busy = frames.Busy(of="submit", retry_s=2.0, assignment=unit.assignment)
        for _ in range(5):
            assert await ann.submit(unit.assignment, {"label": "yes"}) == busy
        bob = await Page.open(server.origin)
        assert await bob.hello(link(server.origin, "bob")) == frames.Busy(of="hello", retry_s=2.0)
        assert losses == [1]  # memory is read again once, not for each who asks
        inbox._put = sound  # type: ignore[method-assign]
        inbox.watch_disk()
        assert isinstance(await ann.submit(unit.assignment, {"label": "yes"}), frames.Accepted)
        assert isinstance(await bob.hello(link(server.origin, "bob")), frames.Welcome)
        for page in (ann, bob):
            page.close()

    play(tmp_path, story)
