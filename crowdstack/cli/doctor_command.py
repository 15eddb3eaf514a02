"""`doctor`: is this machine, this folder and this run as it should be; each finding with what to do now."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdstack import errors
from crowdstack.cli import render
from crowdstack.cli.session import Session, out, output_option, pass_session, spec_argument

if TYPE_CHECKING:
    from crowdstack.wiring import Project

GIB = 1024**3
MIB = 1024**2
PROC_LOCKS = Path("/proc/locks")  # Linux


@dataclass(frozen=True, slots=True)
class Finding:
    level: str  # ok | warn | fail
    what: str
    found: str
    now: str = ""  # what to do about it


# ---------------------------------------------------------------------------------------------------- this machine


def python_version(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    found = ".".join(map(str, version))
    return _judged(version >= (3, 10), "python", found, "install Python 3.10 or newer")


def sqlite_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Finding:
    found = ".".join(map(str, version))
    return _judged(version >= (3, 35), "sqlite", found, "use a Python built with SQLite 3.35 or newer")


def descriptors(limit: int | None = None) -> Finding:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    found = f"{limit} open files allowed"
    return _judged(limit >= 1024, "files", found, "ulimit -n 4096, for more than a few workers at once", bad="warn")


def free_port() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return Finding("ok", "port", f"{server.getsockname()[1]} on 127.0.0.1 is free to listen on")
    except OSError as fault:
        return Finding(
            "fail", "port", f"cannot listen on 127.0.0.1: {fault}", "look at firewall and container settings"
        )


def disk(free: int, total: int) -> Finding:
    """The ladder of the server: below 256 MiB it gives out no more units."""
    found = f"{free / GIB:.1f} GiB of {total / GIB:.1f} GiB free"
    if free < 256 * MIB:
        return Finding("fail", "disk", found, "free some space: no unit is given out below 256 MiB")
    return _judged(free >= min(GIB, total // 10), "disk", found, "free some space", bad="warn")


def clock(now: float, newest: float) -> Finding:
    """`newest`: when the state folder was last written."""
    ahead = newest - now
    if ahead > 60:
        return Finding(
            "fail", "clock", f"it is {ahead:.0f} s behind the newest file of the state folder", "set the clock"
        )
    return Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def _judged(good: bool, what: str, found: str, now: str, *, bad: str = "fail") -> Finding:
    return Finding("ok", what, found) if good else Finding(bad, what, found, now)


# ---------------------------------------------------------------------------------------------------- this folder


def privacy(folder: Path) -> Finding:
    """Nobody else may read or own anything in the state folder."""
    open_to_others = [path for path in (folder, *folder.rglob("*")) if _readable_by_others(path)]
    if not open_to_others:
        return Finding("ok", "folder", f"{folder} is private")
    found = f"others may read or own {len(open_to_others)} files, {open_to_others[0]} among them"
    return Finding("fail", "folder", found, f"chmod -R go= {folder}, and own it")


def _readable_by_others(path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:  # a temporary file of a running process
        return False
    return there.st_uid != os.getuid() or (not stat.S_ISLNK(there.st_mode) and bool(there.st_mode & 0o077))


def locks(folder: Path, table: str) -> Finding:
    """Who holds a lock in the state folder, by the kernel's own table (`/proc/locks`); looking takes no lock."""
    inodes = {str(path.stat().st_ino): path for path in folder.rglob("*lock") if path.is_file()}
    held = [line.split() for line in table.splitlines() if " FLOCK " in line and "->" not in line]
    holders = [
        f"{inodes[inode].relative_to(folder)} by process {fields[4]}"
        for fields in held
        if (inode := fields[5].rpartition(":")[2]) in inodes
    ]
    return Finding("ok", "locks", ", ".join(holders) or "none is held")


def _disk_of(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    return disk(usage.free, usage.total)


def folder_findings(folder: Path) -> Iterable[Finding]:
    yield _disk_of(folder)
    yield clock(time.time(), _newest(folder))
    yield privacy(folder)
    if PROC_LOCKS.exists():
        yield locks(folder, PROC_LOCKS.read_text())


def _newest(folder: Path) -> float:
    return max((path.lstat().st_mtime for path in (folder, *folder.glob("*"))), default=0.0)


# ---------------------------------------------------------------------------------------------------- this run


def run_findings(project: Project) -> Iterable[Finding]:
    """The live run: counters, unread events, processes."""
    run = project.store.live_run(project.task)
    if run is None:
        yield Finding("ok", "run", "none is live")
        return
    kept, counted = project.store.unit_counts(run.id), project.store.recount(run.id)
    yield _judged(
        kept == counted, "store", "counters equal a recount", f"counters say {kept}, a recount {counted}: report it"
    )
    unread = project.store.quarantined(run.id)
    yield _judged(unread == 0, "events", f"{unread} unreadable", "they are kept in the store; report it", bad="warn")
    now = project.status()
    server = f"{now.server_url} {'answers' if now.server_healthy else 'does not answer'}"
    yield _judged(now.server_healthy, "server", server, "crowdstack logs server; crowdstack resume", bad="warn")
    loop = "runs" if now.loop_running else "does not run" + (f": {now.loop_note}" if now.loop_note else "")
    yield _judged(now.loop_running, "reconciler", loop, "crowdstack resume", bad="warn")


@click.command()
@spec_argument
@output_option(*render.FORMATS)
@pass_session
def doctor(session: Session, spec: Path | None, form: str) -> int:
    """Check this machine, the state folder and the live run; say what to do where something is wrong. Exit 1 if anything fails.

    \b
    Example:
      crowdstack doctor
      crowdstack doctor task.yaml -o json
    """
    if spec is not None and not spec.exists():
        raise errors.NotFound(f"there is no spec {spec}", hint="give its path, or leave it out")
    findings = [python_version(), sqlite_version(), descriptors(), free_port()]
    try:
        with session.project(spec) as project:
            if not project.folder.root.exists():
                raise errors.NotFound(f"nothing was ever up in {project.folder.root}")
            findings += [*folder_findings(project.folder.root), *run_findings(project)]
    except errors.NotFound as nothing:
        findings += [_disk_of(Path.cwd()), Finding("ok", "run", nothing.what)]
    rows = [(f.level, f.what, f.found, f.now) for f in findings]
    out(render.records(("level", "what", "found", "now"), rows, form))
    return 1 if any(f.level == "fail" for f in findings) else 0


COMMANDS = (doctor,)
