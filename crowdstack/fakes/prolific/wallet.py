"""Money: fees rounded up to the minor unit per payment, what is reserved for listed places, what may still be spent.

All amounts are integers in minor units of the workspace's currency. Money never leaves that is not there.
"""

from __future__ import annotations

from typing import NamedTuple

from crowdstack.fakes.prolific.records import Study, Submission, WalletLine, Workspace
from crowdstack.fakes.prolific.refusal import no_funds
from crowdstack.fakes.prolific.settings import Settings
from crowdstack.fakes.prolific.states import CHARGED_IN_PLACE, DRAFTS, PENDING, StudyStatus
from crowdstack.fakes.prolific.world import World


class Price(NamedTuple):
    amount: int
    fees: int
    vat: int

    @property
    def total(self) -> int:
        return self.amount + self.fees + self.vat

    def times(self, count: int) -> Price:
        return Price(self.amount * count, self.fees * count, self.vat * count)

    def plus(self, other: Price) -> Price:
        return Price(self.amount + other.amount, self.fees + other.fees, self.vat + other.vat)


NOTHING = Price(0, 0, 0)


def price(settings: Settings, amount: int) -> Price:
    """What one payment of `amount` costs."""
    fees = _share(amount, settings.fee_bp)
    return Price(amount, fees, _share(amount + fees if settings.vat_on_all else fees, settings.vat_bp))


def _share(amount: int, hundredths_of_percent: int) -> int:
    return -(-amount * hundredths_of_percent // 10_000)


def partial_reward(reward: int, percentage: int) -> int:
    return -(-reward * percentage // 100)


def slots(study: Study) -> dict[str, tuple[int, int]]:
    """Screen-out code -> (its reward, slots left)."""
    found = {}
    for code in study.fields["completion_codes"]:
        for action in code["actions"]:
            if action["action"] == "FIXED_SCREEN_OUT_PAYMENT":
                left = action["slots"] - study.slots_used.get(code["code"], 0)
                found[code["code"]] = (int(action["fixed_screen_out_reward"]), int(left))
    return found


def needed(settings: Settings, study: Study, places: int) -> Price:
    """What `places` of a study and its screen-out slots cost if all are used."""
    if study.test:
        return NOTHING
    total = price(settings, study.reward).times(places)
    for reward, left in slots(study).values():
        total = total.plus(price(settings, reward).times(left))
    return total


def reserved(world: World, study: Study) -> Price:
    """What is held back for a study: for all it lists, and once it was stopped for those who are still in it."""
    if study.deleted or study.test or study.status in DRAFTS:
        return NOTHING
    if study.stopped or study.status is StudyStatus.COMPLETED:
        return price(world.settings, study.reward).times(world.count(study, PENDING))
    return needed(world.settings, study, study.places - world.count(study, CHARGED_IN_PLACE))


def all_reserved(world: World, workspace: Workspace) -> int:
    return sum(reserved(world, study).total for study in world.studies.values() if study.workspace == workspace.id)


def balance(workspace: Workspace) -> int:
    return workspace.paid_in - workspace.spent


def available(world: World, workspace: Workspace) -> int:
    return balance(workspace) - all_reserved(world, workspace)


def require(world: World, workspace: Workspace, more: int) -> None:
    """Refusal unless `more` is there beyond what is reserved."""
    there = available(world, workspace)
    if more > there:
        raise no_funds(more, there, workspace.currency)


def pay(world: World, study: Study, submission: Submission, purpose: str, amount: int, source: str = "") -> None:
    """Money leaves the wallet. Callers have reserved or required it."""
    if study.test:
        return
    cost = price(world.settings, amount)
    workspace = world.workspaces[study.workspace]
    assert cost.total <= balance(workspace), "paid more than there is"
    workspace.spent += cost.total
    number = f"{len(world.lines) + 1:08d}"
    world.lines[number] = WalletLine(
        id=number, at=world.now, workspace=workspace.id, study=study.id, submission=submission.id,
        purpose=purpose, amount=cost.amount, fees=cost.fees, vat=cost.vat, source=source,
    )  # fmt: skip


def breakdown(settings: Settings, total: int) -> dict[str, int]:
    """A balance as the rewards, fees and VAT that it is enough for."""
    low, high = 0, max(total, 0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if price(settings, middle).total <= total else (low, middle - 1)
    fees = price(settings, low).fees
    return {"rewards": low, "fees": fees, "vat": total - low - fees}
