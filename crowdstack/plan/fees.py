"""Fees: what a provider charges on top of a reward by our own table, and what an hour of a visit is worth. Pure.

Prolific, as of September 2026: 42.8 % of the reward for companies, 33.3 % for academic and non-profit work
(prolific.com/pricing), the same on bonuses, and tax where it is due. Its floor is 6 GBP or 8 USD an hour, and 9 GBP or 12 USD
are recommended, by the median of the real time (researcher-help.prolific.com). Which amount the tax is on is not said, so
it is on reward and fee: the larger. Where the account can be asked for the cost, the greater of the two counts.

Rates are integers in hundredths of a percent; fractions of a minor unit round up.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import Enum
from typing import TYPE_CHECKING

from crowdstack.errors import PolicyRefused
from crowdstack.model import Money, gross_of

if TYPE_CHECKING:
    from crowdstack.plan.desired import Desired

PROLIFIC_FEES_BP = {"corporate": 4280, "academic": 3330}
PROLIFIC_HOURLY = {"GBP": (600, 900), "USD": (800, 1200)}  # minor units: the minimum, what is recommended


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one payment costs, and of what."""

    reward: Money
    fee: Money
    vat: Money

    @property
    def gross(self) -> Money:
        return self.reward + self.fee + self.vat


class PayVerdict(str, Enum):
    """How a rate per hour stands to the provider's."""

    FINE = "fine"
    BELOW_RECOMMENDED = "below what is recommended"
    BELOW_MINIMUM = "below the minimum"


def basis_points(percent: float) -> int:
    """A percentage as it was written, in hundredths of a percent, rounded up."""
    return int((Decimal(str(percent)) * 100).to_integral_value(ROUND_CEILING))


def charge(reward: Money, *, fee_bp: int, vat_bp: int) -> Charge:
    """`model.gross_of` taken apart."""
    with_fee = gross_of(reward, fee_bp=fee_bp, vat_bp=0)
    gross = gross_of(reward, fee_bp=fee_bp, vat_bp=vat_bp)
    return Charge(reward=reward, fee=with_fee - reward, vat=gross - with_fee)


def hourly(reward: Money, seconds: int) -> Money:
    """The rate of a reward for so much time, rounded down: it is at least a floor just when the exact one is."""
    return Money(reward.minor * 3600 // seconds, reward.currency)


def reward_for(per_hour: Money, seconds: int) -> Money:
    """The least reward whose rate is `per_hour`."""
    return Money(-(-per_hour.minor * seconds // 3600), per_hour.currency)


def pay_verdict(desired: Desired) -> PayVerdict | None:
    """By the estimate. None where there is no floor, or the time of a visit is not known."""
    seconds = desired.visit_s
    return None if seconds is None else verdict_of(hourly(desired.reward, seconds), desired)


def verdict_of(rate: Money, desired: Desired) -> PayVerdict | None:
    """How pay per hour stands to the floor; None without one."""
    if desired.minimum_hourly is None:
        return None
    if rate < desired.minimum_hourly:
        return PayVerdict.BELOW_MINIMUM
    if desired.recommended_hourly is not None and rate < desired.recommended_hourly:
        return PayVerdict.BELOW_RECOMMENDED
    return PayVerdict.FINE


def check_pay(desired: Desired) -> tuple[str, ...]:
    """What to say about the pay. PolicyRefused when it is below the minimum, unless the spec says to warn only."""
    verdict, seconds, least = pay_verdict(desired), desired.visit_s, desired.minimum_hourly
    if verdict in (None, PayVerdict.FINE) or seconds is None or least is None:
        return ()
    better = desired.recommended_hourly or least
    rate = f"{desired.reward} for {span(seconds)} is {hourly(desired.reward, seconds)} an hour"
    floor = f"the minimum is {least}" + (f", {better} are recommended" if better != least else "")
    rewards = {reward_for(least, seconds): "the minimum", reward_for(better, seconds): "what is recommended"}
    enough = " or ".join(f"{reward} ({what})" for reward, what in rewards.items()) if len(rewards) > 1 else ""
    enough = enough or f"{reward_for(least, seconds)}"
    if verdict is PayVerdict.BELOW_MINIMUM and desired.refuse_underpaid:
        raise PolicyRefused(
            f"the pay is too low: {rate}",
            why=floor,
            hint=f"set task.reward to {enough}, or let a visit be shorter (task.units_per_visit)",
        )
    return (f"the pay is {verdict.value}: {rate}; {floor}. Better: task.reward {enough}",) if verdict else ()


def span(seconds: int) -> str:
    """`7 min 10 s`."""
    minutes, rest = divmod(seconds, 60)
    return " ".join(
        part for part in (f"{minutes} min" if minutes else "", f"{rest} s" if rest or not minutes else "") if part
    )
