from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crowdstack.plan.desired import Desired, desired_of
from crowdstack.plan.fixed import fixed_by_publishing
from crowdstack.spec import load_items, load_spec

TOP = Path(__file__).parents[2]


def wanted(path: str) -> Desired:
    spec = load_spec(TOP / path, environ={})
    return desired_of(spec, load_items(spec), run="opinions-1")


def test_everything_that_publishing_fixes_is_named_with_its_value() -> None:
    told = fixed_by_publishing(wanted("tests/spec/whole/prolific.yaml"))
    text = "\n".join(told)
    for fact in (
        "study opinions-1: name: Is it a fact?",
        "description: <p>Read six sentences",
        "reward: 0.30 GBP per visit",
        "time: 2 min per visit, 20 min at most",
        "completion codes: DONE-1, NOTHING-1",
        "devices: desktop, tablet",
        "peripherals: audio",
        'who may take part: [{"filter_id": "age"',
        "groups allowed: trained",
        "groups blocked: careless; whom you block or workers.exclude names",
        "naivety: 0.5",
        "label: annotation",
        "content warning: sensitive; Some sentences tell of accidents.",
        "places, but to add some",
    ):
        assert fact in text
    assert all(len(line) < 160 for line in told)


def test_what_is_left_out_is_fixed_too() -> None:
    told = fixed_by_publishing(wanted("examples/prolific/task.yaml"))
    assert told[-1].endswith("what is not set: peripherals, groups allowed, naivety, content warning")


def test_nothing_is_fixed_where_nothing_is_published() -> None:
    assert fixed_by_publishing(wanted("examples/panel/task.yaml")) == ()
    assert fixed_by_publishing(wanted("examples/demo/task.yaml")) == ()


def test_whom_the_operator_lets_in_is_asked_by_a_group_that_is_fixed_too() -> None:
    told = fixed_by_publishing(replace(wanted("examples/prolific/task.yaml"), require=("trained", "fluent")))
    assert "study opinions-1: groups allowed: who holds trained, fluent" in told
