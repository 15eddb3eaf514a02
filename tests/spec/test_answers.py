"""The answers schema: what is taken, what is refused and where."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from crowdstack.errors import SpecError
from crowdstack.spec import answers_schema
from crowdstack.spec.pattern import longest_safe
from crowdstack.wire.answers import validator
from tests.spec.builders import problems, spec

FROM_FILE = ("provider:", "  answers: answers.json\nprovider:")


def schema_of(folder: Path, schema: Any) -> Any:
    return answers_schema(spec(folder, FROM_FILE, answers__json=json.dumps(schema)))


def test_without_a_schema_any_answers_are_taken(tmp_path: Path) -> None:
    assert answers_schema(spec(tmp_path)) is None


def test_a_schema_may_stand_in_the_spec(tmp_path: Path) -> None:
    inline = ("provider:", '  answers: {type: object, properties: {a: {type: string, pattern: "^x+$"}}}\nprovider:')
    assert answers_schema(spec(tmp_path, inline)) == {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^x+$"}},
    }


def test_an_ordinary_schema_is_taken_as_it_is(tmp_path: Path) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/answers",
        "type": "object",
        "$defs": {"label": {"enum": ["a", "b"]}},
        "properties": {"x": {"$ref": "#/$defs/label"}, "y": {"type": "array", "items": {"$ref": "#/$defs/label"}}},
        "oneOf": [{"required": ["x"]}, {"required": ["y"]}],
    }
    assert schema_of(tmp_path, schema) == schema


def unfolding(levels: int) -> dict[str, Any]:
    """2^levels parts, written in a few lines."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"type": "object", "$defs": {**defs, f"d{levels}": {}}, "properties": {"a": {"$ref": "#/$defs/d0"}}}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "array"}, "must be object"),
        ([], "must be object"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "another dialect"),
        ({"$schema": 7}, "another dialect"),
        ({"properties": {"a": {"minimum": "x"}}}, "not JSON Schema"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "is no part of this schema"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "is no part of this schema"),
        ({"properties": {"a": {"$id": "x"}}}, "may only stand at the top"),
        ({"patternProperties": {"a": {}}}, "is not supported"),
        ({"$dynamicRef": "#a"}, "is not supported"),
        ({"allOf": [{"$ref": "#"}]}, "refers to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "properties": {"x": {"$ref": "#/$defs/a"}}},
         "refers to itself"),
        (unfolding(30), "unfolds to more than"),
        ({"properties": {"a": {"pattern": "("}}}, "not a regular expression"),
        ({"properties": {"a": {"pattern": "(a*)*b"}}}, "can take too long"),
        ({"x-hidden": {"pattern": "(a*)*b"}, "properties": {"a": {"$ref": "#/x-hidden"}}}, "can take too long"),
        ({"properties": {"a": {"pattern": "a" * 2000}}}, "longer than"),
        ({"description": "x" * 70_000}, "larger than"),
    ],
)  # fmt: skip
def test_a_schema_that_could_do_harm_is_refused(schema: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        schema_of(tmp_path, schema)
    assert any(told in problem for problem in problems(raised)), problems(raised)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(yes|no)$",
        r"^\d{4}-\d\d-\d\d$",
        r"^.+$",
        r"bird.*",
        r"^\s*\w+$",
        r"^\d{1,3}(\.\d{1,3}){3}$",
        r"(?i)^https?://\S+$",
        r"^(?=.*\d).+$",
    ],
)
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    assert longest_safe(pattern, 4096) == 4096


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|a)*$",
        r"(a|ab)*c",
        r"(.*)*x",
        r"(a?){30}a{30}",
        r"(x+x+)+y",
        r"((a{1,9}){1,9}){1,9}b",
        r"(?:a|b+)*c",
        r"([a-z]+-)*$",
    ],
)
def test_a_repeat_inside_a_repeat_is_refused(pattern: str) -> None:
    assert longest_safe(pattern, 4096) < 64


@pytest.mark.parametrize("pattern", [r"^\w+@\w+\.\w+$", r"a*b*c", r"(?m)^a*b*$"])
def test_many_repeats_in_a_row_need_a_shorter_text(pattern: str) -> None:
    safe = longest_safe(pattern, 4096)
    assert 200 < safe < 4096
    began = time.process_time()  # which other programs do not take part in
    validator({"pattern": pattern}).is_valid("a" * safe)
    assert time.process_time() - began < 5


def test_the_shorter_text_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    email = {"type": "string", "pattern": r"^\w+@\w+\.\w+$"}
    with pytest.raises(SpecError) as raised:
        schema_of(tmp_path, {"properties": {"mail": email}})
    hint = raised.value.problems[0].hint
    assert hint is not None
    most = int(hint.removeprefix("add maxLength: "))
    assert schema_of(tmp_path, {"properties": {"mail": {**email, "maxLength": most}}})


def test_a_long_text_fails_a_pattern_unread() -> None:
    check = validator({"pattern": "^a*$"})
    assert check.is_valid("a" * 4096)
    assert not check.is_valid("a" * 4097)
    assert check.is_valid(12)
