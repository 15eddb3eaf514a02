from __future__ import annotations

from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdstack.crowd.answers import AnswerSource
from crowdstack.errors import Refused

BOUNDS = st.integers(-50, 50).flatmap(lambda low: st.tuples(st.just(low), st.integers(low, low + 60)))
SIZES = st.integers(0, 6).flatmap(lambda low: st.tuples(st.just(low), st.integers(low, low + 6)))
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    st.lists(st.sampled_from(["yes", "no", 1, 2.5, None, True]), min_size=1, max_size=4, unique_by=str).map(
        lambda values: {"enum": values}
    ),
    st.sampled_from(["x", 7, None]).map(lambda value: {"const": value}),
    BOUNDS.map(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[1]}),
    BOUNDS.map(lambda b: {"type": "number", "exclusiveMinimum": b[0], "exclusiveMaximum": b[1] + 1}),
    st.integers(1, 9).map(lambda step: {"type": "integer", "multipleOf": step, "minimum": 1}),
    SIZES.map(lambda b: {"type": "string", "minLength": b[0], "maxLength": b[1]}),
    st.sampled_from(["^[a-f0-9]{8}$", r"^\d+$", "^(a|b)c?$"]).map(lambda p: {"type": "string", "pattern": p}),
    st.just({"$ref": "#/$defs/label"}),
    st.just({"minimum": 5}),
    st.just({"type": "integer", "exclusiveMinimum": 3}),
)
NAMES = st.sampled_from(["a", "b", "c", "label", "note"])


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES, inner, min_size=1, max_size=4).flatmap(
        lambda properties: st.sets(st.sampled_from(sorted(properties))).map(
            lambda required: {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
                "additionalProperties": False,
            }
        )
    )


def combined(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        objects(inner),
        st.tuples(inner, SIZES).map(
            lambda p: {"type": "array", "items": p[0], "minItems": p[1][0], "maxItems": p[1][1]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda first: {"type": "array", "prefixItems": first, "items": False}
        ),
    )


SCHEMAS = objects(st.recursive(LEAVES, combined, max_leaves=8)).map(
    lambda schema: {**schema, "$defs": {"label": {"enum": ["positive", "negative"]}}}
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, st.integers(0, 1000))
def test_every_answer_drawn_fits_the_schema(schema: dict[str, Any], seed: int) -> None:
    answers = AnswerSource(schema).right(Random(seed))
    jsonschema.validate(answers, schema)


@settings(max_examples=50, deadline=None)
@given(SCHEMAS, st.integers(0, 1000))
def test_every_wrong_answer_is_an_object_that_does_not_fit(schema: dict[str, Any], seed: int) -> None:
    answers = AnswerSource(schema, errors=True).wrong(Random(seed))
    assert isinstance(answers, dict)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answers, schema)


def test_equal_seeds_draw_equal_answers_and_others_differ() -> None:
    source = AnswerSource({"properties": {"n": {"type": "integer", "maximum": 10**6}}, "required": ["n"]})
    assert source.right(Random("x")) == source.right(Random("x"))
    assert len({source.right(Random(seed))["n"] for seed in range(50)}) > 40


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
        {"oneOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}]},
        {"properties": {"tags": {"items": {"enum": ["x", "y", "z"]}, "uniqueItems": True, "minItems": 3}}, "required": ["tags"]},
        {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}, "properties": {"a": True, "b": True}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"type": "object", "properties": {"never": False}},
        {"anyOf": [False, {"type": "object"}]},
        {"type": "object", "properties": {"a": {"not": {"const": "amber"}, "type": "string"}}, "required": ["a"]},
    ],
)  # fmt: skip
def test_combined_schemas_can_be_drawn_from(schema: dict[str, Any]) -> None:
    source = AnswerSource(schema)
    for seed in range(30):
        jsonschema.validate(source.right(Random(seed)), schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array"}, "no object that was drawn fits"),
        ({"required": ["a"], "properties": {"a": False}}, "nothing fits"),
        ({"required": ["a"], "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}}, "cannot be drawn from"),
        ({"required": ["a"], "properties": {"a": {"$ref": "https://example.org/s.json"}}}, "another document"),
        ({"required": ["a"], "properties": {"a": {"$ref": "#/$defs/none"}}}, "which is not there"),
        ({"$ref": "#"}, "circles"),
        ({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}, "without end"),
        ({"required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 1}}}, "no whole number"),
        ({"required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3, "exclusiveMaximum": 3}}}, "no object that was drawn fits"),
        ({"type": "sentence"}, None),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_drawn_from_is_refused_when_the_crowd_starts(
    schema: dict[str, Any], why: str | None
) -> None:
    with pytest.raises(Refused) as refused:
        AnswerSource(schema)
    assert why is None or (refused.value.why and why in refused.value.why)


def test_errors_are_refused_where_no_answer_can_be_wrong() -> None:
    AnswerSource({"type": "object"})
    with pytest.raises(Refused, match="cannot draw"):
        AnswerSource({"type": "object"}, errors=True)
