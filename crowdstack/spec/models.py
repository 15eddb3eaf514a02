"""Models: what a spec may say, as frozen values. The source of `schemas/task.v1.json` and of docs/spec.md.

Shape and place are checked against the schema first (`check`); the models convert: money to integer minor units,
durations to seconds, shorthands to their long form. Each field says what it means and when a change takes effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PrivateAttr
from pydantic_core.core_schema import CoreSchema, no_info_plain_validator_function

from crowdstack.model import Money, TaskName, bot_id
from crowdstack.spec.load import Document

Change = Literal["in place", "next run", "never"]


def say(meaning: str, *, change: Change = "in place", example: Any = None, default: Any = ..., **limits: Any) -> Any:
    """A field: its meaning, when a change takes effect (`in place`: in the running stack too), an example, its default."""
    extra: dict[str, Any] = {"x-change": change}
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


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, populate_by_name=True)


# ------------------------------------------------------------------------------------------------ task


class Metadata(Model):
    name: Slug = say(
        "Identity of the task: its runs, answers and budget belong to this name. Another name is another task.",
        change="never",
        example="rte",
    )
    labels: dict[Slug, Text] = say("Words of your own, shown by status.", default={}, example={"team": "nlp"})


class App(Model):
    html: RelativePath = say("The page that workers see. It loads /client.js.", example="page.html")
    uses: tuple[Column, ...] | None = say(
        "Columns of the data that workers may see; all others never leave your machine. Needed when the data comes from "
        "a file; inline data is shown whole unless this is given.",
        default=None,
        example=["text", "hypothesis"],
    )


class Data(Model):
    """Items from a file or from `rows`, with names of special columns."""

    file: RelativePath | None = say("CSV, JSON (a list of objects) or JSON Lines.", default=None, example="items.csv")
    rows: tuple[dict[str, Any], ...] | None = say("The items themselves.", default=None, example=[{"text": "A bird."}])
    format: Literal["csv", "json", "jsonl"] | None = say(
        "What the file holds; by default its ending says so.", default=None, example="csv"
    )
    id: Column | None = say(
        "The column that names an item. Without it an item is named by a hash of what workers see of it, so changing "
        "its text makes it another item.",
        default=None,
        example="id",
    )
    worker: Column | None = say(
        "A column with the one worker an item is offered to; an empty cell offers it to everybody.",
        default=None,
        example="worker",
    )
    encoding: Literal["utf-8", "utf-16", "latin-1", "windows-1252"] = say(
        "Encoding of the file; UTF-8 may begin with a byte order mark.", default="utf-8"
    )


Rows = Annotated[tuple[dict[str, Any], ...], Field(max_length=100_000)]


class Task(Model):
    title: Text = say("What workers read first.", example="Does the text imply the sentence?")
    description: str = say("What the task is about, in a sentence or two.", default="", example="Read two sentences.")
    reward: Amount = say("Paid per visit.", default="0.00 USD", change="next run", example="0.05 USD")
    units_per_visit: Annotated[int, Field(ge=1, le=100_000)] | Literal["unlimited"] = say(
        "Units one visit is made of; `unlimited` goes on until none is left.", default=1, example=10
    )
    estimated_time: Duration | None = say(
        "How long one unit takes; preview shows the pay per hour from it.", default=None, example="30s"
    )
    timeout: Duration = say(
        "How long a worker may hold a unit before it is offered again.", default="10m", example="10m"
    )
    app: App = say("What workers see.", example={"html": "page.html", "uses": ["text"]})
    assets: RelativePath | None = say(
        "A folder of files that workers' browsers may load, as /<folder>/<file>.", default=None, example="images"
    )
    data: RelativePath | Rows | Data = say(
        "The items: a file, a list of objects, or the long form.", example="items.csv"
    )
    answers: RelativePath | dict[str, Any] | None = say(
        "JSON Schema that the answers of every submission must satisfy: a file, or the schema itself. Without it any "
        "object is taken.",
        default=None,
        example="answers.schema.json",
    )
    sample: dict[str, Any] | None = say(
        "An item to show in preview mode, where nothing is kept.", default=None, example={"text": "A bird sings."}
    )
    completion: Text = say("What a worker reads at the end.", default="Thank you. You can close this page now.")

    @property
    def source(self) -> Data:
        """The data in its long form."""
        if isinstance(self.data, Data):
            return self.data
        return Data(file=self.data) if isinstance(self.data, str) else Data(rows=self.data)


class Target(Model):
    repeats: int = say("Answers per item, each of another worker.", default=1, example=3, ge=1, le=1000)
    count: Literal["submitted", "approved"] = say(
        "What counts: every submission, or only those that a reviewer approved.", default="submitted"
    )


class Workers(Model):
    max_units: int | None = say("Units one worker may do in all.", default=None, example=50, ge=1)
    block: tuple[WorkerName, ...] = say("Workers who get nothing.", default=(), example=["w17"])


class Budget(Model):
    max: Amount = say("What the task may cost in all, over all its runs.", example="200 USD")
    when_short: Literal["refuse", "pause"] = say(
        "If the whole target may cost more: refuse to start, or open places only while the worst case fits.",
        default="refuse",
    )


# ------------------------------------------------------------------------------------------------ crowd


class HumanCrowd(Model):
    """People you give the printed links to."""

    type: Literal["human"]
    people: Annotated[int, Field(ge=1, le=10_000)] | Annotated[tuple[WorkerName, ...], Field(min_length=1)] = say(
        "How many links to print, or a name for each.", default=1, change="next run", example=["ann", "bob"]
    )

    @property
    def names(self) -> tuple[str, ...]:
        if isinstance(self.people, int):
            return tuple(f"person-{number}" for number in range(1, self.people + 1))
        return self.people


class BotCrowd(Model):
    """Simulated workers; their answers are drawn from the `answers` schema."""

    type: Literal["bots"]
    workers: int = say("How many.", default=5, change="next run", ge=1, le=10_000)
    seed: int = say("The same seed, the same behaviour.", default=1, change="next run", ge=0)
    time_per_unit: Pace = say("Median time for one unit.", default="0s", change="next run", example="1.5s")
    error_rate: Rate = say("Share of units first answered wrongly for the schema.", default=0.0, change="next run")
    abandon_rate: Rate = say("Share of units left unfinished.", default=0.0, change="next run")
    duplicate_rate: Rate = say("Share of submissions sent twice.", default=0.0, change="next run")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(bot_id(number) for number in range(1, self.workers + 1))


class ReplayCrowd(Model):
    """Recorded workers, each answering its items as recorded."""

    type: Literal["replay"]
    answers: RelativePath = say(
        "CSV of recorded answers: item, worker, and one column per answer.", change="next run", example="answers.csv"
    )
    item: Column = say("The column with the item's id.", default="item", change="next run")
    worker: Column = say("The column with the worker's id.", default="worker", change="next run")
    workers: int = say("How many work at the same time.", default=20, change="next run", ge=1, le=10_000)
    seed: int = say("The same seed, the same order.", default=1, change="next run", ge=0)
    time_per_unit: Pace = say("Median time for one unit.", default="0s", change="next run", example="200ms")


Crowd = Annotated[HumanCrowd | BotCrowd | ReplayCrowd, Field(discriminator="type")]
Percent = Annotated[str, Form(str, r"^[0-9]{1,3} ?%$", "a percentage like 10 %")]


class MockProvider(Model):
    """A crowd without a company behind it: people with a link, simulated workers, or a recording. Pays from a pretended wallet."""

    type: Literal["mock"]
    wallet: Amount | None = say("Balance of the pretended account; without it, no end.", default=None, example="20 USD")
    wave: int | None = say("Places opened at a time; without it all at once.", default=None, example=50, ge=1)
    surplus: Annotated[int, Field(ge=0)] | Percent = say(
        "Extra places allowed for visits that end without counting: a number, or a share (then at least 5).",
        default="10 %",
        example="10 %",
    )
    crowd: Crowd = say(
        "Who comes.", default={"type": "human"}, change="next run", example={"type": "bots", "workers": 5}
    )


# ------------------------------------------------------------------------------------------------ stack


class LocalArchitect(Model):
    """The task server on this machine."""

    type: Literal["local"]
    host: str = say(
        "Address to listen on.", default="127.0.0.1", change="next run", example="0.0.0.0", min_length=1, max_length=253
    )
    port: int | None = say(
        "Port to listen on; without it a free one.", default=None, change="next run", example=8080, ge=1, le=65535
    )
    public_url: str | None = say(
        "Where workers reach it, if a proxy stands before it.",
        default=None,
        change="next run",
        example="https://study.example.org",
        pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,255}$",
    )


class MockArchitect(Model):
    """The task server inside the process that starts it: for tests of a task."""

    type: Literal["mock"]


class Lifecycle(Model):
    keep: bool = say("Keep the stack when the target is met, instead of taking it down.", default=False)


class Spec(Model):
    """One task: what workers see, the items, how many answers each needs, what is paid, which crowd, where it runs."""

    api_version: Literal["crowdstack/v1"] = Field(
        alias="apiVersion", description="Version of this format.", json_schema_extra={"x-change": "never"}
    )
    kind: Literal["Task"] = say("What the document describes.", change="never")
    metadata: Metadata = say("Name and labels.", change="never")
    task: Task = say("What workers see and do.")
    target: Target = say("When the task is done.", default={})
    workers: Workers = say("Who may take part and how much.", default={})
    budget: Budget | None = say("What it may cost.", default=None)
    provider: MockProvider = say("The crowd.", change="next run", example={"type": "mock"})
    architect: Annotated[LocalArchitect | MockArchitect, Field(discriminator="type")] = say(
        "Where the task server runs.", default={"type": "local"}, change="next run"
    )
    lifecycle: Lifecycle = say("What happens at the end.", default={})

    _document: Document = PrivateAttr()

    @property
    def document(self) -> Document:
        """The text it was read from: for places in messages."""
        return self._document

    @property
    def file(self) -> Path:
        return self._document.file

    @property
    def folder(self) -> Path:
        """Where its relative paths start."""
        return self._document.file.parent

    @property
    def name(self) -> TaskName:
        return TaskName(self.metadata.name)


def read(document: Document) -> Spec:
    """The values of a document whose shape was checked. pydantic.ValidationError for what only converting finds."""
    spec = Spec.model_validate(document.root.plain())
    spec._document = document
    return spec


def json_schema() -> Mapping[str, Any]:
    """What schemas/task.v1.json holds."""
    schema = _without_titles(Spec.model_json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:crowdstack:task.v1",
        "title": "crowdstack task",
        **schema,
    }


def _without_titles(schema: Any) -> Any:
    """pydantic repeats each field's name as its title; editors would show that instead of the description."""
    if isinstance(schema, list):
        return [_without_titles(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_titles(below) for key, below in schema.items() if not (key == "title" and isinstance(below, str))
    }
