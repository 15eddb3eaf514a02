"""The crowd's process, real and alone; what simulated workers do is told in tests/crowd."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from crowdstack import process, tokens
from crowdstack.ports import Crowd
from crowdstack.process import ProcessId
from crowdstack.providers.mock_crowd import LINK_DAYS, MockCrowd

OPENED = datetime(2026, 1, 1, tzinfo=timezone.utc)
KEY = tokens.Secret(b"k" * 32)
BOTS = {"kind": "bots", "workers": 2, "seed": 1, "time_per_unit_s": 0.0}


def crowd(folder: Path, settings: dict[str, Any]) -> MockCrowd:
    return MockCrowd(
        folder, settings, run="birds-1", task="birds", study="birds-1", origin="http://127.0.0.1:9", link_key=KEY,
        answers={"type": "object"}, opened_at=OPENED,
    )  # fmt: skip


def wait_for(made: MockCrowd) -> ProcessId:
    for _ in range(500):
        if made.running():
            found = made._process()
            assert found is not None
            return found
        process._never.wait(0.02)
    raise AssertionError("the crowd did not start")


@pytest.fixture(autouse=True)
def this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children run the code under test, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


@pytest.fixture
def bots(tmp_path: Path) -> Iterator[MockCrowd]:
    made = crowd(tmp_path / "crowd", BOTS)
    yield made
    made.stop()


def test_a_crowd_is_started_once_and_again_only_when_it_died(bots: MockCrowd, monkeypatch: pytest.MonkeyPatch) -> None:
    port: Crowd = bots
    assert not port.running()
    port.ensure()
    first = wait_for(bots)
    monkeypatch.setattr("crowdstack.providers.mock_crowd._PAUSE_S", 0.0)
    port.ensure()
    assert wait_for(bots) == first
    os.kill(first.pid, signal.SIGKILL)
    assert process.wait_gone(first, 5)
    port.ensure()
    assert wait_for(bots) != first


def test_another_reconciler_finds_the_crowd_that_one_before_it_started(bots: MockCrowd, tmp_path: Path) -> None:
    bots.ensure()
    first = wait_for(bots)
    heir = crowd(tmp_path / "crowd", BOTS)
    heir.ensure()
    assert wait_for(heir) == first
    heir.stop()
    assert not process.alive(first)
    heir.stop()


def test_a_crowd_that_goes_by_other_settings_is_replaced(bots: MockCrowd, tmp_path: Path) -> None:
    bots.ensure()
    first = wait_for(bots)
    heir = crowd(tmp_path / "crowd", {**BOTS, "workers": 3})
    heir.ensure()
    assert wait_for(heir) != first
    assert not process.alive(first)
    assert json.loads((tmp_path / "crowd" / "crowd.json").read_bytes())["workers"] == 3
    heir.stop()


def test_its_configuration_is_private(bots: MockCrowd, tmp_path: Path) -> None:
    bots.ensure()
    wait_for(bots)
    for path in (tmp_path / "crowd").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_stranger_with_the_crowds_old_pid_is_left_alone(tmp_path: Path) -> None:
    us = process.identify(os.getpid())
    assert us is not None
    (tmp_path / "crowd.process.json").write_text(json.dumps({**us.to_json(), "start": "1"}))
    made = crowd(tmp_path, BOTS)
    assert not made.running()
    made.stop()


def test_people_get_a_link_each_and_always_the_same(tmp_path: Path) -> None:
    made = crowd(tmp_path, {"kind": "human", "people": ["ann", "bob"]})
    made.ensure()
    assert not made.running()
    assert made.links() == crowd(tmp_path, {"kind": "human", "people": ["ann", "bob"]}).links()
    claims = []
    for link in made.links().values():
        (token,) = parse_qs(urlsplit(link).query)["t"]
        claims.append(tokens.Signer(KEY, "link").check(token, now=OPENED.timestamp() + 1))
        assert tokens.Signer(KEY, "link").check(token, now=OPENED.timestamp() + LINK_DAYS * 86_400) is None
    assert [claim["worker"] for claim in claims if claim] == ["ann", "bob"]
    assert {(claim["run"], claim["study"], claim["provider"], claim["origin"]) for claim in claims if claim} == {
        ("birds-1", "birds-1", "mock", "http://127.0.0.1:9")
    }


def test_simulated_workers_need_no_links(tmp_path: Path) -> None:
    assert crowd(tmp_path, BOTS).links() == {}
