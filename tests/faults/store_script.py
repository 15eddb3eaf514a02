"""A run of the store to be killed anywhere: opened, fed in batches, judged and settled; run again it goes on.

After each batch its cursor goes to a file, as an `ack` goes to the server: what was acked must be stored.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from crowdstack.errors import Busy
from crowdstack.model import Money, SubmissionStatus, Verdict
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import NOW, TASK, Inbox, list_places, offered, open_run, settle

UNITS = 12
BUSY = 3


def main(folder: Path) -> None:
    store = PeeweeStore(folder / "store.db")
    run = open_run(store, *(f"item-{n}" for n in range(UNITS)))
    cursor = store.cursor(run.id)
    inbox = Inbox(store, run)
    if cursor is not None:
        store.adopt_inbox(run.id, cursor)
    offered(store, run)
    list_places(store, run, UNITS, budget=Money(UNITS * 50, "USD"))
    holds = [inbox.work(unit.unit, f"worker-{n}", {"n": n}) for n, unit in enumerate(store.units(run.id))]
    acked = os.open(folder / "acked", os.O_WRONLY | os.O_CREAT)
    while (have := store.cursor(run.id)) is not None and have.seq < inbox.seq:
        batch = inbox.batch(have.seq)
        few = batch.events[:7]
        inbox_at = inbox.at(few[-1].seq)
        store.keep(run.id, type(batch)(before=batch.before, events=few, cursor=inbox_at))
        os.lseek(acked, 0, os.SEEK_SET)  # not pwrite: faults are injected into the store's own writes
        os.write(acked, str(inbox_at.seq).encode().rjust(6))
    for ended in store.ended_visits(run.id, UNITS):
        settle(store, run, next(hold for hold in holds if hold.visit == ended.visit))
    for row in store.submissions(TASK):
        if row.status is SubmissionStatus.SUBMITTED:
            store.judge(row.submission, Verdict.APPROVE, reason="", by="ann", version=row.version, now=NOW)
    store.close()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Busy as fault:
        print(fault, file=sys.stderr)
        sys.exit(BUSY)
