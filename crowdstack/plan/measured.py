"""Measured: what the time that visits really took says of their pay. Pure.

By the median of those that were handed in, as Prolific judges studies (researcher-help.prolific.com): one who idles moves it
by next to nothing, and all are topped up by the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

from crowdstack.errors import PolicyRefused
from crowdstack.model import Money
from crowdstack.plan.actions import FixTopUp
from crowdstack.plan.desired import Desired, ceil_div
from crowdstack.plan.fees import PayVerdict, hourly, reward_for, span, verdict_of

_ENOUGH = 5  # visits: of fewer, one who was interrupted may be the median


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPay:
    """What an hour of a run's visits was really paid. `verdict`: of reward and what comes on top, None without a floor."""

    visits: int
    median_s: int
    per_hour: Money  # of the reward
    on_top: Money  # of a visit, as it was fixed or would be now; net
    minimum_hourly: Money | None
    verdict: PayVerdict | None
    missing: Money  # of a visit, for the minimum; net

    def __str__(self) -> str:
        """In a line: how it stands and, below the minimum, what now."""
        visits = f"{self.visits:,} {'visit' if self.visits == 1 else 'visits'}"
        told = f"{self.per_hour} an hour by the median of {visits}, {span(self.median_s)}"
        if self.on_top.minor:
            told += f", and {self.on_top} on top of each (pay.top_up)"
        if self.verdict is not PayVerdict.BELOW_MINIMUM:
            return told if self.verdict is None else f"{told}: {self.verdict.value}"
        return (
            f"{told}: below the minimum of {self.minimum_hourly}. {self.missing} a visit are missing: pay them with "
            "`crowdstack pay compensate`; for the next run raise task.reward or set pay.top_up"
        )


def measured_pay(desired: Desired, times: Sequence[float], fixed: FixTopUp | None) -> MeasuredPay | None:
    """`times`: seconds of each visit; `fixed`: what comes on top, if that was decided. None where no visit ended yet, nobody is
    paid, or nothing was said of time or pay."""
    median_s = median_of(times)
    said = desired.visit_s is not None or desired.minimum_hourly is not None
    if not median_s or not said or not desired.reward.minor:
        return None
    on_top = top_up(desired, median_s) if fixed is None else fixed.net
    paid = desired.reward + on_top
    least = desired.minimum_hourly
    return MeasuredPay(
        visits=len(times),
        median_s=median_s,
        per_hour=hourly(desired.reward, median_s),
        on_top=on_top,
        minimum_hourly=least,
        verdict=verdict_of(hourly(paid, median_s), desired),
        missing=paid * 0 if least is None else max(reward_for(least, median_s) - paid, paid * 0),
    )


def check_measured_pay(desired: Desired, before: Desired, measured: MeasuredPay | None) -> tuple[str, ...]:
    """What the last run, `before`, says of the pay of the one that is to begin: the same as `check_pay`, by the median of its visits
    instead of the estimate, with what may come on top. Nothing where visits are of another length now, or too few were made."""
    least = desired.minimum_hourly
    if measured is None or least is None or measured.visits < _ENOUGH or before.per_visit != desired.per_visit:
        return ()
    paid = desired.reward + top_up(desired, measured.median_s)
    rate = hourly(paid, measured.median_s)
    if verdict_of(rate, desired) is not PayVerdict.BELOW_MINIMUM:
        return ()
    told = f"{paid} for {span(measured.median_s)}, the median of the last run's visits, is {rate} an hour"
    enough = reward_for(least, measured.median_s)
    hint = f"set task.reward to {enough}, or pay.top_up to what is missing"
    if desired.refuse_underpaid:
        raise PolicyRefused(f"the pay is too low: {told}", why=f"the minimum is {least}", hint=hint)
    return (f"the pay is below the minimum: {told}; the minimum is {least}. Better: {hint}",)
