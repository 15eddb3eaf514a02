"""A spec is edited while a person is at work: what may change does so under their hands, and their reward does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from crowdstack.errors import LockHeld, StateMismatch
from crowdstack.folder import Folder
from crowdstack.lock import held
from crowdstack.wire import worker as frames
from crowdstack.wiring import Project
from tests.server.world import Page
from tests.stories.stage import Stage, assert_journal_is_export, assert_nothing_is_left, bots_project, stage, wait_until

pytestmark = [pytest.mark.story, pytest.mark.timeout(120)]

EDIT = ("task.yaml", "--set", "task.title=Another title", "--set", "task.reward=0.90 USD")
ANSWERS = {"label": "positive"}
UNITS = 3


@contextmanager
def a_person_invited(folder: Path) -> Iterator[Stage]:
    """A live run of UNITS units; one person has a link."""
    bots_project(folder, items=UNITS, repeats=1, workers=1)
    spec = (folder / "task.yaml").read_text()
    (folder / "task.yaml").write_text(spec.replace("{type: bots, workers: 1, seed: 3}", "{type: human}"))
    with stage(folder) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        yield here


def test_a_person_at_work_keeps_unit_link_and_reward_while_the_title_changes(tmp_path: Path) -> None:
    with a_person_invited(tmp_path) as here:
        asyncio.run(one_person(here))
        wait_until(lambda: here.status()["state"] == "destroyed", within_s=30, what="the end", told=here.logs)
        assert here.status()["spend"] == "0.10 USD"
        assert [row["answers"] for row in here.export()] == [ANSWERS] * UNITS
        assert_nothing_is_left(here)
        assert "0.90 USD" in here.run("preview", *EDIT, "--fresh"), "the next run takes the new reward"


async def one_person(here: Stage) -> None:
    before = here.status()
    (link,) = before["links"]
    origin = before["server"]["url"]
    token = parse_qs(urlsplit(link).query)["t"][0]
    page = await Page.open(origin)
    assert isinstance(await page.hello(token), frames.Welcome)
    holds = await page.take()

    told = here.run("preview", *EDIT)
    assert "~  crowdstack:index:TaskServer" in told
    assert "(title)" in told
    assert "takes effect with the next run: task.reward (0.10 USD -> 0.90 USD)" in told
    here.run("up", *EDIT, "--yes", "--detach")
    after = here.status()
    assert (after["run"], after["server"], after["links"]) == (before["run"], before["server"], before["links"])

    page.close()
    again = await Page.open(origin)
    assert isinstance(await again.hello(session=page.session), frames.Welcome)
    unit = await again.take()
    assert unit.assignment == holds.assignment
    for number in range(UNITS):
        assert isinstance(await again.submit(unit.assignment, ANSWERS), frames.Accepted)
        if number < UNITS - 1:
            unit = await again.take()
    assert isinstance(await again.next(), frames.Done)
    again.close()


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        ("budget.max=30 USD", '~  budget (not set -> {"max": "30 USD"})'),
        ("workers.block=[w1]", '~  workers (not set -> {"block": ["w1"]})'),
        ("provider.surplus=9", "~  provider.surplus (not set -> 9)"),
        ("lifecycle.keep=true", '~  lifecycle (not set -> {"keep": true})'),
    ],
)
def test_an_edit_that_only_the_reconciler_goes_by_is_previewed_too(tmp_path: Path, edit: str, line: str) -> None:
    with a_person_invited(tmp_path) as here:
        edited = ("task.yaml", "--set", edit)
        assert "Spec" not in here.run("preview", "task.yaml")
        assert line in here.run("preview", *edited)
        here.run("up", *edited, "--yes", "--detach")
        assert "Spec" not in here.run("preview", *edited)


def test_an_item_that_is_taken_out_is_previewed(tmp_path: Path) -> None:
    with a_person_invited(tmp_path) as here:
        lines = (tmp_path / "items.csv").read_text().splitlines()
        (tmp_path / "items.csv").write_text("\n".join(lines[:-1]) + "\n")
        assert f"+  offer {UNITS - 1} units" in here.run("preview", "task.yaml")
        here.run("up", "task.yaml", "--yes", "--detach")
        wait_until(lambda: here.status()["units"]["total"] == UNITS - 1, within_s=10, what="the drop", told=here.logs)
        assert "offer" not in here.run("preview", "task.yaml")


def test_a_crowd_answers_by_the_schema_as_it_is_now(tmp_path: Path) -> None:
    bots_project(tmp_path, items=12, repeats=1, workers=3)
    spec = tmp_path / "task.yaml"
    spec.write_text(spec.read_text().replace("seed: 3", "seed: 3, time_per_unit: 700ms"))
    with stage(tmp_path) as here:
        here.run("up", "task.yaml", "--yes", "--detach")
        wait_until(lambda: len(here.journal()) > 2, within_s=30, what="a first answer", told=here.logs)
        schema = tmp_path / "answers.schema.json"
        schema.write_text(schema.read_text().replace("positive", "good").replace("negative", "bad"))
        here.run("up", "task.yaml", "--yes", timeout_s=60)
        rows = here.export()
        assert {row["answers"]["label"] for row in rows} & {"good", "bad"}
        assert assert_journal_is_export(here) == len(rows) == 12
        assert_nothing_is_left(here)


def kept(project: Project) -> bool:
    """Whether the live run is to be kept up at its end, which `KEEP` asks for."""
    run = project.run
    assert run is not None
    return bool(run.settings["desired"]["keep"])


KEEP = ("task.yaml", "--set", "lifecycle.keep=true", "--yes", "--detach")


def test_a_preview_that_does_not_hold_any_more_is_not_carried_out(tmp_path: Path) -> None:
    with a_person_invited(tmp_path) as here, closing(Project.open(spec=tmp_path / "task.yaml")) as project:
        seen = project.preview()
        here.run("up", *KEEP)
        with pytest.raises(StateMismatch, match="since it was previewed"):
            project.up(seen=seen)
        assert kept(project), "what the other one said yes to stands"
        project.up(seen=project.preview())
        assert not kept(project)


def test_an_up_that_finds_another_one_at_it_changes_nothing(tmp_path: Path) -> None:
    with a_person_invited(tmp_path) as here, closing(Project.open(spec=tmp_path / "task.yaml")) as project:
        with held(Folder(here.state).up_lock("bots")):
            here.run("up", *KEEP, expect=(9,))
        assert not kept(project)


def test_an_up_that_is_refused_leaves_the_engine_as_it_was_chosen(tmp_path: Path) -> None:
    bots_project(tmp_path, items=1, repeats=1, workers=1)
    with stage(tmp_path) as here, held(Folder(here.state).up_lock("bots")):
        with closing(Project.open(spec=tmp_path / "task.yaml", engine="pulumi")) as project, pytest.raises(LockHeld):
            project.up()
        assert not list(here.state.glob("stacks/*/engine.json"))
