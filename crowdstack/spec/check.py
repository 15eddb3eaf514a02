"""Check: a document -> its faults. First the shape, against schemas/task.v1.json; then what only values tell.

Faults are collected and shown together, each with its place. A union is descended by its `type` (or by the JSON type of
what was written), so a fault inside is told for the branch that was meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import ValidationError as Unconvertible
from referencing import Registry

from crowdstack.model import Money
from crowdstack.spec.explain import task_schema
from crowdstack.spec.load import Document, Located, located, refuse
from crowdstack.spec.models import Spec, read
from crowdstack.spec.panels import faults_of_panel
from crowdstack.spec.providers import BotCrowd, GenericProvider, HumanCrowd, MockProvider, ReplayCrowd
from crowdstack.spec.text import nearest, shown

Path = tuple[str | int, ...]
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "empty",
}


def checked(document: Document) -> Spec:
    """The spec that `document` says. SpecError with every fault of its shape, or else of its values."""
    refuse(faults_of_shape(document))
    try:
        spec = read(document)
    except Unconvertible as fault:
        refuse([_unconvertible(document, error) for error in fault.errors()])
        raise
    refuse(list(faults_of_values(spec)))
    return spec


# ------------------------------------------------------------------------------------------------ shape


def faults_of_shape(document: Document) -> list[Located]:
    schema = task_schema()
    validator = Draft202012Validator(schema, registry=Registry())
    shape = _Shape(document, schema["$defs"])
    return list(dict.fromkeys(shape.faults(validator, document.root.plain(), ())))


@dataclass(frozen=True, slots=True)
class _Shape:
    """Turns the errors of `jsonschema` into faults of a document."""

    document: Document
    models: Mapping[str, Any]  # $defs of the schema

    def faults(
        self, validator: Any, value: Any, path: Path, types: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Iterator[Located]:
        """`types`: the branches of the union that `value` is of, by their `type`."""
        wrong: set[Path] = set()  # one fault of a value is enough: its type first
        for error in sorted(validator.iter_errors(value), key=lambda error: error.validator != "type"):
            here = (*path, *error.absolute_path)
            match error.validator:
                case "oneOf" | "anyOf":
                    yield from self.union(validator, error, here)
                case "additionalProperties":
                    yield from self.unknown(error, here, {} if error.absolute_path else types or {})
                case "required":
                    for key in error.validator_value:
                        if key not in error.instance:
                            yield self.missing(here, key, error.schema["properties"][key])
                case _ if here not in wrong:
                    wrong.add(here)
                    yield self.document.problem(here, *_wrong(error))

    def union(self, validator: Any, error: Any, here: Path) -> Iterator[Located]:
        """Faults of the branch that was meant; without one, what the branches are."""
        found, branches = error.instance, [self.model(branch) for branch in error.validator_value]
        tags = {tag: branch for branch in branches if (tag := _tag(branch))}
        marks = {} if tags else _marks(branches)
        if isinstance(found, dict) and tags:
            if "type" not in found:
                yield self.missing(here, "type", {}, f"one of: {', '.join(tags)}")
            elif isinstance(found["type"], str) and found["type"] in tags:
                yield from self.faults(validator.evolve(schema=tags[found["type"]]), found, here, tags)
            else:
                message = f"{shown(found['type'])} is not one of {', '.join(tags)}"
                yield self.document.problem((*here, "type"), message, _close(found["type"], list(tags)))
            return
        if isinstance(found, dict) and marks:
            fitting = [branch for key, branch in marks.items() if key in found]
        else:
            fitting = [branch for branch in branches if _may_be(validator, found, branch)]
        if fitting:
            yield from self.faults(validator.evolve(schema=fitting[0]), found, here)
        elif isinstance(found, dict) and marks:
            close = [hint for key in found if (hint := _close(key, list(marks)))]
            hint = (
                close[0] if close else f"crowdstack explain {'.'.join(step for step in here if isinstance(step, str))}"
            )
            message = f"one of {', '.join(marks)} is missing"
            yield located(self.document.find(here).heading, here, message, hint)
        else:
            kinds = dict.fromkeys(_kind(branch) for branch in branches if branch.get("type") != "null")
            yield self.document.problem(here, f"{shown(found)} is not {' or '.join(kinds)}")

    def model(self, branch: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.models[branch["$ref"].rpartition("/")[2]] if "$ref" in branch else branch

    def unknown(self, error: Any, here: Path, types: Mapping[str, Mapping[str, Any]]) -> Iterator[Located]:
        known, absent = error.schema.get("properties", {}), error.schema.get("x-absent", {})
        for key in error.instance:
            if key not in known:
                node = self.document.find((*here, key))
                if key in absent:
                    why, instead = absent[key]
                    yield located(node.heading, (*here, key), f'"{key}" is not supported: {why}', instead)
                    continue
                others = [type_ for type_, branch in types.items() if key in branch["properties"]]
                hint = f"it is a field of type {' and '.join(others)}" if others else nearest(key, known)
                yield located(node.heading, (*here, key), f'unknown key "{key[:60]}"', hint)

    def missing(self, here: Path, key: str, about: Mapping[str, Any], hint: str | None = None) -> Located:
        if hint is None and "const" in about:
            hint = f"write {key}: {about['const']}"
        elif hint is None and "examples" in about:
            hint = f"like {key}: {json.dumps(about['examples'][0], ensure_ascii=False)}"
        return located(self.document.find(here).heading, here, f'"{key}" is missing', hint)


def _tag(branch: Mapping[str, Any]) -> str | None:
    """The `type` that chooses this branch of a union."""
    tag: str | None = branch.get("properties", {}).get("type", {}).get("const")
    return tag


def _marks(branches: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Keys by which mappings without a `type` are told apart: each must be in one of them and can be in no other."""
    every = [key for branch in branches for key in branch.get("properties", ())]
    own = {key: branch for branch in branches for key in branch.get("required", ()) if every.count(key) == 1}
    return own if len({id(branch) for branch in own.values()}) > 1 else {}


