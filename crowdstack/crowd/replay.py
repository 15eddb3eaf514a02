"""Replay: the workers of a recording (CSV of item, worker, answer columns) come again and answer as recorded.

Each as itself where units are offered as they were recorded; where anybody gets any unit (a panel), the recorded answers
to an item are given by whoever gets it.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from crowdstack.crowd.conduct import Act, Way, thinking_s
from crowdstack.errors import Refused
from crowdstack.model import WorkerId
from crowdstack.wire.configs import CrowdConfig

Answers = Mapping[str, str]
Recording = Mapping[WorkerId, Mapping[str, Answers]]  # by worker, then by item


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A worker that answers the items it has answers for, and gives back any other."""

    worker: WorkerId
    answers: Mapping[str, Answers] = field(repr=False)
    data_id: str
    time_per_unit_s: float
    seed: int

    def act(self, data: Mapping[str, Any], given_up: int) -> Act:
        item = str(data.get(self.data_id))
        pause_s = thinking_s(self.time_per_unit_s, Random(f"{self.seed}/{self.worker}/{item}"))
        if item not in self.answers:
            return Act(way=Way.RETURN, pause_s=pause_s)
        return Act(way=Way.ANSWER, answers=self.answers[item], pause_s=pause_s)

    def left(self, accepted: int) -> int:
        return max(0, len(self.answers) - accepted)


def recorded_workers(config: CrowdConfig) -> list[Recorded]:
    """The recording's workers, those with most to do first: whoever comes last must not be the one who takes longest."""
    assert config.recording is not None
    recording = read(Path(config.recording), item_column=config.item_column, worker_column=config.worker_column)
    return [
        Recorded(
            worker=worker,
            answers=answers,
            data_id=config.data_id,
            time_per_unit_s=config.time_per_unit_s,
            seed=config.seed,
        )
        for worker, answers in sorted(recording.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]


class Pool:
    """Recorded answers by item, each to be given once. `given` says which are out: those that came to nothing are given again."""

    def __init__(self, recording: Recording, given: Callable[[str], Iterable[Mapping[str, Any]]]) -> None:
        self._answers: dict[str, list[Answers]] = {}
        for answers in recording.values():
            for item, answer in answers.items():
                self._answers.setdefault(item, []).append(answer)
        self._given = given

    def next(self, item: str) -> Answers | None:
        """One that is not out; None when all are."""
        out = Counter(tuple(sorted(answers.items())) for answers in self._given(item))
        for answers in self._answers.get(item, ()):
            key = tuple(sorted(answers.items()))
            if not out[key]:
                return answers
            out[key] -= 1
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Somebody who gives the recorded answers of others."""

    worker: WorkerId
    pool: Pool = field(repr=False)
    data_id: str
    time_per_unit_s: float
    seed: int

    def act(self, data: Mapping[str, Any], given_up: int) -> Act:
        item = str(data.get(self.data_id))
        pause_s = thinking_s(self.time_per_unit_s, Random(f"{self.seed}/{self.worker}/{item}"))
        answers = self.pool.next(item)
        if answers is None:
            return Act(way=Way.RETURN, pause_s=pause_s)
        return Act(way=Way.ANSWER, answers=answers, pause_s=pause_s, item=item)

    def left(self, accepted: int) -> None:
        return None


def stands(config: CrowdConfig, given: Callable[[str], Iterable[Mapping[str, Any]]]) -> list[Stand]:
    """The recording's workers, who give each other's answers."""
    assert config.recording is not None
    recording = read(Path(config.recording), item_column=config.item_column, worker_column=config.worker_column)
    pool = Pool(recording, given)
    return [
        Stand(
            worker=worker,
            pool=pool,
            data_id=config.data_id,
            time_per_unit_s=config.time_per_unit_s,
            seed=config.seed,
        )
        for worker in sorted(recording)
    ]


def read(path: Path, *, item_column: str, worker_column: str) -> Recording:
    """What each worker answered to each item; answers are text, one field for each other column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            return _by_worker(path, rows.fieldnames or (), rows, item_column, worker_column)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise Refused("the recording cannot be read", where=str(path), why=str(fault)) from fault


def _by_worker(
    path: Path, columns: Iterable[str], rows: csv.DictReader[str], item_column: str, worker_column: str
) -> Recording:
    for column in (item_column, worker_column):
        if column not in columns:
            raise Refused(
                f"the recording has no column {column!r}", where=str(path), hint=f"it has {', '.join(columns)}"
            )
    recording: dict[WorkerId, dict[str, Answers]] = {}
    for row in rows:
        where = f"{path}:{rows.line_num}"
        if None in row or None in row.values():
            raise Refused("the row has another number of cells than the header", where=where)
        item, worker = row.pop(item_column), WorkerId(row.pop(worker_column))
        answers = recording.setdefault(worker, {})
        if item in answers:
            raise Refused(f"worker {worker} answers item {item} twice", where=where, hint="keep one of the rows")
        answers[item] = row
    if not recording:
        raise Refused("the recording is empty", where=str(path))
    return recording
