"""What Prolific answers, as values. Names of lists and details are one here; keys that are not known are passed over.

A field that must be there and is not raises Unreadable with its name; `transport` says what that means for the request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

from crowdstack.model import Money
from crowdstack.providers.prolific import money
from crowdstack.tokens import Secret

E = TypeVar("E", bound=Enum)

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")


@lru_cache(maxsize=4096)  # a list tells the same times whenever it is read
def _time(text: str) -> datetime | None:
    """In UTC; None where the text says none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, part, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z") else zone
    try:
        read = datetime.fromisoformat(f"{day}T{clock}.{(part or '').ljust(6, '0')[:6]}{zone[:3]}:{zone[-2:]}")
    except ValueError:
        return None
    return read.astimezone(timezone.utc)


class Unreadable(ValueError):
    """A field is missing, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class Fields:
    """One object of an answer; `at` is its place in it."""

    value: Mapping[str, Any]
    at: str = ""

    @classmethod
    def of(cls, value: Any, at: str = "") -> Fields:
        if not isinstance(value, Mapping):
            raise Unreadable(f"{at or 'the answer'} is no object")
        return cls(value, at)

    def _name(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name

    def _must(self, name: str) -> Any:
        found = self.value.get(name)
        if found is None:
            raise Unreadable(f"{self._name(name)} is missing")
        return found

    def text(self, name: str) -> str:
        return self._text(name, self._must(name))

    def text_or_none(self, name: str) -> str | None:
        found = self.value.get(name)
        return None if found is None else self._text(name, found)

    def _text(self, name: str, found: object) -> str:
        if not isinstance(found, str):
            raise Unreadable(f"{self._name(name)} is no text")
        return found

    def whole(self, name: str) -> int:
        return self._money(name, self._must(name), "").minor

    def whole_or_none(self, name: str) -> int | None:
        return None if self.value.get(name) is None else self.whole(name)

    def money(self, name: str, currency: str) -> Money:
        return self._money(name, self._must(name), currency)

    def moneys_or_none(self, name: str, currency: str) -> tuple[Money, ...] | None:
        found = self.value.get(name)
        if found is None:
            return None
        if not isinstance(found, list):
            raise Unreadable(f"{self._name(name)} is no list")
        return tuple(self._money(name, amount, currency) for amount in found)

    def _money(self, name: str, found: object, currency: str) -> Money:
        try:
            return money.of_minor(found, currency)
        except ValueError as fault:
            raise Unreadable(f"{self._name(name)}: {fault}") from None

    def time_or_none(self, name: str) -> datetime | None:
        found = self.value.get(name)
        read = _time(found) if isinstance(found, str) else None
        if read is None and found is not None:
            raise Unreadable(f"{self._name(name)} is no time")
        return read

    def one_of(self, name: str, kind: type[E]) -> E:
        """A member of `kind`, which turns words that it does not know into UNKNOWN."""
        return kind(self.text(name))

    def object(self, name: str) -> Fields:
        return Fields.of(self._must(name), self._name(name))

    def entries(self, name: str) -> list[Fields]:
        found = self._must(name)
        if not isinstance(found, list):
            raise Unreadable(f"{self._name(name)} is no list")
        return [Fields.of(entry, f"{self._name(name)}[{at}]") for at, entry in enumerate(found)]


class _Open(str, Enum):
    """States that the service may have more of than we know."""

    @classmethod
    def _missing_(cls, value: object) -> _Open:
        found: _Open = cls["UNKNOWN"]
        return found


class StudyStatus(_Open):
    UNPUBLISHED = "UNPUBLISHED"
    SCHEDULED = "SCHEDULED"
    PUBLISHING = "PUBLISHING"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    AWAITING_REVIEW = "AWAITING REVIEW"
    COMPLETED = "COMPLETED"
    UNKNOWN = "UNKNOWN"


class SubmissionStatus(_Open):
    RESERVED = "RESERVED"
    ACTIVE = "ACTIVE"
    TIMED_OUT = "TIMED-OUT"
    AWAITING_REVIEW = "AWAITING REVIEW"
    APPROVED = "APPROVED"
    PARTIALLY_APPROVED = "PARTIALLY APPROVED"
    REJECTED = "REJECTED"
    RETURNED = "RETURNED"
    SCREENED_OUT = "SCREENED OUT"
    UNKNOWN = "UNKNOWN"

    @property
    def in_a_query(self) -> str:
        return self.value.replace(" ", "_")


# ---------------------------------------------------------------------------------------------------- the account


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    id: str
    email: str
    currency: str | None  # the account's own; each workspace has its own as well

    @classmethod
    def read(cls, fields: Fields) -> Me:
        return cls(id=fields.text("id"), email=fields.text("email"), currency=fields.text_or_none("currency_code"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    id: str
    title: str

    @classmethod
    def read(cls, fields: Fields) -> Workspace:
        return cls(id=fields.text("id"), title=fields.text("title"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    total: Money  # with what studies that are out have been assigned
    available: Money

    @property
    def currency(self) -> str:
        return self.total.currency

    @classmethod
    def read(cls, fields: Fields) -> Balance:
        currency = fields.text("currency_code")
        return cls(total=fields.money("total_balance", currency), available=fields.money("available_balance", currency))


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    id: str
    title: str

    @classmethod
    def read(cls, fields: Fields) -> Project:
        return cls(id=fields.text("id"), title=fields.text("title"))


# ---------------------------------------------------------------------------------------------------- studies


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """A study as lists show it: nothing but its id and name is promised there."""

    id: str
    name: str
    internal_name: str | None
    metadata: str | None
    status: StudyStatus
    created_at: datetime | None

    @classmethod
    def read(cls, fields: Fields) -> StudyLine:
        return cls(
            id=fields.text("id"),
            name=fields.text("name"),
            internal_name=fields.text_or_none("internal_name"),
            metadata=fields.text_or_none("metadata"),
            status=StudyStatus(fields.text_or_none("status") or "UNKNOWN"),
            created_at=fields.time_or_none("date_created"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    id: str
    status: StudyStatus
    name: str
    internal_name: str | None
    metadata: str | None
    project: str | None
    places: int
    reward: Money
    minutes: int
    url: str | None  # None: taskflow, or Prolific's own task builder
    raw: Mapping[str, Any] = field(repr=False, compare=False)  # the whole answer, to compare with what was wanted

    @classmethod
    def reader(cls, currency: str) -> Callable[[Fields], Study]:
        def read(fields: Fields) -> Study:
            return cls(
                id=fields.text("id"),
                status=fields.one_of("status", StudyStatus),
                name=fields.text("name"),
                internal_name=fields.text_or_none("internal_name"),
                metadata=fields.text_or_none("metadata"),
                project=fields.text_or_none("project"),
                places=fields.whole("total_available_places"),
                reward=fields.money("reward", currency),
                minutes=fields.whole("estimated_completion_time"),
                url=fields.text_or_none("external_study_url"),
                raw=fields.value,
            )

        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many submissions of a study are in each status."""

    by_status: Mapping[SubmissionStatus, int]
    total: int

    @classmethod
    def read(cls, fields: Fields) -> Counts:
        told = {status: fields.whole_or_none(status.value) or 0 for status in SubmissionStatus}
        del told[SubmissionStatus.UNKNOWN]
        total = fields.whole_or_none("TOTAL")
        return cls(by_status=told, total=sum(told.values()) if total is None else total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    net: Money
    fees: Money
    tax: Money

    @property
    def gross(self) -> Money:
        return self.net + self.fees + self.tax

    @classmethod
    def read(cls, fields: Fields) -> Charge:
        def amount(name: str) -> Money:
            part = fields.object(name)
            return part.money("amount", part.text("currency"))

        return cls(net=amount("rewards"), fees=amount("fees"), tax=amount("tax"))


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCost:
    rewards: Charge
    bonuses: Charge

    @property
    def total(self) -> Money:
        return self.rewards.gross + self.bonuses.gross

    @classmethod
    def read(cls, fields: Fields) -> StudyCost:
        found = cls(rewards=Charge.read(fields.object("rewards")), bonuses=Charge.read(fields.object("bonuses")))
        try:
            found.total  # noqa: B018
        except ValueError as fault:
            raise Unreadable(str(fault)) from None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TestStudy:
    __test__ = False  # for pytest: no class of tests

    study: str
    url: str

    @classmethod
    def read(cls, fields: Fields) -> TestStudy:
        return cls(study=fields.text("study_id"), url=fields.text("study_url"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One address of a taskflow study."""

    url: str
    places: int
    taken: int

    @classmethod
    def read(cls, fields: Fields) -> Allocation:
        return cls(
            url=fields.text("external_url"),
            places=fields.whole("total_allocation"),
            taken=fields.whole_or_none("allocated") or 0,
        )


# ---------------------------------------------------------------------------------------------------- submissions


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One coming of a participant. `bonuses`: what was paid on top so far; None where the answer does not say."""

    id: str
    participant: str
    study: str
    status: SubmissionStatus
    code: str | None
    started_at: datetime | None
    completed_at: datetime | None
    bonuses: tuple[Money, ...] | None
    return_requested: datetime | None

    @classmethod
    def reader(cls, currency: str, *, study: str | None = None) -> Callable[[Fields], Submission]:
        """Of an entry of the list of `study`; without it, of a detail or the answer to a transition."""
        listed = study is not None

        def read(fields: Fields) -> Submission:
            return cls(
                id=fields.text("id"),
                participant=fields.text("participant_id" if listed else "participant"),
                study=study or fields.text("study_id"),
                status=fields.one_of("status", SubmissionStatus),
                code=fields.text_or_none("study_code" if listed else "entered_code"),
                started_at=fields.time_or_none("started_at"),
                completed_at=fields.time_or_none("completed_at"),
                bonuses=fields.moneys_or_none("bonus_payments", currency),
                return_requested=fields.time_or_none("return_requested"),
            )

        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Bonus:
    """Bonuses that are set up and not paid. `total`: what paying them takes out of the wallet."""

    id: str
    amount: Money
    total: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardRate:
    least_per_hour: Money
    advised_per_hour: Money

    @classmethod
    def read_all(cls, value: Any) -> Iterable[RewardRate]:
        for fields in Fields({"rates": value}).entries("rates"):
            currency = fields.text("currency")
            least, advised = "min_reward_per_hour", "recommended_reward_per_hour"
            yield cls(least_per_hour=fields.money(least, currency), advised_per_hour=fields.money(advised, currency))


# ---------------------------------------------------------------------------------------------------- people, hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    id: str
    name: str
    members: int | None  # how many

    @classmethod
    def read(cls, fields: Fields) -> Group:
        members = fields.whole_or_none("participant_count")
        return cls(id=fields.text("id"), name=fields.text("name"), members=members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    sender: str
    text: str
    study: str | None

    @classmethod
    def read(cls, fields: Fields) -> Message:
        about = fields.value.get("data")
        return cls(
            sender=fields.text("sender_id"),
            text=fields.text("body"),
            study=None if about is None else fields.object("data").text_or_none("study_id"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A question by which participants can be chosen. `choices`: id -> words, for type `select`."""

    id: str
    title: str
    type: str
    choices: Mapping[str, str]
    lower: float | str | None
    upper: float | str | None

    @classmethod
    def read(cls, fields: Fields) -> Filter:
        choices = fields.value.get("choices")
        return cls(
            id=fields.text("filter_id"),
            title=fields.text_or_none("title") or "",
            type=fields.text("type"),
            choices={str(key): str(words) for key, words in choices.items()} if isinstance(choices, Mapping) else {},
            lower=fields.value.get("min"),
            upper=fields.value.get("max"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSecret:
    id: str
    value: Secret

    @classmethod
    def read(cls, fields: Fields) -> HookSecret:
        return cls(id=fields.text("id"), value=Secret(fields.text("value").encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    id: str
    event: str
    url: str
    enabled: bool

    @classmethod
    def read(cls, fields: Fields) -> Subscription:
        return cls(
            id=fields.text("id"),
            event=fields.text("event_type"),
            url=fields.text("target_url"),
            enabled=fields.value.get("is_enabled") is True,
        )
