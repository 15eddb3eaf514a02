"""A whole run by a provider of another package that lets people in itself: examples/managed-provider.

That its adapter holds to the contract is run with its page (tests/docs/test_crowd_pages.py).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from crowdstack import process
from crowdstack.cli.main import run
from crowdstack.crowds import of_plugin
from crowdstack.model import Money, WorkerId
from crowdstack.review.export import rows
from crowdstack.wire import worker as frames
from crowdstack.wiring import Project
from tests.contracts.store import NOW
from tests.providers.test_plugin import install
from tests.server.world import Page

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "managed-provider"
OVERLAY = """
metadata: {name: birds-agency}
task: {reward: 0.40 USD, units_per_visit: 6}
workers: {block: [eve]}
provider: {type: plugin, name: agency}
"""


@pytest.fixture
def agency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The service, and a task of it in this folder."""
    install(tmp_path / "site", name="agency", value="crowdstack_agency:PLUGIN")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in ("agency", "crowdstack_agency"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import agency as service

    monkeypatch.chdir(tmp_path)
    assert run(["new", "birds"]) == 0
    monkeypatch.chdir(tmp_path / "birds")
    Path("agency.yaml").write_text(OVERLAY)
    made = service.Agency()
    with service.played(made, "t0ken") as address:
        monkeypatch.setenv("AGENCY_URL", address)
        monkeypatch.setenv("AGENCY_TOKEN", "t0ken")
        yield made


def preview(capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["preview", "task.yaml", "-f", "agency.yaml"]) == 0
    return capsys.readouterr().out


def test_the_shipped_package_names_the_same_entry_point() -> None:
    assert 'agency = "crowdstack_agency:PLUGIN"' in (EXAMPLE / "pyproject.toml").read_text()


def test_preview_tells_its_price_and_its_lists_of_people(agency: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = preview(capsys)
    assert "3 visits x 0.44 USD = 1.32 USD" in said
    assert "+  participant group birds-agency, with 1 workers" in said
    assert not agency.jobs
    assert not agency.lists


def test_only_its_own_variables_reach_the_reconciler(agency: Any) -> None:
    there = {"AGENCY_URL": "u", "AGENCY_TOKEN": "t", "OTHER": "o"}
    assert of_plugin({"type": "plugin", "name": "agency"}, there) == {"AGENCY_URL": "u", "AGENCY_TOKEN": "t"}


def test_a_run_is_listed_done_by_those_who_were_let_in_paid_and_closed(agency: Any) -> None:
    refused = sys.modules["agency"].No
    with closing(Project.open(spec=Path("task.yaml"), overlays=[Path("agency.yaml")], sets=["architect={type: mock}"])) as project:  # fmt: skip
        project.up()
        job = next(found for _ in process.polls(30) if (found := next(iter(agency.jobs.values()), None)))
        with pytest.raises(refused, match="not shown to you"):
            agency.take(job["id"], "eve")
        project.store.block(project.task, [WorkerId("mia")], reason="", by="me", now=NOW)
        assert any("mia" in agency.lists["birds-agency"]["out"] for _ in process.polls(30))
        asyncio.run(comes(agency, job["id"], "zoe", most=2))  # and leaves in the middle of her work
        assert any(all_is_offered_again(project) for _ in process.polls(30))
        for name in ("ann", "bob", "cleo"):
            asyncio.run(comes(agency, job["id"], name))
        assert any(project.status().state == "destroyed" for _ in process.polls(60)), project.status()

        states = {shift["person"]: shift["state"] for shift in agency.shifts.values()}
        assert states == {"zoe": "left", "ann": "paid", "bob": "paid", "cleo": "paid"}
        given = list(rows(project.store, project.task, identified=True))
        assert {row["worker"] for row in given if row["status"] != "void"} == {"ann", "bob", "cleo"}
        assert (job["state"], job["seats"]) == ("closed", 3)
        assert project.provider.spent() == project.store.paid(project.task, "USD") == Money(132, "USD")


def all_is_offered_again(project: Project) -> bool:
    assert project.run is not None
    offers, confirmed = project.store.offers(project.run.id)
    return project.status().units.void == 2 and offers == confirmed


async def comes(agency: Any, job: str, name: str, most: int = 100) -> None:
    shift = agency.take(job, name)
    there = urlsplit(shift["link"])
    page = await Page.open(f"{there.scheme}://{there.netloc}")
    try:
        hello = frames.Hello(protocol=1, bundle="", params=dict(parse_qsl(there.query)), session=None)
        assert isinstance(await page.ask(hello), frames.Welcome)
        done = 0
        while done < most and isinstance(answer := await page.next(), frames.Assigned):
            assert isinstance(await page.submit(answer.assignment, {"label": "neutral"}), frames.Accepted)
            done += 1
        agency.end(shift["id"], None if done == most else "SHIFT-DONE")
    finally:
        page.close()
