"""Who is at the other end of a connection on the loopback interface: any local user may connect to a port (threats B5, E1).

Linux tells the owner of every socket; elsewhere nobody is turned away, and what a plugin can be asked to do is all that
protects it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # IPv4 may stand in the second, mapped


def is_ours(peer: str, port: int) -> bool:
    """Whether the process that is connected to our `port` is of our own user. `peer`: as gRPC names it."""
    tables = [path.read_text() for path in _TABLES if path.exists()]
    if not tables:
        return True
    return peer.startswith("ipv4:127.0.0.1:") and owner(int(peer.rpartition(":")[2]), port, tables) == os.getuid()


def owner(theirs: int, ours: int, tables: Iterable[str]) -> int | None:
    """The user whose socket at 127.0.0.1 has the port `theirs` and is connected to `ours`; None when there is none."""
    ends = (f"0100007F:{theirs:04X}", f"0100007F:{ours:04X}")
    for table in tables:
        for line in table.splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
                return int(fields[7])
    return None
