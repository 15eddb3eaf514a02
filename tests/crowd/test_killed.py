"""Crowd and server as processes, killed at seeded moments in the middle of work."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from pathlib import Path
from random import Random

import pytest

from crowdstack.process import ProcessId, identify
from tests.crowd.town import Town, ended_at_last, offer, open_study, until, write_recording
from tests.size import FULL

ITEMS, WORKERS = (600, 60) if FULL else (60, 20)
KILLS = 10 if FULL else 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ready(town: Town, *, items: int, repeats: int) -> int:
    """A run folder with units on offer, and the port its server is to have. Workers are taken in turn."""
    port = free_port()
    async with town.server(port=port) as server:
        await offer(server, items, repeats=repeats, offered_to=worker_of)
        await open_study(server)
    return port


def worker_of(item: int, repeat: int) -> str:
    return f"w{(item * 7 + repeat) % WORKERS}"


async def ended(process: subprocess.Popen[bytes], *, within_s: float) -> int:
    await until(lambda: process.poll() is not None, within_s=within_s, what="the process to end")
    return int(process.returncode)


@pytest.mark.parametrize("seed", range(5 if FULL else 1))
async def test_whatever_is_killed_each_answer_is_taken_once_under_the_receipt_seen(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    town = Town(tmp_path)
    settings = {"units_per_visit": 5, "timeout_s": 30}
    port = await ready(town, items=ITEMS, repeats=3)
    recorded = [(item, worker_of(item, r), random.choice("abc")) for item in range(ITEMS) for r in range(3)]
    recording = write_recording(tmp_path / "recorded.csv", recorded)
    town.write_crowd(kind="replay", recording=str(recording), workers=WORKERS, time_per_unit_s=0.1)
    with ended_at_last(town.server_process(port, **settings), town.crowd_process()) as started:
        server, crowd = started
        parts = ["server", "crowd"] * KILLS
        random.shuffle(parts)
        for number, part in enumerate(parts, start=1):
            due = len(recorded) * number // (len(parts) + 2)
            await until(lambda due=due: len(town.journal()) >= due, within_s=60, what=f"{due} answers")
            await asyncio.sleep(random.uniform(0, 0.1))
            if part == "server":
                server.send_signal(signal.SIGKILL)
                server.wait()
                server = town.server_process(port, **settings)
                started.append(server)
            else:
                assert crowd.poll() is None, "it must be at work when it is killed"
                crowd.send_signal(signal.SIGKILL)
                crowd.wait()
                crowd = town.crowd_process()
                started.append(crowd)
        assert await ended(crowd, within_s=120) == 0, (town.run.crowd / "crowd.log").read_text()
    assert town.assert_journal_is_inbox() == len(recorded)
    told = sorted((int(e["unit"][5:13]), e["worker"], e["answers"]["label"]) for e in town.events("submitted", "late"))
    assert told == sorted(recorded)


async def test_a_stopped_crowd_leaves_with_zero_and_the_next_one_goes_on(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server() as server:
        await offer(server, 200)
        await open_study(server)
        town.write_crowd(time_per_unit_s=0.02)
        with ended_at_last(town.crowd_process()) as started:
            await until(lambda: len(town.journal()) > 10, within_s=20, what="some work")
            second = town.crowd_process()
            started.append(second)
            assert await ended(second, within_s=20) == 9
            playing = ProcessId.from_json(json.loads((town.run.crowd / "crowd.process.json").read_bytes()))
            assert playing == identify(started[0].pid)
            started[0].send_signal(signal.SIGTERM)
            assert await ended(started[0], within_s=10) == 0
            third = town.crowd_process()
            started.append(third)
            assert await ended(third, within_s=60) == 0
    assert town.assert_journal_is_inbox() == 200
    assert "already at work" in (town.run.crowd / "crowd.log").read_text()


async def test_a_crowd_that_was_called_off_ends_at_once(tmp_path: Path) -> None:
    town = Town(tmp_path)
    with ended_at_last(town.crowd_process()) as started:
        assert await ended(started[0], within_s=20) == 6
    assert "no crowd to play" in (town.run.crowd / "crowd.log").read_text()
