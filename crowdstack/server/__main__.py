"""The server as a process of its own: `python -m crowdstack.server --run-folder F --blobs B`. Exit codes: docs/protocol.md."""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import sys
from pathlib import Path

from crowdstack import process
from crowdstack.errors import CrowdstackError, Refused
from crowdstack.folder import RunFolder
from crowdstack.server.server import TaskServer
from crowdstack.wire.configs import ServerConfig

log = logging.getLogger("crowdstack.server")

_PORT_S = 10.0  # how long a taken port is waited for: links never change silently


async def run(folder: RunFolder, blobs: Path) -> None:
    """Serve until SIGTERM; SIGHUP reads server.json again."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    server = await _started(folder, blobs)
    loop.add_signal_handler(signal.SIGHUP, _reread, server)
    server.announce()
    log.info("run %s: listening on port %d", server.config.run, server.port)
    gc.freeze()  # what is there now stays: no need to look through it again and again
    gc.set_threshold(20_000, 20, 100)  # serving makes hardly any cycles, and looking for them takes a twentieth of it
    await over.wait()
    await server.stop()
    log.info("stopped")


async def _started(folder: RunFolder, blobs: Path) -> TaskServer:
    end = asyncio.get_running_loop().time() + _PORT_S
    while True:
        server = TaskServer(_config(folder), folder, blobs)
        try:
            await server.start()
            return server
        except OSError as fault:
            if fault.errno != errno.EADDRINUSE:
                raise
            if asyncio.get_running_loop().time() >= end:
                raise Refused(
                    f"port {server.config.port} is taken{_owner(server.config.port)}",
                    hint="end that process, or set another port in the spec (architect.port)",
                ) from fault
        await asyncio.sleep(0.1)


def _config(folder: RunFolder) -> ServerConfig:
    return ServerConfig.from_bytes(folder.server_config.read_bytes())


def _reread(server: TaskServer) -> None:
    try:
        server.reread(_config(server.folder))
    except (OSError, ValueError, TypeError, KeyError, CrowdstackError) as fault:
        log.error("server.json was not taken over: %s", fault)  # the old one stays good
    else:
        log.info("server.json read again")


def _owner(port: int) -> str:
    """Who listens there, as far as /proc tells."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) in inodes:
                return f" by process {link.parts[2]} ({Path('/proc', link.parts[2], 'comm').read_text().strip()})"
        except OSError:
            continue
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m crowdstack.server")
    parser.add_argument("--run-folder", type=Path, required=True)
    parser.add_argument("--blobs", type=Path, required=True)
    options = parser.parse_args()
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # keys and answers are in memory
    sys.setswitchinterval(0.001)  # the disk's thread needs the interpreter only for a moment, but at once
    process.start_log(names=True)
    logging.getLogger("tornado").setLevel(logging.ERROR)  # it quotes what strangers send
    try:
        asyncio.run(run(RunFolder(options.run_folder), options.blobs))
    except (CrowdstackError, OSError) as fault:
        log.error("%s", fault)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
