"""Cost: what people will be paid, and the most that this can become. Pure; amounts are integers, fractions round up."""

from __future__ import annotations

from dataclasses import dataclass

from crowdstack.errors import OverBudget
from crowdstack.model import Money
from crowdstack.plan.decide import Observed
from crowdstack.plan.desired import Desired, WhenShort, ceil_div
from crowdstack.plan.fees import Charge, PayVerdict, charge, hourly, pay_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run. `cap`: what it can never exceed without another yes."""

    visits: int
    gross: Money  # of one visit
    total: Money  # with an ideal crowd
    cap: Money
    per_unit: str | None  # text, because it may be a fraction of a cent
    per_hour: Money | None
    charge: Charge | None = None  # `gross` taken apart, as far as is known
    minimum_hourly: Money | None = None
    recommended_hourly: Money | None = None
    pay: PayVerdict | None = None
    top_up: Money | None = None  # at most, of one visit, for the worker: in `cap`, not in `total`
    reserve: Money | None = None  # the same, gross


def cost(desired: Desired, observed: Observed) -> Cost:
    ideal = desired.ideal_visits(observed.units)
    most = observed.worst * desired.most_visits(observed.units)
    if desired.budget is not None:
        most = min(most, max(desired.budget - elsewhere(observed), observed.gross * 0))
    todo = observed.units.total - observed.units.before
    return Cost(
        visits=ideal,
        gross=observed.gross,
        total=observed.gross * ideal,
        cap=most,
        per_unit=None if desired.open_ended or not todo else _share(observed.gross * ideal, todo),
        per_hour=hourly(desired.reward, desired.visit_s) if desired.visit_s else None,
        charge=_charge(desired, observed.gross),
        minimum_hourly=desired.minimum_hourly,
        recommended_hourly=desired.recommended_hourly,
        pay=pay_verdict(desired),
        top_up=desired.top_up,
        reserve=observed.reserve,
    )


def _charge(desired: Desired, gross: Money) -> Charge | None:
    """What of `gross` is what. By our table, unless the provider's own word is another: it does not say how much is tax."""
    if gross == desired.reward:
        return None
    told = desired.provider
    table = charge(desired.reward, fee_bp=told.get("fee_bp", 0), vat_bp=told.get("vat_bp", 0))
    return table if table.gross == gross else Charge(reward=desired.reward, fee=gross - desired.reward, vat=gross * 0)


def check_budget(desired: Desired, observed: Observed) -> None:
    """OverBudget if the run must not be started: its worst case does not fit (`refuse`), or not even one visit does."""
    if desired.budget is None or not desired.ideal_visits(observed.units):
        return
    others = elsewhere(observed)
    visits = desired.most_visits(observed.units) if desired.when_short is WhenShort.REFUSE else 1
    worst = observed.worst * visits
    if others + worst <= desired.budget:
        return
    before = f"; {others} are spent or promised in other runs" if others.minor else ""
    raise OverBudget(
        f"this run may cost {worst} ({visits:,} visits x {observed.worst}), budget.max is {desired.budget}{before}",
        why=f"{desired.ideal_visits(observed.units):,} visits are needed; the rest is provider.surplus, "
        "for visits that end without counting",
        hint=f"raise budget.max, lower provider.surplus{' or pay.top_up' if desired.top_up else ''}, or set "
        "budget.when_short: pause",
    )


def elsewhere(observed: Observed) -> Money:
    """What other runs of the task have spent or promised."""
    return max(observed.exposure - observed.worst * observed.places, observed.gross * 0)


def _share(total: Money, among: int) -> str:
    """`total / among`, rounded up to a hundredth of the minor unit, with no more digits than needed."""
    hundredths = ceil_div(total.minor * 100, among)
    whole = Money(hundredths // 100, total.currency)
    rest = f"{hundredths % 100:02d}".rstrip("0")
    amount, currency = str(whole).split(" ")
    point = "" if "." in amount or not rest else "."
    return f"{amount}{point}{rest} {currency}"
