"""The launcher: what the TaskServer resource needs of the machine it runs on, and what its two kinds share.

`detached` starts servers as processes of their own, `inside` runs them in this process.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Protocol

from crowdstack.errors import Refused
from crowdstack.folder import Folder, RunFolder
from crowdstack.process import ProcessId
from crowdstack.wire.configs import ServerConfig

RUN_PATTERN = r"[A-Za-z0-9_-]{1,200}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that has proven who it is. `config`: digest of the settings it goes by, if server.json says the same."""

    process: ProcessId
    config: str | None


class Launcher(Protocol):
    """What the TaskServer resource needs of the machine it runs on."""

    def choose_port(self, run: str, host: str, wanted: int) -> int:
        """The port to listen on: the wanted one, else the one this run had before, else a free one."""

    def ensure(self, config: ServerConfig) -> Running:
        """One server of this run goes by `config` when this returns: started, adopted or told to read it again."""

    def find(self, run: str, config: str) -> Running | None:
        """The run's server, if it lives and proves itself. `config`: the digest it should go by."""

    def stop(self, run: str) -> None:
        """No server of this run when this returns, and no server.json. Its inbox stays. A repeat does nothing."""


def run_folder(folder: Folder, run: str) -> RunFolder:
    """The run's folder; Refused for an id that could lead to another place."""
    if not re.fullmatch(RUN_PATTERN, run):
        raise Refused(f"{run!r} is no run's id", hint="letters, digits, - and _")
    return folder.run(run)


def choose_port(run: RunFolder, host: str, wanted: int) -> int:
    if wanted:
        return wanted
    before = read_config(run)
    return before.port if before and before.host == host else free_port(host)


def read_config(run: RunFolder) -> ServerConfig | None:
    """What server.json says; None when there is none that can be understood (it is written anew then)."""
    try:
        return ServerConfig.from_bytes(run.server_config.read_bytes())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def free_port(host: str) -> int:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            listener.bind((host, 0))
            port: int = listener.getsockname()[1]
            return port
    except OSError as fault:
        raise Refused(f"this machine cannot listen on {host}", why=fault.strerror, hint="set architect.host") from fault


def reachable(host: str) -> str:
    """The address on which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
