"""Answers: the JSON Schema that submissions must satisfy, found harmless before any worker meets it (threats W7).

Harmless: it refers to nothing outside itself, unfolds to a bounded size, and each of its patterns decides a text of
4,096 characters (or of its `maxLength`) in a bounded number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator

from crowdstack.spec import pattern
from crowdstack.spec.files import blaming, read
from crowdstack.spec.load import AFTER_SPEC, Document, Located, decode, parse, refuse
from crowdstack.spec.models import Spec
from crowdstack.spec.text import nearest, shown
from crowdstack.wire.answers import PATTERN_SUBJECT

MAX_BYTES = 64 * 1024
MAX_PARTS = 10_000  # with references unfolded
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ONE = (
    *("not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAP = ("properties", "dependentSchemas", "$defs", "definitions")
_REFUSED: Mapping[str, str] = {
    "patternProperties": "name each answer under properties",
    "$dynamicRef": "use $ref",
    "$dynamicAnchor": "use $ref with a path like #/$defs/name",
    "$anchor": "use $ref with a path like #/$defs/name",
}

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

Step = tuple[str | int, ...]


def answers_schema(spec: Spec) -> Mapping[str, Any] | None:
    """The schema of `task.answers`; None when any object is taken. SpecError with all that is wrong with it."""
    written = spec.task.answers
    if written is None:
        return None
    if isinstance(written, str):
        with blaming(spec.document, ("task", "answers")):
            raw = read(spec.folder, written, MAX_BYTES)
        file = spec.folder / written
        text = decode(raw, str(file), source=AFTER_SPEC + 2)
        checker = _Checker(Document(parse(text, str(file), source=AFTER_SPEC + 2), file), ())
    else:
        checker = _Checker(spec.document, ("task", "answers"))
    refuse(list(checker.faults()))
    schema: Mapping[str, Any] = checker.schema
    return schema


@dataclass(slots=True)
class _Checker:
    document: Document
    base: Step
    schema: Any = field(init=False)
    visited: set[Step] = field(default_factory=set)
    sizes: dict[Step, int] = field(default_factory=dict)  # of what references point to
    unfolding: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schema = self.document.find(self.base).plain()

    def say(self, path: Step, message: str, hint: str | None = None) -> Located:
        return self.document.problem((*self.base, *path), message, hint)

    def faults(self) -> Iterator[Located]:
        schema = self.schema
        if not isinstance(schema, dict) or schema.get("type", "object") != "object":
            yield self.say(
                ("type",), "answers are an object, so the schema's type must be object", "write type: object"
            )
            return
        if str(schema.get("$schema", _DIALECT)).rstrip("#") != _DIALECT:
            yield self.say(("$schema",), "the schema is of another dialect", f"write it in {_DIALECT}")
            return
        errors = sorted(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema), key=str)
        if errors:
            for error in errors:
                path = tuple(error.absolute_path)
                if path[-1:] == ("type",):
                    yield self.say(
                        path, f"{shown(error.instance)} is not a type of JSON", nearest(str(error.instance), _TYPES)
                    )
                else:
                    yield self.say(path, f"not JSON Schema: {error.message[:200]}")
            return
        found = [*self.visit(schema, ())]
        yield from found
        if not found:
            yield from self.unfolded(schema)

    def visit(self, schema: Any, path: Step) -> Iterator[Located]:
        """Each part of the schema once, and whatever a reference makes a part of it."""
        if not isinstance(schema, dict) or path in self.visited:
            return
        self.visited.add(path)
        for keyword, hint in _REFUSED.items():
            if keyword in schema:
                yield self.say((*path, keyword), f"{keyword} is not supported in answers", hint)
        for keyword in ("$schema", "$id"):
            if path and keyword in schema:
                yield self.say((*path, keyword), f"{keyword} may only stand at the top")
        if "pattern" in schema:
            yield from self.pattern(schema, path)
        if "$ref" in schema:
            target = self.target(schema["$ref"])
            if target is None:
                yield self.say(
                    (*path, "$ref"),
                    f'"{schema["$ref"][:80]}" is no part of this schema',
                    'refer like "#/$defs/name": nothing is fetched',
                )
            else:
                yield from self.visit(*target)
        for below, step in _parts(schema):
            yield from self.visit(below, (*path, *step))

    def target(self, reference: str) -> tuple[Any, Step] | None:
        if reference != "#" and not reference.startswith("#/"):
            return None
        found, path = self.schema, []
        for name in unquote(reference).split("/")[1:]:
            step: str | int = name.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                step = int(name)
            elif not isinstance(found, dict) or step not in found:
                return None
            found = found[step]
            path.append(step)
        return (found, tuple(path)) if isinstance(found, dict | bool) else None

    def pattern(self, schema: Mapping[str, Any], path: Step) -> Iterator[Located]:
        here = (*path, "pattern")
        longest = int(min(schema.get("maxLength", PATTERN_SUBJECT), PATTERN_SUBJECT))
        try:
            safe = pattern.longest_safe(schema["pattern"], longest)
        except ValueError as fault:
            yield self.say(here, str(fault))
            return
        if safe < longest:
            hint = f"add maxLength: {safe}" if safe >= 16 else "write it without a repeat inside a repeat"
            yield self.say(here, f"the pattern can take too long on a text of {longest:,} characters", hint)

    def unfolded(self, schema: Any) -> Iterator[Located]:
        try:
            self.size(schema, ())
        except _TooLarge as fault:
            yield self.say(fault.path, str(fault))

    def size(self, schema: Any, path: Step) -> int:
        """Parts of a schema with its references unfolded."""
        total = 1
        if not isinstance(schema, dict):
            return total
        if "$ref" in schema:
            found = self.target(schema["$ref"])
            assert found is not None
            target, name = found
            if name in self.unfolding or name == path[: len(name)]:
                raise _TooLarge("the schema refers to itself, so it has no end", (*path, "$ref"))
            if name not in self.sizes:
                self.unfolding.append(name)
                self.sizes[name] = self.size(target, name)
                self.unfolding.pop()
            total += self.sizes[name]
        for below, step in _parts(schema):
            if step[0] not in ("$defs", "definitions"):
                total += self.size(below, (*path, *step))
        if total > MAX_PARTS:
            raise _TooLarge(f"the schema unfolds to more than {MAX_PARTS:,} parts", path)
        return total


class _TooLarge(Exception):
    def __init__(self, message: str, path: Step) -> None:
        super().__init__(message)
        self.path = path


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[Any, Step]]:
    """The schemas directly inside one, with their steps."""
    for keyword in _ONE:
        if keyword in schema:
            yield schema[keyword], (keyword,)
    for keyword in _LIST:
        for number, below in enumerate(schema.get(keyword, ())):
            yield below, (keyword, number)
    for keyword in _MAP:
        for name, below in schema.get(keyword, {}).items():
            yield below, (keyword, name)
