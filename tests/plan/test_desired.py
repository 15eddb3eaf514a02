"""A spec in numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from crowdstack.model import Item, ItemId, UnitCounts, WorkerId
from crowdstack.plan.desired import Desired, desired_of, stack_inputs
from crowdstack.spec import build_bundle, load_spec
from crowdstack.wire.configs import Claims
from crowdstack.wire.stack import StackInputs


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


PROLIFIC = {"reward": "0.50 GBP", "estimated_time": "25s", "units_per_visit": 5, "description": "Name birds."}


def test_a_visit_at_prolific_is_told_in_whole_minutes(wish: Any) -> None:
    want = wish(task=PROLIFIC, provider={"type": "prolific"})
    assert (want.minutes, want.visit_s, want.provider["minutes"]) == (3, 180, 3)
    assert wish(task=PROLIFIC, workers={"max_units": 2}, provider={"type": "prolific"}).minutes == 1
    assert wish(task=PROLIFIC).minutes is None
    assert wish(task=PROLIFIC).visit_s == 125


def test_prolific_lets_people_in_itself_and_no_crowd_is_ours(wish: Any) -> None:
    want = wish(task=PROLIFIC, provider={"type": "prolific"})
    panel = wish(provider={"type": "generic", "finish": {"code": "BIRDS-17"}})
    assert (want.managed, panel.managed, wish().managed) == (True, False, False)
    assert (want.crowd, panel.crowd) == ({}, {})


def test_the_floor_is_that_of_the_currency(wish: Any) -> None:
    pounds = wish(task=PROLIFIC, provider={"type": "prolific"})
    dollars = wish(task={**PROLIFIC, "reward": "0.50 USD"}, provider={"type": "prolific", "pay_floor": "warn"})
    assert list(map(str, (pounds.minimum_hourly, pounds.recommended_hourly))) == ["6.00 GBP", "9.00 GBP"]
    assert list(map(str, (dollars.minimum_hourly, dollars.recommended_hourly))) == ["8.00 USD", "12.00 USD"]
    assert (pounds.refuse_underpaid, dollars.refuse_underpaid) == (True, False)
    panel = {"type": "generic", "finish": {"code": "BIRDS-17"}, "minimum_per_hour": "7.00 GBP"}
    assert str(wish(task=PROLIFIC, provider=panel).minimum_hourly) == "7.00 GBP"


def test_the_adapter_is_told_all_that_it_needs_in_json() -> None:
    from tests.spec.test_panels import WHOLE

    told = desired_of(load_spec(WHOLE / "prolific.yaml", environ={}), items(12)).provider
    assert json.loads(json.dumps(told)) == told
    assert (told["fee_bp"], told["vat_bp"], told["currency"]) == (3330, 1950, "GBP")
    assert (told["name"], told["maximum_minutes"]) == ("Is it a fact?", 20)
    assert told["codes"] == {"done": "DONE-1", "nothing": "NOTHING-1"}
    assert told["filters"][2]["selected_filters"][0] == {
        "filter_id": "approval-rate",
        "selected_range": {"lower": 95.5},
    }
    assert (told["allow_groups"], told["block_groups"]) == (["trained", "65a0f1b2c3d4e5f6a7b8c9d0"], ["careless"])
    panel = desired_of(load_spec(WHOLE / "generic.yaml", environ={}), items(12)).provider
    assert panel["link"] == "{page}&person=[%PID%]&round=[%RID%]"
    assert (panel["fee_bp"], panel["vat_bp"]) == (3000, 1950)
    assert panel["finish"]["code"] == "DONE-1"


def test_a_study_is_listed_with_the_tasks_own_words_and_codes_by_default(wish: Any) -> None:
    told = wish(task=PROLIFIC, provider={"type": "prolific"}).provider
    assert (told["name"], told["description"], told["fee_bp"], told["vat_bp"]) == ("Birds", "Name birds.", 4280, 2000)
    assert told["codes"] == wish(task=PROLIFIC, provider={"type": "prolific", "wave": 2}).provider["codes"]
    assert told["codes"]["done"] != told["codes"]["nothing"]


@pytest.mark.parametrize("type_", ["mock", "generic", "prolific"])
def test_settings_of_every_crowd_survive_the_store(wish: Any, type_: str) -> None:
    finish = {"finish": {"code": "BIRDS-17"}} if type_ == "generic" else {}
    want = wish(task=PROLIFIC, provider={"type": type_, **finish})
    assert Desired.from_settings(json.loads(json.dumps(want.to_settings())), run="birds-1") == want


def test_settings_of_a_run_begun_before_floors_were_known_are_read(wish: Any) -> None:
    old = {name: value for name, value in wish().to_settings().items() if "hourly" not in name}
    del old["minutes"], old["refuse_underpaid"]
    assert Desired.from_settings(old, run="birds-1") == wish()


def stack(path: Path) -> StackInputs:
    spec = load_spec(path, environ={})
    return stack_inputs(spec, "opinions-1", build_bundle(spec))


def test_the_server_is_told_how_people_say_who_they_are_and_how_they_get_back() -> None:
    from tests.spec.test_panels import WHOLE

    told = stack(WHOLE / "prolific.yaml")
    assert told.claims == Claims(worker="PROLIFIC_PID", submission="SESSION_ID")
    assert told.finish is not None
    assert told.finish.answered.to("w", "s")["url"] == "https://app.prolific.com/submissions/complete?cc=DONE-1"
    assert told.finish.empty.code == "NOTHING-1"
    panel = stack(WHOLE / "generic.yaml")
    assert panel.claims == Claims(worker="person", submission="round", listed=False)
    assert panel.finish is not None
    assert panel.finish.answered.to("w 1", "s/1") == {
        "code": "DONE-1",
        "url": "https://panel.example.com/done?id=s%2F1",
    }
    assert panel.finish.empty.to("w 1", "s/1")["url"] == "https://panel.example.com/full?id=w%201"
    assert StackInputs.from_json(panel.to_json()) == panel


def test_a_crowd_of_ours_needs_neither() -> None:
    told = stack(Path(__file__).parents[2] / "examples" / "demo" / "task.yaml")
    assert (told.claims, told.finish) == (None, None)


@pytest.mark.parametrize(
    "url",
    ["https://panel.example.com", "https://panel.example.com:8443/a?b={visit}&c=[x]~!'(*)", "https://p.example.com?{worker}"],
)  # fmt: skip
def test_an_address_that_a_spec_may_give_is_one_that_the_server_takes(wish: Any, url: str, tmp_path: Path) -> None:
    wish(task=PROLIFIC, provider={"type": "generic", "finish": {"url": url}})
    told = stack(tmp_path / "birds.yaml")
    assert told.finish is not None
    assert told.finish.answered.url == url.replace("{visit}", "{submission}")
