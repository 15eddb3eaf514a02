"""The server killed, or failed by its disk, at its every call: what a page saw accepted is there, once, under its receipt."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClosedError

from crowdstack.errors import CrowdstackError
from crowdstack.model import Event, Submitted
from crowdstack.server.client import ControlClient
from crowdstack.tokens import derive
from crowdstack.wire import worker as frames
from tests.faults.test_server_disk import free_port, listening, process, stock
from tests.server.world import ROOT, RUN, Page, link, nonce
from tests.size import FULL

SEED = 20260728
CALLS = "pwrite64,fdatasync,fsync,sendto"
KILLED, DISK_FAULT, REFUSED = (-9, 137), 3, 1

pytestmark = [
    pytest.mark.strace,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (Debian package strace)"),
]


@dataclass(slots=True)
class Seen:
    """What the pages of both lives of a server sent and saw."""

    submits: list[tuple[str, frames.Submit]] = field(default_factory=list)  # (worker, frame)
    receipts: dict[str, int] = field(default_factory=dict)  # by assignment
    sessions: dict[str, str] = field(default_factory=dict)  # by worker
    workers: tuple[str, ...] = ("ann", "bob")
    units: int = 10


async def work(origin: str, worker: str, seen: Seen) -> None:
    """Send again what was sent before, then answer units as long as there are some."""
    page = await Page.open(origin)
    try:
        session = seen.sessions.get(worker)
        welcome = await page.hello(None if session else link(origin, worker), session=session)
        assert isinstance(welcome, frames.Welcome), welcome
        seen.sessions[worker] = page.session
        for submit in [submit for of, submit in seen.submits if of == worker]:
            await hand_in(page, submit, seen)
        while isinstance(unit := await page.next(), frames.Assigned):
            answers = {"label": "yes", "note": f"{worker} on {unit.unit}"}
            submit = frames.Submit(assignment=unit.assignment, nonce=nonce(), answers=answers)
            seen.submits.append((worker, submit))
            await hand_in(page, submit, seen)
    finally:
        page.close()


async def hand_in(page: Page, submit: frames.Submit, seen: Seen) -> None:
    answer = await page.ask(submit)
    assert isinstance(answer, frames.Accepted), answer
    assert seen.receipts.setdefault(answer.assignment, answer.receipt) == answer.receipt


async def life(folder: Path, port: int, seen: Seen) -> None:
    origin = f"http://127.0.0.1:{port}"
    await listening(folder)
    await stock(origin, seen.units)
    await asyncio.gather(*(work(origin, worker, seen) for worker in seen.workers))


async def cut_short(folder: Path, port: int, seen: Seen, child: subprocess.Popen[bytes]) -> None:
    """A life that ends with the process, whenever that is."""
    living = asyncio.ensure_future(life(folder, port, seen))
    while not living.done() and child.poll() is None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    done, _ = await asyncio.wait([living], timeout=5)
    if not done:  # it waits for a server that never came
        living.cancel()
    try:
        await living
    except (AssertionError, CrowdstackError, HTTPClientError, WebSocketClosedError, OSError, asyncio.CancelledError):
        assert child.wait(10) != 0, "only the end of the server cuts a page short"


async def logged(port: int) -> list[Submitted]:
    """Every submission in the inbox, with receipts."""
    client = ControlClient(f"http://127.0.0.1:{port}", derive(ROOT, RUN, "control"), "store-0000000000000")
    await client.connect(None)
    found = []
    while batch := await client.next_batch(0.5):
        found += [event for event in batch.events if isinstance(event, Event) and isinstance(event.body, Submitted)]
        await client.ack(batch.cursor.seq)
    await client.close()
    return found


def strace(trace: Path, *options: str) -> list[str]:
    return ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={CALLS}", *options]


def calls_of_a_thread(folder: Path, call: str) -> int:
    """How often, undisturbed, the thread that makes this call most often makes it: strace counts for each thread apart."""
    folder.mkdir()
    port, trace = free_port(), folder / "trace"
    with process(folder, port, under=strace(trace)) as child:
        asyncio.run(cut_short(folder, port, Seen(), child))
    made = Counter(line.split()[0] for line in trace.read_text(errors="replace").splitlines() if f" {call}(" in line)
    return max(made.values())


def instants(total: int) -> list[int]:
    """All of them in full size; otherwise a seeded handful that holds the last."""
    every = range(1, total + 1)
    return list(every) if FULL else sorted({*random.Random(SEED).sample(every, min(2, total)), total})


def check(folder: Path, fault: str, ends: tuple[int | None, ...], seen: Seen) -> None:
    """One server with this fault, then another in its place: it is as if nothing had been. `ends`: its exit code."""
    folder.mkdir()
    port = free_port()
    with process(folder, port, under=strace(folder / "trace", f"--inject={fault}")) as child:
        asyncio.run(cut_short(folder, port, seen, child))
        assert child.poll() in ends, fault
    promised = dict(seen.receipts)
    with process(folder, port):
        asyncio.run(listening(folder))
        kept = {event.body.assignment: event.receipt for event in asyncio.run(logged(port))}
        assert promised.items() <= kept.items(), f"{fault}: accepted and not there before anything is sent again"
        asyncio.run(life(folder, port, seen))
        submissions = asyncio.run(logged(port))
    assert {event.body.assignment: event.receipt for event in submissions} == seen.receipts, fault
    assert len(submissions) == len(seen.receipts) == len({event.body.unit for event in submissions}) == seen.units
    sent = {submit.assignment: submit.answers for _, submit in seen.submits}
    assert {event.body.assignment: event.body.answers for event in submissions} == sent


@pytest.mark.timeout(7200 if FULL else 120)
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "sendto"])
def test_killed_at_any_call_each_accepted_answer_is_there_once_under_its_receipt(tmp_path: Path, call: str) -> None:
    total = calls_of_a_thread(tmp_path / "undisturbed", call)
    for number in instants(total):
        # How many calls a life needs depends on which answers happen to share a commit.
        ends = KILLED if number <= total // 2 else (*KILLED, None)
        check(tmp_path / f"at-{number}", f"{call}:signal=SIGKILL:when={number}", ends, Seen())


@pytest.mark.timeout(3600 if FULL else 120)
def test_a_sync_that_fails_once_ends_the_process_and_promises_nothing(tmp_path: Path) -> None:
    for number in range(1, 51) if FULL else [1, random.Random(SEED).randrange(2, 50), 50]:
        # One worker alone, so that no two answers share a sync.
        check(
            tmp_path / f"at-{number}",
            f"fdatasync:error=EIO:when={number}",
            (DISK_FAULT, REFUSED),
            Seen(workers=("ann",), units=30),
        )
