"""A spec in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from crowdstack.model import Item, ItemId, UnitCounts, WorkerId
from crowdstack.plan.desired import Desired, desired_of
from crowdstack.spec import load_spec


def items(count: int, *workers: str) -> list[Item]:
    return [Item(id=ItemId(str(n)), data={"n": n}, offered_to=tuple(map(WorkerId, workers))) for n in range(count)]


@pytest.fixture
def wish(tmp_path: Path) -> Any:
    def make(
        *, count: int = 12, named: tuple[str, ...] = (), task: dict[str, Any] | None = None, **parts: Any
    ) -> Desired:
        (tmp_path / "page.html").write_text("<script src=/client.js></script>")
        spec = {
            "apiVersion": "crowdstack/v1",
            "kind": "Task",
            "metadata": {"name": "birds"},
            "task": {
                "title": "Birds", "reward": "0.05 USD", "app": {"html": "page.html"}, "data": [{"n": 1}], **(task or {}),
            },
            "provider": {"type": "mock", "crowd": {"type": "bots", "workers": 4}},
            **parts,
        }  # fmt: skip
        path = tmp_path / "birds.yaml"
        path.write_text(yaml.safe_dump(spec))
        return desired_of(load_spec(path, environ={}), items(count, *named), run="birds-1")

    return make


def test_a_visit_does_no_more_than_spec_worker_and_items_allow(wish: Any) -> None:
    assert wish(task={"units_per_visit": 5}).per_visit == 5
    assert wish(task={"units_per_visit": 50}).per_visit == 12
    assert wish(task={"units_per_visit": 5}, workers={"max_units": 2}).per_visit == 2
    assert wish(task={"units_per_visit": "unlimited"}, workers={"max_units": 7}).per_visit == 7


def test_visits_without_an_end_are_as_many_as_people_come(wish: Any) -> None:
    want = wish(task={"units_per_visit": "unlimited"})
    assert (want.visits, want.personal, want.open_ended) == (4, True, True)
    alone = {"type": "mock", "crowd": {"type": "human", "people": ["ann"]}}
    assert wish(task={"units_per_visit": "unlimited"}, provider=alone).visits == 1
    assert wish(count=2, task={"units_per_visit": "unlimited"}).visits == 2


def test_visits_of_named_workers_are_known_whoever_they_are(wish: Any) -> None:
    want = wish(named=("ann",), task={"units_per_visit": 5})
    assert (want.visits, want.personal, want.open_ended) == (3, True, False)


def test_surplus_is_a_number_or_a_share_of_the_ideal_visits(wish: Any) -> None:
    def most(surplus: object, count: int) -> int:
        want = wish(count=count, provider={"type": "mock", "surplus": surplus})
        return want.most_visits(UnitCounts(total=count)) - count

    assert most("10 %", 12) == 5
    assert most("10 %", 101) == 11
    assert most(0, 101) == 0
    assert most(7, 12) == 7


def test_settings_hold_all_that_the_reconciler_needs(wish: Any) -> None:
    want = wish(budget={"max": "3.00 USD", "when_short": "pause"}, workers={"block": ["w9"]})
    again = Desired.from_settings(want.to_settings(), run="birds-1")
    assert again == want
    assert again.crowd["kind"] == "bots"
