"""The fake on a port while something else goes on: served by a thread of this process, gone when it is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from crowdstack.fakes.prolific.http import serve
from crowdstack.fakes.prolific.service import Service


@contextmanager
def played(service: Service, port: int = 0) -> Iterator[str]:
    """Its origin. OSError when the port is taken."""
    ready: Future[str] = Future()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def live() -> None:
        try:
            async with serve(service, port) as origin:
                ready.set_result(origin)
                await over.wait()
        except BaseException as fault:
            if ready.done():
                raise
            ready.set_exception(fault)

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(live())
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="fake", daemon=True)
    thread.start()
    try:
        yield ready.result()
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(over.set)
        thread.join()
