from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crowdstack.crowd.journal import Journal, Visit
from crowdstack.errors import Refused, StateMismatch
from crowdstack.model import AssignmentId, VisitId, WorkerId
from tests.crowd.builders import attempt

ANN = WorkerId("ann")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def reopened(path: Path) -> Journal:
    """What a new process finds; closed, but its memory can be asked."""
    journal = Journal(path)
    await journal.close()
    return journal


async def test_what_was_accepted_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for number in (1, 2):
        journal.note_sent(attempt(number))
    journal.note_accepted(attempt(1), 17, late=False)
    await journal.close()

    found = await reopened(path)
    assert (found.accepted, found.accepted_by(ANN), found.receipt(attempt(1).assignment)) == (1, 1, 17)
    assert found.pending(ANN) == [attempt(2)]
    assert found.pending(WorkerId("bob")) == []


async def test_refused_answers_are_not_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.note_sent(attempt(1))
    journal.note_refused(attempt(1), "schema")
    await journal.close()
    assert (await reopened(path)).pending(ANN) == []


async def test_of_two_sendings_for_one_assignment_the_last_is_in_force(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.note_sent(attempt(1))
    journal.note_sent(attempt(1, nonce="another-nonce-00001"))
    await journal.close()
    assert (await reopened(path)).pending(ANN) == [attempt(1, nonce="another-nonce-00001")]


async def test_a_visit_is_taken_up_again_until_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    visit = Visit(worker=ANN, visit=VisitId("v" * 16), session="s")
    journal = Journal(path)
    journal.note_visit(visit)
    await journal.close()
    assert (await reopened(path)).visit(ANN) == visit
    journal = Journal(path)
    journal.note_left(visit, "target")
    await journal.close()
    assert (await reopened(path)).visit(ANN) is None


async def test_durable_returns_only_once_the_lines_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    synced: list[int] = []  # length of the file at each fsync
    fsync = os.fsync

    def watched(fd: int) -> None:
        fsync(fd)
        synced.append(os.fstat(fd).st_size)

    journal = Journal(path)
    monkeypatch.setattr(os, "fsync", watched)

    async def worker(number: int) -> None:
        journal.note_sent(attempt(number))
        await journal.durable()
        place = path.read_bytes().index(attempt(number).nonce.encode())
        assert synced
        assert place < synced[-1]

    await asyncio.gather(*(worker(number) for number in range(200)))
    assert len(synced) < 20, "workers share an fsync"
    await journal.close()
    assert [line["assignment"] for line in lines(path)] == [attempt(number).assignment for number in range(200)]


async def test_a_disk_that_refuses_is_told_to_everybody_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    journal.note_sent(attempt(1))
    waiting = [asyncio.create_task(journal.durable()) for _ in range(3)]
    journal.note_sent(attempt(2))
    told = await asyncio.gather(*waiting, journal.durable(), return_exceptions=True)
    assert [type(fault) for fault in told] == [Refused] * 4
    journal.note_sent(attempt(3))
    with pytest.raises(Refused, match="cannot be written"):
        await journal.durable()
    with pytest.raises(Refused, match="cannot be written"):
        await journal.close()


@pytest.mark.parametrize("seed", range(10))
async def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for number in range(3):
        journal.note_sent(attempt(number))
    await journal.close()
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[: Random(seed).randrange(start, len(whole))])

    journal = Journal(path)
    assert journal.pending(ANN) == [attempt(0), attempt(1)]
    journal.note_accepted(attempt(0), 5, late=False)
    await journal.close()
    assert [line["event"] for line in lines(path)] == ["sent", "sent", "accepted"]


async def test_a_line_in_the_middle_that_cannot_be_read_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event":"visit"}\n{"event":"sent"}\n')
    with pytest.raises(StateMismatch, match="journal"):
        Journal(path)


async def test_the_journal_is_private(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    await reopened(path)
    assert path.stat().st_mode & 0o777 == 0o600


WRITER = """
import asyncio, sys
from pathlib import Path
from crowdstack.crowd.journal import Journal
from tests.crowd.builders import attempt

async def worker(journal, first):
    for number in range(first, 10**6, 8):
        journal.note_sent(attempt(number))
        await journal.durable()
        print("sent", number, flush=True)
        journal.note_accepted(attempt(number), number, late=False)
        await journal.durable()
        print("accepted", number, flush=True)

async def main():
    journal = Journal(Path(sys.argv[1]))
    await asyncio.gather(*(worker(journal, first) for first in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_the_middle_of_writing_it_holds_all_that_was_durable(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "journal.jsonl"
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    ) as writer:  # fmt: skip
        assert writer.stdout is not None
        told = [next(writer.stdout) for _ in range(Random(seed).randrange(50, 400))]
        writer.send_signal(signal.SIGKILL)
        told += [line for line in writer.stdout if line.endswith("\n")]

    found = asyncio.run(reopened(path))
    durable = [line.split() for line in told]
    pending = {one.assignment for one in found.pending(ANN)}
    for word, number in durable:
        assignment = AssignmentId(attempt(int(number)).assignment)
        if word == "accepted":
            assert found.receipt(assignment) == int(number)
        else:
            assert assignment in pending or found.receipt(assignment) is not None
