"""Paths to properties: what they name, what they cover, what it means to put back what was there."""

from __future__ import annotations

from typing import Any

import pytest

from crowdstack.engine.embedded.paths import covers, parse, reset
from crowdstack.engine.values import SecretValue


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("root", ("root",)),
        ("root.nested", ("root", "nested")),
        ('root["nested"].double', ("root", "nested", "double")),
        ("root.array[100].x", ("root", "array", 100, "x")),
        ("root.array[0][1]", ("root", "array", 0, 1)),
        ('root["key with \\"quotes\\" and ."]', ("root", 'key with "quotes" and .')),
        ('["a ."][1]', ("a .", 1)),
        ("root.array[*].field", ("root", "array", "*", "field")),
        ("*", ("*",)),
    ],
)
def test_a_path_is_read_as_pulumi_reads_it(text: str, path: tuple[str | int, ...]) -> None:
    assert parse(text) == path


@pytest.mark.parametrize("text", ["", ".a", "a.", "a[", "a[x]", 'a["b', "a[-1]", "a]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse(text)


@pytest.mark.parametrize(
    ("path", "other", "covered"),
    [("a", "a.b", True), ("a.b", "a", False), ("*", "a", True), ("a[*].b", "a[3].b", True), ("a[1]", "a[2]", False)],
)
def test_a_path_covers_itself_and_what_lies_below(path: str, other: str, covered: bool) -> None:
    assert covers(parse(path), parse(other)) is covered


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("a", {"a": 1}, {"a": 2}, {"a": 1}),
        ("a", {}, {"a": 2, "b": 3}, {"b": 3}),
        ("a", {"a": 1}, {}, {"a": 1}),
        ("a.b", {"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, {"a": {"b": 1, "c": 3}}),
        ("a.b", {"a": {"b": 1}}, {}, {}),  # nowhere to put it
        ("a.b", {}, {"a": {"b": 2, "c": 3}}, {"a": {"c": 3}}),
        ("a[1]", {"a": [1, 2]}, {"a": [3, 4, 5]}, {"a": [3, 2, 5]}),
        ("a[5]", {"a": [1]}, {"a": [2]}, {"a": [2]}),
        ("a[0]", {"a": {}}, {"a": [2]}, {"a": [2]}),
        ("a[*]", {"a": [1, 2]}, {"a": [3, 4]}, {"a": [1, 2]}),
        ("a[*]", {"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        (
            "a[*].b",
            {"a": [{"b": 1}, {"b": 2}]},
            {"a": [{"b": 3, "c": 1}, {"b": 4}]},
            {"a": [{"b": 1, "c": 1}, {"b": 2}]},
        ),
        ("a[*].b", {"a": {"x": {"b": 1}}}, {"a": {"x": {"b": 2}, "y": 3}}, {"a": {"x": {"b": 1}, "y": 3}}),
        ("*", {"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 2}),
    ],
)
def test_what_lies_at_the_path_is_put_back(path: str, old: Any, new: Any, expected: Any) -> None:
    before = repr(new)
    assert reset(parse(path), old, new) == expected
    assert repr(new) == before, "the properties themselves are not touched"


def test_a_secret_that_is_put_back_stays_one() -> None:
    path = parse("a.b")
    assert reset(path, {"a": SecretValue({"b": 1})}, {"a": {"b": 2}}) == {"a": {"b": SecretValue(1)}}
    assert reset(path, {"a": {"b": 1}}, {"a": SecretValue({"b": 2})}) == {"a": SecretValue({"b": 1})}
    assert reset(path, {"a": SecretValue({"b": 1})}, {"a": SecretValue({"b": 2})}) == {"a": SecretValue({"b": 1})}
    assert reset(path, {"a": {"b": SecretValue(1)}}, {"a": {"b": 2}}) == {"a": {"b": SecretValue(1)}}
