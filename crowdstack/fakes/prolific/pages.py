"""Pages of a list: by `page` and `page_size`, where a page past the last is a 404, or by `limit` and `offset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from crowdstack.fakes.prolific.refusal import Refusal, invalid

DEFAULT = 20


def whole(query: dict[str, str], name: str, default: int, low: int) -> int:
    value = query.get(name, "")
    if value and not (value.isdecimal() and int(value) >= low):
        raise invalid({name: [f"A whole number of at least {low} is required."]})
    return int(value) if value else default


def numbered(items: Sequence[Any], url: str, query: dict[str, str]) -> dict[str, Any]:
    """`url`: of this list, without a query; links go there and keep the other parameters."""
    page, size = whole(query, "page", 1, 1), whole(query, "page_size", DEFAULT, 1)
    last = max(1, -(-len(items) // size))
    if page > last:
        raise Refusal(404, "Not found", "Invalid page.")

    def href(number: int) -> str | None:
        return (
            f"{url}?{urlencode(query | {'page': str(number), 'page_size': str(size)})}" if 1 <= number <= last else None
        )

    links = {"self": href(page), "next": href(page + 1), "previous": href(page - 1), "last": href(last)}
    return _answer(items[(page - 1) * size : page * size], links, len(items))


def offset(items: Sequence[Any], url: str, query: dict[str, str], default: int = DEFAULT) -> dict[str, Any]:
    limit, start = whole(query, "limit", default, 1), whole(query, "offset", 0, 0)

    def href(at: int, there: bool = True) -> str | None:
        return f"{url}?{urlencode(query | {'limit': str(limit), 'offset': str(max(0, at))})}" if there else None

    links = {
        "self": href(start),
        "next": href(start + limit, start + limit < len(items)),
        "previous": href(start - limit, start > 0),
        "last": href((max(0, len(items) - 1) // limit) * limit),
    }
    return _answer(items[start : start + limit], links, len(items))


def _answer(items: Sequence[Any], links: dict[str, str | None], count: int) -> dict[str, Any]:
    return {
        "results": list(items),
        "_links": {name: {"href": href, "title": name.capitalize()} for name, href in links.items()},
        "meta": {"count": count},
    }
