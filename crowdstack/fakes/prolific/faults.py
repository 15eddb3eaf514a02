"""What goes wrong between a client and the service: seeded, at rates, or forced for the next requests that match.

"After" means that the service has done what was asked, and the client does not hear so.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Kinds that a request may meet, in the order in which they are drawn.
BEFORE = ("429", "5xx_before", "drop_before")
AFTER = ("5xx_after", "drop_after", "timeout_after")
KINDS = (*BEFORE, *AFTER)
RATES = (*KINDS, "429_money", "stale", "hook_lost", "hook_twice", "hook_failed")
SPANS = {"stale_s": 10.0, "hook_late_s": 0.0, "retry_after_s": 1.0}  # longest, in seconds
_MONEY = re.compile(
    r"/(submissions/.+/transition|submissions/bulk-approve|submissions/bonus-payments|bulk-bonus-payments/.+/pay)/"
)


@dataclass
class _Forced:
    kind: str
    method: str
    path: re.Pattern[str]
    left: int


@dataclass
class Faults:
    """`rates`: probabilities by the names in RATES, and longest times by those in SPANS. ValueError for any other name."""

    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.set(self.rates)
        self.random = random.Random(f"faults:{self.seed}")
        self._forced: list[_Forced] = []

    def set(self, rates: Mapping[str, float]) -> None:
        """These rates from now on, all others 0."""
        for name, value in rates.items():
            if name not in RATES and name not in SPANS:
                raise ValueError(f"{name!r} is no fault; there are {', '.join((*RATES, *SPANS))}")
            if not value >= 0 or (name in RATES and value > 1):
                raise ValueError(
                    f"{name}={value} is not {'between 0 and 1' if name in RATES else 'a number of seconds'}"
                )
        self.rates = dict(rates)

    def force(self, kind: str, *, method: str = "", path: str = "", times: int = 1) -> None:
        """The next `times` requests of this method whose path this expression is found in meet `kind`."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} cannot be forced; there are {', '.join(KINDS)}")
        self._forced.append(_Forced(kind, method.upper(), re.compile(path), times))

    def draw(self, method: str, path: str) -> str | None:
        """What this request meets, if anything."""
        for forced in self._forced:
            if forced.left and forced.method in ("", method) and forced.path.search(path):
                forced.left -= 1
                return forced.kind
        if not self.rates:
            return None
        for kind in KINDS:
            rate = self.rates.get(kind, 0)
            if kind == "429" and _MONEY.search(path):
                rate = max(rate, self.rates.get("429_money", 0))
            if rate and self.random.random() < rate:
                return kind
        return None

    def chance(self, name: str) -> bool:
        rate = self.rates.get(name, 0)
        return bool(rate) and self.random.random() < rate

    def span_s(self, name: str) -> float:
        """Some time, no longer than asked for."""
        longest = self.rates.get(name, SPANS[name])
        return self.random.uniform(0, longest) if longest else 0.0

    def retry_after_s(self) -> int | None:
        """For half of the 429s; it is not documented, so neither can be relied on."""
        return max(1, round(self.span_s("retry_after_s"))) if self.random.random() < 0.5 else None

    def is_before(self, kind: str) -> bool:
        return kind in BEFORE
