"""The pages about real crowds are true: their commands run in their order, against a fake on this machine, with people who come.

Ids of participants in a page stand for somebody who came, token.txt for the file that the reader has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from crowdstack import process
from crowdstack.errors import CrowdstackError
from crowdstack.fakes.prolific.background import played
from crowdstack.folder import private_folder, write_private
from crowdstack.model import Money, bot_id
from crowdstack.simulation import CONTROL_TOKEN, TOKEN, People, crowd_config, fake_of
from crowdstack.spec import Spec, load_spec
from crowdstack.spec.providers import GenericProvider
from crowdstack.tokens import Secret
from crowdstack.wire.configs import PanelConfig
from crowdstack.wiring import Project
from tests.docs.test_docs import ROOT, blocks, folder, script, sh
from tests.providers.test_plugin import install

__all__ = ["folder"]  # the fixture

pytestmark = [pytest.mark.story, pytest.mark.timeout(300)]

SOMEBODY = "5f3c8d1e2a9b7c6d5e4f3a2b"  # in the pages
PEOPLE = People(count=8)
SLOW_S = 4.0  # of a unit: so that the commands of a page find people at work


# Prints the id of somebody who came, once somebody did.
ASK = """
import json, subprocess, time
for _ in range(60):
    told = subprocess.run(["crowdstack", "workers", "ls", "--identified", "--limit", "1", "-o", "json"], capture_output=True)
    if told.returncode == 0 and (found := json.loads(told.stdout)):
        print(found[0]["worker"])
        break
    time.sleep(1)
"""


def page_script(page: str, room: Path) -> str:
    (room / "ask.py").write_text(ASK)
    (room / "token.txt").write_text(f"{TOKEN}\n")
    text = script(page).replace("< token.txt", f"< {room}/token.txt")
    return text.replace(SOMEBODY, f'"$(python {room}/ask.py)"')


def spec_of(page: str, room: Path) -> Spec:
    """The page's spec: what `new` writes, under its first overlay."""
    assert sh(room, "crowdstack new birds", timeout_s=30).returncode == 0
    overlay = next(block for block in blocks(page) if block.file and block.file.endswith(".yaml"))
    (room / "birds" / "overlay.yaml").write_text(overlay.text, encoding="utf-8")
    return load_spec(room / "birds" / "task.yaml", overlays=[room / "birds" / "overlay.yaml"])


