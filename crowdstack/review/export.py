"""Submissions as a file: CSV for spreadsheets, JSON lines as they are. Streamed, so a million rows need no memory.

Workers are pseudonyms (the same worker has the same one in every export of a task) unless `identified`.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from crowdstack.errors import Busy, Refused
from crowdstack.folder import sync_folder
from crowdstack.model import TaskName
from crowdstack.ports import Store, SubmissionRow

COLUMNS = (
    "item", "worker", "unit", "submission", "receipt", "status", "submitted_at", "duration_s",
    "late", "run", "assignment", "visit", "bundle",
)  # fmt: skip

# What a spreadsheet may take for a formula: after blanks and quotes, one of = + - @ (full-width forms too), or a tab or
# line break. Such text gets a leading '; whoever reads the file back drops a leading ' where what follows it matches.
FORMULA = re.compile(r"[\s'\"\ufeff\u200b]*[=+\-@\t\r\n＝＋－＠]")


class Format(str, Enum):
    CSV = "csv"
    JSONL = "jsonl"


def export(
    store: Store, task: TaskName, to: Path | None, format: Format, *, identified: bool = False, raw: bool = False
) -> int:
    """Write all submissions of the task to `to` (None: standard output); how many there were.

    The file is there whole (0600) or not at all. `raw` leaves out the guard against formulas in CSV.
    """
    with _output(to) as out:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
        try:
            found = rows(store, task, identified=identified)
            if format is Format.JSONL:
                return write_jsonl(text, found)
            return write_csv(text, found, store.answer_fields(task), raw=raw)
        finally:
            text.detach()


def rows(store: Store, task: TaskName, *, identified: bool) -> Iterator[dict[str, Any]]:
    key = store.pseudonym_key(task)
    for row in store.submissions(task):
        yield _row(row, row.worker if identified else pseudonym(key, row.worker))


def pseudonym(key: bytes, worker: str) -> str:
    """16 characters that tell workers of one task apart and cannot be traced back without the task's key."""
    return hmac.digest(key, worker.encode(), hashlib.sha256).hex()[:16]


def write_jsonl(out: io.TextIOBase, rows: Iterable[dict[str, Any]]) -> int:
    written = 0
    for row in rows:
        out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
        written += 1
    return written


def write_csv(out: io.TextIOBase, rows: Iterable[dict[str, Any]], fields: Sequence[str], *, raw: bool) -> int:
    """One column `answer.<field>` per answer field; nested values and signals as JSON text."""
    write = csv.writer(out).writerow  # lines end in CR LF (RFC 4180): so a lone CR in a cell is quoted too
    write([*COLUMNS, *(f"answer.{field}" for field in fields), "signals"])
    known = set(fields)
    written = 0
    for row in rows:
        answers = row["answers"]
        if not known.issuperset(answers):
            raise Busy("answers with a new field came in while the header was written", hint="export again")
        values = [*(row[name] for name in COLUMNS), *(answers.get(field) for field in fields), row["signals"] or None]
        write([_cell(value, raw=raw) for value in values])
        written += 1
    return written


def _row(row: SubmissionRow, worker: str) -> dict[str, Any]:
    return {
        "item": row.item,
        "worker": worker,
        "unit": row.unit,
        "submission": row.submission,
        "receipt": row.receipt,
        "status": row.status.value,
        "submitted_at": row.submitted_at.isoformat().replace("+00:00", "Z"),
        "duration_s": row.duration_s,
        "late": row.late,
        "run": row.run,
        "assignment": row.assignment,
        "visit": row.visit,
        "bundle": row.bundle,
        "answers": row.answers,
        "signals": row.signals,
    }


def _cell(value: Any, *, raw: bool) -> Any:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "'" + value if not raw and FORMULA.match(value) else value


@contextmanager
def _output(to: Path | None) -> Iterator[BinaryIO]:
    if to is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temp = to.parent / f".{to.name}.{secrets.token_hex(8)}"
    try:
        if to.is_dir():
            raise Refused(
                f"cannot write {to}", why="it is a folder", hint=f"name a file in it: -o {to / 'answers'}.csv"
            )
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as fault:
        raise Refused(f"cannot write {to}", why=fault.strerror, hint="name a file in a folder of yours (-o)") from fault
    try:
        with os.fdopen(fd, "wb") as out:
            yield out
            out.flush()
            os.fsync(fd)
        temp.replace(to)
        sync_folder(to.parent)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
