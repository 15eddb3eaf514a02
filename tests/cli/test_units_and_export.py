"""units and export on a real store; what others wrote prints as text there too."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crowdstack.cli import render
from crowdstack.model import UnitId
from crowdstack.store.store import PeeweeStore
from tests.cli.conftest import Call
from tests.cli.terminal import ROOT
from tests.cli.test_render import HOSTILE
from tests.cli.world import World
from tests.contracts.store import started

TYPED = HOSTILE.replace("\ud800", "")  # what passes the server's door: no lone surrogate
ACTING = set("\x1b\x07\r\x9b\u202e\u2066")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PeeweeStore]:
    opened = PeeweeStore(tmp_path / "state" / "store.db")
    yield opened
    opened.close()


@pytest.fixture
def worked(store: PeeweeStore) -> tuple[World, list[UnitId]]:
    """Three units: two answered by workers with honest and hostile words, one open."""
    _, inbox, units = started(store, "a", TYPED, "c")
    inbox.work(units[0], "anna", {"label": "owl"})
    inbox.work(units[1], TYPED, {"label": TYPED})
    inbox.deliver()
    return World(store=store, state="live", target=1000), units


def test_units_ls_shows_each_unit_and_no_worker_id(call: Call, worked: tuple[World, list[UnitId]]) -> None:
    world, units = worked
    told = json.loads(call("units", "ls", "-o", "json", world=world).out)
    assert [row["unit"] for row in told] == units
    assert [row["state"] for row in told] == ["submitted", "submitted", "open"]
    assert told[0]["worker"] not in ("anna", None)
    assert told[2]["worker"] is None


def test_units_ls_identified_shows_worker_ids(call: Call, worked: tuple[World, list[UnitId]]) -> None:
    told = json.loads(call("units", "ls", "--identified", "-o", "json", world=worked[0]).out)
    assert told[0]["worker"] == "anna"


def test_units_ls_goes_on_where_it_says(call: Call, worked: tuple[World, list[UnitId]]) -> None:
    world, units = worked
    first = call("units", "ls", "--limit", "2", "-o", "ndjson", world=world)
    assert f"--after {units[1]}" in first.err
    rest = call("units", "ls", "--after", units[1], "-o", "ndjson", world=world)
    assert [json.loads(line)["unit"] for line in rest.out.splitlines()] == [units[2]]


def test_units_ls_by_state(call: Call, worked: tuple[World, list[UnitId]]) -> None:
    world, units = worked
    told = json.loads(call("units", "ls", "--state", "open", "-o", "json", world=world).out)
    assert [row["unit"] for row in told] == [units[2]]


@pytest.mark.parametrize("form", render.FORMATS)
def test_hostile_units_and_answers_print_as_text(call: Call, worked: tuple[World, list[UnitId]], form: str) -> None:
    world, units = worked
    listed = call("units", "ls", "--identified", "-o", form, world=world)
    shown = call("units", "show", units[1], "--identified", "-o", form, world=world)
    assert (listed.code, shown.code) == (0, 0)
    for said in (listed, shown):
        assert "owned" in said.out
        assert not set(said.out + said.err) & ACTING
        assert not any(line.startswith("faked line") for line in said.out.splitlines())


@pytest.mark.parametrize(
    ("verdict", "state", "status"),
    [("approve", "approved", "approved"), ("exclude", "open", "excluded"), ("reject", "open", "rejected")],
)
def test_a_verdict_moves_the_unit(
    call: Call, worked: tuple[World, list[UnitId]], verdict: str, state: str, status: str
) -> None:
    world, units = worked
    said = call("units", verdict, units[0], "--reason", "because", world=world)
    assert said.code == 0
    listed = json.loads(call("units", "ls", "-o", "json", world=world).out)
    assert listed[0]["state"] == state
    shown = json.loads(call("units", "show", units[0], "-o", "json", world=world).out)
    assert [row["status"] for row in shown] == [status]


def test_all_approves_what_waits_after_a_yes(call: Call, worked: tuple[World, list[UnitId]]) -> None:
    world, _ = worked
    assert call("units", "approve", "--all", world=world).code == 2
    assert call("units", "approve", "--all", world=world, types="n\n").code == 8
    assert call("units", "approve", "--all", "--yes", world=world).code == 0
    listed = json.loads(call("units", "ls", "-o", "json", world=world).out)
    assert [row["state"] for row in listed] == ["approved", "approved", "open"]


def test_a_verdict_of_a_user_without_a_name_is_given_by_its_number(
    call: Call, worked: tuple[World, list[UnitId]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)  # nobody in /etc/passwd
    assert call("units", "approve", "--all", "--yes", world=worked[0]).code == 0
    with closing(sqlite3.connect(tmp_path / "state" / "store.db")) as db:
        assert db.execute('SELECT DISTINCT "by" FROM verdict').fetchall() == [(f"uid:{2**31 - 7}",)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["approve"], 2),
        (["approve", "--all", "u1"], 2),
        (["reject", "u1"], 2),
        (["approve", "unknown"], 6),
        (["show", "unknown"], 6),
    ],
)
def test_what_cannot_be_judged_or_shown(
    call: Call, worked: tuple[World, list[UnitId]], arguments: list[str], code: int
) -> None:
    assert call("units", *arguments, world=worked[0]).code == code


def test_a_submission_of_another_unit_is_not_found(call: Call, worked: tuple[World, list[UnitId]]) -> None:
    world, units = worked
    assert call("units", "approve", units[0], "--submission", "99", world=world).code == 6


def test_export_writes_each_submission_once(call: Call, worked: tuple[World, list[UnitId]], tmp_path: Path) -> None:
    target = tmp_path / "answers.csv"
    said = call("export", "-f", "csv", "-o", str(target), world=worked[0])
    assert said.code == 0
    assert "2 submissions" in said.err
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == ["a", TYPED]
    assert rows[0]["answer.label"] == "owl"
    assert not {row["worker"] for row in rows} & {"anna", TYPED}


def test_export_goes_to_stdout_without_a_file(worked: tuple[World, list[UnitId]], call: Call) -> None:
    rows = [
        json.loads(line) for line in call("export", "-f", "jsonl", "--identified", world=worked[0]).out.splitlines()
    ]
    assert [row["worker"] for row in rows] == ["anna", TYPED]


def test_export_into_a_folder_that_is_not_there_says_so(call: Call, worked: tuple[World, list[UnitId]]) -> None:
    said = call("export", "-o", "/nowhere/answers.csv", world=worked[0])
    assert said.code == 4
    assert "/nowhere/answers.csv" in said.err


COMMAND = [sys.executable, "-m", "crowdstack", "-s", "birds", "--state", "state"]


@pytest.mark.parametrize(
    "arguments", [["export"], ["export", "-f", "jsonl"], ["units", "ls"], ["units", "ls", "-o", "ndjson"]]
)
def test_a_reader_that_has_seen_enough_is_no_noise(
    worked: tuple[World, list[UnitId]], arguments: list[str], tmp_path: Path
) -> None:
    """As `| head -1`: the pipe is closed before everything is written."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_export_is_private_whatever_the_umask(worked: tuple[World, list[UnitId]], tmp_path: Path) -> None:
    subprocess.run([*COMMAND, "export", "-o", "out.csv"], cwd=tmp_path, umask=0, check=True, capture_output=True)
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600


