"""docs/fake-prolific.md is true: its session runs as it stands, its Python too, its tables name all that there is."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest

from crowdstack.fakes.prolific import Settings
from crowdstack.fakes.prolific.control import _VERBS
from crowdstack.fakes.prolific.faults import RATES, SPANS
from tests.fakes.test_http import running

PAGE = (Path(__file__).parents[2] / "docs" / "fake-prolific.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


def test_the_session_of_the_page_works() -> None:
    """Its ids are put in as they become known; every command answers with what the page says."""
    start, session = blocks("sh")
    assert start.startswith("crowdstack fake prolific --port 8765 ")
    with running("--wallet", "100.00 GBP") as fake:
        script = session.replace("http://127.0.0.1:8765", fake.origin)
        functions, rest = script.split("\n\n", 1)
        commands = re.split(r"\n+(?=api |fake |curl )", rest.strip())
        ids: dict[str, str] = {}
        answers = []
        for command in commands:
            for name, value in ids.items():
                command = command.replace(name, value)
            done = subprocess.run(["sh", "-euc", f"{functions}\n{command}"], capture_output=True, text=True, timeout=30)
            answer = json.loads(done.stdout)
            assert "error" not in answer, (command, answer)
            answers.append(answer)
            ids |= {"STUDY": answer["id"]} if "STUDY" not in ids else {}
            ids |= {"SUBMISSION": answer["submission"]} if "submission" in answer else {}
    assert len(answers) == 8
    assert answers[4]["url"] == f"http://127.0.0.1:9000/?p=anna&v={ids['SUBMISSION']}"
    assert answers[6]["status"] == "APPROVED"
    assert [line["submission"] for line in answers[7]["lines"]] == [ids["SUBMISSION"]]


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_page_runs(code: str) -> None:
    exec(compile(code, "docs/fake-prolific.md", "exec"), {})  # noqa: S102 - a block of our own page


def test_the_tables_of_the_page_name_all_that_there_is() -> None:
    named = set(re.findall(r"`([\w-]+)", PAGE))
    assert set(RATES) | set(SPANS) - {"retry_after_s"} <= named
    hidden = {"fee_bp", "hook_retries", "hook_disabled_after_s"}
    assert {field.name for field in dataclasses.fields(Settings)} - hidden <= named
    assert {name.rpartition("/_fake/")[2].removeprefix("faults/") for name in _VERBS} - {"force"} <= named
