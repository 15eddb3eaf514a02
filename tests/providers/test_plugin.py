"""A provider of another package: examples/provider, installed by a distribution of its own on the path."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crowdstack import process
from crowdstack.cli.main import run
from crowdstack.crowds import of_plugin
from crowdstack.errors import Refused
from crowdstack.folder import private_folder, write_private
from crowdstack.model import Money
from crowdstack.plugin import find_plugin, installed
from crowdstack.ports import Provider
from crowdstack.review.export import rows
from crowdstack.simulation import People, crowd_config
from crowdstack.testing import ProviderContract, opening
from crowdstack.wire.configs import PanelConfig
from crowdstack.wiring import Project

BOARD = Path(__file__).resolve().parents[2] / "examples" / "provider"
OVERLAY = """
metadata: {name: birds-board}
task: {reward: 0.40 USD, units_per_visit: 6}
provider: {type: plugin, name: board, settings: {room: B12, cash: 20.00 USD}}
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(BOARD))
    monkeypatch.delitem(sys.modules, "crowdstack_board", raising=False)


def install(site: Path, *, name: str = "board", value: str = "crowdstack_board:PLUGIN") -> None:
    """What pip writes about a package with this entry point."""
    info = site / f"crowdstack_{name}-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: crowdstack-{name}\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text(f"[crowdstack.providers]\n{name} = {value}\n")


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command on a small task of the board; extra arguments are settings."""
    monkeypatch.chdir(tmp_path)
    assert run(["new", "birds"]) == 0
    monkeypatch.chdir(tmp_path / "birds")
    Path("board.yaml").write_text(OVERLAY)

    def command(verb: str, *sets: str) -> int:
        return run([verb, "task.yaml", "-f", "board.yaml", *(part for text in sets for part in ("--set", text))])

    return command


class TestBoard(ProviderContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> Provider:
        return find_plugin("board").open(opening(tmp_path, {"room": "B12"}))


def test_a_plugin_is_not_loaded_before_it_is_named() -> None:
    assert "board" in installed()
    assert "crowdstack_board" not in sys.modules


def test_the_shipped_package_names_the_same_entry_point() -> None:
    assert 'board = "crowdstack_board:PLUGIN"' in (BOARD / "pyproject.toml").read_text()


def test_a_spec_that_names_it_is_valid(task: Callable[..., int]) -> None:
    assert task("validate") == 0


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("provider.settings={room: 12}", "board: 12 is not of type 'string'"),
        ("provider.settings={room: B1, rooom: B1}", "'rooom' was unexpected"),
        ("provider.name=bord", 'there is no provider plugin "bord" here; there is board'),
        ("task.units_per_visit=unlimited", "so its length must be known"),
    ],
)
def test_what_is_wrong_is_told_by_validate(
    setting: str, told: str, task: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert task("validate", setting) == 2
    assert told in capsys.readouterr().err


def test_a_setting_that_is_missing_is_told_by_validate(
    task: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("board.yaml").write_text(OVERLAY.replace("room: B12, ", ""))
    assert task("validate") == 2
    assert "board: 'room' is a required property" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "told"), [("json:loads", "no crowdstack.plugin"), ("nowhere:X", "cannot be loaded")])
def test_a_package_at_fault_is_told_by_its_name(value: str, told: str, tmp_path: Path) -> None:
    install(tmp_path / "site", name="acme", value=value)
    with pytest.raises(Refused, match=told):
        find_plugin("acme")


def test_only_the_variables_that_a_plugin_names_reach_its_reconciler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "acme.py").write_text(
        "import dataclasses, crowdstack_board\n"
        "PLUGIN = dataclasses.replace(crowdstack_board.PLUGIN, environment=('ACME_TOKEN', 'ACME_URL'))\n"
    )
    install(tmp_path / "site", name="acme", value="acme:PLUGIN")
    monkeypatch.delitem(sys.modules, "acme", raising=False)
    there = {"ACME_TOKEN": "secret", "OTHER_TOKEN": "secret"}
    assert of_plugin({"type": "plugin", "name": "acme"}, there) == {"ACME_TOKEN": "secret"}
    assert of_plugin({"type": "prolific"}, there) == {}


def test_there_is_nothing_to_simulate_it_with(task: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert task("simulate") == 2
    assert "no fake" in capsys.readouterr().err


def test_preview_tells_what_it_costs(task: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert task("preview") == 0
    assert "3 visits x 0.40 USD = 1.20 USD" in capsys.readouterr().out


def test_a_run_is_listed_done_paid_and_closed(task: Callable[..., int], tmp_path: Path) -> None:
    overlays, sets = [Path("board.yaml")], ["architect={type: mock}"]
    with closing(Project.open(spec=Path("task.yaml"), overlays=overlays, sets=sets)) as project:
        project.up()
        board = project.folder.root / "provider-board" / "board.json"
        link = next(link for _ in process.polls(30) if (link := link_on(board)))
        crowd = people(project, link, tmp_path / "crowd")
        try:
            assert any(project.status().state == "destroyed" for _ in process.polls(60)), project.status()
        finally:
            crowd.kill()
            crowd.wait()
        (notice,) = json.loads(board.read_bytes()).values()
        given = list(rows(project.store, project.task, identified=True))
        assert len(given) == 6 * 3
        assert notice["state"] == "closed"
        assert {who for who, how in notice["settled"].values() if how == "paid"} == {row["worker"] for row in given}
        assert project.provider.spent() == project.store.paid(project.task, "USD") == Money(120, "USD")


def link_on(board: Path) -> str | None:
    return (
        next((notice["link"] for notice in json.loads(board.read_bytes()).values()), None) if board.exists() else None
    )


def people(project: Project, link: str, folder: Path) -> subprocess.Popen[bytes]:
    """They read the board and follow its link."""
    assert project.spec is not None
    panel = PanelConfig(kind="link", url=link, worker="name", submission="ticket")
    config = crowd_config(project.spec, People(count=5), panel, time_per_unit_s=0.0)
    write_private(private_folder(folder) / "crowd.json", config.to_bytes())
    return subprocess.Popen(
        [sys.executable, "-m", "crowdstack.crowd", "--folder", str(folder)],
        stdin=subprocess.DEVNULL, env=process.child_environment(),
    )  # fmt: skip
