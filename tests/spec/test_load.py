"""Text -> nodes: YAML 1.2 types, places, layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdstack.errors import NotFound, SpecError, UsageError
from crowdstack.spec.load import Variables, load, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"), ("yes", "yes"), ("on", "on"), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("012", 12), ("0o14", 12), ("0x1F", 31), ("-7", -7), ("1_000", "1_000"), ("1.50", 1.5), ("1e3", 1000.0), (".5", 0.5),
        ("12:30", "12:30"), ("2026-11-23", "2026-11-23"), ("'12'", "12"), ('"true"', "true"), ("<<", "<<"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    found = parse(f"a: {text}\n", "f").plain()["a"]
    assert (found, type(found)) == (value, type(value))


def test_each_node_knows_its_line_and_column() -> None:
    root = parse("a:\n  - b: 1\n    c: [x, y]\n", "f.yaml")
    entry = root.value["a"].value[0]
    assert str(entry.value["c"].value[1].place) == "f.yaml:3:12"
    assert str(entry.value["c"].key) == "f.yaml:3:5"


def test_json_is_read_with_tabs_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_bytes(b'\xef\xbb\xbf{\n\t"a": {\n\t\t"b": [1, "\\u00e9"]\n\t}\n}\n')
    assert load(path).root.plain() == {"a": {"b": [1, "é"]}}


@pytest.mark.parametrize(
    "text",
    ['a: "\\0"', 'a: "\\uD800"', "a: !!str 1", "a: &x [*x]", "? [1]\n: 2", "a: 1\n---\nb: 2", "\ta: 1", "a: .nan"],
)
def test_what_could_surprise_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse(text, "f")


@pytest.mark.parametrize("letter", ["\0", "\x07", "\x1b", "\x7f", "\ufffe"])
def test_a_control_character_is_told_with_its_place(letter: str) -> None:
    with pytest.raises(SpecError, match="does not belong in a spec") as raised:
        parse(f"a: 1\nb: x{letter}y\n", "f")
    assert raised.value.problems[0].where == "f:2:5"


def test_all_duplicate_keys_and_tags_are_told_together() -> None:
    with pytest.raises(SpecError) as raised:
        parse("a: 1\na: 2\nb: !x 3\nb: 4\n", "f")
    assert [problem.where for problem in raised.value.problems] == ["f:2:1", "f:3:4", "f:4:1"]


def test_a_mapping_is_merged_key_by_key_and_keeps_its_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: {p: 1, q: 2}\nlist: [1, 2]\n")
    (tmp_path / "b.yaml").write_text("x:\n  q: 3\nlist: [4]\n")
    document = load(tmp_path / "a.yaml", [tmp_path / "b.yaml"], ["x.r=5", "list=[6, 7]"])
    assert document.root.plain() == {"x": {"p": 1, "q": 3, "r": 5}, "list": [6, 7]}
    assert str(document.find(("x", "q")).place) == f"{tmp_path}/b.yaml:2:6"
    assert str(document.find(("x", "r")).place) == "--set x.r=5"


def test_another_type_leaves_the_old_types_fields_behind(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("crowd: {type: bots, workers: 5}\n")
    assert load(tmp_path / "a.yaml", (), ["crowd.type=human"]).root.plain() == {"crowd": {"type": "human"}}
    assert load(tmp_path / "a.yaml", (), ["crowd.type=bots"]).root.plain() == {"crowd": {"type": "bots", "workers": 5}}


@pytest.mark.parametrize("setting", ["x", "=1", "a..b=1", ".a=1"])
def test_a_setting_without_path_or_value_is_a_usage_error(setting: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: 1\n")
    with pytest.raises(UsageError):
        load(tmp_path / "a.yaml", (), [setting])


def test_a_spec_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load(tmp_path / "task.yaml")
    with pytest.raises(NotFound, match="is a folder"):
        load(tmp_path)


def test_a_plain_variable_may_be_a_number_and_a_quoted_one_is_text() -> None:
    variables = Variables({"CROWDSTACK_VAR_N": "8080"})
    assert parse('{a: "${N}", b: "x${N}", c: "$${N}"}', "f", variables=variables).plain() == {
        "a": "8080",
        "b": "x8080",
        "c": "${N}",
    }
    assert parse("a: ${N}", "f", variables=variables).plain() == {"a": 8080}


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:- \n\t[]{}&*!|>'\"#%@`,?\\0~.$é\0\r\ufeff\u2028", max_size=60))
def test_any_text_gives_a_tree_or_a_spec_error(text: str) -> None:
    try:
        parse(text, "f").plain()
        found = []
    except SpecError as fault:
        found = [problem.where for problem in fault.problems]
    assert all(where.startswith("f:") for where in found)
