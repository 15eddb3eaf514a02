"""The one validator of answers: nothing is ever fetched, and no pattern is tried on a long text (threats W7).

`spec` has refused schemas that could take long; the server and the crowd check answers with this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
