"""The one validator of answers: nothing is ever fetched, and no pattern is tried on a long text (threats W7).

`spec` has refused schemas that could take long; the server and the crowd check answers with this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry

PATTERN_SUBJECT = 4096  # characters: longer text fails every `pattern` unread


def _pattern(validator: Any, pattern: str, text: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(text, "string") and len(text) > PATTERN_SUBJECT:
        yield ValidationError(f"the text is too long: {len(text):,} characters, at most {PATTERN_SUBJECT:,}")
    else:
        yield from _ORDINARY_PATTERN(validator, pattern, text, schema)


_ORDINARY_PATTERN: Any = Draft202012Validator.VALIDATORS["pattern"]
_Answers: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def validator(schema: Mapping[str, Any]) -> Validator:
    """Checks answers against `schema`, which `crowdstack.spec` has found harmless."""
    found: Validator = _Answers(dict(schema), registry=Registry())
    return found


# ------------------------------------------------------------------------------------------------ at a glance

_NOTES = {"$schema", "$comment", "title", "description", "default", "examples"}


def glance(schema: Any) -> Callable[[Any], bool]:
    """A test of what needs no second look: True says that the validator would find nothing; False says to ask it.

    It knows the keywords that most forms are made of and is many times as fast; a schema with any other is always asked about.
    """
    if not isinstance(schema, Mapping):
        return _never
    rules = {key: value for key, value in schema.items() if key not in _NOTES}
    kind = rules.pop("type", "string" if "enum" in rules else None)
    make = _GLANCES.get(kind) if isinstance(kind, str) else None
    try:
        return _never if make is None else make(**rules)
    except TypeError:  # a keyword that is not known here
        return _never


def _never(value: Any) -> bool:
    return False


def _text(enum: Any = None, minLength: int = 0, maxLength: float = math.inf) -> Callable[[Any], bool]:
    if enum is None:
        return lambda value: type(value) is str and minLength <= len(value) <= maxLength
    allowed = {word for word in enum if isinstance(word, str) and minLength <= len(word) <= maxLength}
    return lambda value: type(value) is str and value in allowed


def _number(*kinds: type) -> Callable[..., Callable[[Any], bool]]:
    def make(minimum: float = -math.inf, maximum: float = math.inf) -> Callable[[Any], bool]:
        return lambda value: type(value) in kinds and minimum <= value <= maximum

    return make


def _truth() -> Callable[[Any], bool]:
    return lambda value: type(value) is bool


def _list(items: Any = None, minItems: int = 0, maxItems: float = math.inf) -> Callable[[Any], bool]:
    good = glance(items)
    return lambda value: type(value) is list and minItems <= len(value) <= maxItems and all(map(good, value))


def _object(
    properties: Mapping[str, Any] | None = None,
    required: Any = (),
    additionalProperties: Any = True,
) -> Callable[[Any], bool]:
    fields = {name: glance(inner) for name, inner in (properties or {}).items()}
    needed = frozenset(required)
    if additionalProperties not in (True, False):
        return _never

    def good(value: Any) -> bool:
        return (
            type(value) is dict
            and needed <= value.keys()
            and (additionalProperties or value.keys() <= fields.keys())
            and all(fields[name](inner) for name, inner in value.items() if name in fields)
        )

    return good


_GLANCES: Mapping[str, Callable[..., Callable[[Any], bool]]] = {
    "string": _text,
    "integer": _number(int),
    "number": _number(int, float),
    "boolean": _truth,
    "array": _list,
    "object": _object,
}
