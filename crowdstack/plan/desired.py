"""Desired: what a spec asks of the crowd, in numbers. Spec + items -> Desired, which the store keeps as the run's settings.

Made by `deploy`; read by `decide`, `forecast`, `cost` and, without the spec at hand, by the reconciler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from crowdstack.model import Item, Money, StudyKey, TaskName, UnitCounts, WorkerId
from crowdstack.plan.panels import claims_of, finish_of, floor_of, provider_settings
from crowdstack.wire.stack import StackInputs

if TYPE_CHECKING:  # pydantic stays out of the reconciler
    from crowdstack.spec import Bundle, Spec


class Count(str, Enum):
    """What makes a unit done."""

    SUBMITTED = "submitted"
    APPROVED = "approved"


class WhenShort(str, Enum):
    """What to do when the whole target may cost more than the budget."""

    REFUSE = "refuse"
    PAUSE = "pause"


class NoData(str, Enum):
    """What to do with a visit that was handed in at the provider with no answers here."""

    ASK_RETURN = "ask_return"  # once; then a person decides
    REJECT = "reject"
    APPROVE = "approve"


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
    minutes: int | None = None  # one visit, where its provider shows people how long it takes
    minimum_hourly: Money | None = None  # by the provider's rules, or the spec's
    recommended_hourly: Money | None = None
    refuse_underpaid: bool = True  # below the minimum nothing is begun
    top_up: Money | None = None  # at most, for a visit whose pay per hour turns out less than was promised
    budget: Money | None = None
    when_short: WhenShort = WhenShort.REFUSE
    wave: int | None = None
    surplus_percent: int = 10
    surplus_least: int = 5
    keep: bool = False
    blocked: tuple[WorkerId, ...] = ()
    require: tuple[str, ...] = ()  # qualifications that a worker must hold
    exclude: tuple[str, ...] = ()  # qualifications that keep a worker out
    provider: Mapping[str, Any] = field(default_factory=dict)  # for the adapter that wiring chooses: JSON
    crowd: Mapping[str, Any] = field(default_factory=dict)

    @property
    def managed(self) -> bool:
        """Whether the provider itself lets people in and knows who came (decisions/0009)."""
        return bool(self.provider.get("managed", self.provider.get("type") == "prolific"))

    @property
    def service(self) -> str:
        """The provider's type; of a plugin its name."""
        kind = str(self.provider.get("type", ""))
        return str(self.provider["name"]) if kind == "plugin" else kind

    @property
    def admission_rules(self) -> dict[str, Any]:
        """What `Store.admission` goes by."""
        return {"block": self.blocked, "require": self.require, "exclude": self.exclude}

    @property
    def no_data(self) -> NoData:
        return NoData(self.provider.get("no_data", NoData.ASK_RETURN))

    @property
    def visit_s(self) -> int | None:
        """How long a visit takes by the estimate: in whole minutes where that is what people are told."""
        if self.minutes is not None:
            return self.minutes * 60
        return None if self.estimated_s is None or self.open_ended else self.estimated_s * self.per_visit

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
        return cls(
            **{
                **settings,
                **{name: Money.parse(settings[name]) for name in _AMOUNTS if settings.get(name) is not None},
                "study": StudyKey(run),
                "count": Count(settings["count"]),
                "when_short": WhenShort(settings["when_short"]),
                **{name: tuple(settings.get(name, ())) for name in ("blocked", "require", "exclude")},
            }
        )


_AMOUNTS = ("reward", "budget", "minimum_hourly", "recommended_hourly", "top_up")


