"""Data: the rows of a file (or of the spec) -> items, and the workers they are offered to.

Workers see the columns that the app `uses` and no others; ids are always text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from crowdstack.model import Item, ItemId, WorkerId
from crowdstack.spec.files import blaming, opened
from crowdstack.spec.load import AFTER_SPEC, Located, refuse
from crowdstack.spec.models import Data, Spec
from crowdstack.spec.providers import ProlificProvider, ReplayCrowd
from crowdstack.spec.rows import READERS, CsvValues, Faults, Row, csv_rows, object_row
from crowdstack.spec.text import nearest

_WORKER = re.compile(r"[^\s\x00-\x1f]{1,100}")


def load_items(spec: Spec) -> list[Item]:
    """The items of the task, in the data's order, each with the workers it is offered to. SpecError names the rows at fault."""
    source = spec.task.source
    if source.file is None:
        faults = Faults(str(spec.file), source=0)
        items = _items(spec, _inline_rows(spec, faults), faults)
    else:
        faults = Faults(str(spec.folder / source.file))
        form = source.format or source.file.rpartition(".")[2].lower()
        if form not in READERS:
            refuse([_at_file(spec, f"{source.file} does not end in .csv, .json or .jsonl", "add format: csv")])
        with blaming(spec.document, _data_path(spec)), opened(spec.folder, source.file) as raw:
            items = _items(spec, READERS[form](raw, source.encoding, faults), faults)
    crowd = spec.crowd
    if isinstance(crowd, ReplayCrowd):
        items = _offered_as_recorded(spec, crowd, items)
    refuse(list(_faults_of_offers(spec, items)))
    return items


def _data_path(spec: Spec) -> tuple[str, ...]:
    return ("task", "data", "file") if isinstance(spec.task.data, Data) else ("task", "data")


def _at_file(spec: Spec, message: str, hint: str | None = None) -> Located:
    return spec.document.problem(_data_path(spec), message, hint)


# ------------------------------------------------------------------------------------------------ rows -> items


def _items(spec: Spec, rows: Iterator[Row], faults: Faults) -> list[Item]:
    source, uses = spec.task.source, spec.task.app.uses
    wanted = dict.fromkeys(column for column in (*(uses or ()), source.id, source.worker) if column is not None)
    items: list[Item] = []
    lines: dict[str, int] = {}
    coming = _coming(spec)
    for row in rows:
        values = row.values
        missing = [column for column in wanted if column not in values]
        if missing:
            if not items and isinstance(values, CsvValues):
                refuse([_missing_column(spec, column, values, faults.file) for column in missing])
            for column in missing:
                at = spec.document.at(*_column_path(spec, column))
                faults.add(row.place, f'the row lacks "{column}"{at}', nearest(column, values))
            continue
        data = dict(values) if uses is None else {column: values[column] for column in uses}
        name = _hash(data) if source.id is None else _id(values[source.id], row, faults)
        if name is None:
            continue
        if name in lines:
            if source.id is None:
                message, hint = (
                    f"the row is the same as on line {lines[name]}",
                    "name a column of ids: data: {file: ..., id: ...}",
                )
            else:
                message, hint = f'the id "{name}" was already on line {lines[name]}', "ids name one item each"
            faults.add(row.place, message, hint)
            continue
        lines[name] = row.place.line
        worker = None if source.worker is None else _worker(values[source.worker], row, faults)
        if worker and coming is not None and worker not in coming:
            faults.add(row.place, *_absent(spec, worker, list(coming)))
        items.append(Item(id=ItemId(name), data=data, offered_to=(worker,) if worker else ()))
    if not items and not faults.found:
        refuse([_at_file(spec, f"{faults.file} holds no items" if source.file else "there are no items")])
    refuse(faults.found)
    return items


def _column_path(spec: Spec, column: str) -> tuple[str | int, ...]:
    """Where the spec names a column."""
    for name in ("id", "worker"):
        if column == getattr(spec.task.source, name):
            return "task", "data", name
    uses = spec.task.app.uses or ()
    return "task", "app", "uses", uses.index(column)


def _missing_column(spec: Spec, column: str, values: Mapping[str, Any], file: str) -> Located:
    hint = nearest(column, values)
    if len(values) == 1 and re.search("[;\t]", next(iter(values))):
        hint = "the columns of a CSV file are separated by commas"
    return spec.document.problem(_column_path(spec, column), f'{file} has no column "{column}"', hint)


