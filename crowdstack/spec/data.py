"""Data: the rows of a file (or of the spec) -> items. Streams; a fault names the row's line.

Workers see the columns that the app `uses` and no others; ids are always text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, NoReturn

from crowdstack.model import Item, ItemId, WorkerId
from crowdstack.spec.files import blaming, opened
from crowdstack.spec.load import AFTER_SPEC, Located, Place, located, refuse
from crowdstack.spec.models import Data, ReplayCrowd, Spec
from crowdstack.spec.text import flaw_of_value, nearest

ROW_BYTES = 256 * 1024
_LINE = 4 * 1024 * 1024  # no line of a file is read further
_SHOWN = 20  # faults of rows that are told; a file with more is told so
_WORKER = re.compile(r"[^\s\x00-\x1f]{1,100}")


class _Row(NamedTuple):
    place: Place
    values: Mapping[str, Any]


@dataclass(slots=True)
class _Faults:
    """Collects the faults of one file; ends the reading when there are plenty."""

    file: str
    source: int = AFTER_SPEC
    found: list[Located] = field(default_factory=list)

    def place(self, line: int) -> Place:
        return Place(self.source, self.file, line)

    def add(self, place: Place, message: str, hint: str | None = None) -> None:
        self.found.append(located(place, (), message, hint))
        if len(self.found) == _SHOWN:
            last = self.place(place.line)
            self.found.append(located(last, (), f"these are the first {_SHOWN} faults; there may be more"))
            refuse(self.found)

    def stop(self, place: Place, message: str, hint: str | None = None) -> NoReturn:
        self.found.append(located(place, (), message, hint))
        refuse(self.found)
        raise AssertionError("there was a fault")


def load_items(spec: Spec) -> list[Item]:
    """The items of the task, in the data's order, each with the workers it is offered to. SpecError names the rows at fault."""
    source = spec.task.source
    if source.file is None:
        faults = _Faults(str(spec.file), source=0)
        items = _items(spec, _inline_rows(spec, faults), faults)
    else:
        faults = _Faults(str(spec.folder / source.file))
        form = source.format or source.file.rpartition(".")[2].lower()
        if form not in _READERS:
            refuse([_at_file(spec, f"{source.file} does not end in .csv, .json or .jsonl", "add format: csv")])
        with blaming(spec.document, _data_path(spec)), opened(spec.folder, source.file) as raw:
            items = _items(spec, _READERS[form](raw, source.encoding, faults), faults)
    crowd = spec.provider.crowd
    if isinstance(crowd, ReplayCrowd):
        items = _offered_as_recorded(spec, crowd, items)
    refuse(list(_faults_of_offers(spec, items)))
    return items


def _data_path(spec: Spec) -> tuple[str, ...]:
    return ("task", "data", "file") if isinstance(spec.task.data, Data) else ("task", "data")


def _at_file(spec: Spec, message: str, hint: str | None = None) -> Located:
    return spec.document.problem(_data_path(spec), message, hint)


# ------------------------------------------------------------------------------------------------ rows -> items


def _items(spec: Spec, rows: Iterator[_Row], faults: _Faults) -> list[Item]:
    source, uses = spec.task.source, spec.task.app.uses
    wanted = dict.fromkeys(column for column in (*(uses or ()), source.id, source.worker) if column is not None)
    items: list[Item] = []
    lines: dict[str, int] = {}
    for row in rows:
        values = row.values
        missing = [column for column in wanted if column not in values]
        if missing:
            if not items and isinstance(values, _CsvValues):
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


def _id(value: Any, row: _Row, faults: _Faults) -> str | None:
    name = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(name, str):
        faults.add(row.place, "the id is neither text nor a number")
    elif not name or name != name.strip() or not name.isprintable() or len(name) > 200:
        why = "empty" if not name.strip() else "not plain text of at most 200 characters without blanks around it"
        faults.add(row.place, f"the id is {why}")
    else:
        return name
    return None


