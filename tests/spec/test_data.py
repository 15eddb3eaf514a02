"""Rows -> items: ids, columns, offers, and faults that name the row."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from crowdstack.crowd.bots import bots
from crowdstack.errors import SpecError
from crowdstack.spec import load_items, load_spec
from tests.crowd.builders import crowd_config
from tests.size import FULL
from tests.spec.builders import problems, spec

REPLAY = (
    ("provider: {type: mock}", "provider: {type: mock, crowd: {type: replay, answers: recorded.csv}}"),
    ("uses: [text]", "uses: [id, text]"),
)


def test_an_item_shows_only_the_columns_in_use(tmp_path: Path) -> None:
    found = load_items(spec(tmp_path, items__csv="id,text,gold\n7,A robin.,robin\n"))
    assert [(item.id, item.data, item.offered_to) for item in found] == [("7", {"text": "A robin."}, ())]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.json", '[{"id": 1, "text": "a"},\n {"id": "2", "text": "b"}]'),
        ("items.jsonl", '{"id": 1, "text": "a"}\n\n{"id": "2", "text": "b"}\n'),
        ("items.csv", '\ufeffid,text\r\n1,a\r\n\r\n"2",b\r\n'),
    ],
)
def test_every_format_gives_the_same_items(name: str, content: str, tmp_path: Path) -> None:
    found = load_items(spec(tmp_path, ("items.csv", name), **{name.replace(".", "__"): content}))
    assert [(item.id, item.data) for item in found] == [("1", {"text": "a"}), ("2", {"text": "b"})]


def test_inline_rows_are_shown_whole_and_named_by_their_content(tmp_path: Path) -> None:
    inline = (("data: {file: items.csv, id: id}", "data: [{text: a, n: 1}, {text: b, n: 2}]"), (", uses: [text]", ""))
    found = load_items(spec(tmp_path, *inline))
    assert [item.data for item in found] == [{"text": "a", "n": 1}, {"text": "b", "n": 2}]
    assert [item.id for item in load_items(spec(tmp_path, *inline))] == [item.id for item in found]
    assert len(set(found[0].id)) > 1


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    raw = "id,text\n1,bécasse\n".encode("utf-16")
    found = load_items(spec(tmp_path, ("id: id}", "id: id, encoding: utf-16}"), items__csv=raw))
    assert found[0].data == {"text": "bécasse"}


def test_a_worker_column_offers_an_item_to_one_worker(tmp_path: Path) -> None:
    column = ("id: id}", "id: id, worker: who}")
    ann = ["provider.crowd={type: human, people: [ann]}"]
    found = load_items(spec(tmp_path, column, sets=ann, items__csv="id,text,who\n1,a,ann\n2,b,\n"))
    assert [item.offered_to for item in found] == [("ann",), ()]
    with pytest.raises(SpecError, match="cannot give 2 answers"):
        load_items(spec(tmp_path, column, sets=["target.repeats=2", "provider.crowd={type: human, people: [ann, bob]}"],
                        items__csv="id,text,who\n1,a,ann\n"))  # fmt: skip


@pytest.mark.parametrize(
    ("crowd", "worker", "who"),
    [
        ("{type: human, people: [ann, bob, cy]}", "zoe", "ann, bob, cy"),
        ("{type: human, people: 2}", "ann", "person-1, person-2"),
        ("{type: human}", "ann", "person-1"),
        ("{type: bots, workers: 5}", "bot-0042", "bot-0001, bot-0002, bot-0003, bot-0004, bot-0005"),
        ("{type: bots, workers: 10000}", "ann", "bot-0007 and 9993 more"),
    ],
)
def test_an_item_for_a_worker_who_does_not_come_is_a_fault_of_its_row(
    crowd: str, worker: str, who: str, tmp_path: Path
) -> None:
    column = ("id: id}", "id: id, worker: who}")
    with pytest.raises(SpecError) as raised:
        load_items(spec(tmp_path, column, sets=[f"provider.crowd={crowd}"],
                        items__csv=f"id,text,who\n1,a,\n2,b,{worker}\n"))  # fmt: skip
    (told,) = problems(raised)
    assert told.startswith(f'items.csv:3 the item is for "{worker}"')
    assert who in told


def test_every_bot_may_be_named(tmp_path: Path) -> None:
    column, three = ("id: id}", "id: id, worker: who}"), ["provider.crowd={type: bots, workers: 3}"]
    rows = "".join(f"{number},a{number},bot-000{number}\n" for number in (1, 2, 3))
    found = load_items(spec(tmp_path, column, sets=three, items__csv=f"id,text,who\n{rows}"))
    assert [item.offered_to for item in found] == [(bot.worker,) for bot in bots(crowd_config(workers=3))]


def test_a_replayed_item_is_offered_to_its_recorded_workers_in_their_order(tmp_path: Path) -> None:
    recorded = "item,worker,bird\n2,zoe,x\n1,ann,y\n2,bob,y\n9,eve,y\n1,cat,x\n"
    found = load_items(spec(tmp_path, *REPLAY, sets=["target.repeats=2"], recorded__csv=recorded))
    assert [(item.id, item.offered_to) for item in found] == [("1", ("ann", "cat")), ("2", ("zoe", "bob"))]


def test_a_recording_must_reach_the_target(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        load_items(
            spec(
                tmp_path,
                *REPLAY,
                sets=["target.repeats=2"],
                recorded__csv="item,worker,bird\n1,ann,x\n1,bob,x\n2,ann,x\n",
            )
        )
    assert 'the item "2" has 1 recorded answers' in problems(raised)[0]


def test_a_worker_who_is_needed_can_neither_be_blocked_nor_limited(tmp_path: Path) -> None:
    recorded = "item,worker,bird\n1,ann,x\n2,ann,x\n"
    with pytest.raises(SpecError) as raised:
        load_items(spec(tmp_path, *REPLAY, sets=["workers={max_units: 1, block: [ann]}"], recorded__csv=recorded))
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('[{"id": 1, "text": "a"},\n {"id": 1, "text": "b"}]', 'items.json:2 the id "1" was already on line 1'),
        ('[{"id": 1, "text": "a"},\n {"id": 2, "txt": "b"}]', 'items.json:2 the row lacks "text"'),
        ('[{"id": 1, "text": "a"},\n {"id": 2, "text": 1e999}]', "items.json:2 the row holds a number that is not finite"),
        ('[{"id": 1, "text": "a"},\n {"id": 2, "text": "\\ud800"}]', "items.json:2 the row holds half of a surrogate pair"),
        ('[{"id": 1, "text": "a"},\n {"id": 2, "text": "a\\u0000"}]', "items.json:2 the row holds a NUL character"),
        ('[{"id": 1, "text": "a"},\n {"id": 2, "id": 3}]', 'items.json:2 the key "id" is given twice'),
        ('[{"id": 1, "text": "a"},\n 12]', "items.json:2 the row is something that is not an object"),
        ('[{"id": 1, "text": "a"},\n {"id": true, "text": "b"}]', "items.json:2 the id is neither text nor a number"),
        ('[{"id": 1, "text": "a"}\n {"id": 2, "text": "b"}]', "items.json:2 a comma or ] is missing after the object"),
        ('[{"id": 1, "text": ' + "[" * 50 + "]" * 50 + "}]", "items.json:1 the row holds values nested deeper than 32 levels"),
        ('[{"id": 1, "text": ' + "[" * 100_000 + "]" * 100_000 + "}]", "items.json:1 values nested deeper than 32 levels"),
        ('[{"id": 9007199254740993, "text": "a"}]', "items.json:1 the row holds a number beyond 2^53"),
        ("[{", "items.json:1 not JSON"),
    ],
)  # fmt: skip
def test_a_fault_names_the_line_of_its_row(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        load_items(spec(tmp_path, ("items.csv", "items.json"), items__json=content))
    assert problems(raised)[0].startswith(told)


@pytest.mark.parametrize(
    "content", ["id,id\n1,2\n", "id,\n1,2\n", "id,text\n1,2\n1,3\n", "id,text\n" + "1,2,3\n" * 100]
)
def test_csv_faults_are_told_and_bounded(content: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        load_items(spec(tmp_path, items__csv=content))
    assert 1 <= len(raised.value.problems) <= 21


def test_many_rows_are_read_in_one_go(tmp_path: Path) -> None:
    """Each row costs the same, however many there are (processor time, which other programs do not take part in)."""

    def cost(rows: int) -> float:
        with (tmp_path / "items.csv").open("w") as file:
            file.write("id,text\n")
            file.writelines(f"{number},bird {number}\n" for number in range(rows))
        read = load_spec(path, environ={})
        began = time.process_time()
        assert len(load_items(read)) == rows
        return (time.process_time() - began) / rows

    path = spec(tmp_path).file
    few = min(cost(5_000) for _ in range(3))
    assert cost(1_000_000 if FULL else 50_000) < 5 * few
