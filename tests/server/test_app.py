"""The whole server over real sockets, in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from crowdstack.model import EventKind
from crowdstack.wire import worker as frames
from tests.server.world import Page, a_server, control, offer, told


def test_a_unit_goes_out_and_comes_back_as_an_event(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_server(tmp_path) as server, control(server) as client:
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
            assert isinstance(await page.next(), frames.Done)
            page.close()

    asyncio.run(story())
