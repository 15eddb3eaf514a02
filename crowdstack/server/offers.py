"""The open units, and which of them a worker would get: first those meant for this worker only, then by the line of items."""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import suppress

from crowdstack.model import UnitState
from crowdstack.server.line import Line
from crowdstack.server.rows import Item, Unit, Worker


class Offers:
    """Each worker walks along the line of items at an own pace and gets one unit of each item at most."""

    def __init__(self) -> None:
        self._line: Line[Item] = Line()
        self._own: defaultdict[str, deque[Unit]] = defaultdict(deque)  # by the only worker they are offered to

    def add(self, unit: Unit, *, again: bool = False) -> None:
        """Offer it. `again`: some have passed its item already, so it stands at the end of the line once more."""
        if unit.offered_to is not None:
            self._own[unit.offered_to].append(unit)
            return
        unit.item.open.append(unit)
        if again or not unit.item.entries:
            unit.item.entries.append(self._line.append(unit.item))

    def remove(self, unit: Unit) -> None:
        item = unit.item
        if unit.offered_to is not None:
            with suppress(ValueError):  # stepped over already: this worker may not have the item any more
                self._own[unit.offered_to].remove(unit)
            return
        item.open.remove(unit)
        if not item.open:
            for entry in item.entries:
                self._line.remove(entry)
            item.entries.clear()

    def first(self, worker: Worker) -> Unit | None:
        """The unit this worker would get now."""
        own = self._own.get(worker.id)
        while own:
            unit = own[0]
            if unit.state is UnitState.OPEN and unit.item.id not in worker.did:
                return unit
            own.popleft()
        while True:
            worker.at, item = self._line.first(worker.at)
            if item is None:
                return None
            if item.id not in worker.did:
                return item.open[0]
            worker.at += 1  # done, so never again

    def hand_out(self, unit: Unit, worker: Worker) -> None:
        """Off the offers, into this worker's hands."""
        self.remove(unit)
        worker.at += unit.offered_to is None  # past it: given back, it comes again at the end of the line