def _to_json(value: Any) -> Any:
    if isinstance(value, Money):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def desired_of(spec: Spec, items: Sequence[Item], *, run: str = "") -> Desired:
    """What `spec` asks for with these items; `run` once it is known (`from_settings` gives it too)."""
    task, provider, repeats = spec.task, spec.provider, spec.target.repeats
    endless = task.units_per_visit == "unlimited"
    most = [len(items), spec.workers.max_units, None if task.units_per_visit == "unlimited" else task.units_per_visit]
    per_visit = min(units for units in most if units is not None)
    percent, least = (
        (0, provider.surplus) if isinstance(provider.surplus, int) else (int(provider.surplus.rstrip("% ")), 5)
    )
    floor, minutes = floor_of(spec), None
    if provider.type == "prolific" and task.estimated_time is not None:
        minutes = ceil_div(task.estimated_time * per_visit, 60)
    return Desired(
        task=spec.name,
        study=StudyKey(run),
        title=task.title,
        items=len(items),
        repeats=repeats,
        count=Count(spec.target.count),
        per_visit=per_visit,
        visits=visits_needed(items, repeats=repeats, per_visit=per_visit, crowd=_coming(spec) if endless else None),
        personal=endless or any(item.offered_to for item in items),
        open_ended=endless and not all(item.offered_to for item in items),
        reward=task.reward,
        estimated_s=task.estimated_time,
        minutes=minutes,
        minimum_hourly=floor[0],
        recommended_hourly=floor[1],
        refuse_underpaid=provider.type != "prolific" or provider.pay_floor == "refuse",
        top_up=spec.pay.top_up.at_most if spec.pay.top_up else None,
        budget=spec.budget.max if spec.budget else None,
        when_short=WhenShort(spec.budget.when_short) if spec.budget else WhenShort.REFUSE,
        wave=provider.wave,
        surplus_percent=percent,
        surplus_least=least,
        keep=spec.lifecycle.keep,
        blocked=tuple(WorkerId(worker) for worker in spec.workers.block),
        require=spec.workers.require,
        exclude=spec.workers.exclude,
        provider=provider_settings(spec, minutes),
        crowd=_crowd_settings(spec),
    )


def _coming(spec: Spec) -> int | None:
    """How many come by themselves. A visit without an end takes in whoever comes: then their number counts, not how much
    each could do."""
    crowd = spec.crowd
    if crowd is None:
        return None
    return len(crowd.names) if crowd.type == "human" else crowd.workers


def _crowd_settings(spec: Spec) -> dict[str, Any]:
    """The crowd as its adapter needs it, JSON: without the spec's folder and without defaults to look up."""
    crowd = spec.crowd
    if crowd is None:
        return {}
    if crowd.type == "human":
        return {"kind": "human", "people": list(crowd.names)}
    settings: dict[str, Any] = {
        "kind": crowd.type,
        "workers": crowd.workers,
        "seed": crowd.seed,
        "time_per_unit_s": crowd.time_per_unit,
    }
    if crowd.type == "bots":
        rates = {"error_rate": crowd.error_rate, "abandon_rate": crowd.abandon_rate}
        return {**settings, **rates, "duplicate_rate": crowd.duplicate_rate}
    return {
        **settings,
        "recording": str((spec.folder / crowd.answers).absolute()),
        "item_column": crowd.item,
        "worker_column": crowd.worker,
        "data_id": spec.task.source.id,
    }


def stack_inputs(spec: Spec, run: str, bundle: Bundle) -> StackInputs:
    """What the stack's program is told: the server's half of the spec. SpecError if its answers schema is unfit."""
    from crowdstack.spec import answers_schema

    task, architect = spec.task, spec.architect
    placed = {} if architect.type == "mock" else architect.model_dump(exclude={"type"})
    return StackInputs(
        run=run,
        task=spec.name,
        title=task.title,
        description=task.description,
        architect=architect.type,
        bundle=bundle.digest,
        files=bundle.files,
        answers=answers_schema(spec),
        timeout_s=task.timeout,
        units_per_visit=None if task.units_per_visit == "unlimited" else task.units_per_visit,
        max_units=spec.workers.max_units,
        sample=task.sample,
        completion=task.completion,
        claims=claims_of(spec),
        finish=finish_of(spec),
        **placed,
    )


def visits_needed(items: Iterable[Item], *, repeats: int, per_visit: int, crowd: int | None) -> int:
    """Visits of an ideal crowd. `crowd`: how many come anyway, when a visit has no end (None when it has one).

    Units offered to named workers need visits of just these workers.
    """
    named: Counter[WorkerId] = Counter()
    anybody = 0
    for item in items:
        named.update(item.offered_to[:repeats])
        anybody += 0 if item.offered_to else repeats
    visits = sum(ceil_div(units, per_visit) for units in named.values())
    fewest = ceil_div(anybody, per_visit)
    return visits + (fewest if crowd is None else max(fewest, min(crowd, anybody)))
