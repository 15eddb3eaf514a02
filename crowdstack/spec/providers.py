"""Providers: what a spec may say of each crowd. A union by `type`; what all of them have is said once, in `AnyProvider`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from crowdstack.model import bot_id
from crowdstack.spec.words import (
    Amount,
    Column,
    Duration,
    Form,
    Model,
    Pace,
    PerCent,
    Rate,
    RelativePath,
    Text,
    WorkerName,
    say,
)

# ------------------------------------------------------------------------------------------------ mock


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


class AnyProvider(Model):
    """What every crowd has."""

    type: str
    wave: int | None = say("Places opened at a time; without it all at once.", default=None, example=50, ge=1)
    surplus: Annotated[int, Field(ge=0)] | Percent = say(
        "Extra places allowed for visits that end without counting: a number, or a share (then at least 5).",
        default="10 %",
        example="10 %",
    )


class MockProvider(AnyProvider):
    """A crowd without a company behind it: people with a link, simulated workers, or a recording. Pays from a pretended wallet."""

    type: Literal["mock"]
    wallet: Amount | None = say("Balance of the pretended account; without it, no end.", default=None, example="20 USD")
    crowd: Crowd = say(
        "Who comes.", default={"type": "human"}, change="next run", example={"type": "bots", "workers": 5}
    )


# ------------------------------------------------------------------------------------------------ prolific

Name = Annotated[str, Form(str, r"^[^\s\u0000-\u001f]([^\u0000-\u001f]{0,198}[^\s\u0000-\u001f])?$", "a name or id")]
Key = Annotated[str, Form(str, r"^[A-Za-z0-9_.-]{1,64}$", "a name of letters, digits, dots, - and _")]
Code = Annotated[str, Form(str, r"^[A-Za-z0-9_-]{4,64}$", "a code of 4 to 64 letters, digits, - and _")]
Bound = int | float | Annotated[str, Field(min_length=1, max_length=100)]
Limit = Annotated[int, Field(ge=1)] | Literal[-1]
StudyLabel = Literal[
    "survey",
    "writing_task",
    "annotation",
    "decision_making_task",
    "interview",
    "other",
    "ai_annotation",
    "ai_evaluation",
    "ai_reasoning",
    "ai_fact_checking",
    "ai_safety",
    "ai_data_creation_text",
    "ai_data_creation_audio",
    "ai_data_creation_video",
    "ai_data_creation_images",
    "ai_other",
]


class Range(Model):
    lower: Bound | None = say("The least; without it there is none.", default=None, change="next run", example=18)
    upper: Bound | None = say("The most; without it there is none.", default=None, change="next run", example=65)


class WeightedRange(Model):
    selected_range: Range = say("A part of the range.", change="next run", example={"lower": 18, "upper": 30})
    weighting: float = say("Its share, in proportion to the others.", change="next run", example=2, gt=0)


FilterId = Annotated[str, Field(min_length=1, max_length=200)]


class SelectFilter(Model):
    """People who gave one of these answers."""

    model_config = ConfigDict(json_schema_extra={"x-branch": "select"})
    filter_id: FilterId = say("The filter, as Prolific names it.", change="next run", example="handedness")
    selected_values: Annotated[tuple[Text, ...], Field(min_length=1)] = say(
        "Answers, one of which is enough; ids in quotes also where they look like numbers.",
        change="next run",
        example=["1", "2"],
    )
    weightings: dict[str, Annotated[float, Field(gt=0)]] | None = say(
        "Shares of the answers, in proportion.", default=None, change="next run", example={"1": 1, "2": 1}
    )


class RangeFilter(Model):
    """People whose value lies in a range."""

    model_config = ConfigDict(json_schema_extra={"x-branch": "range"})
    filter_id: FilterId = say("The filter, as Prolific names it.", change="next run", example="age")
    selected_range: Range = say(
        "Numbers, or dates like 2026-01-31; one end is enough.", change="next run", example={"lower": 18, "upper": 65}
    )
    weightings: dict[str, WeightedRange] | None = say(
        "Shares of parts of the range, each under a name of yours.", default=None, change="next run"
    )


class CompositeFilter(Model):
    """Filters joined by and, or."""

    model_config = ConfigDict(json_schema_extra={"x-branch": "composite"})
    filter_id: Literal["and", "or"] = say("How they are joined.", change="next run", example="or")
    selected_filters: Annotated[tuple[SelectFilter | RangeFilter | CompositeFilter, ...], Field(min_length=1)] = say(
        "The filters, composite ones too.",
        change="next run",
        example=[{"filter_id": "age", "selected_range": {"lower": 18}}],
    )


_WHOLE_RUN = "`crowdstack simulate` plays the whole run, with people who return, time out and forget their code"
_SCREENING = (
    "a part of the reward for those who turn out not to fit needs slots that are paid for ahead and pause the study when "
    "they are used up",
    "a short task of its own finds who fits: `crowdstack workers qualify` them in this one, and workers.require",
)
_TESTING = ("a test study is another one, not the one that is published, and some workspaces only have it", _WHOLE_RUN)
_AUTO_REJECTING = (
    "Prolific rejects by rules that it does not tell, and a rejection weighs on a person's account",
    "`crowdstack units reject` with a reason, or target.count: approved",
)
_TASKFLOW = (
    "one address is shown to everybody, and the task server gives each visit its own units",
    "task.units_per_visit says how many units a visit has",
)
_ABSENT = {  # what Prolific, or another tool's configuration of it, has and we do not: why, what instead
    "screen_out": _SCREENING,
    "fixed_screen_out_payment": _SCREENING,
    "dynamic_payment": (
        "it pays less than the reward that people were shown",
        "reward the least that a visit is worth and `crowdstack pay bonus` what is above it",
    ),
    "auto_reject": _AUTO_REJECTING,
    "auto_rejection_categories": _AUTO_REJECTING,
    "test_study": _TESTING,
    "test_participants": _TESTING,
    "taskflow": _TASKFLOW,
    "access_details": _TASKFLOW,
    "filter_set_id": (
        "a filter set is read when the study is published, so that preview could not tell who may take part",
        "write its filters into provider.filters",
    ),
    "publish_at": (
        "a study is published once its task server is up, and that is when `up` is called",
        "call `crowdstack up` at that time, by cron or at",
    ),
}


class CompletionCodes(Model):
    done: Code | None = say("For those who gave answers.", default=None, change="next run", example="C1A2B3C4")
    nothing: Code | None = say(
        "For those who found nothing to do; they are asked to return their place.",
        default=None,
        change="next run",
        example="C5D6E7F8",
    )


class ProlificProvider(AnyProvider):
    """People of prolific.com. Whatever people see before they come is fixed when the study is published."""

    model_config = ConfigDict(json_schema_extra={"x-absent": {name: list(told) for name, told in _ABSENT.items()}})
    type: Literal["prolific"]
    account: Key = say(
        "Which credentials: the name given to `crowdstack register prolific`.", default="default", change="next run"
    )
    workspace: Name | None = say(
        "Workspace by name or id; without it the account's only one. Its currency is the reward's.",
        default=None,
        change="next run",
        example="NLP lab",
    )
    project: Name | None = say(
        "Project by name or id; without it the one that was made first.",
        default=None,
        change="next run",
        example="Birds",
    )
    create: bool = say("Make project and groups that are named and not there.", default=False)
    name: Text | None = say(
        "Name of the study in people's lists; by default task.title.",
        default=None,
        change="next run",
        example="Which bird is it?",
    )
    description: Text | None = say(
        "What people read before they take part; by default task.description. Of HTML only b, i, em, strong, s, u, h1, "
        "h2, ol, ul, li and p, without attributes.",
        default=None,
        change="next run",
        example="<p>You will see <b>20 photos</b> of birds.</p>",
    )
    device: tuple[Literal["desktop", "tablet", "mobile"], ...] = say(
        "Devices that people may use; none named: all.", default=(), change="next run", example=["desktop", "tablet"]
    )
    peripherals: tuple[Literal["audio", "camera", "download", "microphone"], ...] = say(
        "What people must have or allow.", default=(), change="next run", example=["audio"]
    )
    allow_groups: tuple[Name, ...] = say(
        "Participant groups by name or id: only their members see the study. Who is in a group may change at any time.",
        default=(),
        change="next run",
        example=["trained"],
    )
    block_groups: tuple[Name, ...] = say(
        "Participant groups whose members do not see the study.", default=(), change="next run", example=["careless"]
    )
    filters: tuple[SelectFilter | RangeFilter | CompositeFilter, ...] = say(
        "Who may take part: people who pass all of these.",
        default=(),
        change="next run",
        example=[{"filter_id": "age", "selected_range": {"lower": 18, "upper": 65}}],
    )
    eligibility_requirements: tuple[dict[str, Any], ...] = say(
        "The same in the form of old Mephisto configurations; passed on as it is. Prolific has retired it: use filters.",
        default=(),
        change="next run",
        example=[{"name": "AgeRange", "min_age": 18, "max_age": 65}],
    )
    naivety: Rate | None = say(
        "0 is fastest; the nearer to 1, the more places go to people with little experience. Without it as the project says.",
        default=None,
        change="next run",
        example=0.5,
    )
    study_labels: Annotated[tuple[StudyLabel, ...], Field(max_length=1)] = say(
        "What kind of work it is.", default=(), change="next run", example=["annotation"]
    )
    content_warnings: Annotated[tuple[Literal["sensitive", "explicit"], ...], Field(max_length=1)] = say(
        "What people are warned of.", default=(), change="next run", example=["sensitive"]
    )
    content_warning_details: Text | None = say(
        "The warning in words.", default=None, change="next run", example="Some texts tell of accidents."
    )
    max_submissions_per_participant: Limit = say(
        "Visits one participant may make; -1: no limit.", default=1, change="next run", example=3
    )
    max_concurrent: Limit = say(
        "People inside at the same time; -1: no limit.", default=-1, change="next run", example=50
    )
    maximum_allowed_time: Duration | None = say(
        "How long a visit may take before its place is given away, in whole minutes; at least 2 + 2 x estimated + 2 x its "
        "square root. Without it the most that Prolific allows.",
        default=None,
        change="next run",
        example="45m",
    )
    completion_codes: CompletionCodes = say(
        "Codes that take people back to Prolific, if not our own.",
        default={},
        change="next run",
        example={"done": "C1A2B3C4"},
    )
    no_data: Literal["ask_return", "reject", "approve"] = say(
        "What becomes of a visit handed in with no answers: its participant is asked to return it, or it is rejected or "
        "paid.",
        default="ask_return",
    )
    fee: Literal["corporate", "academic"] = say(
        "Which of Prolific's fees the account bears. Used with `vat_percent` before the account can be asked for the cost.",
        default="corporate",
        change="next run",
    )
    vat_percent: PerCent = say(
        "Tax on top of reward and fee, in per cent; 0 where the account is not charged any.",
        default=20,
        change="next run",
        example=0,
    )
    pay_floor: Literal["warn", "refuse"] = say(
        "What to do when the reward is below Prolific's minimum, 6 GBP or 8 USD an hour, by the estimated time or by the "
        "median of the last run's visits. Below the recommended 9 GBP or 12 USD preview warns.",
        default="refuse",
    )
    webhooks: bool = say(
        "Be told of changes at once, at architect.public_url, rather than only look every so often.",
        default=False,
        change="next run",
    )


# ------------------------------------------------------------------------------------------------ any other panel

Parameter = Annotated[
    str, Form(str, r"^[A-Za-z][A-Za-z0-9_-]{0,63}$", "a parameter's name of letters, digits, - and _, like worker")
]
Address = Annotated[
    str,
    Form(
        str,
        r"^https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?([/?#][!#-;=?-\[\]_a-z{}~]{0,1900})?$",
        "an address like https://panel.example.com/done",
    ),
]
Link = Annotated[
    str,
    Form(
        str,
        r"^\{page\}[?&][^\s\u0000-\u001f\"'<>\\]{1,1000}$",
        "a link like {page}&worker=[%PID%]&visit=[%RID%]",
    ),
]


class Ending(Model):
    """How people get back to the panel: by an address, by a code that they copy, or both."""

    url: Address | None = say("Where they are sent.", default=None, example="https://panel.example.com/done?project=17")
    code: Code | None = say("What they are shown to hand in.", default=None, example="BIRDS-17")


class GenericProvider(AnyProvider):
    """Any panel that sends people to a link. Places are counted here; whom to pay is told by a CSV file."""

    type: Literal["generic"]
    link: Link | None = say(
        "What you give to the panel, with its own placeholders for the two ids; preview and status put our page in the "
        "place of {page}. By default {page}&worker=WORKER&visit=VISIT.",
        default=None,
        change="next run",
        example="{page}&worker=[%PID%]&visit=[%RID%]",
    )
    worker_parameter: Parameter = say(
        "The part of the link that holds the panel's id of the person.", default="worker", change="next run"
    )
    visit_parameter: Parameter = say(
        "The part of the link that holds the panel's id of the visit; the same as for the person where the panel has one "
        "id only.",
        default="visit",
        change="next run",
    )
    finish: Ending = say(
        "How those who gave answers get back.", example={"url": "https://panel.example.com/done?id={visit}"}
    )
    nothing: Ending | None = say(
        "How those who found nothing to do get back; without it the page only says so.",
        default=None,
        example={"url": "https://panel.example.com/full?id={visit}"},
    )
    fee_percent: PerCent = say(
        "The panel's fee on top of the reward, in per cent.", default=0, change="next run", example=30
    )
    vat_percent: PerCent = say("Tax on top of reward and fee, in per cent.", default=0, change="next run", example=19)
    minimum_per_hour: Amount | None = say(
        "A run whose reward would be less is refused, by the estimated time or by the median of the last run's visits; needs "
        "task.estimated_time.",
        default=None,
        change="next run",
        example="8.00 USD",
    )

    @property
    def given_link(self) -> str:
        """What the panel is given, with {page} where our page's address goes."""
        return self.link or self.plain_link

    @property
    def plain_link(self) -> str:
        if self.worker_parameter == self.visit_parameter:
            return f"{{page}}&{self.worker_parameter}=ID"
        return f"{{page}}&{self.worker_parameter}=WORKER&{self.visit_parameter}=VISIT"


class PluginProvider(AnyProvider):
    """A crowd that another package brings."""

    type: Literal["plugin"]
    name: Key = say("Which one: its name among the installed plugins.", change="next run", example="board")
    settings: dict[str, Any] = say(
        "What this plugin asks for; checked by its own schema.", default={}, change="next run", example={"room": "B12"}
    )


Provider = Annotated[MockProvider | ProlificProvider | GenericProvider | PluginProvider, Field(discriminator="type")]
