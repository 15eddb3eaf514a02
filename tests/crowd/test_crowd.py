"""Whole crowds against the real task server, in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from crowdstack.crowd.crowd import play
from crowdstack.errors import LockHeld, Refused
from crowdstack.model import StudyState
from crowdstack.server.pool import now
from tests.crowd.town import Town, offer, open_study, until, write_recording


async def test_bots_do_all_units_and_end_by_themselves(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server(units_per_visit=4) as server:
        await offer(server, 20, repeats=2)
        await open_study(server)
        town.write_crowd(workers=5)
        endings = await asyncio.wait_for(play(town.run.crowd), 20)
    assert town.assert_journal_is_inbox() == 40
    assert set(endings) == {"target"}
    assert not [visit for visit in town.events("left") if visit["submissions"] > 4]
    by_item = Counter((event["unit"][:13], event["worker"]) for event in town.events("submitted"))
    assert max(by_item.values()) == 1, "a worker did an item twice"


async def test_equal_seeds_give_equal_answers_for_the_same_worker_and_item(tmp_path: Path) -> None:
    told = []
    for name in ("one", "other"):
        town = Town(tmp_path / name)
        async with town.server() as server:
            await offer(server, 15, repeats=3)
            await open_study(server)
            town.write_crowd(workers=3, seed=5)
            await asyncio.wait_for(play(town.run.crowd), 20)
        told.append(sorted((e["worker"], e["unit"][:13], e["answers"]["label"]) for e in town.events("submitted")))
    assert told[0] == told[1]
    assert len(told[0]) == 45


async def test_wrong_answers_are_corrected_before_they_count(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server() as server:
        await offer(server, 30)
        await open_study(server)
        town.write_crowd(error_rate=1.0)
        await asyncio.wait_for(play(town.run.crowd), 20)
    assert town.assert_journal_is_inbox() == 30
    assert len(town.journal("refused")) == 30


async def test_answers_sent_twice_get_the_first_receipt_again(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server(units_per_visit=3) as server:
        await offer(server, 30)
        await open_study(server)
        town.write_crowd(duplicate_rate=1.0)
        await asyncio.wait_for(play(town.run.crowd), 20)
        accepted = server.metrics.registry.get_sample_value("crowdstack_frames_answered_total", {"type": "accepted"})
    assert accepted == 60, "each was sent twice, and accepted twice"
    assert town.assert_journal_is_inbox() == 30
    assert len(town.journal()) == 30, "under one receipt"


async def test_abandoned_units_come_back_and_are_done_in_the_end(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server(timeout_s=1) as server:
        await offer(server, 30)
        await open_study(server)
        town.write_crowd(workers=6, abandon_rate=0.2, seed=3)
        await asyncio.wait_for(play(town.run.crowd), 60)
    assert len(town.events("returned")) > 0
    assert len(town.events("expired")) > 0
    assert town.assert_journal_is_inbox() == 30
    assert len({event["unit"] for event in town.events("submitted", "late") if event["counts"]}) == 30


async def test_a_replay_answers_exactly_as_recorded(tmp_path: Path) -> None:
    names = [f"w{number}" for number in range(12)]
    recorded = [(item, names[(item * 7 + r) % 12], "abc"[(item + r) % 3]) for item in range(40) for r in range(3)]
    town = Town(tmp_path)
    async with town.server(units_per_visit=5) as server:
        await offer(server, 40, repeats=3, offered_to=lambda item, repeat: names[(item * 7 + repeat) % 12])
        await open_study(server)
        recording = write_recording(tmp_path / "recorded.csv", recorded)
        town.write_crowd(kind="replay", recording=str(recording), workers=4)
        endings = await asyncio.wait_for(play(town.run.crowd), 30)
        again = await asyncio.wait_for(play(town.run.crowd), 30)
    assert endings == again == {"all done": 12}
    assert town.assert_journal_is_inbox() == 120
    told = sorted((int(e["unit"][5:13]), e["worker"], e["answers"]["label"]) for e in town.events("submitted"))
    assert told == sorted(recorded)
    assert len(town.events("arrived")) == len(town.events("left")), "every visit was left in due form"


async def test_a_unit_without_a_recorded_answer_is_given_back(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server() as server:
        await offer(server, 2, offered_to=lambda item, repeat: "ann")
        await open_study(server)
        recording = write_recording(tmp_path / "recorded.csv", [(0, "ann", "a")])
        town.write_crowd(kind="replay", recording=str(recording))
        playing = asyncio.ensure_future(play(town.run.crowd))
        await until(lambda: town.journal() and town.events("returned"), within_s=10, what="one answer and one return")
        await open_study(server, state=StudyState.CLOSED)
        assert await server.inbox.append(server.desk.pool.drain(False, now()))
        assert await asyncio.wait_for(playing, 20) == {"closed": 1}
    assert town.assert_journal_is_inbox() == 1


async def test_a_crowd_waits_for_a_place_and_takes_it_when_there_is_one(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server(units_per_visit=1, timeout_s=1) as server:
        await offer(server, 3)
        await open_study(server, places=2)
        town.write_crowd(workers=2)
        playing = asyncio.ensure_future(play(town.run.crowd))
        await until(lambda: len(town.journal()) == 2, within_s=10, what="two visits")
        assert not playing.done()
        await open_study(server, places=3)
        await until(lambda: len(town.journal()) == 3, within_s=10, what="a third visit")
        await open_study(server, places=3, state=StudyState.CLOSED)
        assert set(await asyncio.wait_for(playing, 20)) <= {"closed", "target"}
    assert town.assert_journal_is_inbox() == 3
    assert len(town.events("arrived")) == 3


async def test_a_closed_study_ends_the_crowd(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server() as server:
        await offer(server, 3)
        await open_study(server, state=StudyState.CLOSED)
        town.write_crowd()
        assert await asyncio.wait_for(play(town.run.crowd), 10) == {"closed": 3}
    assert town.events() == []


async def test_a_new_bundle_makes_workers_load_the_page_again(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server() as server:
        await offer(server, 60)
        await open_study(server)
        town.write_crowd(workers=2, time_per_unit_s=0.02)
        playing = asyncio.ensure_future(play(town.run.crowd))
        await until(lambda: len(town.journal()) > 5, within_s=10, what="some work")
        server.reread(town.server_config(port=server.port, bundle="n" * 16))
        assert await asyncio.wait_for(playing, 30) == {"target": 2}
    assert town.assert_journal_is_inbox() == 60
    assert {event["bundle"] for event in town.events("submitted")} == {"b" * 16, "n" * 16}
    assert len(town.events("arrived")) == 2, "a reload costs no place"


async def test_one_crowd_at_a_time(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server() as server:
        await offer(server, 3)
        await open_study(server, places=0)
        town.write_crowd()
        playing = asyncio.ensure_future(play(town.run.crowd))
        await until(lambda: (town.run.crowd / "journal.jsonl").exists(), within_s=10, what="the first crowd")
        with pytest.raises(LockHeld, match="already at work"):
            await play(town.run.crowd)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing


async def test_a_crowd_that_could_not_answer_is_refused_before_anybody_comes(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server() as server:
        await offer(server, 1)
        await open_study(server)
        town.write_crowd(answers={"type": "object", "properties": {"a": False}, "required": ["a"]})
        with pytest.raises(Refused, match="cannot draw"):
            await play(town.run.crowd)
    assert town.events() == []


async def test_no_line_of_the_log_holds_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    town = Town(tmp_path)
    with caplog.at_level("DEBUG"):
        async with town.server() as server:
            await offer(server, 10)
            await open_study(server)
            town.write_crowd(duplicate_rate=0.5, error_rate=0.5)
            await asyncio.wait_for(play(town.run.crowd), 30)
    assert "v1.1." not in caplog.text
    assert "answers accepted in all" in caplog.text
