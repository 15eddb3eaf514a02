"""Words: how the models say a field, and the forms of text that are more than text: money, time, names, paths."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_plain_validator_function

from crowdstack.model import Money

Change = Literal["in place", "next run", "never"]


def say(
    meaning: str,
    *,
    change: Change = "in place",
    fixed_by: tuple[str, ...] = (),
    example: Any = None,
    default: Any = ...,
    **limits: Any,
) -> Any:
    """A field: its meaning, when a change takes effect (`in place`: in the running stack too), an example, its default.

    `fixed_by`: providers that fix it once their study is out, so that with them it waits for the next run.
    """
    extra: dict[str, Any] = {"x-change": change, **({"x-fixed-by": list(fixed_by)} if fixed_by else {})}
    examples = None if example is None else [example]
    return Field(default, description=meaning, examples=examples, json_schema_extra=extra, **limits)


# ------------------------------------------------------------------------------------------------ words

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_PACE = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def _duration(text: str) -> int:
    match = _DURATION.fullmatch(text)
    assert match, "the pattern of the type lets nothing else pass"
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not 1 <= total <= 365 * 86_400:
        raise ValueError(f"{text} is not between 1s and 365d")
    return total


def _pace(text: str) -> float:
    match = _PACE.fullmatch(text)
    assert match, "the pattern of the type lets nothing else pass"
    return float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2]]


def _amount(text: str) -> Money:
    money = Money.parse(text)
    if money.minor < 0:
        raise ValueError(f"{text} is less than nothing")
    return money


@dataclass(frozen=True, slots=True)
class Form:
    """Text of one form, and what it is converted to. `expected` says the form in messages."""

    convert: Callable[[str], Any]
    pattern: str
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern, "x-expected": self.expected}

    def _read(self, text: Any) -> Any:
        if not isinstance(text, str) or not re.fullmatch(self.pattern, text):  # `$` alone lets a last newline pass
            raise ValueError(f"{text!r} is not {self.expected}")
        return self.convert(text)


_PATH = r"^[^/\\\u0000-\u001f][^\\\u0000-\u001f]*$"
_NAME = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_SPAN = r"^(?=.)([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,9}s)?$"

Duration = Annotated[int, Form(_duration, _SPAN, "a duration like 90s, 5m or 1h30m")]  # whole seconds
Pace = Annotated[
    float, Form(_pace, r"^[0-9]{1,6}(\.[0-9]{1,6})?(ms|s|m|h)$", "a time like 200ms, 1.5s or 2m")
]  # seconds
Amount = Annotated[Money, Form(_amount, r"^[0-9]{1,12}(\.[0-9]+)? [A-Z]{3}$", "an amount of money like 0.50 USD")]
Slug = Annotated[str, Form(str, _NAME, "a name of small letters, digits and hyphens, like bird-photos")]
RelativePath = Annotated[str, Form(str, _PATH, "a path below the spec's folder, like items.csv")]
WorkerName = Annotated[str, Form(str, r"^[^\s\u0000-\u001f]{1,100}$", "a worker's id without blanks, like w17")]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Rate = Annotated[float, Field(ge=0, le=1)]
PerCent = Annotated[float, Field(ge=0, le=100)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)
