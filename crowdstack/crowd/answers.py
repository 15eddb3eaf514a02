"""Draw answers from a task's JSON Schema: right ones for a bot's work, wrong ones for its errors.

What is drawn was checked with `jsonschema`, so a keyword this module does not know costs draws, never rightness.
A schema that cannot be drawn from is refused when the crowd starts, not in the middle of a unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry

from crowdstack.crowd import pattern
from crowdstack.errors import Refused

Schema = Mapping[str, Any] | bool

_TRIES = 200  # draws before a schema counts as one that cannot be drawn from
_DEPTH = 12  # deeper than this only what is required is drawn
_WORDS = ("amber", "brook", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")


class AnswerSource:
    """Answers by the schema, the same from equal `random`s."""

    def __init__(self, answers: Mapping[str, Any], *, errors: bool = False) -> None:
        """Refused if no answers (or, with `errors`, no wrong ones) can be drawn."""
        schema = dict(answers)
        kind = validator_for(schema)
        try:
            kind.check_schema(schema)
        except SchemaError as fault:
            raise Refused(f"the answers schema is not a JSON Schema: {fault.message}", where=fault.json_path) from fault
        self._schema = schema
        self._validator: Validator = kind(schema, registry=Registry())  # nothing is ever fetched
        self.right(Random(0))
        if errors:
            self.wrong(Random(0))

    def right(self, random: Random) -> dict[str, Any]:
        """Answers that fit the schema."""
        return self._first(lambda: _Draw(self._schema, random).value(self._schema), fits=True)

    def wrong(self, random: Random) -> dict[str, Any]:
        """Answers that do not fit it, yet are an object as the protocol wants."""
        right = self.right(random)
        return self._first(lambda: _spoilt(right, random), fits=False)

    def _first(self, draw: Callable[[], Any], *, fits: bool) -> dict[str, Any]:
        why = "every object fits" if not fits else "no object that was drawn fits"
        for _ in range(_TRIES):
            try:
                drawn = draw()
            except (pattern.Unsupported, _NoValue) as fault:  # perhaps only of one branch
                why = str(fault)
                continue
            if isinstance(drawn, dict) and self._validator.is_valid(drawn) == fits:
                return drawn
        raise Refused(
            "bots cannot draw answers from this task's answers schema",
            why=why,
            hint="use the common keywords (type, enum, properties, required, items, bounds), or a replay crowd",
        )


class _NoValue(ValueError):
    """No value can satisfy this part of the schema."""


class _Draw:
    """One drawing of a value: follows the schema downwards, resolving references into `root`."""

    def __init__(self, root: Schema, random: Random) -> None:
        self._root = root
        self._random = random

    def value(self, schema: Schema, depth: int = 0) -> Any:
        if depth > 2 * _DEPTH:
            raise _NoValue("it requires answers without end")
        plain = self._plain(schema)
        if "const" in plain:
            return plain["const"]
        if "enum" in plain:
            return self._random.choice(plain["enum"])
        kinds = plain.get("type", _kind_by_keywords(plain))
        kind = self._random.choice(kinds) if isinstance(kinds, list) else kinds
        draw: Callable[[Mapping[str, Any], int], Any] = getattr(self, f"_{kind}")
        return draw(plain, depth)

    def _plain(self, schema: Schema) -> dict[str, Any]:
        """The schema without references and combinations: one branch of each is chosen."""
        if schema is False:
            raise _NoValue("part of it is `false`: nothing fits")
        plain = {} if schema is True else dict(schema)
        for _ in range(_DEPTH):
            if "$ref" in plain:
                parts = [self._referred(plain.pop("$ref"))]
            elif "allOf" in plain:
                parts = plain.pop("allOf")
            elif "anyOf" in plain:
                parts = [self._random.choice(plain.pop("anyOf"))]
            elif "oneOf" in plain:
                parts = [self._random.choice(plain.pop("oneOf"))]
            else:
                return plain
            for part in parts:
                plain = _both(plain, part)
        raise _NoValue("its references go round in circles")

    def _referred(self, reference: str) -> Schema:
        found: Any = self._root
        if not reference.startswith("#"):
            raise _NoValue(f"it refers to another document ({reference})")
        for step in reference[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise _NoValue(f"it refers to {reference}, which is not there")
            found = found[key]
        assert isinstance(found, Mapping | bool)
        return found

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        required = schema.get("required", [])
        chosen = [*required, *(name for name in properties if name not in required and self._optional(depth))]
        return {name: self.value(properties.get(name, True), depth + 1) for name in chosen}

    def _optional(self, depth: int) -> bool:
        return depth < _DEPTH and self._random.random() < 0.7

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        beyond = 3 if depth < _DEPTH else 0
        length = self._random.randint(least, max(least, min(schema.get("maxItems", least + beyond), least + beyond)))
        drawn: list[Any] = []
        for item in self._item_schemas(schema, length):
            for _ in range(_TRIES):
                value = self.value(item, depth + 1)
                if not schema.get("uniqueItems") or value not in drawn:
                    drawn.append(value)
                    break
        return drawn

    @staticmethod
    def _item_schemas(schema: Mapping[str, Any], length: int) -> Iterator[Schema]:
        first: list[Schema] = schema.get("prefixItems", [])
        others: Schema = schema.get("items", True)
        if others is False:
            length = min(length, len(first))
        return (first[n] if n < len(first) else others for n in range(max(length, 0)))

    def _string(self, schema: Mapping[str, Any], depth: int) -> str:
        if "pattern" in schema:
            return pattern.drawer(schema["pattern"])(self._random)
        least = schema.get("minLength", 1)
        most = schema.get("maxLength", max(least, 40))
        text = " ".join(self._random.choices(_WORDS, k=self._random.randint(1, 5)))
        while len(text) < least:
            text += " " + self._random.choice(_WORDS)
        return text[:most]

    def _integer(self, schema: Mapping[str, Any], depth: int) -> int:
        low, high = _bounds(schema)
        step = schema.get("multipleOf", 1)
        step = step if step == int(step) else 1
        first, last = math.ceil(low / step), math.floor(high / step)
        if first > last:
            raise _NoValue(f"no whole number lies between {low} and {high}")
        return int(self._random.randint(first, last) * step)

    def _number(self, schema: Mapping[str, Any], depth: int) -> float:
        low, high = _bounds(schema)
        if "multipleOf" in schema:
            step = schema["multipleOf"]
            return float(round(self._random.randint(math.ceil(low / step), math.floor(high / step)) * step, 9))
        return round(self._random.uniform(low, high), 3)

    def _boolean(self, schema: Mapping[str, Any], depth: int) -> bool:
        return self._random.random() < 0.5

    def _null(self, schema: Mapping[str, Any], depth: int) -> None:
        return None


def _kind_by_keywords(schema: Mapping[str, Any]) -> str:
    """The type that a schema without `type` is about."""
    for kind, keywords in {
        "object": ("properties", "required", "additionalProperties"),
        "array": ("items", "prefixItems", "minItems", "maxItems"),
        "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }.items():
        if any(keyword in schema for keyword in keywords):
            return kind
    return "string"


def _bounds(schema: Mapping[str, Any]) -> tuple[float, float]:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    return low, low + 100 if high is None else high


def _both(one: Mapping[str, Any], other: Schema) -> dict[str, Any]:
    """A schema that asks for both, as far as drawing needs it; what it misses, the check of the draw finds."""
    if other is False:
        raise _NoValue("part of it is `false`: nothing fits")
    if other is True:
        return dict(one)
    properties = dict(one.get("properties", {}))
    for name, schema in other.get("properties", {}).items():
        properties[name] = {"allOf": [properties[name], schema]} if name in properties else schema
    merged = {**one, **other}
    if properties:
        merged["properties"] = properties
    if required := list(dict.fromkeys([*one.get("required", []), *other.get("required", [])])):
        merged["required"] = required
    return merged


def _spoilt(right: Mapping[str, Any], random: Random) -> dict[str, Any]:
    """The answers with one fault: a field missing, of another kind, or unheard of."""
    fields = dict(right)
    name = random.choice([*fields, "unheard-of"])
    if name in fields and random.random() < 0.5:
        del fields[name]
    else:
        fields[name] = random.choice([None, "no such answer", -1, [], {"nothing": True}])
    return fields
