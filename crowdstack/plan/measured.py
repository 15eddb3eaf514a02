"""Measured: what the time that visits really took says of their pay. Pure.

By the median of those that were handed in, as Prolific judges studies (researcher-help.prolific.com): one who idles moves it
by next to nothing, and all are topped up by the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import median

from crowdstack.model import Money
from crowdstack.plan.desired import Desired, ceil_div


def median_of(times: Sequence[float]) -> int | None:
    """Whole seconds, rounded up; None without any visit."""
    return ceil(median(times)) if times else None


def top_up(desired: Desired, median_s: int | None) -> Money:
    """What a visit needs on top of its reward for the rate that the estimate promised, `pay.top_up` at most. Net."""
    said_s = desired.visit_s
    if desired.top_up is None or said_s is None or median_s is None or median_s <= said_s:
        return desired.reward * 0
    earned = Money(ceil_div(desired.reward.minor * median_s, said_s), desired.reward.currency)
    return min(earned - desired.reward, desired.top_up)
