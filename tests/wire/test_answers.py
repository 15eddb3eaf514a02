"""What passes at a glance passes the validator too."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crowdstack.wire.answers import glance, validator

_BOUND = st.integers(-1, 4)
_WORDS = st.sampled_from(["", "a", "yes", "maybe", 1, True, None, 2.0])


def _some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={**keywords, "title": st.just("T")})


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["x", "y", "z"])
    listed = _some(type=st.just("array"), items=inner, minItems=st.integers(0, 2), maxItems=st.integers(0, 2))
    named = _some(
        type=st.just("object"),
        properties=st.dictionaries(names, inner, max_size=3),
        required=st.lists(names, max_size=2, unique=True),
        additionalProperties=st.booleans() | inner,
        minProperties=st.integers(0, 2),
    )
    return listed | named | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})


_TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", ["string", "null"]])
_LENGTH = st.integers(0, 4)
_SCHEMAS = st.recursive(
    st.booleans()
    | _some(type=_TYPES, enum=st.lists(_WORDS, min_size=1), minLength=_LENGTH, maxLength=_LENGTH)
    | _some(type=_TYPES, minimum=_BOUND, maximum=_BOUND, multipleOf=st.just(2), exclusiveMinimum=_BOUND)
    | _some(type=_TYPES, const=_WORDS, pattern=st.just("^a")),
    _around,
    max_leaves=5,
)
_VALUES = st.recursive(
    _WORDS | st.integers(-2, 5) | st.floats(-2, 5) | st.text("aé😀", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "w"]), inner, max_size=3),
    max_leaves=6,
)


@given(_SCHEMAS, _VALUES)
def test_what_passes_at_a_glance_has_no_faults(schema: Any, value: Any) -> None:
    if glance(schema)(value):
        assert schema is not True
        assert validator(schema).is_valid(value)


def test_an_ordinary_form_passes_at_a_glance() -> None:
    form = {
        "type": "object",
        "properties": {
            "label": {"enum": ["yes", "no"], "title": "Is it?"},
            "sure": {"type": "integer", "minimum": 0, "maximum": 100},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}},
            "again": {"type": "boolean"},
        },
        "required": ["label"],
        "additionalProperties": False,
    }
    good = glance(form)
    assert good({"label": "yes", "sure": 100, "tags": ["a", "b"], "again": False})
    for wrong in (
        {},
        {"label": "maybe"},
        {"label": "no", "sure": True},
        {"label": "no", "other": 1},
        {"label": "no", "tags": ["longer"]},
    ):
        assert not good(wrong)
        assert not validator(form).is_valid(wrong)


def test_a_keyword_that_is_not_known_is_left_to_the_validator() -> None:
    assert not glance({"type": "string", "pattern": "^a"})("a")
    assert not glance({"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}})({"x": 1})
