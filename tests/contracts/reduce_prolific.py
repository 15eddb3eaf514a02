"""Prolific's published OpenAPI document -> prolific-api.json beside this file: paths, parameters, types, no prose.

    python -m tests.contracts.reduce_prolific DOCUMENT.yml --taken 2026-08

Goes in: the document (YAML). Comes out: what a client for paid studies calls, and the schemas those calls reach.
Only needed when the document changes; the tests read the reduced file.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REDUCED = Path(__file__).with_name("prolific-api.json")

_PATHS = re.compile(
    r"/api/v1/("
    r"users/me/"
    r"|researchers/participants/"
    r"|workspaces/.*"
    r"|projects/.*"
    r"|studies/(\{id\}/(transition/|clone/|test-study|cost/|submissions/|submissions/counts/|access-details-progress/)?)?"
    r"|study-cost-calculator/"
    r"|submissions/|submissions/\{id\}/.*|submissions/bulk-approve/|submissions/bonus-payments/"
    r"|bulk-bonus-payments/\{id\}/pay/"
    r"|participant-groups/.*"
    r"|filters/|eligibility-count/"
    r"|messages/.*"
    r"|hooks/.*"
    r"|reward-recommendations/"
    r")"
)
# Words that hold prose, wherever they are a keyword and not the name of a property.
_PROSE = {"description", "example", "examples", "summary", "externalDocs", "tags", "operationId", "title"}
_NAMES_WITHIN = {"properties", "patternProperties", "schemas"}  # here the keys are names, not keywords


def reduce(document: dict[str, Any], taken: str) -> dict[str, Any]:
    """The reduced document: {source, paths: {path: {method: {query, body, answers}}}, schemas}."""
    paths = {
        path: {method: _call(call) for method, call in sorted(calls.items())}
        for path, calls in sorted(document["paths"].items())
        if _PATHS.fullmatch(path)
    }
    every = document["components"]["schemas"]
    reached: dict[str, Any] = {}
    waiting = sorted(_references(paths))
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = _bare(every[name])
            waiting += sorted(_references(reached[name]))
    source = {
        "what": f"Prolific's published OpenAPI {document['openapi'].rpartition('.')[0]} document, reduced to paths and types",
        "title": document["info"]["title"],
        "version": document["info"]["version"],
        "server": document["servers"][0]["url"],
        "taken": taken,
    }
    return {"source": source, "paths": paths, "schemas": dict(sorted(reached.items()))}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    query = {
        parameter["name"]: {"required": parameter.get("required", False), "schema": _bare(parameter["schema"])}
        for parameter in call.get("parameters", [])
        if parameter["in"] == "query"
    }
    answers = {status: _json_schema(answer) for status, answer in sorted(call["responses"].items())}
    return {"query": query, "body": _json_schema(call.get("requestBody", {})), "answers": answers}


def _json_schema(holder: dict[str, Any]) -> Any:
    """The schema of a body; None when it has none."""
    content = holder.get("content", {}).get("application/json")
    return None if content is None else _bare(content["schema"])


def _bare(schema: Any, names: bool = False) -> Any:
    """Without prose; references point into this file."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/components/schemas/", "#/schemas/")
            if key == "$ref"
            else _bare(value, key in _NAMES_WITHIN and not names)
            for key, value in schema.items()
            if names or (key not in _PROSE and not key.startswith("x-"))
        }
    if isinstance(schema, list):
        return [_bare(value) for value in schema]
    return schema


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path)
    parser.add_argument("--taken", required=True, metavar="YYYY-MM", help="when the document was taken")
    given = parser.parse_args()
    document = yaml.safe_load(given.document.read_text(encoding="utf-8"))
    REDUCED.write_text(json.dumps(reduce(document, given.taken), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