def _hash(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _id(value: Any, row: Row, faults: Faults) -> str | None:
    name = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(name, str):
        faults.add(row.place, "the id is neither text nor a number")
    elif not name or name != name.strip() or not name.isprintable() or len(name) > 200:
        why = "empty" if not name.strip() else "not plain text of at most 200 characters without blanks around it"
        faults.add(row.place, f"the id is {why}")
    else:
        return name
    return None


def _worker(value: Any, row: Row, faults: Faults) -> WorkerId | None:
    if value in ("", None):
        return None
    if not isinstance(value, str) or not _WORKER.fullmatch(value):
        faults.add(row.place, "the worker's id is not text of 1 to 100 characters without blanks")
        return None
    return WorkerId(value)


def _coming(spec: Spec) -> dict[str, None] | None:
    """The workers who come, in their order; None where that is not ours to say, or a recording says whom items are for."""
    crowd = spec.crowd
    return None if crowd is None or isinstance(crowd, ReplayCrowd) else dict.fromkeys(crowd.names)


def _absent(spec: Spec, worker: WorkerId, coming: Sequence[str]) -> tuple[str, str]:
    """What is wrong with an item for somebody who is not of the crowd, and what now."""
    more = f" and {len(coming) - 7} more" if len(coming) > 8 else ""
    who = ", ".join(coming[:7] if more else coming) + more
    at = spec.document.at("provider", "crowd")
    message = f'the item is for "{worker}", who does not come; the crowd is {who}{at}'
    close = get_close_matches(worker, coming, n=1, cutoff=0.6) if len(coming) <= 100 else []
    return message, f'did you mean "{close[0]}"?' if close else "name one who comes, or let this worker come too"


def _inline_rows(spec: Spec, faults: Faults) -> Iterator[Row]:
    path = ("task", "data", "rows") if isinstance(spec.task.data, Data) else ("task", "data")
    node = spec.document.find(path)
    for entry in node.value:
        value = entry.plain()
        yield from object_row(value, entry.place, len(json.dumps(value, ensure_ascii=False)), faults)


# ------------------------------------------------------------------------------------------------ offers


def _offered_as_recorded(spec: Spec, crowd: ReplayCrowd, items: list[Item]) -> list[Item]:
    """Each item offered to the workers of its recorded answers, in the recording's order."""
    faults = Faults(str(spec.folder / crowd.answers), source=AFTER_SPEC + 1)
    recorded: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    here = ("provider", "crowd")
    with blaming(spec.document, (*here, "answers")), opened(spec.folder, crowd.answers) as raw:
        for row in csv_rows(raw, "utf-8", faults):
            for name in ("item", "worker"):
                column = getattr(crowd, name)
                if column not in row.values:
                    hint = nearest(column, row.values)
                    refuse([spec.document.problem((*here, name), f'{faults.file} has no column "{column}"', hint)])
            item, worker = row.values[crowd.item], row.values[crowd.worker]
            if not _WORKER.fullmatch(worker):
                faults.add(row.place, "the worker's id is not text of 1 to 100 characters without blanks")
            elif (item, worker) in seen:
                faults.add(row.place, f'the worker "{worker}" already answered the item "{item}" above')
            else:
                seen.add((item, worker))
                recorded.setdefault(item, []).append(worker)
    for entry in items:
        there, repeats = len(recorded.get(entry.id, ())), spec.target.repeats
        if there < repeats:
            at = spec.document.at("target", "repeats")
            faults.add(
                faults.place(0), f'the item "{entry.id}" has {there} recorded answers, the target is {repeats}{at}'
            )
    refuse(faults.found)
    return [Item(id=entry.id, data=entry.data, offered_to=tuple(map(WorkerId, recorded[entry.id]))) for entry in items]


def _faults_of_offers(spec: Spec, items: list[Item]) -> Iterator[Located]:
    """Offers to named workers that could never be met."""
    repeats, say = spec.target.repeats, spec.document.problem
    short = next((item for item in items if item.offered_to and len(item.offered_to) < repeats), None)
    if short is not None:
        yield say(
            ("target", "repeats"),
            f'the item "{short.id}" is offered to {len(short.offered_to)} worker, who cannot give {repeats} answers',
            "use repeats: 1 with a worker column",
        )
    work: Counter[str] = Counter(worker for item in items for worker in item.offered_to[:repeats])
    for number, worker in enumerate(spec.workers.block):
        if worker in work:
            yield say(
                ("workers", "block", number),
                f'"{worker}" is blocked, but {work[worker]} items are offered to nobody else',
            )
    most = spec.workers.max_units
    yield from _faults_of_rounds(spec, work)
    busiest = max(work.items(), key=lambda pair: pair[1], default=None)
    if most is not None and busiest is not None and busiest[1] > most:
        yield say(
            ("workers", "max_units"),
            f'"{busiest[0]}" is offered {busiest[1]} items and may do {most} units: the target could not be met',
        )


def _faults_of_rounds(spec: Spec, work: Mapping[str, int]) -> Iterator[Located]:
    """Named workers who would need more visits than their provider lets them make."""
    provider, units = spec.provider, spec.task.units_per_visit
    if not isinstance(provider, ProlificProvider) or not isinstance(units, int):
        return
    rounds = provider.max_submissions_per_participant
    busiest = max(work, key=lambda worker: work[worker], default=None)
    if busiest is not None and rounds != -1 and work[busiest] > rounds * units:
        at = spec.document.at("task", "units_per_visit")
        yield spec.document.problem(
            ("task", "data"),
            f'"{busiest}" is offered {work[busiest]} items and may do {rounds * units}: visits of {units}{at}, {rounds} of them',
            f"set provider.max_submissions_per_participant: {-(-work[busiest] // units)}",
        )
