"""Detached processes and who they are: a pid alone is reused, so an identity is (pid, boot, start).

Used by the engine's plugin (task server), `deploy` (reconciler) and the mock provider (crowd).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crowdstack.folder import open_private

_LINUX = sys.platform.startswith("linux")  # a value, so that type checkers read both branches on every system


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process that can be recognised after a reboot and after its pid was reused."""

    pid: int
    boot: str  # id of this boot of the machine
    start: str  # when the process started, in the system's own finest unit

    def to_json(self) -> dict[str, int | str]:
        return {"pid": self.pid, "boot": self.boot, "start": self.start}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> ProcessId:
        return cls(pid=int(str(data["pid"])), boot=str(data["boot"]), start=str(data["start"]))


def written(path: Path) -> ProcessId | None:
    """Who wrote its identity into `path`. None when nobody did, or when it cannot be understood: then nobody is known."""
    try:
        return ProcessId.from_json(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text().strip()
    return subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False).stdout.strip()


def identify(pid: int) -> ProcessId | None:
    """The identity of a running process; None if there is none (a zombie counts as none)."""
    if _LINUX:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold blanks
        state, start = fields[0], fields[19]
        return None if state in "ZX" else ProcessId(pid=pid, boot=boot_id(), start=start)
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = shown.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else ProcessId(pid=pid, boot=boot_id(), start=start.strip())


def alive(process: ProcessId) -> bool:
    return identify(process.pid) == process


def started_at(pid: int) -> float | None:
    """When a running process started, in seconds since 1970; None where the system does not tell."""
    found = identify(pid) if _LINUX else None
    if found is None:
        return None
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(booted.split()[1]) + int(found.start) / os.sysconf("SC_CLK_TCK")


def name(pid: int) -> str | None:
    """What a running process is called."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() if _LINUX else None
    except (FileNotFoundError, ProcessLookupError):
        return None


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Signal exactly this process; False if it is gone. A stranger that got its pid is never signalled (threats E2)."""
    if _LINUX:
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return False
        try:
            if not alive(process):  # checked while the pidfd pins whoever holds the pid
                return False
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True
    if not alive(process):
        return False
    os.kill(process.pid, number)
    return True


def polls(seconds: float, *, every_s: float = 0.02) -> Iterator[None]:
    """Again and again at short intervals, at least once, until the time is up."""
    end = time.monotonic() + seconds
    yield
    while time.monotonic() < end:
        _never.wait(every_s)
        yield


def wait_gone(process: ProcessId, timeout_s: float) -> bool:
    """Wait until this process has ended; False if it still runs after `timeout_s`."""
    for _ in polls(timeout_s):
        reap()
        if not alive(process):
            return True
    return False


_never = threading.Event()  # nobody sets it: waiting for it is waiting for time to pass


# What a child may see of our environment: no credentials, no spec variables (threats E4).
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PULUMI_HOME",
)


def child_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def spawn_detached(
    arguments: Sequence[str],
    *,
    log: Path,
    folder: Path,
    hold: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> ProcessId:
    """Start `python -m ...` in a session of its own, output appended to `log` (0600); it outlives this process.

    `arguments` are what follows the interpreter. The child is reaped by init; nobody waits for it here, so a caller
    in the same process must not take a zombie for alive (`identify` does not). `hold` are descriptors that stay open
    in the child for as long as it lives: a kernel lock taken on one is freed by its death, however it comes. `environment`: what this child may see besides what all may.
    """
    fd = open_private(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            cwd=folder,
            env={**child_environment(), **(environment or {})},
            start_new_session=True,
            pass_fds=hold,
        )
    finally:
        os.close(fd)
    _children.append(child)
    identity = identify(child.pid)
    return identity or ProcessId(pid=child.pid, boot=boot_id(), start="gone")


def start_log(*, names: bool = False) -> None:
    """The log of a process of a run, on stderr: its times are UTC, as those of the store are. `names`: of the loggers too."""
    words = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {'%(name)s ' if names else ''}%(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    words.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(words)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


_children: list[subprocess.Popen[bytes]] = []  # kept so that Popen's destructor does not warn; polled by `reap`


def reap() -> None:
    """Collect children of this process that have ended."""
    for child in list(_children):
        if child.poll() is not None:
            _children.remove(child)
