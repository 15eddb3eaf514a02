"""Eventual consistency: the account as it was some seconds ago, for a read that came to a copy which lags behind."""

from __future__ import annotations

import bisect
import copy
from typing import Any

from crowdstack.fakes.prolific.records import TO_REMEMBER, Record, changed
from crowdstack.fakes.prolific.world import World

_TABLES = ("studies", "submissions", "groups", "workspaces", "projects")


class Past:
    """`note` after each change; `seen` gives a world to read from and not to change."""

    def __init__(self) -> None:
        self._versions: dict[str, tuple[list[float], list[Record]]] = {}

    def note(self, world: World, keep_s: float) -> None:
        """Remember what changed, for `keep_s` seconds. What was there at the first note was there always."""
        at = world.now if self._versions else 0.0
        for table in _TABLES:
            for record in getattr(world, table).values():
                if changed(record, TO_REMEMBER):
                    times, records = self._versions.setdefault(record.id, ([], []))
                    times.append(at)
                    records.append(copy.copy(record))
                    old = bisect.bisect_right(times, world.now - keep_s) - 1
                    if old > 0:
                        del times[:old], records[:old]

    def seen(self, world: World, ago_s: float) -> World:
        at = world.now - ago_s
        shown = copy.copy(world)
        for table in _TABLES:
            setattr(shown, table, self._table(getattr(world, table), at))
        shown.submissions = {key: s for key, s in shown.submissions.items() if s.study in shown.studies}
        shown.detach()
        return shown

    def _table(self, records: dict[str, Any], at: float) -> dict[str, Any]:
        found = {}
        for key in records:
            times, versions = self._versions.get(key, ([], []))
            number = bisect.bisect_right(times, at) - 1
            if number >= 0:
                found[key] = versions[number]
        return found
