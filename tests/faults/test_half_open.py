"""A worker's laptop is shut, or a router forgets it: the connection is dead and nobody says so."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from crowdstack.tokens import b64, derive
from crowdstack.wire import worker as frames
from tests.faults.network import Machine, needs_namespaces, two_machines
from tests.faults.test_power_cut import stored_answers
from tests.faults.test_server_disk import free_port, listening, process, stock
from tests.server.world import ROOT, RUN, Page, nonce

pytestmark = [pytest.mark.story, *needs_namespaces]

GOODBYE_S = 5.0  # how long the answer to a close frame is waited for
SLACK_S = 5.0


def play(
    folder: Path, story: Callable[[str, Machine], Awaitable[None]], *, ping_s: float, timeout_s: int = 600
) -> None:
    """A server with one unit on one machine, where the story runs too; the other one is the worker's laptop."""
    with two_machines() as (here, laptop):
        port = free_port()
        origin = f"http://{here.address}:{port}"
        changes = {"host": here.address, "origin": origin}

        async def run() -> None:
            await listening(folder)
            await stock(origin, 1)
            await story(origin, laptop)

        with (
            process(folder, port, under=here.under, changes=changes, timeout_s=timeout_s, ping_s=ping_s),
            here.inside(),
        ):
            asyncio.run(run())


async def page_on(laptop: Machine, origin: str, session: str | None = None) -> Page:
    with laptop.inside():
        if session is None:
            return await Page.of(origin, "ann")
        page = await Page.open(origin)
        assert isinstance(await page.hello(session=session), frames.Welcome)
        return page


async def counted(origin: str) -> tuple[int, int]:
    """(sockets, holds), as the server counts them."""
    key = b64(derive(ROOT, RUN, "metrics"))
    answer = await AsyncHTTPClient().fetch(f"{origin}/metrics", headers={"Authorization": f"Bearer {key}"})
    found = dict(re.findall(r"^crowdstack_(sockets|open_holds) (\d+)", answer.body.decode(), re.MULTILINE))
    return int(found["sockets"]), int(found["open_holds"])


async def noticed(origin: str, sockets: int, *, within_s: float) -> float:
    """Seconds until the server has only so many sockets left."""
    start = time.monotonic()

    async def fewer() -> None:
        while (await counted(origin))[0] > sockets:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    await asyncio.wait_for(fewer(), within_s)
    return time.monotonic() - start


async def send(page: Page, submit: frames.Submit) -> None:
    """Into the void: nobody waits for an answer."""
    await page.socket.write_message(frames.FROM_WORKER.to_json(submit))


async def left(*pages: Page) -> None:
    for page in pages:
        page.close()
        await page.closed()


def test_a_dead_connection_is_noticed_by_ping_and_the_worker_who_comes_back_goes_on_with_the_same_unit(
    tmp_path: Path,
) -> None:
    async def story(origin: str, laptop: Machine) -> None:
        dead = await page_on(laptop, origin)
        unit = await dead.take()
        assert await counted(origin) == (1, 1)
        laptop.unplug()
        submit = frames.Submit(assignment=unit.assignment, nonce=nonce(), answers={"label": "yes"})
        await send(dead, submit)
        took_s = await noticed(origin, 0, within_s=2 * 1.0 + GOODBYE_S + SLACK_S)
        print(f"noticed after {took_s:.1f} s")
        assert await counted(origin) == (0, 1), "the unit is still hers"
        bob = await Page.of(origin, "bob")
        assert not isinstance(await bob.next(), frames.Assigned)
        laptop.plug_in()
        ann = await page_on(laptop, origin, session=dead.session)
        assert (await ann.take()).assignment == unit.assignment
        first, second = await ann.ask(submit), await ann.ask(submit)
        assert isinstance(first, frames.Accepted)
        assert second == first
        assert await stored_answers(origin) == {first.receipt: {"label": "yes"}}
        await left(dead, ann, bob)

    play(tmp_path, story, ping_s=1.0)


def test_a_short_outage_ends_nothing_and_the_answer_arrives_on_the_same_connection(tmp_path: Path) -> None:
    async def story(origin: str, laptop: Machine) -> None:
        ann = await page_on(laptop, origin)
        unit = await ann.take()
        laptop.unplug()
        await send(ann, frames.Submit(assignment=unit.assignment, nonce=nonce(), answers={"label": "yes"}))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ann.socket.read_message(), 1)
        assert await counted(origin) == (1, 1)
        laptop.plug_in()
        accepted = await ann.hear()
        assert isinstance(accepted, frames.Accepted)
        assert await stored_answers(origin) == {accepted.receipt: {"label": "yes"}}
        await left(ann)

    play(tmp_path, story, ping_s=20.0)


def test_a_worker_who_never_comes_back_keeps_the_unit_until_its_time_is_over_and_no_longer(tmp_path: Path) -> None:
    async def story(origin: str, laptop: Machine) -> None:
        start = time.monotonic()
        dead = await page_on(laptop, origin)
        unit = await dead.take()
        laptop.unplug()
        await noticed(origin, 0, within_s=2 * 0.5 + GOODBYE_S + SLACK_S)
        assert await counted(origin) == (0, 1), "the unit is still hers"
        bob = await Page.of(origin, "bob")
        while not isinstance(answer := await bob.next(), frames.Assigned):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert 12 <= time.monotonic() - start < 12 + SLACK_S
        assert answer.unit == unit.unit
        assert answer.assignment != unit.assignment
        await left(dead, bob)

    play(tmp_path, story, ping_s=0.5, timeout_s=12)
