"""One task server: starts and stops its parts. `serve` runs it inside this process; `__main__` makes a process of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from crowdstack.folder import RunFolder, write_private
from crowdstack.process import identify
from crowdstack.server.app import Door, Listener, Metrics, application
from crowdstack.server.control import LEASE_S, ControlSocket, Lease
from crowdstack.server.hooks import Hooks
from crowdstack.server.inbox import Inbox
from crowdstack.server.pool import Pool, now
from crowdstack.server.session import Desk
from crowdstack.server.settings import Settings
from crowdstack.server.site import Site
from crowdstack.tokens import config_digest
from crowdstack.wire.configs import ServerConfig
from crowdstack.wire.worker import RESTART

log = logging.getLogger(__name__)

_TICK_S = 1.0
_STOOD_STILL_S = 5.0  # between two ticks: the process was stopped, or its machine was
_HEADERS_S = 10.0  # a request's headers, and its body, must come within this


class TaskServer:
    """The server of one run. `config` may name port 0: then `start` finds one, and `origin` follows it."""

    def __init__(self, config: ServerConfig, run_folder: RunFolder, blobs: Path) -> None:
        self.folder, self._blobs = run_folder, blobs
        self.settings = Settings(config)
        self.config_digest = config_digest(config.to_bytes())
        self.door, self.metrics = Door(), Metrics()
        self.controls: set[ControlSocket] = set()
        self.hooks = Hooks(self._pass_hooks_on)
        self.port = config.port

    @property
    def config(self) -> ServerConfig:
        return self.settings.config

    @property
    def origin(self) -> str:
        return self.config.origin

    async def start(self) -> None:
        """Listening on return, with everything read from the disk. OSError when the port is taken."""
        config = self.config
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listening = socket.create_server((config.host, config.port), family=family, backlog=1024)
        listening.setblocking(False)
        try:
            self.port = listening.getsockname()[1]
            self.settings = self.settings.at(self.port)
            limits = self.config.limits
            self.inbox = Inbox(self.folder.inbox, group=limits.group, ballast=limits.ballast, keep=limits.inbox_keep)
        except BaseException:
            listening.close()
            raise
        pool = Pool(self.settings.terms, self.inbox.assignment)
        self.desk = Desk(self.settings, pool, lambda: self.inbox.full(self.config.limits), lambda: self.inbox.stuck)
        self.site = Site(self.config, self._blobs)
        # After a restart the holder of the lease comes first.
        self.lease = Lease(self.inbox.client, self.inbox.term, time.monotonic() + (LEASE_S if self.inbox.client else 0))
        self.inbox.on_lost = lambda: pool.load(self.inbox.snapshot(), now())
        self.inbox.on_kept = self._tell_controls
        self.inbox.on_lost()
        self._listener = Listener(
            application(self),
            idle_connection_timeout=_HEADERS_S,
            body_timeout=_HEADERS_S,
            max_header_size=16 * 1024,
            max_body_size=limits.frame,
        )
        self._listener.guard(self)
        self._listener.add_socket(listening)
        self._ticking = asyncio.ensure_future(self._tick())
        self._ticking.add_done_callback(self._ticked)

    async def stop(self) -> None:
        """Take no more, flush, tell pages to come back later. Everything answered is on disk on return."""
        self._listener.stop()
        self._ticking.cancel()
        self.desk.pool.paused = True
        await self.inbox.flush()
        for page in list(self.door.sockets):
            page.close(RESTART, "restart")
        for control in list(self.controls):
            control.close(RESTART, "restart")
        await self._listener.close_all_connections()
        await self.inbox.close()

    def reread(self, config: ServerConfig) -> None:
        """Go by another configuration of the same run, in place: holds stay, old pages are told to reload."""
        self.settings = self.desk.settings = Settings(config)
        self.config_digest = config_digest(config.to_bytes())
        self.desk.pool.terms = self.settings.terms
        self.site = Site(config, self._blobs)

    def _tell_controls(self) -> None:
        for control in self.controls:
            control.pump()

    def _pass_hooks_on(self) -> None:
        for control in self.controls:
            control.look()

    async def _tick(self) -> None:
        """What time brings: expired holds, silent visits, a full disk."""
        last = now()
        while True:
            moment = now()
            if moment.mono - last.mono > _STOOD_STILL_S:
                log.warning("stood still for %.0f s: holds are prolonged", moment.mono - last.mono)
                self.desk.pool.stood_still(moment)
            last = moment
            for change in self.desk.pool.tick(moment):
                self.inbox.append(change)
            try:
                self.desk.pool.paused = self.inbox.watch_disk() < self.config.limits.disk_reserve
            except OSError as fault:  # the folder is gone or cannot be read: give out nothing until it is there again
                log.error("the disk cannot be looked at: %s", fault)
                self.desk.pool.paused = True
            await asyncio.sleep(_TICK_S)

    def _ticked(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (cause := done.exception()) is not None:
            self.inbox.fault(cause)

    def announce(self) -> None:
        """Tell in server.process.json who listens where."""
        identity = identify(os.getpid())
        assert identity is not None
        data = {**identity.to_json(), "port": self.port, "nonce": secrets.token_urlsafe(16)}
        write_private(self.folder.server_process, json.dumps(data).encode())


@asynccontextmanager
async def serve(config: ServerConfig, run_folder: RunFolder, blobs: Path) -> AsyncIterator[TaskServer]:
    """A server in this event loop, stopped at the end."""
    server = TaskServer(config, run_folder, blobs)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
