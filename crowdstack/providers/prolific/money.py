"""Money as Prolific's wire has it: whole minor units in JSON, decimal major units in the CSV of bonuses. The only place
that turns one into the other (threats I11): a slip here pays a hundredfold."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crowdstack.errors import Refused
from crowdstack.model import Money

MOST = 10**12 - 1  # minor units, which is all that Money.parse reads; a number beyond it was no amount
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def of_minor(value: object, currency: str) -> Money:
    """The amount of a JSON number, which may be written `150` or `150.0`. ValueError for all that is not whole."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST and value == int(value):
        return Money(int(value), currency)
    raise ValueError(f"{str(value)[:40]!r} is no whole number of minor units")


def to_minor(amount: Money, currency: str) -> int:
    """The JSON number of an amount. Refused for an amount in any currency but the workspace's: the wire names none."""
    if amount.currency != currency:
        raise Refused(
            f"{amount} is not in {currency}, the currency of this workspace",
            hint=f"give the amount in {currency}, or use a workspace in {amount.currency}",
        )
    if not 0 <= amount.minor <= MOST:
        raise Refused(f"{amount} is not an amount that can be paid", hint="use an amount of 0 or more")
    return amount.minor


def to_major(amount: Money) -> str:
    """`1.50` for 150 cents: every decimal that the currency has, no sign of it."""
    return str(amount).removesuffix(f" {amount.currency}")


def bonus_csv(amounts: Mapping[str, Money], currency: str) -> str:
    """A line `<submission or participant>,<major units>` for each. Refused for an amount that is not above zero."""
    lines = []
    for id_, amount in amounts.items():
        if not to_minor(amount, currency):
            raise Refused(f"a bonus of {amount} for {id_}", hint="leave out who gets nothing")
        lines.append(f"{checked_id(id_)},{to_major(amount)}")
    return "\n".join(lines)


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def checked_id(id_: str) -> str:
    """An id that can stand in a path or a line of CSV. Workers' browsers bring ids: one with a slash would name another call."""
    if not is_id(id_):
        raise Refused(
            f"{id_[:80]!r} is no id of Prolific", hint="ids are 24 letters and digits, as the site shows them"
        )
    return id_
