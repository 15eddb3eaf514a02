"""Conduct: what one simulated worker does with the units it is given. Bots and recordings are two kinds of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, Protocol

from crowdstack.model import WorkerId


class Way(str, Enum):
    """How a worker deals with a unit."""

    ANSWER = "answer"
    RETURN = "return"  # gives it back and asks for another
    VANISH = "vanish"  # closes the page without a word and stays away until the hold has run out


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a worker does with one unit, after `pause_s` of thinking."""

    way: Way
    answers: Mapping[str, Any] | None = None  # with Way.ANSWER
    wrong: Mapping[str, Any] | None = None  # answers that do not fit the schema, sent before the right ones
    twice: bool = False  # sends its answers once more after they were accepted
    pause_s: float = 0.0
    item: str = ""  # whose recorded answers these are


class Conduct(Protocol):
    """One worker's mind. The same unit, given up as often before, gives the same act in every process; what others have given
    meanwhile may count too (replay.Stand), so it is asked again after the pause."""

    @property
    def worker(self) -> WorkerId: ...

    def act(self, data: Mapping[str, Any], given_up: int) -> Act:
        """What to do with the unit that shows `data`; `given_up`: how often this worker had it and did not answer."""

    def left(self, accepted: int) -> int | None:
        """How many units it still has to do after `accepted` of its answers were taken; None: whatever it is offered."""


_SPREAD = 0.4  # of log time: two of three units take between 0.67 and 1.5 times the median


def thinking_s(median_s: float, random: Random) -> float:
    return median_s * random.lognormvariate(0, _SPREAD)
