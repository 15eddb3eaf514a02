"""Finds what a request asks for, and reads its query strictly. Pure: a request and the account in, an answer out.

The routes themselves are in *_routes.py; the HTTP front and the in-process transport share them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from crowdstack.fakes.prolific.refusal import Refusal, invalid
from crowdstack.fakes.prolific.world import World

API = "/api/v1"


class Answer(NamedTuple):
    """`body` None: an empty one."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}


class Call(NamedTuple):
    world: World
    url: str  # of the path, without query: for the links of a page
    query: dict[str, str]
    body: Any
    key: str = ""  # the id in the path
    second: str = ""  # the second one


Handler = Callable[[Call], Answer]


class Route(NamedTuple):
    method: str
    template: str
    pattern: re.Pattern[str]
    handler: Handler
    query: frozenset[str]
    body: bool
    bare: bool  # its 400 is the bare detail, by the published document


ROUTES: list[Route] = []


def route(
    method: str, template: str, *query: str, body: bool = False, bare: bool = False
) -> Callable[[Handler], Handler]:
    """Registers the handler of a call. `query`: the parameters it takes; `body`: it takes one."""
    pattern = re.compile(re.sub(r"\{\w+\}", "([^/]+)", API + template))

    def register(handler: Handler) -> Handler:
        ROUTES.append(Route(method, API + template, pattern, handler, frozenset(query), body, bare))
        return handler

    return register


def find(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The route and the ids in the path. Refusal 404, or 405 for a path that has other methods."""
    matching = [(found, match.groups()) for found in ROUTES if (match := found.pattern.fullmatch(path))]
    for found, keys in sorted(matching, key=lambda each: len(each[1])):
        if found.method == method:
            return found, keys
    if matching:
        raise Refusal(405, "Method not allowed", f"{method} is not allowed here.")
    raise Refusal(404, "Not found", f"There is no {path}.")


def handle(world: World, found: Route, keys: tuple[str, ...], url: str, query: dict[str, str], body: Any) -> Answer:
    unknown = sorted(set(query) - found.query)
    if unknown:
        raise invalid({name: ["Unknown parameter."] for name in unknown})
    if body is not None and not found.body:
        raise invalid("No body is asked for here.")
    return found.handler(Call(world, url, query, body, *keys))


def flag(call: Call, name: str) -> bool | None:
    value = call.query.get(name)
    if value is None:
        return None
    if value not in ("0", "1", "true", "false", "yes", "no", "t", "f"):
        raise invalid({name: ["Use true or false."]})
    return value in ("1", "true", "yes", "t")


def needed(call: Call, name: str) -> str:
    if not call.query.get(name):
        raise invalid({name: ["This parameter is required."]})
    return call.query[name]
