"""Task servers inside this process, each in a thread with a loop of its own: for authors' tests (`architect: mock`)."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crowdstack import process
from crowdstack.engine.launcher import Running, choose_port, run_folder
from crowdstack.errors import Refused
from crowdstack.folder import Folder, RunFolder, private_folder, write_private
from crowdstack.wire.configs import ServerConfig


class Server(Protocol):
    """A task server of this process (crowdstack.server.TaskServer)."""

    @property
    def config_digest(self) -> str: ...
    def reread(self, config: ServerConfig) -> None: ...


Serve = Callable[[ServerConfig, RunFolder, Path], AbstractAsyncContextManager[Server]]


class InProcessLauncher:
    """Servers inside this process, each in a thread with a loop of its own, for authors' tests; they end with the process."""

    def __init__(self, folder: Folder, serve: Serve) -> None:
        self._folder = folder
        self._serve = serve
        self._served: dict[str, _Served] = {}

    def choose_port(self, run: str, host: str, wanted: int) -> int:
        return choose_port(run_folder(self._folder, run), host, wanted)

    def ensure(self, config: ServerConfig) -> Running:
        run = run_folder(self._folder, config.run)
        private_folder(run.root)
        write_private(run.server_config, config.to_bytes())
        served = self._served.get(config.run)
        if served is not None and served.thread.is_alive():
            asyncio.run_coroutine_threadsafe(served.reread(config), served.loop).result()
        else:
            self._served[config.run] = self._start(config, run)
        return _here(self._served[config.run])

    def find(self, run: str, config: str) -> Running | None:
        served = self._served.get(run)
        return None if served is None or not served.thread.is_alive() else _here(served)

    def stop(self, run: str) -> None:
        served = self._served.pop(run, None)
        if served is not None and served.thread.is_alive():
            served.loop.call_soon_threadsafe(served.over.set)
            served.thread.join()
        run_folder(self._folder, run).server_config.unlink(missing_ok=True)

    def _start(self, config: ServerConfig, run: RunFolder) -> _Served:
        started: Future[_Served] = Future()

        async def main() -> None:
            async with self._serve(config, run, self._folder.blobs) as server:
                served = _Served(server, threading.current_thread(), asyncio.get_running_loop(), asyncio.Event())
                started.set_result(served)
                await served.over.wait()

        def body() -> None:
            try:
                asyncio.run(main())
            except Exception as fault:
                if started.done():
                    raise
                started.set_exception(fault)

        threading.Thread(target=body, name=f"task server of {config.run}", daemon=True).start()
        try:
            return started.result()
        except OSError as fault:
            where = f"{config.host}:{config.port}"
            raise Refused(f"the task server of {config.run} cannot start", where=where, why=fault.strerror) from fault


@dataclass(frozen=True)
class _Served:
    server: Server
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    over: asyncio.Event

    async def reread(self, config: ServerConfig) -> None:
        self.server.reread(config)


def _here(served: _Served) -> Running:
    process_id = process.identify(os.getpid())
    assert process_id is not None
    return Running(process=process_id, config=served.server.config_digest)
