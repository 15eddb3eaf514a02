"""Wherever command and server think they are, and whatever their clocks' hands do at night: what is kept and shown is UTC."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from crowdstack.store.store import PeeweeStore
from tests.cli.conftest import Call
from tests.cli.world import World
from tests.contracts.store import TASK, Inbox, items, offered
from tests.stories.stage import Stage, assert_journal_is_export, assert_nothing_is_left, bots_project, stage, wait_until

NIGHTS = [  # a zone and the moment at which its hands jump
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
]


@pytest.fixture(params=NIGHTS, ids=lambda night: "-".join(night))
def jump(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[datetime]:
    """This process lives in the zone; the moment of its jump."""
    zone, at = request.param
    with monkeypatch.context() as env:
        env.setenv("TZ", zone)
        time.tzset()
        found = datetime.fromisoformat(at).replace(tzinfo=timezone.utc)
        before, after = (time.localtime((found + timedelta(minutes=m)).timestamp()).tm_gmtoff for m in (-1, 1))
        if before == after:
            pytest.skip(f"this machine does not know the zone {zone} (Debian: tzdata)")
        yield found
    time.tzset()


def test_times_around_a_jump_are_kept_and_shown_in_utc(call: Call, jump: datetime, tmp_path: Path) -> None:
    moments = [jump + timedelta(minutes=minutes) for minutes in range(-90, 91, 30)]
    names = [f"i{number}" for number in range(len(moments))]
    store = PeeweeStore(tmp_path / "state" / "store.db")
    here = moments[0].astimezone()  # as this machine's clock on the wall has it
    run = store.open_run(TASK, settings={}, items=items(*names), repeats=1, fresh=False, now=here)
    inbox = Inbox(store, run)
    for number, (unit, moment) in enumerate(zip(offered(store, run), moments, strict=True)):
        said = len(inbox.events)
        inbox.work(unit, f"w{number}")
        inbox.events[said:] = [replace(event, at=moment.astimezone()) for event in inbox.events[said:]]  # type: ignore[arg-type]
    inbox.deliver()
    world = World(store=store, state="live", target=1000, status_says={"started_at": store.run(run.id).opened_at})

    in_utc = [moment.strftime("%Y-%m-%dT%H:%M:%S") for moment in moments]
    assert call("export", "-f", "csv", "-o", str(tmp_path / "out.csv"), world=world).code == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["submitted_at"] for row in rows] == [f"{text}Z" for text in in_utc]
    assert {row["duration_s"] for row in rows} == {"2.5"}
    shown = [json.loads(call("units", "show", row["unit"], "-o", "json", world=world).out)[0] for row in rows]
    assert [row["submitted_at"] for row in shown] == [f"{text}+00:00" for text in in_utc]
    status = json.loads(call("status", "-o", "json", world=world).out)
    assert status["started_at"] == f"{in_utc[0]}+00:00"
    store.close()


def zone_that_jumps(at: datetime, *, forward: bool) -> str:
    """A zone (as TZ has it) whose hands go an hour forward, or back, at this moment."""
    first = f"J{_day(at)}/{at:%H:%M:%S}" if forward else f"J{_day(at)}/{at + timedelta(hours=1):%H:%M:%S}"
    other = f"J{(_day(at) + 180) % 365 + 1}/12"
    return f"AAA0BBB-1,{first},{other}" if forward else f"AAA0BBB-1,{other},{first}"


def _day(at: datetime) -> int:
    """Days of a year without a 29th of February, as `J` counts them."""
    return at.replace(year=2027).timetuple().tm_yday


def offsets(zone: str, at: datetime, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    with monkeypatch.context() as env:
        env.setenv("TZ", zone)
        time.tzset()
        found = [time.localtime(at.timestamp() + seconds).tm_gmtoff for seconds in (-2, 2)]
    time.tzset()
    return found[0], found[1]


LEAD_S = 15  # until the jump: in this time the run is up and has its first answers


@pytest.mark.story
def test_command_and_server_in_zones_that_jump_while_they_work_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's hands go back an hour in the middle of the run, those of whoever looks go forward."""
    bots_project(tmp_path, items=2000, repeats=1, workers=2)
    with stage(tmp_path) as here:
        began = datetime.now(timezone.utc)
        jump = (began + timedelta(seconds=LEAD_S)).replace(microsecond=0)
        if jump.date() != (jump + timedelta(hours=1)).date() or (jump.month, jump.day) == (2, 29):
            pytest.skip("TZ tells this night's jump in another way")
        servers, ours = zone_that_jumps(jump, forward=False), zone_that_jumps(jump, forward=True)
        assert offsets(servers, jump, monkeypatch) == (3600, 0)
        assert offsets(ours, jump, monkeypatch) == (0, 3600)

        here.in_zone(servers)
        here.run("up", "task.yaml", "--yes", "--detach", "--set", "provider.crowd.time_per_unit=150ms")
        here.in_zone(ours)
        before = here.status()
        wait_until(lambda: datetime.now(timezone.utc) > jump + timedelta(seconds=3), within_s=30, what="the jump")
        after = here.status()
        assert after["server"]["healthy"] is True
        assert after["loop"]["running"] is True
        assert after["started_at"] == before["started_at"]
        here.run("destroy", "--yes", "--now")

        rows = here.export()
        assert assert_journal_is_export(here) == len(rows)
        assert_utc(rows, began, jump)
        assert sum(row["late"] for row in rows) == 0
        assert {unit["attempt"] for unit in units(here)} == {1}, "a hold was taken away"
        texts = {exported(here, zone) for zone in (servers, ours, "UTC", "Pacific/Kiritimati")}
        assert len(texts) == 1
        assert_nothing_is_left(here)


def assert_utc(rows: list[dict[str, object]], began: datetime, jump: datetime) -> None:
    in_order = sorted(rows, key=lambda row: int(str(row["receipt"])))
    times = [datetime.fromisoformat(str(row["submitted_at"]).replace("Z", "+00:00")) for row in in_order]
    assert all(str(row["submitted_at"]).endswith("Z") for row in rows)
    assert all(one <= other for one, other in pairwise(times)), "times go back"
    assert began < times[0] < jump < times[-1] < datetime.now(timezone.utc), "the run did not work through the jump"
    assert max(float(str(row["duration_s"])) for row in rows) < 60


def units(here: Stage) -> list[dict[str, object]]:
    told = here.run("units", "ls", "-o", "ndjson", "--state", "submitted", "--limit", "2000")
    return [json.loads(line) for line in told.splitlines()]


def exported(here: Stage, zone: str) -> str:
    here.in_zone(zone)
    return here.run("export", "task.yaml", "-f", "csv")