def _may_be(validator: Any, value: Any, branch: Mapping[str, Any]) -> bool:
    return bool(validator.is_type(value, branch["type"])) and value == branch.get("const", value)


def _kind(branch: Mapping[str, Any]) -> str:
    if "const" in branch:
        return json.dumps(branch["const"])
    return branch.get("x-expected") or _WORDS[branch["type"]]


def _wrong(error: Any) -> tuple[str, str | None]:
    """What is wrong with a value and what now, in words."""
    found, limit = error.instance, error.validator_value
    expected = error.schema.get("x-expected")
    match error.validator:
        case "type":
            hint = "put it in quotes" if limit == "string" and not expected and isinstance(found, int | float) else None
            return f"{shown(found)} is not {expected or _WORDS[limit]}", hint
        case "pattern":
            return f"{shown(found)} is not {expected or f'of the form {limit}'}", None
        case "enum":
            return f"{shown(found)} is not one of {', '.join(map(str, limit))}", _close(found, limit)
        case "const":
            return f"{shown(found)} is not {limit}", f"write {limit}"
        case "minimum" | "minItems" | "minLength":
            return _too(found, "few" if error.validator == "minItems" else "little", f"at least {limit}"), None
        case "exclusiveMinimum":
            return f"{found} is too little: more than {limit}", None
        case "maximum" | "maxItems" | "maxLength":
            return _too(found, "many" if error.validator == "maxItems" else "much", f"at most {limit:,}"), None
    return error.message, None


def _too(found: Any, word: str, allowed: str) -> str:
    if isinstance(found, str):
        return "the text is empty" if not found else f"the text is too long: {len(found):,} characters, {allowed}"
    if isinstance(found, list):
        return f"too {word} entries: {len(found):,}, {allowed}"
    return f"{found} is too {word}: {allowed}"


def _close(found: Any, known: Sequence[str]) -> str | None:
    hint = nearest(str(found), known)
    return hint if hint and hint.startswith("did") else None


def _unconvertible(document: Document, error: Any) -> Located:
    """pydantic's location names union branches too: follow what was written and skip the rest."""
    node, path = document.root, []
    for step in error["loc"]:
        below = node.child(step)
        if below is not None:
            node = below
            path.append(step)
    return document.problem(path, error["msg"].removeprefix("Value error, "))


# ------------------------------------------------------------------------------------------------ values


def faults_of_values(spec: Spec) -> Iterator[Located]:
    """Fields that do not go together. Files are looked at by `data`, `answers` and `bundle`."""
    yield from _faults_of_money(spec)
    yield from _faults_of_time(spec)
    yield from _faults_of_data(spec)
    yield from _faults_of_crowd(spec)
    yield from faults_of_panel(spec)