def _worker(value: Any, row: _Row, faults: _Faults) -> WorkerId | None:
    if value in ("", None):
        return None
    if not isinstance(value, str) or not _WORKER.fullmatch(value):
        faults.add(row.place, "the worker's id is not text of 1 to 100 characters without blanks")
        return None
    return WorkerId(value)


# ------------------------------------------------------------------------------------------------ files -> rows


class _CsvValues(dict[str, Any]):
    """The cells of a CSV row: all rows have the columns of the first."""


def _text(raw: BinaryIO, encoding: str, faults: _Faults) -> Iterator[tuple[int, str]]:
    """The lines of a text file, ends kept, with their numbers."""
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    text = io.TextIOWrapper(raw, codec, newline="")
    number = 0
    try:
        while line := text.readline(_LINE):
            number += 1
            if "\0" in line:
                faults.stop(faults.place(number), "the line holds a NUL character", "save the file as plain text")
            if len(line) == _LINE:
                faults.stop(faults.place(number), "the line is longer than 4 MiB")
            yield number, line
    except UnicodeError:
        raw.seek(0)
        bad, found = _bad_byte(raw.read(), codec)
        hint = "save it as UTF-8, or name its encoding: data: {file: ..., encoding: latin-1}"
        faults.stop(faults.place(bad), f"{found} is not {encoding} text", hint)
    finally:
        if not raw.closed:  # whoever opened the file closes it
            text.detach()


def _bad_byte(raw: bytes, codec: str) -> tuple[int, str]:
    """The line of the first byte that cannot be decoded, and that byte."""
    try:
        raw.decode(codec)
    except UnicodeDecodeError as fault:
        line = raw[: fault.start].decode(codec, errors="replace").count("\n") + 1
        return line, f"the byte 0x{raw[fault.start]:02x}"
    return 1, "the file"


def _csv_rows(raw: BinaryIO, encoding: str, faults: _Faults) -> Iterator[_Row]:
    before = csv.field_size_limit(ROW_BYTES)
    reader = csv.reader((line for _, line in _text(raw, encoding, faults)), strict=True)
    columns: list[str] | None = None
    end = 0
    try:
        for cells in reader:
            place, end = faults.place(end + 1), reader.line_num
            if not cells:
                continue
            if columns is None:
                columns = cells
                _check_header(columns, place, faults)
            elif len(cells) != len(columns):
                faults.add(
                    place,
                    f"the row has {len(cells)} cells, the first row has {len(columns)}",
                    "put a cell that holds a comma in double quotes",
                )
            elif sum(map(len, cells)) * 4 > ROW_BYTES and sum(len(cell.encode()) for cell in cells) > ROW_BYTES:
                faults.add(place, f"the row is larger than {ROW_BYTES // 1024} KiB")
            else:
                yield _Row(place, _CsvValues(zip(columns, cells, strict=True)))
    except csv.Error as fault:
        faults.stop(faults.place(end + 1), *_csv_fault(str(fault)))
    finally:
        csv.field_size_limit(before)


def _csv_fault(message: str) -> tuple[str, str | None]:
    if "field larger" in message:
        return f"a cell is larger than {ROW_BYTES // 1024} KiB", "perhaps a double quote was opened and never closed"
    if "unexpected end" in message:
        return "a double quote was opened and never closed", None
    if "expected after" in message:
        return "a double quote stands inside a quoted cell", 'write it twice: ""'
    return f"not CSV: {message}", None


def _check_header(columns: list[str], place: Place, faults: _Faults) -> None:
    for column, times in Counter(columns).items():
        if times > 1:
            faults.add(place, f'the column "{column}" is there {times} times')
        if not column.strip():
            faults.add(place, "a column has no name", "the first row names the columns")
    refuse(faults.found)


def _jsonl_rows(raw: BinaryIO, encoding: str, faults: _Faults) -> Iterator[_Row]:
    decoder = _decoder()
    for number, line in _text(raw, encoding, faults):
        if line.strip():
            place = faults.place(number)
            try:
                value = decoder.decode(line)
            except (ValueError, RecursionError) as fault:
                faults.add(place, _json_fault(fault))
                continue
            yield from _object_row(value, place, len(line), faults)


