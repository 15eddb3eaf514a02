"""Does a request to Prolific, or an answer of it, fit the published document? Called by tests of the client and of the fake.

`prolific-api.json` holds the document reduced to types (reduce_prolific.py writes it). Requests are read strictly: a query
parameter or a field that the document does not name fails. Answers may hold more than the document names. Where the
document and the service are known to differ, DIFFERENCES says how and why.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

API: dict[str, Any] = json.loads(Path(__file__).with_name("prolific-api.json").read_text(encoding="utf-8"))


class Difference(NamedTuple):
    """`what`, in words that are also carried out (see _apply):

    `query +NAME`, `query -NAME`     this parameter is taken too / is not asked for
    `body +NAME`, `body -NAME`       this field is taken too / may be missing
    `body NAME is any string`        ... at any depth, though the document lists values
    `answer STATUS is SCHEMA`        SCHEMA is a name in the document, or `nothing`
    `answer NAME may be VALUE`       a value which the document does not list
    """

    method: str
    path: str
    what: str
    reason: str


_CODES = "the list of code types ends in free text, says the prose"
_PAGED = "seen in maintained clients: the list takes limit and offset"
DIFFERENCES = [
    Difference("post", "/api/v1/studies/", "body -external_study_url", "access_details may stand in its place"),
    Difference("post", "/api/v1/studies/", "body code_type is any string", _CODES),
    Difference("patch", "/api/v1/studies/{id}/", "body code_type is any string", _CODES),
    Difference("post", "/api/v1/studies/", "body +publish_at", "the prose on scheduling sets it on the study"),
    Difference("patch", "/api/v1/studies/{id}/", "body +publish_at", "the prose on scheduling sets it on the study"),
    *(
        Difference(method, path, "answer code_type is any string", _CODES)
        for method, path in (
            ("post", "/api/v1/studies/"),
            ("get", "/api/v1/studies/{id}/"),
            ("patch", "/api/v1/studies/{id}/"),
            ("post", "/api/v1/studies/{id}/transition/"),
            ("post", "/api/v1/studies/{id}/clone/"),
        )
    ),
    *(
        Difference(method, path, "answer external_study_url may be null", "a study with access_details has none")
        for method, path in (
            ("post", "/api/v1/studies/"),
            ("get", "/api/v1/studies/{id}/"),
            ("patch", "/api/v1/studies/{id}/"),
            ("post", "/api/v1/studies/{id}/transition/"),
            ("post", "/api/v1/studies/{id}/clone/"),
        )
    ),
    Difference("delete", "/api/v1/studies/{id}/", "answer 204 is nothing", "clients see 204 where the document says 200"),
    Difference("get", "/api/v1/studies/{id}/submissions/", "query +page", "pages like /submissions/"),
    Difference("get", "/api/v1/studies/{id}/submissions/", "query +page_size", "pages like /submissions/"),
    *(
        Difference("get", path, f"query +{name}", _PAGED)
        for path in (
            "/api/v1/workspaces/",
            "/api/v1/workspaces/{workspace_id}/projects/",
            "/api/v1/participant-groups/",
        )
        for name in ("limit", "offset")
    ),
    Difference("get", "/api/v1/participant-groups/", "query -filter", "`filter` is written out as its own fields"),
    *(
        Difference("get", "/api/v1/participant-groups/", f"query +{name}", "a field of `filter`, written out")
        for name in ("workspace_id", "project_id", "organisation_id")
    ),
    Difference("post", "/api/v1/participant-groups/", "body +project_id", "older workspaces hold groups by project"),
    Difference("patch", "/api/v1/workspaces/{workspace_id}/", "body -id", "a PATCH names what changes alone"),
    Difference("patch", "/api/v1/workspaces/{workspace_id}/", "body -title", "a PATCH names what changes alone"),
    Difference(
        "post", "/api/v1/hooks/subscriptions/", "answer 201 is SubscriptionDetail",
        "the document says a list; clients read `id` at the top",
    ),
    *(
        Difference(method, path, "answer status may be PARTIALLY APPROVED", "a status that the detail's list has")
        for method, path in (
            ("get", "/api/v1/submissions/"),
            ("get", "/api/v1/studies/{id}/submissions/"),
            ("post", "/api/v1/submissions/{id}/transition/"),
            ("post", "/api/v1/submissions/{id}/request-return/"),
        )
    ),
]  # fmt: skip

# The document names 200..204 and 400 alone. Which of the two error bodies an endpoint sends was not measured: both fit.
OTHER_STATUSES = {401, 403, 404, 405, 409, 422, 429, 500, 502, 503}
_ERROR = {
    "anyOf": [
        {"$ref": "#/schemas/Error"},
        {"$ref": "#/schemas/ErrorDetail"},
        {"type": "object", "properties": {"message": {"type": "string"}, "detail": {"type": "string"}}, "required": ["message"]},
    ]
}  # fmt: skip


def check_request(method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> None:
    """AssertionError says what does not fit. `path` begins /api/v1; `query` holds what the URL says (text or numbers)."""
    template = template_of(path)
    call = _call(method, template)
    query = {name: value for name, value in (query or {}).items() if value is not None}
    faults = [f"query {name}: not in the document" for name in query if name not in call["query"]]
    for name, parameter in call["query"].items():
        if name in query:
            faults += _faults(parameter["schema"], _read(query[name], parameter["schema"]), f"query {name}")
        elif parameter["required"]:
            faults.append(f"query {name}: missing")
    if call["body"] is None:
        faults += ["body: none is asked for"] if body is not None else []
    elif body is not None or _asks(call["body"]):
        faults += _faults(call["body"], body, "body", strict=True)
    assert not faults, f"{method.upper()} {template}: " + "; ".join(faults)


def check_answer(method: str, path: str, status: int, body: Any = None) -> None:
    """AssertionError says what does not fit. `body` is the parsed JSON, None for an empty body."""
    template = template_of(path)
    answers = _call(method, template)["answers"]
    if status >= 400:
        assert status == 400 or status in OTHER_STATUSES, f"{method.upper()} {template}: no client expects {status}"
        faults = [] if status >= 500 else _faults(_ERROR, body, f"answer {status}")
    else:
        assert str(status) in answers, (
            f"{method.upper()} {template}: {status} is not in the document ({sorted(answers)})"
        )
        nothing = status == 204 or answers[str(status)] is None
        faults = (
            (["answer: has a body"] if body is not None else [])
            if nothing
            else _faults(answers[str(status)], body, "answer")
        )
    assert not faults, f"{method.upper()} {template}: " + "; ".join(faults)


@functools.cache
def template_of(path: str) -> str:
    """`/api/v1/studies/5f.../` -> `/api/v1/studies/{id}/`; slashes must be as in the document."""
    path = path.partition("?")[0]
    found = [template for template in API["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)]
    assert found, f"{path} is not a path of the document (slash at the end?)"
    return min(found, key=lambda template: template.count("{"))  # `/submissions/bulk-approve/` is no submission


@functools.cache
def _call(method: str, template: str) -> dict[str, Any]:
    """The call as the document has it, with our differences carried out."""
    calls = API["paths"][template]
    assert method.lower() in calls, f"{template} takes {', '.join(calls)}, not {method}"
    call: dict[str, Any] = copy.deepcopy(calls[method.lower()])
    call["body"] = _whole(call["body"])
    call["answers"] = {status: _whole(schema) for status, schema in call["answers"].items()}
    for difference in DIFFERENCES:
        if (difference.method, difference.path) == (method.lower(), template):
            _apply(difference.what, call)
    return call


def _apply(what: str, call: dict[str, Any]) -> None:
    part, rest = what.split(" ", 1)
    if match := re.fullmatch(r"([+-])(\w+)", rest):
        sign, name = match.groups()
        if part == "query":
            call["query"] |= {name: {"required": False, "schema": {}}} if sign == "+" else {}
            call["query"] = {key: value for key, value in call["query"].items() if sign == "+" or key != name}
        elif sign == "+":
            call["body"]["properties"][name] = {}
        else:
            call["body"]["required"] = [field for field in call["body"]["required"] if field != name]
    elif match := re.fullmatch(r"(\d+) is (\w+)", rest):
        status, schema = match.groups()
        call["answers"][status] = None if schema == "nothing" else _whole({"$ref": f"#/schemas/{schema}"})
    elif match := re.fullmatch(r"(\w+) is any string", rest):
        for schema in _fields_named(match[1], call["body"] if part == "body" else call["answers"]):
            schema.pop("enum", None)
    elif match := re.fullmatch(r"(\w+) may be (.+)", rest):
        for schema in _fields_named(match[1], call["answers"]):
            if match[2] == "null":
                schema["type"] = [schema["type"], "null"]
            elif "enum" in schema:  # an error has a status too, a number
                schema["enum"] = [*schema["enum"], match[2]]
    else:
        raise AssertionError(f"no such difference: {what}")


def _fields_named(name: str, schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict) and isinstance(properties.get(name), dict):
            yield properties[name]
        for value in schema.values():
            yield from _fields_named(name, value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _fields_named(name, value)


def _whole(schema: Any, within: tuple[str, ...] = ()) -> Any:
    """References put in place (each use its own copy), but for those that hold themselves."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.rpartition("/")[2]
            return dict(schema) if name in within else _whole(copy.deepcopy(API["schemas"][name]), (*within, name))
        # The document's variants overlap (a whole number is an integer and a number): one that fits is enough.
        return {"anyOf" if key == "oneOf" else key: _whole(value, within) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_whole(value, within) for value in schema]
    return schema


