"""Rows: CSV, JSON or JSON Lines -> rows with their places. Streams; a fault names the row's line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, NoReturn

from crowdstack.spec.load import AFTER_SPEC, Located, Place, located, refuse
from crowdstack.spec.text import flaw_of_value

ROW_BYTES = 256 * 1024
_LINE = 4 * 1024 * 1024  # no line of a file is read further
_SHOWN = 20  # faults of rows that are told; a file with more is told so


class Row(NamedTuple):
    place: Place
    values: Mapping[str, Any]


@dataclass(slots=True)
class Faults:
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


class CsvValues(dict[str, Any]):
    """The cells of a CSV row: all rows have the columns of the first."""


def _text(raw: BinaryIO, encoding: str, faults: Faults) -> Iterator[tuple[int, str]]:
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


def csv_rows(raw: BinaryIO, encoding: str, faults: Faults) -> Iterator[Row]:
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
                yield Row(place, CsvValues(zip(columns, cells, strict=True)))
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


def _check_header(columns: list[str], place: Place, faults: Faults) -> None:
    for column, times in Counter(columns).items():
        if times > 1:
            faults.add(place, f'the column "{column}" is there {times} times')
        if not column.strip():
            faults.add(place, "a column has no name", "the first row names the columns")
    refuse(faults.found)


def _jsonl_rows(raw: BinaryIO, encoding: str, faults: Faults) -> Iterator[Row]:
    decoder = _decoder()
    for number, line in _text(raw, encoding, faults):
        if line.strip():
            place = faults.place(number)
            try:
                value = decoder.decode(line)
            except (ValueError, RecursionError) as fault:
                faults.add(place, _json_fault(fault))
                continue
            yield from object_row(value, place, len(line), faults)


def _json_rows(raw: BinaryIO, encoding: str, faults: Faults) -> Iterator[Row]:
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
        yield from object_row(value, place, end - at, faults)
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


def object_row(value: Any, place: Place, size: int, faults: Faults) -> Iterator[Row]:
    flaw = "something that is not an object" if not isinstance(value, dict) else flaw_of_value(value)
    if flaw:
        faults.add(place, f"the row holds {flaw}" if isinstance(value, dict) else f"the row is {flaw}")
    elif size > ROW_BYTES:
        faults.add(place, f"the row is larger than {ROW_BYTES // 1024} KiB")
    else:
        yield Row(place, value)


READERS: Mapping[str, Callable[[BinaryIO, str, Faults], Iterator[Row]]] = {
    "csv": csv_rows,
    "json": _json_rows,
    "jsonl": _jsonl_rows,
}
