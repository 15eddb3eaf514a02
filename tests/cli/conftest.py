from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crowdstack.cli.main import run
from crowdstack.cli.session import Session
from tests.cli.terminal import ROOT
from tests.cli.world import World
from tests.stories.stage import Stage, stage


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Call = Callable[..., Said]


class Terminal(io.StringIO):
    """Somebody at the keyboard, who types this."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`crowdstack <arguments>` in front of a world; `types`: what the person at the terminal answers."""

    def called(*arguments: str, world: World | None = None, types: str | None = None) -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO() if types is None else Terminal(types))
        session = Session() if world is None else Session(open_project=world.open)
        code = run(arguments, session)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return called


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stage]:
    """A folder with the demo for people: nobody comes, so it stays up."""
    shutil.copytree(ROOT / "examples" / "demo", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    (tmp_path / "people.yaml").rename(tmp_path / "task.yaml")
    with stage(tmp_path) as it:
        yield it
