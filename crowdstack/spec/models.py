"""Models: what a spec may say, as frozen values. The source of `schemas/task.v1.json` and of docs/spec.md.

Shape and place are checked against the schema first (`check`); the models convert: money to integer minor units,
durations to seconds, shorthands to their long form. Each field says what it means and when a change takes effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from crowdstack.model import TaskName
from crowdstack.spec.load import Document
from crowdstack.spec.providers import BotCrowd, HumanCrowd, MockProvider, Provider, ReplayCrowd
from crowdstack.spec.words import Amount, Column, Duration, Model, RelativePath, Slug, Text, WorkerName, say

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


LISTED = ("prolific",)  # what its study shows before people come cannot be changed while it is out


class Task(Model):
    title: Text = say("What workers read first.", fixed_by=LISTED, example="Does the text imply the sentence?")
    description: str = say(
        "What the task is about, in a sentence or two.", fixed_by=LISTED, default="", example="Read two sentences."
    )
    reward: Amount = say("Paid per visit.", default="0.00 USD", change="next run", example="0.05 USD")
    units_per_visit: Annotated[int, Field(ge=1, le=100_000)] | Literal["unlimited"] = say(
        "Units one visit is made of; `unlimited` (mock only) goes on until none is left.",
        fixed_by=LISTED,
        default=1,
        example=10,
    )
    estimated_time: Duration | None = say(
        "How long one unit takes; preview shows the pay per hour from it. Needed by prolific.",
        fixed_by=LISTED,
        default=None,
        example="30s",
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
    require: tuple[Slug, ...] = say(
        "Qualifications that a worker must hold, all of them; others get nothing. Given with `crowdstack workers qualify`.",
        fixed_by=LISTED,
        default=(),
        example=["trained"],
    )
    exclude: tuple[Slug, ...] = say(
        "Qualifications that keep a worker out, any of them.", default=(), example=["pilot"]
    )


class Budget(Model):
    max: Amount = say("What the task may cost in all, over all its runs.", example="200 USD")
    when_short: Literal["refuse", "pause"] = say(
        "If the whole target may cost more: refuse to start, or open places only while the worst case fits.",
        default="refuse",
    )


class TopUp(Model):
    """Money on top for visits that took longer than was said, in median."""

    at_most: Amount = say(
        "The most that a visit gets on top. Every place reserves it, with fee and tax, until the study is over.",
        change="next run",
        example="0.20 USD",
    )


class Pay(Model):
    top_up: TopUp | None = say(
        "When the study is over and its median visit took longer than estimated, pay each paid visit so much on top that "
        "the pay per hour is what was promised. Needs task.estimated_time.",
        default=None,
        change="next run",
        example={"at_most": "0.20 USD"},
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
    pay: Pay = say("What is paid beside the reward.", default={})
    provider: Provider = say("The crowd.", change="next run", example={"type": "mock"})
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
    def crowd(self) -> HumanCrowd | BotCrowd | ReplayCrowd | None:
        """Who comes, where that is ours to say; None with a provider that has people of its own."""
        return self.provider.crowd if isinstance(self.provider, MockProvider) else None

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
