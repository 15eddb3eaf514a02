"""Exports: every submission once, in a file that is whole, private, and harmless to a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdstack.errors import Busy, Refused
from crowdstack.review.export import COLUMNS, FORMULA, Format, export, pseudonym, write_csv
from crowdstack.store.store import PeeweeStore
from tests.contracts.store import TASK, started


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PeeweeStore]:
    opened = PeeweeStore(tmp_path / "state" / "store.db")
    yield opened
    opened.close()


def collect(store: PeeweeStore, *answers: dict[str, Any]) -> None:
    _, inbox, units = started(store, *(f"item-{n}" for n in range(len(answers))))
    for number, (unit, answer) in enumerate(zip(units, answers, strict=True)):
        inbox.work(unit, f"worker-{number % 2}", answer)
    inbox.deliver()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row(**changed: Any) -> dict[str, Any]:
    return {**dict.fromkeys(COLUMNS, "x"), "answers": {}, "signals": {}, **changed}


def cells(text: str, *, raw: bool = False) -> list[str]:
    """What CSV makes of one answer: the row's cells, read back."""
    out = io.StringIO(newline="")
    write_csv(out, [row(answers={"f": text})], ["f"], raw=raw)
    header, values = csv.reader(io.StringIO(out.getvalue(), newline=""))
    return [value for name, value in zip(header, values, strict=True) if name == "answer.f"]


def test_csv_has_a_column_for_each_answer_field_and_a_row_for_each_submission(
    store: PeeweeStore, tmp_path: Path
) -> None:
    collect(store, {"label": "owl", "sure": 0.5}, {"label": 'ü, "x"\ny', "box": [1, {"a": None}]}, {"sure": True})
    assert export(store, TASK, tmp_path / "out.csv", Format.CSV) == 3
    first, second, third = read_csv(tmp_path / "out.csv")
    assert list(first) == [*COLUMNS, "answer.box", "answer.label", "answer.sure", "signals"]
    assert (first["item"], first["answer.label"], first["answer.sure"], first["status"]) == (
        "item-0",
        "owl",
        "0.5",
        "submitted",
    )
    assert (second["answer.label"], json.loads(second["answer.box"])) == ('ü, "x"\ny', [1, {"a": None}])
    assert (third["answer.label"], third["answer.sure"]) == ("", "true")
    assert first["submitted_at"] == "2026-03-01T09:00:03Z"


def test_jsonl_has_the_answers_as_they_are(store: PeeweeStore, tmp_path: Path) -> None:
    told = [{"label": "=1+1"}, {"box": [1, {"a": None}]}]
    collect(store, *told)
    export(store, TASK, tmp_path / "out.jsonl", Format.JSONL)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["answers"] for line in found] == told
    assert [line["receipt"] for line in found] == [3, 7]
    assert found[0]["signals"] == {}


def test_workers_are_pseudonyms_unless_they_are_asked_for(store: PeeweeStore, tmp_path: Path) -> None:
    collect(store, {}, {}, {})
    export(store, TASK, tmp_path / "out.csv", Format.CSV)
    first, second, third = (line["worker"] for line in read_csv(tmp_path / "out.csv"))
    assert first == third == pseudonym(store.pseudonym_key(TASK), "worker-0")
    assert len(first) == 16
    assert first != second
    assert not any(
        f'"worker-{n}"' in line or f",worker-{n}," in line
        for n in (0, 1)
        for line in (tmp_path / "out.csv").read_text().splitlines()
    )
    export(store, TASK, tmp_path / "named.csv", Format.CSV, identified=True)
    assert [line["worker"] for line in read_csv(tmp_path / "named.csv")] == ["worker-0", "worker-1", "worker-0"]


def test_an_export_replaces_the_file_whole_and_keeps_it_private(store: PeeweeStore, tmp_path: Path) -> None:
    collect(store, {"a": 1})
    target = tmp_path / "out.csv"
    target.write_text("old")
    export(store, TASK, target, Format.CSV)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.csv"]


def test_an_export_that_fails_leaves_the_old_file(
    store: PeeweeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(store, {"a": 1})
    target = tmp_path / "out.csv"
    target.write_text("old")
    monkeypatch.setattr(store, "answer_fields", lambda task: [])  # as if the field had come in after the header
    with pytest.raises(Busy, match="new field"):
        export(store, TASK, target, Format.CSV)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.csv"]


def test_a_folder_that_is_not_there_is_told(store: PeeweeStore, tmp_path: Path) -> None:
    collect(store, {"a": 1})
    with pytest.raises(Refused, match="cannot write"):
        export(store, TASK, tmp_path / "nowhere" / "out.csv", Format.CSV)


def test_without_a_file_it_goes_to_standard_output(
    store: PeeweeStore, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    collect(store, {"label": "ü"})
    assert export(store, TASK, None, Format.JSONL) == 1
    assert json.loads(capfdbinary.readouterr().out)["answers"] == {"label": "ü"}


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\tx",
        "\rx",
        "\nx",
        " =1",
        '"=1',
        "'=1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
        "\u00a0=1",
        "\ufeff=1",
    ],
)
def test_no_text_becomes_a_formula(text: str) -> None:
    assert cells(text) == ["'" + text]
    assert cells(text, raw=True) == [text]


@pytest.mark.parametrize("text", ["owl", "a=b", "1-2", "'quoted'", "", "ü", "é@x"])
def test_harmless_text_is_left_alone(text: str) -> None:
    assert cells(text) == [text]


def test_numbers_stay_numbers() -> None:
    out = io.StringIO(newline="")
    write_csv(out, [row(answers={"f": -1.5})], ["f"], raw=False)
    assert ",-1.5," in out.getvalue()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_by_the_rule_in_the_documentation_every_text_comes_back(text: str) -> None:
    (cell,) = cells(text)
    assert not FORMULA.match(cell) or cell.startswith("'")
    assert (cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell) == text


def test_a_long_export_takes_no_memory(store: PeeweeStore, tmp_path: Path) -> None:
    collect(store, *({"text": "x" * 5000} for _ in range(3000)))
    tracemalloc.start()
    assert export(store, TASK, tmp_path / "out.csv", Format.CSV) == 3000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "out.csv").stat().st_size > 15_000_000
    assert peak < 12_000_000  # a page of 500 rows, raw and parsed