@contextmanager
def people(spec: Spec, panel: PanelConfig, room: Path) -> Iterator[None]:
    config = crowd_config(spec, PEOPLE, panel, time_per_unit_s=SLOW_S)
    write_private(private_folder(room / "crowd") / "crowd.json", config.to_bytes())
    with open(room / "crowd.log", "ab") as log:
        crowd = subprocess.Popen(
            [sys.executable, "-m", "crowdstack.crowd", "--folder", str(room / "crowd")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=process.child_environment(),
        )  # fmt: skip
    try:
        yield
    finally:
        crowd.kill()
        crowd.wait()


@contextmanager
def prolific(spec: Spec, room: Path) -> Iterator[dict[str, str]]:
    """A fake with people of 30 years; what a command must know of it."""
    service = fake_of(spec, people=PEOPLE, speed=30, faults={}, wallet=Money.parse("100.00 GBP"))
    with service.paused() as fake:
        for number in range(1, PEOPLE.count + 1):
            fake.add_person(bot_id(number), age=30)
    with (
        played(service) as origin,
        people(spec, PanelConfig(kind="fake", url=origin, token=Secret(CONTROL_TOKEN.encode())), room),
    ):
        yield {"CROWDSTACK_PROLIFIC_URL": origin, "XDG_CONFIG_HOME": str(room / "config")}


def run_page(page: str, folder: Path, room: Path, **environment: str) -> str:
    """What its commands printed."""
    done = sh(folder, page_script(page, room), timeout_s=240, **environment)
    logs = "".join(
        f"--- {log}\n{log.read_text(errors='replace')[-2000:]}" for log in (*folder.rglob("*.log"), room / "crowd.log")
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    assert "none is live" in sh(folder / "birds", "crowdstack doctor", timeout_s=30).stdout, "it leaves a run behind"
    return done.stdout


def cost_of(folder: Path, **environment: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        sh(folder / "birds", "crowdstack cost -o json", timeout_s=30, **environment).stdout
    )
    return told


def test_the_page_about_prolific(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    page, room = "docs/prolific.md", tmp_path_factory.mktemp("room")
    with prolific(spec_of(page, room), room) as environment:
        run_page(page, folder, room, **environment)
        cost = cost_of(folder, **environment)
    assert len((folder / "birds" / "answers.csv").read_text().splitlines()) == 1 + 6 * 3
    assert cost["paid"] == cost["by_the_providers_books"] == "1.94 GBP"  # three visits and two bonuses, with fees
    assert cost["of_it_bonuses"] == "0.50 GBP"


def test_the_page_about_other_panels(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    page, room = "docs/panels.md", tmp_path_factory.mktemp("room")
    with people_of_a_link(spec_of(page, room), folder / "birds" / ".crowdstack", room):
        printed = run_page(page, folder, room)
    assert len((folder / "birds" / "answers.csv").read_text().splitlines()) == 1 + 6 * 3
    assert "person=[%PID%]&round=[%RID%]" in printed
    listed = [line.split(",")[-1] for line in (folder / "birds" / "to_pay.csv").read_text().splitlines()]
    assert listed == ["state", "to_pay", "to_pay", "to_pay"]
    assert "3 lines, 3 new" in printed


def test_the_page_about_costs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    page, room = "docs/costs.md", tmp_path_factory.mktemp("room")
    with people_of_a_link(spec_of(page, room), folder / "birds" / ".crowdstack", room):
        printed = run_page(page, folder, room)
    told = [line for block in blocks(page) if block.kind == "text" for line in block.text.splitlines()]
    assert [line for line in told if line not in printed] == []


@contextmanager
def people_of_a_link(spec: Spec, state: Path, room: Path) -> Iterator[None]:
    """They come once the panel has been given its link."""
    assert isinstance(spec.provider, GenericProvider)
    over, names = threading.Event(), (spec.provider.worker_parameter, spec.provider.visit_parameter)

    def play() -> None:
        while not over.wait(0.5):
            if (link := link_in(spec, state)) is not None:
                panel = PanelConfig(kind="link", url=link, worker=names[0], submission=names[1])
                with people(spec, panel, room):
                    over.wait()

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def link_in(spec: Spec, state: Path) -> str | None:
    try:
        with closing(Project(task=spec.name, state=state)) as project:
            return next(iter(project.links().values()), None)
    except (CrowdstackError, OSError):
        return None


def test_the_page_about_writing_a_provider(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    page, room = "docs/write-a-provider.md", tmp_path_factory.mktemp("room")
    bin_ = with_the_board(room)
    text = script(page).replace("cp -r examples/", f"cp -r {ROOT}/examples/")
    done = sh(folder, text, timeout_s=240, PATH=f"{bin_}:{os.environ['PATH']}")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count(" passed in ") == 2
    assert "3 visits x 0.40 USD = 1.20 USD" in done.stdout
    assert (folder / "board/birds/.crowdstack/provider-board/board.json").exists()


def with_the_board(room: Path) -> Path:
    """The bin folder of an environment that has all that this one has, and the plugin as pip would install it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(room / "venv")], check=True)
    (site,) = (room / "venv").glob("lib/*/site-packages")
    ours = sysconfig.get_path("purelib")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n{ROOT / 'examples' / 'provider'}\n")
    install(site)
    command = room / "venv" / "bin" / "crowdstack"
    command.write_text(f"#!{room}/venv/bin/python\nfrom crowdstack.cli.main import main\nmain()\n")
    command.chmod(0o755)
    return command.parent