def _closed(schema: Any) -> Any:
    """The same schema, where an object has no fields but those that are named."""
    if isinstance(schema, dict):
        closed = {key: _closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            closed.setdefault("additionalProperties", False)
        return closed
    return [_closed(value) for value in schema] if isinstance(schema, list) else schema


def _asks(schema: Any) -> bool:
    """A body must come: some field of it is required."""
    return bool(schema.get("required")) or any(_asks(variant) for variant in schema.get("anyOf", []))


def _faults(schema: Any, value: Any, where: str, strict: bool = False) -> list[str]:
    validator = _validator(json.dumps(schema), strict)
    return [
        f"{where}{''.join(f'[{step!r}]' for step in fault.absolute_path)}: {fault.message[:300]}"
        for fault in validator.iter_errors(value)
    ]


@functools.cache
def _validator(schema: str, strict: bool) -> jsonschema.Draft202012Validator:
    found = json.loads(schema)
    every = {name: _whole(kept, (name,)) for name, kept in API["schemas"].items()} if '"$ref"' in schema else {}
    if strict:
        found, every = _closed(found), _closed(every)
    return jsonschema.Draft202012Validator({**found, "schemas": every})


def _read(value: Any, schema: Any) -> Any:
    """A query's text as the type that the document asks for."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    kind = _whole(schema).get("type")
    if kind == "integer" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return str(value) if kind == "string" else value
