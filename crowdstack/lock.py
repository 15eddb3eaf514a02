"""One at a time: a kernel lock that death releases. The file's text only tells who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crowdstack.errors import LockHeld
from crowdstack.folder import open_private, private_folder


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock in `path` for the block. LockHeld says who has it and since when."""
    private_folder(path.parent)
    fd = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held_by(path) from None
        os.ftruncate(fd, 0)
        os.write(fd, json.dumps(_ourselves()).encode())
        yield
    finally:
        os.close(fd)


def _ourselves() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "command": Path(sys.argv[0]).name,
    }


def _held_by(path: Path) -> LockHeld:
    try:
        who = json.loads(path.read_bytes())
        text = f"{who['command']}, process {who['pid']} on {who['host']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not said who it is yet
        text = "a process that just took it"
    return LockHeld(
        "another command is at this task",
        where=str(path),
        why=f"held by {text}",
        hint="wait until it has ended, or end it: the lock goes with it, and what it had begun is taken up again",
    )
