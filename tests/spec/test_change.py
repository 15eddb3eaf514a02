from __future__ import annotations

from pathlib import Path

import pytest

from crowdstack.errors import SpecError
from crowdstack.spec import Edits, Spec, held, kept, load_spec

BASE = """apiVersion: crowdstack/v1
kind: Task
metadata: {name: birds}
task:
  title: Which bird?
  reward: 0.10 USD
  app: {html: page.html, uses: [text]}
  data: items.csv
provider: {type: mock, wave: 5, crowd: {type: human, people: 2}}
architect: {type: local, port: 8123}
"""


def spec(folder: Path, *sets: str) -> Spec:
    (folder / "task.yaml").write_text(BASE)
    return load_spec(folder / "task.yaml", sets=sets)


def after(folder: Path, *sets: str) -> tuple[Spec, Edits]:
    """BASE is live and is edited by `sets`: what holds, and what was edited."""
    return held(spec(folder, *sets), kept(spec(folder)))


def fields(edits: tuple[str, ...]) -> set[str]:
    return {text.partition(" ")[0] for text in edits}


def test_what_waits_is_told_with_what_holds_and_what_was_asked_for(tmp_path: Path) -> None:
    _, edits = after(tmp_path, "task.reward=0.20 USD", "provider.crowd.people=[ann, bob]", "architect.host=::1")
    assert set(edits.next_run) == {
        "task.reward (0.10 USD -> 0.20 USD)",
        'provider.crowd.people (2 -> ["ann", "bob"])',
        "architect.host (not set -> ::1)",
    }
    assert edits.now == ()


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("task.reward=0.20 USD", "task.reward"),
        ("architect.port=8124", "architect.port"),
        ("architect.host=0.0.0.0", "architect.host"),
        ("provider.crowd.people=3", "provider.crowd.people"),
    ],
)
def test_a_field_of_the_next_run_stays_as_the_run_began(tmp_path: Path, setting: str, field: str) -> None:
    began = spec(tmp_path)
    now, edits = after(tmp_path, setting)
    assert (edits.now, fields(edits.next_run)) == ((), {field})
    assert now.model_dump() == began.model_dump()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("task.title=Which?", ("task.title (Which bird? -> Which?)",)),
        ("provider.wave=9", ("provider.wave (5 -> 9)",)),
        ("provider.wallet=5 USD", ("provider.wallet (not set -> 5 USD)",)),
        ("target.repeats=2", ('target (not set -> {"repeats": 2})',)),
        ("workers.block=[w1]", ('workers (not set -> {"block": ["w1"]})',)),
        ("task.data=more.csv", ()),  # told by the units that are offered
    ],
)
def test_a_field_that_changes_in_place_holds_at_once_and_is_told(
    tmp_path: Path, setting: str, told: tuple[str, ...]
) -> None:
    edited = spec(tmp_path, setting)
    now, edits = after(tmp_path, setting)
    assert edits == Edits(now=told)
    assert now.model_dump() == edited.model_dump()


def test_one_edit_of_both_kinds_is_taken_apart(tmp_path: Path) -> None:
    now, edits = after(tmp_path, "provider={type: mock, surplus: 3, crowd: {type: bots}}", "task.timeout=9m")
    assert fields(edits.next_run) == {"provider.crowd.type", "provider.crowd.people"}
    assert fields(edits.now) == {"provider.surplus", "task.timeout"}
    assert (now.provider.crowd.type, now.provider.surplus, now.task.timeout) == ("human", 3, 540)


def test_a_whole_crowd_that_is_put_in_later_waits(tmp_path: Path) -> None:
    live = kept(spec(tmp_path))
    del live["provider"]["crowd"], live["architect"]
    now, edits = held(spec(tmp_path), live)
    assert fields(edits.next_run) == {"provider.crowd", "architect"}
    assert (now.provider.crowd.type, now.architect.type) == ("human", "local")
    assert now.provider.crowd.model_dump()["people"] == 1


def test_a_change_that_does_not_go_with_what_stays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="EUR"):
        after(tmp_path, "task.reward=0.20 EUR", "budget.max=5 EUR")


def test_items_written_into_the_spec_are_not_kept_twice(tmp_path: Path) -> None:
    assert "data" not in kept(spec(tmp_path, "task.data=[{text: A bird.}]"))["task"]
