"""new, validate, schema, explain: as a user meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from crowdstack.cli.main import run
from crowdstack.spec import answers_schema, build_bundle, load_items, load_spec
from crowdstack.spec.explain import fields
from tests.spec.builders import task


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_new_task_is_valid_and_carries_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "bird-photos"]) == 0
    assert "crowdstack up bird-photos/task.yaml" in capsys.readouterr().out
    assert run(["validate", "bird-photos/task.yaml"]) == 0
    assert capsys.readouterr().out == "bird-photos/task.yaml is valid: task bird-photos, 6 items, 18 units\n"
    found = load_spec(tmp_path / "bird-photos" / "task.yaml", environ={})
    assert found.provider.crowd.type == "bots"
    assert found.task.sample is not None
    assert answers_schema(found)
    assert "/sample.json" in build_bundle(found).files
    assert len(load_items(found)) == 6


def test_every_hint_of_a_new_task_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`key: {...}   # ...; {type: human, people: 3} prints links`: what a comment shows may stand in the value's place."""
    assert run(["new", "birds"]) == 0
    written = (tmp_path / "birds" / "task.yaml").read_text()
    hints = list(re.finditer(r"(?m)^(?P<key> *\w+: )(?P<value>[^#\n]+?) *#[^\n{]*(?P<hint>\{[^}\n]*\})", written))
    assert hints
    for hint in hints:
        changed = written[: hint.start("value")] + hint["hint"] + written[hint.end("value") :]
        (tmp_path / "birds" / "hinted.yaml").write_text(changed)
        assert run(["validate", "birds/hinted.yaml"]) == 0, f"{hint['hint']}: {capsys.readouterr().err}"


def test_a_misspelled_file_is_met_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task(tmp_path)
    (tmp_path / "people.yaml").write_text("provider: {crowd: {type: human}}\n")
    assert run(["validate", "tsak.yaml"]) == 6
    assert 'there is no spec tsak.yaml\n  try: did you mean "task.yaml"?' in capsys.readouterr().err
    assert run(["validate", "-f", "peple.yaml"]) == 6
    assert 'there is no overlay (-f) peple.yaml\n  try: did you mean "people.yaml"?' in capsys.readouterr().err


def test_new_leaves_what_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "notes.txt").write_text("mine")
    assert run(["new", "birds"]) == 2
    assert [path.name for path in (tmp_path / "birds").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["Birds", "1", "a b", "..", "-x", "a/"])
def test_new_refuses_a_name_that_is_no_task_name(name: str, tmp_path: Path) -> None:
    if name == "a/":  # a folder named with its slash
        assert run(["new", name]) == 0
    else:
        assert run(["new", "--", name]) == 2
        assert list(tmp_path.iterdir()) == []


def test_validate_takes_task_yaml_of_this_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task(tmp_path)
    assert run(["validate"]) == 0
    assert "task birds, 2 items, 2 units" in capsys.readouterr().out


def test_validate_tells_the_faults_of_all_files_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task(tmp_path, page__html="<p>", items__csv="id,text\n,A robin.\n")
    assert run(["validate", "task.yaml", "-o", "json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is False
    assert [(problem["where"], problem["path"]) for problem in told["problems"]] == [
        ("task.yaml:6:15", "task.app.html"),
        ("items.csv:2", ""),
    ]


def test_schema_is_what_editors_are_pointed_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    printed = capsys.readouterr().out
    assert run(["schema", "-o", "task.schema.json"]) == 0
    assert json.loads(printed) == json.loads((tmp_path / "task.schema.json").read_text())


def test_every_field_can_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for field in fields():
        assert run(["explain", field.path]) == 0
        printed = capsys.readouterr().out
        assert field.meaning in printed
        assert field.change in printed


def test_explain_says_what_never_changes_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "metadata.name", "-o", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["change"], found["required"]) == ("never", True)


def test_a_field_that_is_not_there_is_met_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "task.rewards"]) == 6
    assert 'did you mean "task.reward"?' in capsys.readouterr().err