def _json_rows(raw: BinaryIO, encoding: str, faults: _Faults) -> Iterator[_Row]:
    """A list of objects. Read whole, taken apart one by one, so that each row has its line."""
    decoder, blank = _decoder(), re.compile(r"[ \t\r\n]*")
    text = "".join(line for _, line in _text(raw, encoding, faults))
    line, counted = 1, 0

    def skip(at: int) -> int:
        nonlocal line, counted
        match = blank.match(text, at)
        assert match is not None
        line, counted = line + text.count("\n", counted, match.end()), match.end()
        return match.end()

    at = skip(0)
    if text[at : at + 1] != "[":
        faults.stop(
            faults.place(line), "the file is not a list of objects", 'like [{"text": "A bird."}], or use JSON Lines'
        )
    at = skip(at + 1)
    while text[at : at + 1] != "]":
        place = faults.place(line)
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as fault:
            faults.stop(faults.place(_line_in(text, fault, line)), _json_fault(fault))
        yield from _object_row(value, place, end - at, faults)
        at = skip(end)
        if text[at : at + 1] == ",":
            at = skip(at + 1)
        elif text[at : at + 1] != "]":
            faults.stop(faults.place(line), "a comma or ] is missing after the object")
    if text[skip(at + 1) :]:
        faults.stop(faults.place(line), "text follows the end of the list")


def _line_in(text: str, fault: Exception, line: int) -> int:
    return fault.lineno if isinstance(fault, json.JSONDecodeError) else line


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f'the key "{twice[:60]}" is given twice')
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")


def _json_fault(fault: Exception) -> str:
    if isinstance(fault, RecursionError):
        return "values nested deeper than 32 levels"
    return f"not JSON: {fault.msg}" if isinstance(fault, json.JSONDecodeError) else str(fault)


def _object_row(value: Any, place: Place, size: int, faults: _Faults) -> Iterator[_Row]:
    flaw = "something that is not an object" if not isinstance(value, dict) else flaw_of_value(value)
    if flaw:
        faults.add(place, f"the row holds {flaw}" if isinstance(value, dict) else f"the row is {flaw}")
    elif size > ROW_BYTES:
        faults.add(place, f"the row is larger than {ROW_BYTES // 1024} KiB")
    else:
        yield _Row(place, value)


def _inline_rows(spec: Spec, faults: _Faults) -> Iterator[_Row]:
    path = ("task", "data", "rows") if isinstance(spec.task.data, Data) else ("task", "data")
    node = spec.document.find(path)
    for entry in node.value:
        value = entry.plain()
        yield from _object_row(value, entry.place, len(json.dumps(value, ensure_ascii=False)), faults)


_READERS: Mapping[str, Callable[[BinaryIO, str, _Faults], Iterator[_Row]]] = {
    "csv": _csv_rows,
    "json": _json_rows,
    "jsonl": _jsonl_rows,
}


# ------------------------------------------------------------------------------------------------ offers


def _offered_as_recorded(spec: Spec, crowd: ReplayCrowd, items: list[Item]) -> list[Item]:
    """Each item offered to the workers of its recorded answers, in the recording's order."""
    faults = _Faults(str(spec.folder / crowd.answers), source=AFTER_SPEC + 1)
    recorded: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    here = ("provider", "crowd")
    with blaming(spec.document, (*here, "answers")), opened(spec.folder, crowd.answers) as raw:
        for row in _csv_rows(raw, "utf-8", faults):
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
    busiest = max(work.items(), key=lambda pair: pair[1], default=None)
    if most is not None and busiest is not None and busiest[1] > most:
        yield say(
            ("workers", "max_units"),
            f'"{busiest[0]}" is offered {busiest[1]} items and may do {most} units: the target could not be met',
        )
