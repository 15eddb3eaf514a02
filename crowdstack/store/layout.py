"""Which units there should be: items x repeats, made to match what the data says now.

Work that was done stays done. A unit that is no longer wanted is dropped (not offered, not counted) and comes back,
with what was done of it, when its item does.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import peewee

from crowdstack.model import Item, UnitState, WorkerId
from crowdstack.store.base import to_json
from crowdstack.store.database import many

_NEW_UNIT = """
    INSERT INTO unit (id, generation, item, repeat, state, attempt, offered, withdraw, offered_to)
    VALUES (?, ?, ?, ?, 'open', 1, 0, 0, ?)"""
_DROP = "UPDATE unit SET state = 'dropped', withdraw = withdraw OR state IN ('open', 'assigned') WHERE id = ?"
# What a dropped unit was: done if the submission it names still counts; else open, and offered anew.
_REVIVE = """
    UPDATE unit SET state = COALESCE(
        (SELECT status FROM submission WHERE assignment = unit.assignment AND status IN ('submitted', 'approved')), 'open')
    WHERE id = ?"""
_OFFER_ANEW = """
    UPDATE unit SET withdraw = 0, assignment = NULL, run = NULL, attempt = attempt + 1
    WHERE id = ? AND state = 'open'"""


@dataclass(frozen=True, slots=True)
class _Unit:
    id: str
    repeat: int
    state: UnitState
    begun: bool
    offered_to: WorkerId | None

    @property
    def rank(self) -> tuple[int, bool, int]:
        """Work begun or done first, then what waits, then what was dropped; older before younger."""
        waits = {UnitState.OPEN: 1, UnitState.DROPPED: 2}.get(self.state, 0)
        return waits, not self.begun, self.repeat


def lay_out(db: peewee.Database, generation: int, items: Iterable[Item], repeats: int) -> bool:
    """Make the units match; whether anything had to be changed."""
    known: dict[str, str] = dict(db.execute_sql("SELECT item, data FROM item WHERE generation = ?", (generation,)))
    units = _units_by_item(db, generation)
    new_items: list[tuple[int, str, str]] = []
    changed_items: list[tuple[str, int, str]] = []
    new_units: list[tuple[str, int, str, int, WorkerId | None]] = []
    drop: list[str] = []
    revive: list[str] = []
    for item in items:
        data = to_json(dict(item.data))
        if item.id not in known:
            new_items.append((generation, item.id, data))
        elif known[item.id] != data:
            changed_items.append((data, generation, item.id))
        present = units.pop(item.id, [])
        missing, back, gone = _match(present, list(item.offered_to[:repeats]) or [None] * repeats)
        next_repeat = 1 + max((unit.repeat for unit in present), default=0)
        for repeat, worker in enumerate(missing, start=next_repeat):
            # A letter first: an id that begins with "-" could not be typed after a command.
            new_units.append(("u" + secrets.token_urlsafe(16), generation, item.id, repeat, worker))
        revive += back
        drop += gone
    drop += [unit.id for left in units.values() for unit in left if unit.state is not UnitState.DROPPED]
    many(db, "INSERT INTO item (generation, item, data) VALUES (?, ?, ?)", new_items)
    many(db, "UPDATE item SET data = ? WHERE generation = ? AND item = ?", changed_items)
    many(db, _DROP, [(unit,) for unit in drop])
    many(db, _REVIVE, [(unit,) for unit in revive])
    many(db, _OFFER_ANEW, [(unit,) for unit in revive])
    many(db, _NEW_UNIT, new_units)
    # The server learns new data with the offer of a unit: open ones are told again.
    many(
        db,
        "UPDATE unit SET offered = 0 WHERE generation = ? AND item = ? AND state IN ('open', 'assigned')",
        [(generation, item) for _, generation, item in changed_items],
    )
    return bool(new_items or changed_items or new_units or drop or revive)


def _match(
    present: Sequence[_Unit], wanted: list[WorkerId | None]
) -> tuple[list[WorkerId | None], list[str], list[str]]:
    """Fit the units of one item to the workers they are wanted for (None: anybody): what to make, revive and drop.

    Those first in rank take the places; open ones that find none go.
    """
    missing = list(wanted)
    revive: list[str] = []
    drop: list[str] = []
    for unit in sorted(present, key=lambda unit: unit.rank):
        if unit.offered_to in missing:
            missing.remove(unit.offered_to)
            if unit.state is UnitState.DROPPED:
                revive.append(unit.id)
        elif unit.state is UnitState.OPEN:
            drop.append(unit.id)
    return missing, revive, drop


def _units_by_item(db: peewee.Database, generation: int) -> dict[str, list[_Unit]]:
    found: dict[str, list[_Unit]] = {}
    for unit, item, repeat, state, begun, worker in db.execute_sql(
        "SELECT id, item, repeat, state, assignment IS NOT NULL, offered_to FROM unit WHERE generation = ? ORDER BY item, repeat",
        (generation,),
    ):
        found.setdefault(item, []).append(_Unit(unit, repeat, UnitState(state), bool(begun), worker))
    return found
