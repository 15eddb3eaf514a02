from __future__ import annotations

import csv
from pathlib import Path

import pytest

from crowdstack.crowd.conduct import Act, Way
from crowdstack.crowd.replay import read, recorded_workers
from crowdstack.errors import Refused
from tests.crowd.builders import crowd_config

RTE = Path(__file__).resolve().parents[2] / "examples" / "rte" / "answers.csv"


def recording(folder: Path, text: str) -> Path:
    path = folder / "recorded.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_worker_answers_its_items_as_recorded_and_no_other(tmp_path: Path) -> None:
    path = recording(tmp_path, "item,worker,entails,note\n7,ann,yes,\n8,ann,no,hm\n7,bob,no,\n")
    ann, bob = recorded_workers(crowd_config(kind="replay", recording=str(path)))
    assert (ann.worker, ann.left(0), ann.left(2), bob.left(0)) == ("ann", 2, 0, 1)
    assert ann.act({"id": "8"}, 0) == Act(way=Way.ANSWER, answers={"entails": "no", "note": "hm"})
    assert bob.act({"id": 7}, 0) == Act(way=Way.ANSWER, answers={"entails": "no", "note": ""})
    assert bob.act({"id": "8"}, 0) == Act(way=Way.RETURN)
    assert bob.act({"text": "no id"}, 0) == Act(way=Way.RETURN)


def test_who_has_most_to_do_comes_first(tmp_path: Path) -> None:
    path = recording(tmp_path, "item,worker,a\n1,ann,x\n1,bob,x\n2,bob,x\n1,cyd,x\n")
    workers = [one.worker for one in recorded_workers(crowd_config(kind="replay", recording=str(path)))]
    assert workers == ["bob", "ann", "cyd"]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = recording(tmp_path, "\ufeffwho,what,a\nann,1,x\n")
    assert read(path, item_column="what", worker_column="who") == {"ann": {"1": {"a": "x"}}}


def test_the_rte_recording_is_read_whole() -> None:
    recorded = read(RTE, item_column="item", worker_column="worker")
    with RTE.open(newline="") as file:
        rows = sorted((row["item"], row["worker"], row["entails"]) for row in csv.DictReader(file))
    told = [(item, who, answers["entails"]) for who, items in recorded.items() for item, answers in items.items()]
    assert len(recorded) == 164
    assert sorted(told) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,worker,a\n1,ann,x\n1,ann,y\n", "recorded.csv:3: worker ann answers item 1 twice"),
        ("item,worker,a\n1,ann\n", "recorded.csv:2: the row has another number of cells"),
        ("item,worker,a\n1,ann,x,y\n", "recorded.csv:2: the row has another number of cells"),
        ("item,who,a\n1,ann,x\n", "the recording has no column 'worker'"),
        ("", "the recording has no column 'item'"),
        ("item,worker,a\n", "the recording is empty"),
    ],
)
def test_a_recording_that_cannot_be_replayed_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        read(recording(tmp_path, text), item_column="item", worker_column="worker")
    assert message in str(refused.value)


def test_a_recording_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    for content in (None, b"item,worker,a\n1,ann,\xff\n"):
        path = tmp_path / "r.csv"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(Refused, match="cannot be read"):
            read(path, item_column="item", worker_column="worker")
