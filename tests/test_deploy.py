"""A spec edited while its run is live, by the real command."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from crowdstack.wiring import Project
from tests.stories.stage import Stage, bots_project, stage, wait_until

EDITS = (
    "task.title=Another title",
    "task.reward=0.90 USD",
    "architect.port=65123",
    "provider.crowd={type: bots, workers: 2}",
)


def with_people(folder: Path) -> None:
    bots_project(folder, items=4, repeats=1, workers=1)
    spec = (folder / "task.yaml").read_text()
    (folder / "task.yaml").write_text(
        spec.replace("{type: bots, workers: 1, seed: 3}", "{type: human, people: 2}") + "architect: {type: local}\n"
    )


def edit(here: Stage, command: str, *more: str) -> str:
    return here.run(command, "task.yaml", *[word for setting in EDITS for word in ("--set", setting)], *more)


def test_what_belongs_to_the_next_run_is_told_and_leaves_the_live_run_as_it_is(tmp_path: Path) -> None:
    with_people(tmp_path)
    with stage(tmp_path) as here:
        first = json.loads(here.run("preview", "task.yaml", "-o", "json"))
        assert first["notes"] == []
        assert first["never_changes"] == ["metadata.name: bots (another name is another task)"]
        here.run("up", "task.yaml", "--yes", "--detach")
        before = here.status()

        told = json.loads(edit(here, "preview", "-o", "json"))
        waiting = {"task.reward", "architect.port"}
        waiting |= {f"provider.crowd.{field}" for field in ("type", "people", "workers")}
        assert {note.partition(" (")[0] for note in told["notes"]} == {
            f"takes effect with the next run: {field}" for field in waiting
        }
        assert told["never_changes"] == []
        assert told["cost"]["gross"] == "0.10 USD"
        edit(here, "up", "--yes", "--detach")

        after = here.status()
        assert (after["run"], after["server"], after["links"]) == (before["run"], before["server"], before["links"])
        with closing(Project.open(spec=None, directory=tmp_path)) as project:
            assert project.run is not None
            settings = project.run.settings
        assert settings["desired"]["reward"] == "0.10 USD"
        assert settings["desired"]["crowd"]["kind"] == "human"
        assert settings["desired"]["title"] == settings["stack"]["title"] == "Another title"
        here.run("destroy", "task.yaml", "--yes", "--now", expect=(0, 6))


def test_a_run_with_a_dry_wallet_goes_on_once_more_is_put_in(tmp_path: Path) -> None:
    bots_project(tmp_path, items=20, repeats=1, workers=2)
    with stage(tmp_path) as here:
        here.start("up", "task.yaml", "--yes", "--set", "provider.wallet=0.10 USD")
        wait_until(lambda: "cannot pay" in str(here.status()["loop"]), within_s=30, what="a dry wallet to be told")
        assert here.status()["spend"] == "0.10 USD"
        here.run("up", "task.yaml", "--yes", "--set", "provider.wallet=5 USD")
        assert here.status()["state"] == "destroyed"
        assert here.status()["spend"] == "0.20 USD"
