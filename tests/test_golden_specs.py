"""Every broken spec is told in the words of its expected.txt, with its exit code; the base they are made from is valid."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from crowdstack.cli.main import run

SPECS = Path(__file__).parent / "golden" / "specs"
CASES = sorted(path for path in SPECS.iterdir() if path.is_dir() and path.name != "base")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CROWDSTACK_")]:
        monkeypatch.delenv(name)


def validate(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    return run(["validate", "task.yaml", *arguments])


def test_the_base_of_all_cases_is_valid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(SPECS / "base", monkeypatch) == 0
    assert "task birds, 3 items, 6 units" in capsys.readouterr().out


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40


WRITE = os.environ.get("CROWDSTACK_WRITE_GOLDEN") == "1"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_spec_is_told_as_expected(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(SPECS / "base", tmp_path, dirs_exist_ok=True)
    shutil.copytree(case, tmp_path, dirs_exist_ok=True)
    extra = case / "args.txt"
    code = validate(tmp_path, monkeypatch, *(extra.read_text().split("\n")[:-1] if extra.exists() else ()))
    printed = capsys.readouterr()
    told = f"exit {code}\n{printed.err}"
    if WRITE:
        (case / "expected.txt").write_text(told)
    assert printed.out == ""
    assert code != 0
    assert told == (case / "expected.txt").read_text()
