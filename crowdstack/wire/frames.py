"""Frames as dataclasses: a set of them reads JSON text into values, writes values as JSON text, and tells its JSON Schema.

The annotations are the only description; `schemas/*.v1.json` are written from them (`wire.schema`).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from crowdstack.wire.text import Bounds, FrameError, parse

_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
Id = Annotated[str, _ID]
Payload = Mapping[str, Any]  # an object whose inside is not the protocol's business

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one annotation is read, and what it is in JSON Schema."""

    read: Callable[[Any], Any]  # raises _Unfit
    schema: Mapping[str, Any]


class _Unfit(Exception):
    pass


class Frames(Generic[F]):
    """The frames that may travel in one direction of one socket."""

    def __init__(self, types: Mapping[str, type[F]]) -> None:
        self._kinds = {tag: _object(cls, tag) for tag, cls in types.items()}
        self._tags = {cls: tag for tag, cls in types.items()}

    def parse(self, raw: str | bytes, bounds: Bounds) -> F:
        """The frame in `raw`, whatever `raw` is; FrameError otherwise."""
        data = parse(raw, bounds)
        tag = data.get("type") if isinstance(data, dict) else None
        kind = self._kinds.get(tag) if isinstance(tag, str) else None
        if kind is None:
            raise FrameError("not a frame of this socket: an object with a known `type`")
        try:
            frame: F = kind.read(data)
        except _Unfit as fault:
            raise FrameError(f"not a `{tag}` frame: {fault}") from None
        return frame

    def to_json(self, frame: F) -> str:
        return _ENCODER.encode({"type": self._tags[type(frame)], **_plain(frame)})

    def schema(self) -> dict[str, Any]:
        return {"oneOf": [kind.schema for kind in self._kinds.values()]}


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON object; what is None is left out."""
    return {name: item for name in value.__slots__ if (item := getattr(value, name)) is not None}


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_plain)


def _object(cls: type, tag: str | None = None) -> _Kind:
    hints = get_type_hints(cls, include_extras=True)
    kinds = {field.name: _kind(hints[field.name]) for field in dataclasses.fields(cls)}
    required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
    names = kinds.keys() | {"type"} if tag else kinds.keys()

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _Unfit("an object was expected")
        if not data.keys() <= names:
            raise _Unfit("it has a field that is not known")
        if not required <= data.keys():
            raise _Unfit(f"`{min(required - data.keys())}` is missing")
        values = {}
        for name, value in data.items():
            if name in kinds:
                try:
                    values[name] = kinds[name].read(value)
                except _Unfit as fault:
                    raise _Unfit(f"`{name}`: {fault}") from None
        return cls(**values)

    constant = {"type": {"const": tag}} if tag else {}
    schema = {
        "type": "object",
        "properties": {**constant, **{name: kind.schema for name, kind in kinds.items()}},
        "required": [*constant, *sorted(required)],
        "additionalProperties": False,
    }
    return _Kind(read, schema)


def _kind(hint: Any) -> _Kind:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _Kind(_matching(arguments[1]), {"type": "string", "pattern": f"^{arguments[1].pattern}$"})
    if origin in (Union, UnionType):
        (inner,) = (_kind(argument) for argument in arguments if argument is not NoneType)
        return _Kind(
            lambda value: None if value is None else inner.read(value), {"anyOf": [inner.schema, {"type": "null"}]}
        )
    if origin is tuple:
        element = _kind(arguments[0])
        return _Kind(_each(element), {"type": "array", "items": element.schema})
    if origin is not None:  # a Mapping
        schema: dict[str, Any] = {"type": "object"}
        if arguments[1] is Any:
            return _Kind(_instance(dict, "an object"), schema)
        element = _kind(arguments[1])
        return _Kind(_mapping(element), {**schema, "additionalProperties": element.schema})
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _object(hint)
    return _PLAIN[hint]


def _instance(wanted: type | tuple[type, ...], words: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, wanted) or (value is True or value is False) is not (wanted is bool):
            raise _Unfit(f"{words} was expected")
        return value

    return read


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            return int(value)  # JSON knows one kind of number
        raise _Unfit("an integer was expected")
    return value


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise _Unfit(f"a text like {pattern.pattern} was expected")
        return value

    return read


def _each(element: _Kind) -> Callable[[Any], tuple[Any, ...]]:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Unfit("a list was expected")
        return tuple(map(element.read, value))

    return read


def _mapping(element: _Kind) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Unfit("an object was expected")
        return {name: element.read(item) for name, item in value.items()}

    return read


_PLAIN: Mapping[Any, _Kind] = {
    str: _Kind(_instance(str, "a text"), {"type": "string"}),
    int: _Kind(_whole, {"type": "integer"}),
    float: _Kind(_instance((int, float), "a number"), {"type": "number"}),
    bool: _Kind(_instance(bool, "true or false"), {"type": "boolean"}),
}
