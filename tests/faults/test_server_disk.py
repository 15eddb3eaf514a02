"""The server's disk at its worst: order of fsync and promise, an fsync that fails, a disk that is full."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import CrowdstackError
from crowdstack.folder import write_private
from crowdstack.model import ItemOffer, StudyState, UnitOffer
from crowdstack.server.client import ControlClient
from crowdstack.tokens import derive
from crowdstack.wire import worker as frames
from tests.server.world import ROOT, RUN, STUDY, Page, config, unit_id

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (Debian package strace)")
REPO = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def process(
    folder: Path,
    port: int,
    *,
    under: list[str] | None = None,
    timeout_s: int = 600,
    code: Path = REPO,
    changes: dict[str, Any] | None = None,
    **limits: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server of its own, perhaps under strace, from another checkout or with other settings; killed at the end."""
    run = folder / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    settings = config(folder / "blobs", port=port, limits=limits, timeout_s=timeout_s, **(changes or {}))
    write_private(run / "server.json", settings.to_bytes())
    (run / "server.process.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "crowdstack.server", "--run-folder", str(run), "--blobs", str(folder / "blobs")]
    with (folder / "server.log").open("ab") as log:
        child = subprocess.Popen([*(under or []), *command], cwd=code, stderr=log, start_new_session=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


async def listening(folder: Path) -> None:
    async def there() -> None:
        while not (folder / "run" / "server.process.json").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    await asyncio.wait_for(there(), 60)


async def stock(origin: str, units: int) -> None:
    client = ControlClient(origin, derive(ROOT, RUN, "control"), "store-0000000000000")
    await client.connect(None)
    names = [f"i{n}" for n in range(units)]
    await client.offer(
        [ItemOffer(item=name, data={}) for name in names],
        [UnitOffer(unit=unit_id(name), item=name, attempt=1) for name in names],
    )
    await client.open_study(STUDY, places=1000, state=StudyState.OPEN)
    await client.close()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as full:
            assert full.errno == errno.ENOSPC  # noqa: PT017


@needs_strace
@pytest.mark.strace
def test_no_accepted_is_sent_before_the_disk_has_it(tmp_path: Path) -> None:
    port, trace = free_port(), tmp_path / "trace"
    under = ["strace", "-f", "-qq", "-s", "400", "-y", "-e", "trace=pwrite64,fdatasync,fsync,sendto", "-o", str(trace)]

    async def story() -> None:
        await listening(tmp_path)
        origin = f"http://127.0.0.1:{port}"
        await stock(origin, 20)
        page = await Page.of(origin, "ann")
        for _ in range(20):
            assert isinstance(await page.submit((await page.take()).assignment, {"label": "yes"}), frames.Accepted)
        page.close()

    with process(tmp_path, port, under=under):
        asyncio.run(story())
    unsynced, accepted = False, 0
    for line in trace.read_text(errors="replace").splitlines():
        if "inbox.db-wal>" in line and "pwrite64(" in line:
            unsynced = True
        elif re.search(r"fdatasync\(.*inbox\.db-wal>\)?.*= 0|fdatasync resumed.*= 0", line):
            unsynced = False
        elif "sendto(" in line and "accepted" in line:
            accepted += 1
            assert not unsynced, f"promised before it was on disk: {line}"
    assert accepted == 20


@needs_strace
@pytest.mark.strace
def test_a_failed_fsync_ends_the_process_and_promises_nothing(tmp_path: Path) -> None:
    port = free_port()
    under = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:error=EIO:when=8+",
    ]
    receipts: list[int] = []

    async def story() -> None:
        await listening(tmp_path)
        origin = f"http://127.0.0.1:{port}"
        await stock(origin, 20)
        page = await Page.of(origin, "ann")
        try:
            while True:
                answer = await page.submit((await page.take()).assignment, {"label": "yes"})
                assert isinstance(answer, frames.Accepted)
                receipts.append(answer.receipt)
        finally:
            page.close()

    with process(tmp_path, port, under=under) as child:
        with pytest.raises((AssertionError, CrowdstackError, OSError)):  # cut off in the middle
            asyncio.run(story())
        assert child.wait(20) == 3
    assert len(receipts) < 20


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root to mount a small tmpfs")
def test_a_full_disk_makes_the_server_busy_until_there_is_room(tmp_path: Path) -> None:
    small = tmp_path / "run"
    small.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        port = free_port()
        accepted: list[tuple[str, int]] = []

        async def story() -> None:
            await listening(tmp_path)
            origin = f"http://127.0.0.1:{port}"
            await stock(origin, 50)
            page = await Page.of(origin, "ann")
            unit = await page.take()
            fill(small / "filler")
            note = "x" * 100_000
            answer = await page.submit(unit.assignment, {"label": "yes", "note": note})
            assert answer == frames.Busy(of="submit", retry_s=2.0, assignment=unit.assignment)
            (small / "filler").unlink()
            while isinstance(answer, frames.Busy):  # until it has looked at the disk again
                await asyncio.sleep(answer.retry_s)
                answer = await page.submit(unit.assignment, {"label": "yes", "note": note})
            assert isinstance(answer, frames.Accepted)
            accepted.append((unit.assignment, answer.receipt))
            await page.take()
            page.close()

        with process(tmp_path, port):
            asyncio.run(story())
        assert len(accepted) == 1
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
