"""A command on a pseudo terminal, and the keys a person presses there."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CTRL_C = b"\x03"
# Makes the terminal the controlling one; whoever runs the tests in the background may have these signals ignored.
TAKE_IT = (
    "import fcntl, os, signal, sys, termios; "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); signal.signal(signal.SIGHUP, signal.SIG_DFL); os.setsid(); "
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """`python <arguments>` on a terminal of its own, as a shell would start it."""

    def __init__(self, *arguments: str, folder: Path = ROOT) -> None:
        self._ours, theirs = pty.openpty()
        self.child = subprocess.Popen(
            [sys.executable, "-c", TAKE_IT, sys.executable, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        self.seen = ""

    def until(self, text: str, times: int = 1, within_s: float = 20) -> None:
        """Read until `text` was printed so many times in all."""
        end = time.monotonic() + within_s
        while self.seen.count(text) < times:
            assert time.monotonic() < end, f"never printed {text!r}:\n{self.seen}"
            assert self._read(0.2), f"ended without {text!r}:\n{self.seen}"

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def ended(self, within_s: float = 20) -> int:
        end = time.monotonic() + within_s
        while self._read(0.2):
            assert time.monotonic() < end, f"does not end:\n{self.seen}"
        return self.child.wait(timeout=within_s)

    def reads_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._read(0.1):
            pass

    def _read(self, timeout_s: float) -> bool:
        """Whether there may be more to come."""
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return self.child.poll() is None
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux: the other end is closed
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def hang_up(self) -> None:
        """The window is closed: the kernel sends SIGHUP."""
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        if self._ours >= 0:
            os.close(self._ours)
