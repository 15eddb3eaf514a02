"""Crowds of other people's panels: what their specs may say, what is noted, what is fixed once people see it."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import yaml

from crowdstack.errors import SpecError
from crowdstack.spec import Edits, Spec, held, kept, load_items, load_spec, notes_of
from crowdstack.spec.explain import explained, fields, text_of
from crowdstack.spec.panels import least_minutes
from crowdstack.spec.providers import GenericProvider, MockProvider, ProlificProvider

WHOLE = Path(__file__).parent / "whole"
FINISH = {"url": "https://panel.example.com/done"}


def written(folder: Path, *sets: str, provider: dict[str, Any] | None = None, **task: Any) -> Spec:
    """A task for Prolific (or `provider`) with what the test is about."""
    given = {
        "title": "Birds", "description": "Name birds.", "reward": "0.50 GBP", "estimated_time": "30s",
        "app": {"html": "page.html"}, "data": [{"text": "A robin."}], **task,
    }  # fmt: skip
    spec = {
        "apiVersion": "crowdstack/v1", "kind": "Task", "metadata": {"name": "birds"},
        "task": {name: value for name, value in given.items() if value is not None},
        "provider": provider or {"type": "prolific"},
    }  # fmt: skip
    (folder / "task.yaml").write_text(yaml.safe_dump(spec))
    return load_spec(folder / "task.yaml", sets=sets, environ={})


# ------------------------------------------------------------------------------------------------ shape


@pytest.mark.parametrize(("file", "model"), [("prolific", ProlificProvider), ("generic", GenericProvider)])
def test_the_whole_examples_set_every_field(file: str, model: type) -> None:
    provider = load_spec(WHOLE / f"{file}.yaml", environ={}).provider
    assert isinstance(provider, model)
    left_out = {"eligibility_requirements"}  # of prolific: legacy.yaml has it
    assert set(model.model_fields) - provider.model_fields_set - left_out == set()


def test_each_type_reads_as_its_own_model_and_shares_the_common_fields(tmp_path: Path) -> None:
    common = {"wave": 3, "surplus": 4}
    mock = written(tmp_path, provider={"type": "mock", **common})
    panel = written(tmp_path, provider={"type": "generic", "finish": FINISH, **common})
    listed = written(tmp_path, provider={"type": "prolific", **common})
    assert [type(spec.provider) for spec in (mock, panel, listed)] == [MockProvider, GenericProvider, ProlificProvider]
    assert {(spec.provider.wave, spec.provider.surplus) for spec in (mock, panel, listed)} == {(3, 4)}
    assert [spec.crowd is None for spec in (mock, panel, listed)] == [False, True, True]


def test_a_field_of_another_type_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        written(tmp_path, provider={"type": "generic", "finish": FINISH, "vat_percent": 19, "webhooks": True})
    (problem,) = raised.value.problems
    assert (problem.path, problem.hint) == ("provider.webhooks", "it is a field of type prolific")


def test_all_that_filters_may_be_is_read_as_it_was_written() -> None:
    provider = load_spec(WHOLE / "prolific.yaml", environ={}).provider
    assert isinstance(provider, ProlificProvider)
    age, hand, joined = [found.model_dump(exclude_none=True) for found in provider.filters]
    assert age["selected_range"] == {"lower": 18, "upper": 70}
    assert type(age["selected_range"]["lower"]) is int  # a filter of whole numbers takes no 18.0
    assert hand == {"filter_id": "handedness", "selected_values": ("1", "2"), "weightings": {"1": 1.0, "2": 1.5}}
    assert joined["filter_id"] == "or"
    assert joined["selected_filters"][1]["selected_filters"][0]["selected_range"] == {"upper": "2020-01-31"}


def test_items_may_be_for_anybody_where_who_comes_is_not_ours_to_say(tmp_path: Path) -> None:
    rows = [{"text": "A robin.", "worker": "65a0f1b2c3d4e5f6a7b8c9d0"}]
    spec = written(tmp_path, data={"rows": rows, "worker": "worker"})
    assert load_items(spec)[0].offered_to == ("65a0f1b2c3d4e5f6a7b8c9d0",)


@pytest.mark.parametrize("minutes", [1, 2, 3, 4, 9, 10, 25, 60, 480])
def test_the_least_time_is_the_providers_formula_rounded_up(minutes: int) -> None:
    exact = 2 + 2 * minutes + 2 * sqrt(minutes)
    assert exact <= least_minutes(minutes) < exact + 1


def test_the_time_of_a_visit_is_that_of_the_units_a_worker_may_do(tmp_path: Path) -> None:
    written(tmp_path, "provider.maximum_allowed_time=11m", "workers.max_units=4", units_per_visit=100)
    with pytest.raises(SpecError, match="at least 17 min"):
        written(tmp_path, "provider.maximum_allowed_time=11m", units_per_visit=10)


@pytest.mark.parametrize(
    "text", ["a < b", "5 <3 birds", "<p>One</p>", "<ul><li><em>One</em></li></ul>", "<h1>A</h1><P>b</P>"]
)
def test_a_description_may_hold_what_prolific_shows(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, description=text).task.description == text


@pytest.mark.parametrize("text", ["<a href='x'>b</a>", "<p><br></p>", "<img src=x>", "<b class=x>b</b>", "<h3>A</h3>"])
def test_what_prolific_would_cut_out_of_a_description_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match=r"task\.description: Prolific"):
        written(tmp_path, description=text)


def test_the_description_of_another_crowd_may_be_anything(tmp_path: Path) -> None:
    written(tmp_path, description="<a href='x'>b</a>", provider={"type": "generic", "finish": FINISH})
    written(tmp_path, description=None, provider={"type": "generic", "finish": FINISH})


# ------------------------------------------------------------------------------------------------ notes


def test_people_need_a_public_address(tmp_path: Path) -> None:
    (note,) = notes_of(written(tmp_path))
    assert "architect.public_url is not set" in note
    (note,) = notes_of(written(tmp_path, "architect={type: local, public_url: 'http://study.example.org'}"))
    assert "architect.public_url is http://study.example.org" in note
    assert notes_of(written(tmp_path, "architect={type: local, public_url: 'https://study.example.org'}")) == ()
    assert notes_of(written(tmp_path, provider={"type": "mock"})) == ()


def test_the_retired_form_of_requirements_is_taken_and_noted() -> None:
    spec = load_spec(WHOLE / "legacy.yaml", environ={})
    assert any("eligibility_requirements is a form that Prolific has retired" in note for note in notes_of(spec))


def test_the_link_for_a_panel_is_shown(tmp_path: Path) -> None:
    spec = written(tmp_path, provider={"type": "generic", "finish": FINISH, "visit_parameter": "rid"})
    assert any("{page}&worker=WORKER&rid=VISIT" in note for note in notes_of(spec))


# ------------------------------------------------------------------------------------------------ change


def after(folder: Path, *sets: str, **given: Any) -> tuple[Spec, Edits]:
    """The task is live and is edited by `sets`: what holds, and what was edited."""
    return held(written(folder, *sets, **given), kept(written(folder, **given)))


@pytest.mark.parametrize(
    "setting",
    ["task.title=Names", "task.description=Other", "task.estimated_time=40s", "task.units_per_visit=2",
     "provider.filters=[{filter_id: age, selected_range: {lower: 18}}]", "provider.name=Other", "provider.device=[mobile]",
     "provider.allow_groups=[a]", "provider.fee=academic", "provider.completion_codes={done: ABCD}",
     "provider.max_submissions_per_participant=3", "provider.max_concurrent=5", "workers.require=[trained]"],
)  # fmt: skip
def test_what_is_fixed_by_publishing_waits_for_the_next_run(tmp_path: Path, setting: str) -> None:
    began = written(tmp_path)
    now, edits = after(tmp_path, setting)
    assert edits.now == ()
    assert [edit.partition(" ")[0] for edit in edits.next_run] == [setting.partition("=")[0]]
    assert now.model_dump() == began.model_dump()


@pytest.mark.parametrize(
    "setting",
    ["provider.no_data=reject", "provider.wave=3", "provider.pay_floor=warn", "task.completion=Bye",
     "workers.exclude=[pilot]", "workers.block=[65a0f1b2c3d4e5f6a7b8c9d0]"],
)  # fmt: skip
def test_what_the_run_goes_by_changes_in_place(tmp_path: Path, setting: str) -> None:
    _, edits = after(tmp_path, setting)
    assert ([edit.partition(" ")[0] for edit in edits.now], edits.next_run) == ([setting.partition("=")[0]], ())


def test_of_a_section_that_is_left_out_what_is_fixed_stays_and_the_rest_goes(tmp_path: Path) -> None:
    began = written(tmp_path, "workers={require: [trained], exclude: [pilot]}")
    now, edits = held(written(tmp_path), kept(began))
    assert edits.next_run == ('workers.require (["trained"] -> not set)',)
    assert edits.now == ('workers.exclude (["pilot"] -> not set)',)
    assert (now.workers.require, now.workers.exclude) == (("trained",), ())


def test_a_title_changes_in_place_where_nobody_lists_it(tmp_path: Path) -> None:
    _, edits = after(tmp_path, "task.title=Names", provider={"type": "generic", "finish": FINISH})
    assert (edits.now, edits.next_run) == (("task.title (Birds -> Names)",), ())


def test_another_crowd_waits_as_a_whole(tmp_path: Path) -> None:
    mock = {"type": "mock", "wave": 3}
    live = kept(written(tmp_path, provider=mock))
    now, edits = held(written(tmp_path, provider={"type": "prolific", "wave": 9, "no_data": "reject"}), live)
    assert edits == Edits(next_run=("provider.type (mock -> prolific)",))
    assert now.provider == written(tmp_path, provider=mock).provider


# ------------------------------------------------------------------------------------------------ explain


def test_what_all_crowds_have_is_explained_once() -> None:
    assert [field.branch for field in fields() if field.path == "provider.wave"] == [None]
    assert [field.branch for field in explained("provider.vat_percent")] == ["prolific", "generic"]


def test_filters_are_explained_by_their_kind_and_not_for_ever() -> None:
    inside = {(field.path, field.branch) for field in explained("provider.filters")}
    assert ("provider.filters", "prolific") in inside
    assert ("provider.filters.selected_range", "range") in inside
    assert ("provider.filters.selected_filters", "composite") in inside
    assert not [field for field in fields() if field.path.startswith("provider.filters.selected_filters.")]


def test_it_is_explained_that_a_provider_fixes_a_field() -> None:
    assert "with prolific with the next run" in text_of("task.title", explained("task.title"))
