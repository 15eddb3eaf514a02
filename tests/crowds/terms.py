"""What is the case in one run: drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crowdstack.plan.desired import Count, ceil_div
from tests.crowds.people import EXEMPLARY, Conduct

MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the case in one run."""

    units: int
    per_visit: int
    repeats: int
    count: Count
    wave: int | None
    surplus: int
    budget: int | None  # visits that it pays for
    wallet: int  # visits that are in it at first
    fills: tuple[float, ...]  # when it is filled
    faults: Mapping[str, float]
    faults_end: float
    mortal: float  # share of lives that are killed
    drops: float  # of calls to the server
    short_lease: float
    keep: bool
    no_data: str
    twice: int  # visits of one participant
    gap_s: float  # mean time between two who come
    work_s: tuple[float, float]
    timeout_s: int
    limit_s: float
    verdicts: tuple[float, float, float]  # of answers: approved, excluded, rejected
    review_s: float
    bonuses: int
    hand: str | None  # what somebody does on the provider's site
    operator: str | None  # what the operator does meanwhile
    abandoned: float | None  # when we stop for good
    people: int  # most that ever come
    settings: Mapping[str, Any]
    conduct: Conduct
    understood: float  # of the amount of a bonus, by the provider: 1 is what was meant
    seconds: int  # reconcilers started beside the one that there is
    top_up: int | None  # at most; a visit is said to take a minute

    @classmethod
    def draw(cls, seed: int) -> Terms:
        draw = random.Random(f"terms:{seed}")
        often = draw.random
        per_visit = draw.randint(1, 5)
        repeats = 1 if often() < 0.7 else 2
        units = draw.randint(8, 30) // repeats
        visits = ceil_div(units * repeats, per_visit)
        surplus = draw.choice([0, 2, 10, 30, 60])
        wild = draw.choice([0.0, 0.3, 1.0])
        faults = {
            "429": 0.1, "5xx_before": 0.03, "5xx_after": 0.03, "drop_before": 0.02, "drop_after": 0.03,
            "timeout_after": 0.03, "stale": draw.choice([0.0, 0.1]),
        }  # fmt: skip
        most_s = draw.randint(20, 50)
        return cls(
            units=units,
            per_visit=per_visit,
            repeats=repeats,
            count=draw.choice([Count.APPROVED, Count.APPROVED, Count.SUBMITTED]),
            wave=draw.choice([None, None, 1, 2, 4]),
            surplus=surplus,
            budget=draw.choice([None, None, None, 1000, 1000, visits + surplus, visits, max(1, visits // 2)]),
            wallet=draw.choice([1000, 1000, 1000, visits, max(1, visits // 2), 0]),
            fills=tuple(sorted(draw.uniform(0, 20 * MINUTE) for _ in range(2))),
            faults={name: rate * wild for name, rate in faults.items() if rate},
            faults_end=draw.uniform(4, 15) * MINUTE,
            mortal=draw.choice([0.0, 0.5, 0.9]),
            drops=draw.choice([0.0, 0.01, 0.05]),
            short_lease=draw.choice([0.0, 0.05]),
            keep=often() < 0.05,
            no_data=draw.choice(["ask_return", "ask_return", "reject", "approve"]),
            twice=draw.choice([1, 1, 3]),
            gap_s=draw.choice([4.0, 8.0, 15.0]),
            work_s=(5.0, float(most_s)),
            timeout_s=draw.choice([45, 90]),
            limit_s=6 * MINUTE,
            verdicts=draw.choice([(1.0, 0.0, 0.0), (0.8, 0.1, 0.1), (0.5, 0.1, 0.4)]),
            review_s=draw.choice([30.0, 120.0]),
            bonuses=draw.choice([0, 0, 1, 3]),
            hand=draw.choice([None] * 16 + ["PAUSE", "STOP", "APPROVE", "REJECT", "DELETE"]),
            operator=draw.choice([None] * 12 + ["pause"] + ["pause", "destroy", "destroy now"]),
            abandoned=draw.uniform(1, 25) * MINUTE if often() < 0.1 else None,
            people=draw.choice([4000] * 11 + [visits]),
            settings={
                "publishing_s": draw.choice([0, 2, 20]),
                "completion_lag_s": draw.choice([0, 0, 5]),
                "pay_lag_s": draw.choice([0, 5, 40]),
                "full_when_taken": often() < 0.5,
                "freed_is_active": often() < 0.5,
                "reserved_s": draw.choice([60, 300]),
            },
            conduct=draw.choice(
                [Conduct()] * 4 + [Conduct(forged=0.3)] * 2 + [Conduct(returns=0.3, times_out=0.1)] * 2 + [EXEMPLARY]
            ),
            understood=draw.choice([1.0] * 10 + [100.0, 0.01]),
            seconds=draw.choice([0, 0, 1, 3]),
            top_up=draw.choice([None, 10, 40]),
        )

    @property
    def easy(self) -> bool:
        """Whether money, places and people suffice, so that the run must come to its end by itself."""
        enough = self.budget is None or self.budget >= 1000
        willing = self.hand is None and self.operator in (None, "pause") and self.abandoned is None and not self.keep
        return enough and willing and self.surplus >= 30 and self.verdicts[0] >= 0.8 and self.people >= 1000
