"""`crowdstack simulate` as a person calls it: on the examples, beside accounts that it must leave alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.stories.stage import ROOT, Stage, stage

pytestmark = [pytest.mark.story, pytest.mark.timeout(300)]

REAL = {
    "CROWDSTACK_PROLIFIC_TOKEN": "a-token-of-a-real-account",
    "CROWDSTACK_PROLIFIC_URL": "https://prolific.invalid",
}
PEOPLE = "9"  # three more than it needs visits: the last unit may be one that everybody who came has had


def example(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns(".crowdstack"))
    return folder


def simulate(here: Stage, *arguments: str) -> dict[str, Any]:
    here._environment.update(REAL, TMPDIR=str(here.folder))
    told: dict[str, Any] = json.loads(here.run("simulate", *arguments, "-o", "json", timeout_s=240))
    return told


def test_a_spec_for_prolific_is_rehearsed_and_nothing_of_it_stays_or_reaches_an_account(tmp_path: Path) -> None:
    folder = example(tmp_path, "prolific")
    before = sorted(path.name for path in folder.iterdir())
    with stage(folder) as here:
        told = simulate(here, "task.yaml", "--set", "provider.account=lab", "--people", PEOPLE, "--fault", "429=0.1")
        assert (told["done"], told["lost"]) == (told["target"], 0)
        assert told["accepted"] == told["exported"] >= told["target"]
        assert told["paid"] == told["ledger"]
        assert sum(told["requests"].values()) > 0
        assert sorted(path.name for path in folder.iterdir()) == before, "something was left beside the spec"
        assert here.pids() == []


def test_a_spec_for_any_panel_is_rehearsed_without_a_provider(tmp_path: Path) -> None:
    folder = example(tmp_path, "panel")
    with stage(folder) as here:
        told = simulate(here, "task.yaml", "--people", PEOPLE)
        assert (told["done"], told["lost"]) == (told["target"], 0)
        assert told["requests"] == {}
        assert told["visits"]["to pay"] > 0


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("demo", ("demo.yaml",), "plays its own people"),
        ("prolific", ("task.yaml", "--fault", "418=0.1"), "418"),
        ("prolific", ("task.yaml", "--fault", "429=often"), "NAME=NUMBER"),
    ],
)
def test_what_cannot_be_simulated_is_said(tmp_path: Path, name: str, arguments: tuple[str, ...], says: str) -> None:
    folder = example(tmp_path, name)
    spec = next(path.name for path in folder.glob("*.yaml"))
    with stage(folder) as here, pytest.raises(AssertionError, match=says):
        here.run("simulate", spec, *arguments[1:])
