"""Tallies: how many units, submissions and visits are in which state, so that no status line counts a million rows.

They stand in `generation` and `run` and are kept in the transaction that changes the rows: what these were worth before
and what they are worth after, the difference added once, however many rows changed. Equal to a recount at all times.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import peewee

from crowdstack.model import SubmissionStatus, UnitState, VisitState
from crowdstack.store.tables import DONE

UNCOUNTED = (
    SubmissionStatus.EXCLUDED,
    SubmissionStatus.REJECTED,
    SubmissionStatus.SURPLUS,
    SubmissionStatus.VOID,
)  # those that count for no unit


@dataclass(frozen=True, slots=True)
class _Tally:
    """Columns of `table` that sum something over rows; each row belongs to the entry that `key` names."""

    table: str
    key: str
    columns: dict[str, str]
    rows: str  # with {units} or {visits}, the rows that are summed over


_TALLIES = (
    _Tally(
        "generation",
        "unit.generation",
        {
            **{state.value: f"unit.state = '{state.value}'" for state in UnitState},
            "attempts": "(unit.state <> 'dropped') * attempt",
            "offered": "(unit.state <> 'dropped') * offered - withdraw",
        },
        "{units}",
    ),
    _Tally(
        "generation",
        "unit.generation",
        {
            status.value: f"status = '{status.value}'"
            for status in UNCOUNTED
        },
        "{units} CROSS JOIN submission ON submission.unit = unit.id",
    ),
    _Tally(
        "run", "unit.run", {"done": " OR ".join(f"unit.state = '{state.value}'" for state in DONE)}, "{units}"
    ),
    _Tally(
        "run",
        "visit.run",
        {
            **{state.value: f"visit.state = '{state.value}'" for state in VisitState},
            "unverified": "visit.claim = 'claimed'",
        },
        "{visits}",
    ),
)  # fmt: skip
_NAMED = {
    "units": "json_each(:units) CROSS JOIN unit ON unit.id = value",
    "visits": "json_each(:visits) CROSS JOIN visit ON visit.id = value",
}
_ALL = {
    "units": "(SELECT * FROM unit WHERE generation = :generation) AS unit",
    "visits": "(SELECT visit.* FROM run JOIN visit ON visit.run = run.id WHERE run.generation = :generation) AS visit",
}


@contextmanager
def tallied(db: peewee.Database, *, units: Iterable[str] = (), visits: Iterable[str] = ()) -> Iterator[None]:
    """Inside, these units (or submissions of theirs) and visits may change and no others. Unknown ids do no harm."""
    chosen = {"units": json.dumps(list(set(units))), "visits": json.dumps(list(set(visits)))}
    _add(db, -1, _NAMED, chosen)
    yield
    _add(db, +1, _NAMED, chosen)


def tally_anew(db: peewee.Database, generation: int) -> None:
    """For what changes most rows of a generation at once: count them all."""
    for table, key in (("generation", "id"), ("run", "generation")):
        zero = ", ".join(f"{column} = 0" for tally in _TALLIES if tally.table == table for column in tally.columns)
        db.execute_sql(f"UPDATE {table} SET {zero} WHERE {key} = ?", (generation,))
    _add(db, +1, _ALL, {"generation": generation})


def _add(db: peewee.Database, sign: int, chosen: dict[str, str], values: Mapping[str, object]) -> None:
    """Add to the tallies, or take off, what the chosen rows are worth now."""
    for tally in _TALLIES:
        sums = ", ".join(f"SUM({worth})" for worth in tally.columns.values())
        found = db.execute_sql(
            f"SELECT {sums}, {tally.key} FROM {tally.rows.format(**chosen)} GROUP BY {tally.key}", values
        ).fetchall()
        grown = ", ".join(f"{column} = {column} + ? * {sign}" for column in tally.columns)
        for row in found:
            db.execute_sql(f"UPDATE {tally.table} SET {grown} WHERE id = ?", row)
