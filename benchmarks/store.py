"""How fast does the store take events? `python benchmarks/store.py` prints one table (`-o json` for machines).

A unit here is its whole visit: arrived, assigned, submitted, left. Beside it, in the same run on the same disk: a bare
sqlite3 `executemany` of the same rows (visit, assignment, submission) in the same batches, each committed durably.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from crowdstack.model import (
    Arrived,
    Assigned,
    AssignmentId,
    Cursor,
    Event,
    EventBody,
    EventKind,
    Item,
    ItemId,
    Left,
    LeftReason,
    RunId,
    StudyKey,
    Submitted,
    TaskName,
    UnitOffer,
    VisitId,
    WorkerId,
)
from crowdstack.ports import Batch
from crowdstack.review.export import Format, export
from crowdstack.store.store import PeeweeStore

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
TASK = TaskName("bench")
BATCH = 500
T = TypeVar("T")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--units", type=int, default=20_000)
    arguments.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to be measured (not a tmpfs)")
    arguments.add_argument("-o", "--output", choices=["text", "json"], default="text")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix=".store-bench-", dir=given.folder) as folder:
        figures = measure(Path(folder), given.units)
    if given.output == "json":
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:38} {value:>12,.2f}" if isinstance(value, float) else f"{name:38} {value:>12}")


def measure(folder: Path, units: int) -> dict[str, float | int | str]:
    store = PeeweeStore(folder / "state" / "store.db")
    items = [Item(id=ItemId(f"item-{n}"), data={"text": f"sentence {n}"}) for n in range(units // 10)]
    opening, run = timed(lambda: store.open_run(TASK, settings={}, items=items, repeats=10, fresh=False, now=NOW))
    start = Cursor(inbox="bench-inbox-bench", epoch=1, seq=0, chain="")
    store.adopt_inbox(run.id, start)
    offering, offered = timed(lambda: list(offer_all(store, run.id)))
    events = [event for number, unit in enumerate(offered) for event in visit(number, unit)]
    batches = list(in_batches(start, events))

    before = cpu_s()
    keeping, _ = timed(lambda: [store.keep(run.id, batch) for batch in batches])
    cpu = cpu_s() - before
    counts = store.unit_counts(run.id)
    assert counts.submitted == units
    assert counts == store.recount(run.id)
    assert store.quarantined(run.id) == 0
    bare, settings = timed_bare(folder / "bare.db", batches)
    with store._database.reading() as db:
        assert db.execute_sql("PRAGMA synchronous").fetchone()[0] == settings == 2
    reading, _ = timed(lambda: [store.unit_counts(run.id) for _ in range(100)])
    exporting, rows = timed(lambda: export(store, TASK, folder / "out.csv", Format.CSV))
    assert rows == units
    copying, _ = timed(lambda: store.backup(str(folder / "copy.db")))
    store.close()
    return {
        "units": units,
        "synchronous": "FULL",
        "open a run (units/s)": units / opening,
        "offer and mark offered (units/s)": units / offering,
        "keep (units/s)": units / keeping,
        "keep (events/s)": len(events) / keeping,
        "keep, per second of CPU (units)": units / cpu,
        "bare executemany (units/s)": units / bare,
        "keep / bare": bare / keeping,
        "counts for a status line (ms)": reading * 10,
        "export to CSV (rows/s)": rows / exporting,
        "verified backup (s)": copying,
        "memory, most (MiB)": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def cpu_s() -> float:
    """User and system seconds of this process so far: what others do on the machine is not in it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def offer_all(store: PeeweeStore, run: RunId) -> Iterator[UnitOffer]:
    while True:
        _, units, drop = store.unoffered(run, BATCH)
        if not units:
            return
        store.mark_offered(run, units, drop)
        yield from units


def visit(number: int, unit: UnitOffer) -> Iterator[Event]:
    name, worker, hold = (
        VisitId(f"visit-{number:016}"),
        WorkerId(f"worker-{number % 200}"),
        AssignmentId(f"hold-{number:016}"),
    )
    bodies: list[tuple[EventKind, EventBody]] = [
        (EventKind.ARRIVED, Arrived(visit=name, worker=worker, study=StudyKey("bench-1"))),
        (EventKind.ASSIGNED, Assigned(assignment=hold, unit=unit.unit, worker=worker, visit=name, timeout_s=600)),
        (
            EventKind.SUBMITTED,
            Submitted(
                assignment=hold, unit=unit.unit, worker=worker, visit=name, nonce=f"nonce-{number:016}",
                answers={"label": "yes", "confidence": number % 100, "comment": "as it seems to me"},
                signals={"focus": 12, "paste": 0}, bundle="b" * 64, duration_s=7.5,
            ),
        ),
        (EventKind.LEFT, Left(visit=name, worker=worker, reason=LeftReason.VISIT, submissions=1)),
    ]  # fmt: skip
    for offset, (kind, body) in enumerate(bodies, start=1):
        seq = number * len(bodies) + offset
        yield Event(seq=seq, at=NOW + timedelta(milliseconds=seq), kind=kind, body=body, receipt=seq)


def in_batches(start: Cursor, events: list[Event]) -> Iterator[Batch]:
    before = start
    for first in range(0, len(events), BATCH):
        some = tuple(events[first : first + BATCH])
        after = Cursor(inbox=start.inbox, epoch=1, seq=some[-1].seq, chain=str(some[-1].seq))
        yield Batch(before=before, events=some, cursor=after)
        before = after


def timed_bare(path: Path, batches: list[Batch]) -> tuple[float, int]:
    """Seconds to insert the same rows with nothing around them; and the `synchronous` it was done with."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = wal")
    db.execute("PRAGMA synchronous = full")
    db.execute("CREATE TABLE visit (id TEXT PRIMARY KEY, worker TEXT, study TEXT)")
    db.execute("CREATE TABLE assignment (id TEXT PRIMARY KEY, unit TEXT, visit TEXT, worker TEXT)")
    db.execute(
        "CREATE TABLE submission (id INTEGER PRIMARY KEY, assignment TEXT UNIQUE, seq INTEGER, answers TEXT, signals TEXT)"
    )

    def insert() -> None:
        for batch in batches:
            bodies = [(event.seq, event.body) for event in batch.events if isinstance(event, Event)]
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO visit VALUES (?, ?, ?)",
                [(body.visit, body.worker, body.study) for _, body in bodies if isinstance(body, Arrived)],
            )
            db.executemany(
                "INSERT INTO assignment VALUES (?, ?, ?, ?)",
                [
                    (body.assignment, body.unit, body.visit, body.worker)
                    for _, body in bodies
                    if isinstance(body, Assigned)
                ],
            )
            db.executemany(
                "INSERT INTO submission (assignment, seq, answers, signals) VALUES (?, ?, ?, ?)",
                [
                    (body.assignment, seq, json.dumps(body.answers), json.dumps(body.signals))
                    for seq, body in bodies
                    if isinstance(body, Submitted)
                ],
            )
            db.execute("COMMIT")

    seconds, _ = timed(insert)
    (synchronous,) = db.execute("PRAGMA synchronous").fetchone()
    db.close()
    return seconds, synchronous


if __name__ == "__main__":
    main()
