"""The docs are true: their commands run, their specs are valid, their code names what is there.

The fenced blocks of a page are one script in one empty folder, in their order. A block whose first line is a comment with
a file's name is written to that file. `<!-- not run: why -->` before a block leaves it out.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from crowdstack.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
CROWD_PAGES = ("docs/prolific.md", "docs/panels.md", "docs/costs.md")  # run by test_crowd_pages.py
PAGES = ("README.md", "docs/quickstart.md", "docs/crowds.md", *CROWD_PAGES)
BLOCK = re.compile(r"^(?P<skip><!-- not run: [^\n]+ -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
NAME = re.compile(r"(?:#|<!--) (?P<name>[\w.]+\.(?:yaml|py|html))(?: -->)?\n")
ELSEWHERE = re.compile(r"pip install|make ")  # lines about installing, and the repository's own gate


class Block(NamedTuple):
    kind: str
    text: str
    runs: bool

    @property
    def file(self) -> str | None:
        name = NAME.match(self.text)
        return name and name["name"]


def blocks(page: str) -> Iterator[Block]:
    for found in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        yield Block(found["kind"], found["text"], found["skip"] is None)


def script(page: str) -> str:
    parts = []
    for block in blocks(page):
        if block.file:
            parts.append(f"cat > {block.file} <<'END OF FILE'\n{block.text}END OF FILE\n")
        elif block.kind == "sh" and block.runs:
            parts += [f"{line}\n" for line in block.text.splitlines() if not ELSEWHERE.match(line)]
    return "".join(parts)


def sh(folder: Path, text: str, *, timeout_s: float, **more: str) -> subprocess.CompletedProcess[str]:
    """`more`: variables of its environment."""
    bin_ = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CROWDSTACK_")}
    environment |= {"PATH": f"{bin_}:{environment['PATH']}", "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        ["sh", "-eux"],
        input=text,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; what a page left running there is taken down."""
    yield tmp_path
    for state in tmp_path.rglob(".crowdstack"):
        sh(tmp_path, f"crowdstack --state {shlex.quote(str(state))} destroy --yes --now || true", timeout_s=30)


@pytest.mark.story
@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_commands_of_a_page_work_in_their_order(page: str, folder: Path) -> None:
    done = sh(folder, script(page), timeout_s=90)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows = [path for path in folder.rglob("*.csv") if path.name in ("birds.csv", "answers.csv")]
    assert [len(path.read_text().splitlines()) for path in rows] == [1 + 6 * 3]
    up = sh(folder, "crowdstack doctor", timeout_s=30)
    assert "nothing is up" in up.stdout, "the page leaves a run behind"


@pytest.mark.parametrize("page", PAGES)
def test_every_spec_of_a_page_is_valid(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole spec is checked as it stands, a part of one as an overlay, both beside the files that `new` writes."""
    monkeypatch.chdir(tmp_path)
    assert run(["new", "birds"]) == 0
    monkeypatch.chdir("birds")
    recorded = [f"t0{item},w{worker},neutral\n" for item in range(1, 7) for worker in range(3)]
    Path("answers.csv").write_text("item,worker,label\n" + "".join(recorded))
    specs = [block.text for block in blocks(page) if block.kind == "yaml"]
    assert specs
    for text in specs:
        Path("block.yaml").write_text(text, encoding="utf-8")
        whole = "apiVersion:" in text
        assert run(["validate", "block.yaml"] if whole else ["validate", "task.yaml", "-f", "block.yaml"]) == 0, text


@pytest.mark.parametrize("page", [*PAGES, "task_apps/client/README.md"])
def test_pages_and_snippets_use_what_the_client_has(page: str) -> None:
    types = (ROOT / "task_apps/client/client.d.ts").read_text(encoding="utf-8")
    for block in blocks(page):
        if block.kind == "html":
            used = re.findall(r"(?<!/)\b(?:crowdstack|task)\.(\w+)", block.text)
            assert [name for name in used if not re.search(rf"^  (?:readonly )?{name}[(:]", types, re.M)] == []
            assert '<script src="/client.js"></script>' in block.text


@pytest.mark.parametrize("page", PAGES)
def test_python_of_a_page_is_python(page: str) -> None:
    for block in blocks(page):
        if block.kind == "python":
            ast.parse(block.text)


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "task_apps").rglob("*.md")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "page", ["docs/what-happens-when.md", "docs/architecture.md", "CONTRIBUTING.md", "docs/quickstart.md"]
)
def test_tests_that_are_named_exist(page: str) -> None:
    """`tests/area/test_file.py` is a file, and `tests/area/test_file.py::test_name` a test in it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for path, name in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", text):
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{name}"
