"""Ctrl-C: once asks the command to finish its step and let go, twice cancels it."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from types import FrameType, TracebackType

GRACE_S = 5.0
CANCELLED = 8  # the exit code of errors.Cancelled


class Interrupts:
    """While entered, the first Ctrl-C sets `asked` and prints `notice`; the second raises KeyboardInterrupt, and if that
    does not end the command within GRACE_S, the process ends: state and store can be cut off at any instant."""

    def __init__(self, notice: str) -> None:
        self.asked = False
        self._last = threading.Timer(GRACE_S, os._exit, (CANCELLED,))
        self._last.daemon = True
        self._notice = f"\n{notice}\n".encode()

    def __enter__(self) -> Interrupts:
        self._heard, self._tell = os.pipe()
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._last.cancel()
        signal.signal(signal.SIGINT, self._before)
        os.close(self._heard)
        os.close(self._tell)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if not self._last.is_alive():
                self._last.start()
            raise KeyboardInterrupt
        self.asked = True
        os.write(self._tell, b"!")
        os.write(2, self._notice)  # not print: the signal may have come in the middle of one

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until Ctrl-C; whether there was one."""
        select.select([self._heard], [], [], seconds)
        return self.asked


class Deadline:
    """`--timeout`: how long a command may wait in all; None is for ever."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end
