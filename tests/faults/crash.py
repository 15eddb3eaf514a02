"""Runs a function in a process of its own that is killed (SIGKILL) right before its n-th call that changes the disk.

Every n leaves the disk as a real crash there would: with all that was done before, and nothing after.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

# Children begin with all that the work needs: importing it takes ten times as long as the work.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.test_engine_killed"])
_CALLS = ((os, "open"), (os, "write"), (os, "fsync"), (os, "replace"), (os, "unlink"), (subprocess, "Popen"))
# Those that change what others see: between two of them a crash leaves the same disk, but for files that nobody reads.
_VISIBLE = ((os, "replace"), (os, "unlink"))


def run(
    work: Callable[..., object],
    *arguments: object,
    die_at: int | None = None,
    visible: bool = False,
    within_s: float = 60,
) -> bool:
    """Whether it was killed; False when it ended before the n-th call. AssertionError when it failed by itself."""
    return _run(work, arguments, die_at, visible, within_s)[0]


def calls(work: Callable[..., object], *arguments: object, visible: bool = False, within_s: float = 60) -> int:
    """How many calls there are to be killed at."""
    killed, count = _run(work, arguments, None, visible, within_s)
    assert not killed
    return count


def _run(
    work: Callable[..., object], arguments: tuple[object, ...], die_at: int | None, visible: bool, within_s: float
) -> tuple[bool, int]:
    made = _context.Value("i", 0, lock=False)
    child = _context.Process(target=_main, args=(work, arguments, die_at, visible, made))
    child.start()
    child.join(within_s)
    assert child.exitcode in (0, -signal.SIGKILL), f"ended with {child.exitcode}"
    killed = child.exitcode != 0
    child.close()
    return killed, made.value


def _main(
    work: Callable[..., object], arguments: tuple[object, ...], die_at: int | None, visible: bool, made: Any
) -> None:
    def counted(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.value += 1
            if made.value == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for module, name in _VISIBLE if visible else _CALLS:
        setattr(module, name, counted(getattr(module, name)))
    work(*arguments)