def _faults_of_money(spec: Spec) -> Iterator[Located]:
    reward, say, at = spec.task.reward, spec.document.problem, spec.document.at
    if not reward.minor and spec.crowd is None:  # a fault of its own, of which a currency would be the lesser half
        return
    for path, amount in _amounts(spec):
        if amount.currency != reward.currency:
            yield say(
                path,
                f"{amount} is in another currency than the reward, {reward}{at('task', 'reward')}",
                "use one currency",
            )
    if spec.pay.top_up and (spec.task.estimated_time is None or spec.task.units_per_visit == "unlimited"):
        yield say(
            ("pay", "top_up"),
            "it is not known how long a visit should take",
            "give task.estimated_time (of one unit) and a number as task.units_per_visit",
        )
    if spec.budget and spec.budget.max.currency == reward.currency and spec.budget.max < reward:
        yield say(
            ("budget", "max"),
            f"{spec.budget.max} does not pay for one visit at {reward}{at('task', 'reward')}",
            "raise it",
        )


def _amounts(spec: Spec) -> Iterator[tuple[Path, Money]]:
    """Every amount but the reward."""
    provider = spec.provider
    if spec.budget:
        yield ("budget", "max"), spec.budget.max
    if spec.pay.top_up:
        yield ("pay", "top_up", "at_most"), spec.pay.top_up.at_most
    if isinstance(provider, MockProvider) and provider.wallet:
        yield ("provider", "wallet"), provider.wallet
    if isinstance(provider, GenericProvider) and provider.minimum_per_hour:
        yield ("provider", "minimum_per_hour"), provider.minimum_per_hour


def _faults_of_time(spec: Spec) -> Iterator[Located]:
    estimated, timeout = spec.task.estimated_time, spec.task.timeout
    if estimated is not None and timeout < estimated:
        path = ("task", "timeout") if "timeout" in spec.task.model_fields_set else ("task", "estimated_time")
        yield spec.document.problem(
            path,
            f"a unit is taken away after {timeout} s, but should take {estimated} s{spec.document.at('task', 'estimated_time')}",
            "let timeout be longer than estimated_time, best several times",
        )


def _faults_of_data(spec: Spec) -> Iterator[Located]:
    source, say, at = spec.task.source, spec.document.problem, spec.document.at
    if (source.file is None) == (source.rows is None):
        yield say(("task", "data"), "give either a file or rows", 'like data: {file: "items.csv", id: id}')
    if source.rows is not None and not source.rows:
        yield say(("task", "data"), "there are no items")
    uses = spec.task.app.uses
    if source.file is not None and uses is None:
        yield say(
            ("task", "app"),
            '"uses" is missing: data from a file is shown to workers only as far as it names columns',
            "like uses: [text]",
        )
    for sample_column in uses or ():
        if spec.task.sample is not None and sample_column not in spec.task.sample:
            yield say(
                ("task", "sample"), f'the sample lacks "{sample_column}", which the app uses{at("task", "app", "uses")}'
            )
    if len(set(uses or ())) < len(uses or ()):
        yield say(("task", "app", "uses"), "a column is named twice")


def _faults_of_crowd(spec: Spec) -> Iterator[Located]:
    crowd, say, at = spec.crowd, spec.document.problem, spec.document.at
    here, repeats = ("provider", "crowd"), spec.target.repeats
    if isinstance(crowd, ReplayCrowd):
        column, uses = spec.task.source.id, spec.task.app.uses
        if column is None:
            yield say(
                ("task", "data"),
                "a replayed crowd needs the item's id, as the recording names items by it",
                "like data: {file: items.csv, id: id}",
            )
        elif uses is not None and column not in uses:
            yield say(
                ("task", "app", "uses"),
                f'a replayed crowd finds its answers by "{column}"{at("task", "data", "id")}',
                f'add "{column}"',
            )
    elif isinstance(crowd, BotCrowd | HumanCrowd):
        people = crowd.workers if isinstance(crowd, BotCrowd) else len(crowd.names)
        if people < repeats:
            field = "workers" if isinstance(crowd, BotCrowd) else "people"
            yield say(
                (*here, field),
                f"a crowd of {people} cannot give {repeats} answers per item{at('target', 'repeats')}: each is of another worker",
                f"let {field} be {repeats} or more, or lower target.repeats",
            )
    if isinstance(crowd, HumanCrowd) and len(set(crowd.names)) < len(crowd.names):
        yield say((*here, "people"), "a name is given twice")
