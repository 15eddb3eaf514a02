"""The two pages about engines are true: their commands run, in their order, with the real CLI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crowdstack.folder import private_folder
from tests.docs.test_docs import folder, script, sh
from tests.pulumi.language import install
from tests.pulumi.tools import pulumi_cli

__all__ = ["folder"]
pytestmark = [pytest.mark.pulumi, pytest.mark.story, pytest.mark.timeout(400)]


@pytest.fixture(autouse=True)
def pulumi_on_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path_factory.mktemp("tools")
    install(tools)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tools), str(pulumi_cli().parent), os.environ["PATH"]]))
    monkeypatch.setenv("PULUMI_HOME", str(private_folder(tools / "home")))


def test_the_page_about_engines_works(folder: Path) -> None:
    done = sh(folder, script("docs/engines.md"), timeout_s=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "the stack is kept by the engine embedded" in done.stdout
    assert "nothing is left" in done.stdout


def test_the_page_about_pulumi_works(folder: Path) -> None:
    done = sh(folder, script("docs/pulumi.md"), timeout_s=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "not opened" in done.stdout
    assert len((folder / "birds.csv").read_text().splitlines()) == 1 + 6 * 3
    assert "crowdstack:index:TaskServer" in (folder / "schema.json").read_text()