def test_without_a_locale_answers_are_exported_as_they_are(worked: tuple[World, list[UnitId]], tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
            "PYTHONPATH": str(ROOT)}  # fmt: skip
    for form, name in (("jsonl", "\u00e4nswers.jsonl"), ("csv", "\u00e4nswers.csv")):
        piped = subprocess.run(
            [*COMMAND, "export", "-f", form], cwd=tmp_path, env=bare, capture_output=True, check=True
        )
        filed = subprocess.run(
            [*COMMAND, "export", "-f", form, "-o", name], cwd=tmp_path, env=bare, capture_output=True, check=True
        )
        assert (tmp_path / name).read_bytes() == piped.stdout
        assert "\u202egnp.exe\u2066".encode() in piped.stdout
        assert b"2 submissions in " in filed.stderr
    shown = subprocess.run([*COMMAND, "units", "ls"], cwd=tmp_path, env=bare, capture_output=True, check=True)
    assert shown.stdout.isascii()


def test_export_onto_a_folder_says_so_and_leaves_it_empty(
    call: Call, worked: tuple[World, list[UnitId]], tmp_path: Path
) -> None:
    (tmp_path / "answers").mkdir()
    said = call("export", "-o", str(tmp_path / "answers"), world=worked[0])
    assert said.code == 4
    assert "it is a folder" in said.err
    assert list((tmp_path / "answers").iterdir()) == []
