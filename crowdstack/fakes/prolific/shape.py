"""Reads a JSON body strictly: each field by its check, nothing missing, nothing unknown; all faults told together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from crowdstack.fakes.prolific.refusal import invalid

Check = Callable[[Any], str | None]  # None: fine; else what is wrong


def read(body: Any, fields: Mapping[str, Check], required: Sequence[str] = ()) -> dict[str, Any]:
    """The body, when it is an object of these fields. Refusal 400 with {field: [what]} otherwise."""
    faults = problems(body, fields, required)
    if faults:
        raise invalid(faults)
    return dict(body)


def problems(body: Any, fields: Mapping[str, Check], required: Sequence[str] = ()) -> dict[str, list[str]]:
    if not isinstance(body, dict):
        return {"body": ["A JSON object is asked for."]}
    faults: dict[str, list[str]] = {name: ["This field is required."] for name in required if body.get(name) is None}
    for name, value in body.items():
        if name not in fields:
            faults[name] = ["Unknown field."]
        elif name not in faults and (wrong := fields[name](value)) is not None:
            faults[name] = [wrong]
    return faults


def text(value: Any) -> str | None:
    return None if isinstance(value, str) else "Not a valid string."


def words(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "This field may not be blank."


def optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "Must be a valid boolean."


def integer(low: int | None = None, high: int | None = None) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return "A valid integer is required."
        if low is not None and value < low:
            return f"Ensure this value is greater than or equal to {low}."
        return f"Ensure this value is less than or equal to {high}." if high is not None and value > high else None

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        fine = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
        return None if fine else f"A number from {low} to {high} is required."

    return check


def choice(*values: str) -> Check:
    return lambda value: None if value in values else f"{value!r} is not a valid choice ({', '.join(values)})."


def many(check: Check) -> Check:
    def each(value: Any) -> str | None:
        if not isinstance(value, list):
            return "Expected a list of items."
        return next((f"{item!r}: {wrong}" for item in value if (wrong := check(item)) is not None), None)

    return each


def anything(value: Any) -> str | None:
    return None


def date_time(value: Any) -> str | None:
    try:
        moment(value)
    except (TypeError, ValueError):
        return "Datetime has wrong format: use ISO 8601 with a time zone."
    return None


def moment(value: str) -> float:
    """ISO 8601 -> unix seconds. ValueError, TypeError when it is none."""
    found = datetime.fromisoformat(value.replace("Z", "+00:00") if isinstance(value, str) else value)
    if found.tzinfo is None:
        raise ValueError("no time zone")
    return found.timestamp()


def iso(at: float | None) -> str | None:
    """Unix seconds -> ISO 8601 in UTC, as the service writes times."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def url(public: bool) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return "Not a valid string."
        try:
            found = urlsplit(re.sub(r"\{\{%\w+%\}\}", "X", value))
            host = found.hostname
        except ValueError:
            return "Enter a valid URL."
        if found.scheme not in ("http", "https") or not host:
            return "Enter a valid URL."
        local = host == "localhost" or "." not in host or re.fullmatch(r"127\.\d+\.\d+\.\d+|10\..*|192\.168\..*", host)
        return "Enter a public URL." if public and local else None

    return check
