"""Desired: what a spec asks of the crowd, in numbers. Spec + items -> Desired, which the store keeps as the run's settings.

Made by `deploy`; read by `decide`, `forecast`, `cost` and, without the spec at hand, by the reconciler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from crowdstack.model import Item, Money, StudyKey, TaskName, UnitCounts, WorkerId


class Count(str, Enum):
    """What makes a unit done."""

    SUBMITTED = "submitted"
    APPROVED = "approved"


class WhenShort(str, Enum):
    """What to do when the whole target may cost more than the budget."""

    REFUSE = "refuse"
    PAUSE = "pause"


def ceil_div(amount: int, by: int) -> int:
    return -(-amount // by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What is wanted of the crowd. Places and visits are totals."""

    task: TaskName
    study: StudyKey  # the run's own listing
    title: str
    items: int
    repeats: int
    count: Count
    per_visit: int  # the most units one visit can do
    visits: int  # visits of an ideal crowd, if nothing was done before
    personal: bool  # how many visits depends on who comes: named workers, or visits without an end
    open_ended: bool  # how many visits cannot be known before people come
    reward: Money
    estimated_s: int | None = None  # one unit
    budget: Money | None = None
    when_short: WhenShort = WhenShort.REFUSE
    wave: int | None = None
    surplus_percent: int = 10
    surplus_least: int = 5
    keep: bool = False
    blocked: tuple[WorkerId, ...] = ()
    provider: Mapping[str, Any] = field(default_factory=dict)  # for the adapter that wiring chooses: JSON
    crowd: Mapping[str, Any] = field(default_factory=dict)

    @property
    def units(self) -> int:
        return self.items * self.repeats

    def ideal_visits(self, units: UnitCounts) -> int:
        """Visits that an ideal crowd needs for what this run has to do in all (earlier runs may have done a part)."""
        todo = units.total - units.before
        return min(self.visits, todo) if self.personal else ceil_div(todo, self.per_visit)

    def most_visits(self, units: UnitCounts) -> int:
        """Places that may be listed in all: the ideal ones and the surplus that the spec allows."""
        ideal = self.ideal_visits(units)
        return ideal + max(self.surplus_least, ceil_div(ideal * self.surplus_percent, 100)) if ideal else 0

    def to_settings(self) -> dict[str, Any]:
        """JSON for the store: everything but the study, which belongs to the run."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "study"}
        return {name: _to_json(value) for name, value in values.items()}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], *, run: str) -> Desired:
        """`to_settings` the other way round, for this run."""
        budget = settings["budget"]
        return cls(
            **{
                **settings,
                "study": StudyKey(run),
                "count": Count(settings["count"]),
                "when_short": WhenShort(settings["when_short"]),
                "reward": Money.parse(settings["reward"]),
                "budget": None if budget is None else Money.parse(budget),
                "blocked": tuple(settings["blocked"]),
            }
        )


def _to_json(value: Any) -> Any:
    if isinstance(value, Money):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def visits_needed(items: Iterable[Item], *, repeats: int, per_visit: int, crowd: int | None) -> int:
    """Visits of an ideal crowd. `crowd`: how many come anyway, when a visit has no end (None when it has one).

    Units offered to named workers need visits of just these workers.
    """
    named: Counter[WorkerId] = Counter()
    anybody = 0
    for item in items:
        named.update(item.offered_to[:repeats])
        anybody += repeats - len(item.offered_to[:repeats])
    visits = sum(ceil_div(units, per_visit) for units in named.values())
    fewest = ceil_div(anybody, per_visit)
    return visits + (fewest if crowd is None else max(fewest, min(crowd, anybody)))
