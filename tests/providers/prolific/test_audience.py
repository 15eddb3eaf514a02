"""Who is shown a study: the operator's lists as participant groups, the spec's groups and filters, and what preview says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdstack.cli.main import run
from crowdstack.errors import Busy, Refused
from crowdstack.fakes.prolific.background import played
from crowdstack.model import Admission, WorkerId
from crowdstack.ports import GroupChange
from crowdstack.simulation import TOKEN, People, fake_of
from crowdstack.spec import load_spec
from tests.contracts.provider import ANN, BOB, KEY
from tests.providers.prolific.test_provider import Lab

EVE = WorkerId("eve")
BLOCKED, ALLOWED = "crowdstack:birds:blocked", "crowdstack:birds:allowed"
NOBODY_OUT = Admission()


@pytest.fixture
def lab() -> Lab:
    return Lab()


def sees(lab: Lab) -> set[str]:
    """Of ann, bob and eve those who are shown the study."""
    for worker in (ANN, BOB, EVE):
        if worker not in lab.fake.world.people:
            lab.fake.add_person(worker)
    return {worker for worker in (ANN, BOB, EVE) if lab.fake.open_studies(worker)}


def members(lab: Lab) -> dict[str, set[str]]:
    return {group.name: set(group.members) for group in lab.fake.world.groups.values()}


def group_effects(lab: Lab) -> list[str]:
    return [effect.verb for effect in lab.fake.effects() if "group" in effect.verb]


def test_whom_the_operator_wants_no_more_is_not_shown_the_study_from_then_on(lab: Lab) -> None:
    provider = lab.open()
    provider.set_workers(KEY, NOBODY_OUT)
    lab.open_study(provider)
    assert sees(lab) == {ANN, BOB, EVE}
    provider.set_workers(KEY, Admission(blocked=(BOB,)))
    assert sees(lab) == {ANN, EVE}
    provider.set_workers(KEY, NOBODY_OUT)
    assert sees(lab) == {ANN, BOB, EVE}


def test_those_who_alone_may_come_are_shown_it_and_follow_what_they_hold(lab: Lab) -> None:
    provider = lab.open()
    provider.set_workers(KEY, Admission(blocked=(BOB,), allowed=(ANN, BOB)))
    lab.open_study(provider)
    assert sees(lab) == {ANN}
    provider.set_workers(KEY, Admission(blocked=(BOB,), allowed=(BOB, EVE)))
    assert sees(lab) == {EVE}


def test_a_group_of_the_spec_is_asked_for_beside_ours(lab: Lab) -> None:
    panel = lab.open()._api.create_group("panel", members=[ANN, EVE])
    provider = lab.open(allow_groups=[panel.id])  # by its id as well as by its name
    provider.set_workers(KEY, Admission(allowed=(ANN, BOB)))
    lab.open_study(provider)
    assert sees(lab) == {ANN}


def test_the_same_lists_again_change_nothing_and_mend_what_others_changed(lab: Lab) -> None:
    told = Admission(blocked=(BOB,), allowed=(ANN,))
    lab.open().set_workers(KEY, told)
    before = group_effects(lab)
    lab.open().set_workers(KEY, told)
    assert group_effects(lab) == before
    group = next(group for group in lab.fake.world.groups.values() if group.name == BLOCKED)
    lab.fake.world.groups[group.id].members = {EVE: 0.0}
    lab.open().set_workers(KEY, told)
    assert members(lab) == {BLOCKED: {BOB}, ALLOWED: {ANN}}


@pytest.mark.parametrize("fault", ["5xx_after", "drop_after", "timeout_after"])
@pytest.mark.parametrize("path", ["/participant-groups/$", "/participants/$"])
def test_a_lost_answer_leads_to_one_group_with_all_its_members(lab: Lab, fault: str, path: str) -> None:
    lab.faults.force(fault, method="POST", path=path)
    for _ in range(3):
        try:
            lab.open().set_workers(KEY, Admission(blocked=(BOB, EVE)))
            break
        except Busy:
            lab.fake.advance(30)
    assert members(lab) == {BLOCKED: {BOB, EVE}}


def test_a_group_that_was_renamed_is_still_ours_and_one_that_was_deleted_is_made_under_another_name(lab: Lab) -> None:
    provider = lab.open()
    provider.set_workers(KEY, Admission(blocked=(BOB,)))
    (ours,) = lab.fake.world.groups.values()
    ours.name = "nobody wanted"
    provider.set_workers(KEY, Admission(blocked=(EVE,)))
    assert members(lab) == {"nobody wanted": {EVE}}
    ours.name, ours.deleted = BLOCKED, True
    assert provider.group_changes(KEY, Admission(blocked=(EVE,)))[0].made
    for _ in range(2):
        lab.open().set_workers(KEY, Admission(blocked=(EVE,)))
    assert members(lab) == {BLOCKED: {EVE}, f"{BLOCKED}:2": {EVE}}


def test_somebody_of_another_crowd_is_no_participant(lab: Lab) -> None:
    told = Admission(blocked=(BOB, WorkerId("w.17@lab")))
    lab.open().set_workers(KEY, told)
    assert members(lab) == {BLOCKED: {BOB}}
    assert lab.open().group_changes(KEY, told) == ()


def test_what_would_be_made_and_changed_is_what_then_is(lab: Lab) -> None:
    provider = lab.open(block_groups=["careless"], create=True)
    first, then = Admission(blocked=(BOB,), allowed=(ANN,)), Admission(blocked=(EVE,), allowed=(ANN, BOB))
    assert provider.group_changes(KEY, first) == (
        GroupChange(name="careless", made=True),
        GroupChange(name=BLOCKED, made=True, joining=1),
        GroupChange(name=ALLOWED, made=True, joining=1),
    )
    assert not lab.fake.effects(), "looking made something"
    provider.set_workers(KEY, first)
    lab.open_study(provider)
    assert provider.group_changes(KEY, first) == ()
    assert provider.group_changes(KEY, then) == (
        GroupChange(name=BLOCKED, made=False, joining=1, leaving=1),
        GroupChange(name=ALLOWED, made=False, joining=1),
    )


def test_a_group_that_is_not_there_is_told_with_those_that_are(lab: Lab) -> None:
    provider = lab.open(allow_groups=["freinds"])
    provider._api.create_group("friends")
    for verb in (lambda: provider.group_changes(KEY, NOBODY_OUT), lambda: lab.open_study(provider)):
        with pytest.raises(Refused, match="no participant group 'freinds'") as told:
            verb()
        assert (told.value.why, told.value.hint) == ("it has 'friends'", "did you mean 'friends'?")
    assert not lab.published()


# ---------------------------------------------------------------------------------------------------- the commands

OVERLAY = """
metadata: {name: birds-prolific}
task: {description: Read six short texts., reward: 0.30 GBP, units_per_visit: 6, estimated_time: 20s}
workers: {require: [trained], block: [w17]}
budget: {max: 10.00 GBP}
provider: {type: prolific}
"""


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A task for a fake on this machine; the arguments that name it."""
    monkeypatch.chdir(tmp_path)
    assert run(["new", "birds"]) == 0
    monkeypatch.chdir(tmp_path / "birds")
    Path("prolific.yaml").write_text(OVERLAY)
    spec = load_spec(Path("task.yaml"), overlays=[Path("prolific.yaml")])
    money = spec.budget.max if spec.budget else None
    assert money is not None
    with played(fake_of(spec, people=People(count=1), speed=1, faults={}, wallet=money)) as origin:
        monkeypatch.setenv("CROWDSTACK_PROLIFIC_URL", origin)
        monkeypatch.setenv("CROWDSTACK_PROLIFIC_TOKEN", TOKEN)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        yield ["task.yaml", "-f", "prolific.yaml"]


def test_preview_says_which_groups_would_be_made(task: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["preview", *task]) == 0
    said = capsys.readouterr().out
    assert "+  participant group crowdstack:birds-prolific:blocked, with 1 workers" in said
    assert "+  participant group crowdstack:birds-prolific:allowed, with 0 workers" in said
    assert "groups allowed: who holds trained" in said
    assert "nobody holds trained, which workers.require asks for" in said
    assert run(["preview", *task, "--set", "workers.require=[]"]) == 0
    assert "nobody holds" not in capsys.readouterr().out


def test_preview_refuses_a_group_that_is_not_there(task: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["--set", "provider.allow_groups=[friends]"]
    assert run(["preview", *task, *sets]) == 4
    assert "there is no participant group 'friends'" in capsys.readouterr().err
    assert run(["preview", *task, *sets, "--set", "provider.create=true"]) == 0
    assert "+  participant group friends, with 0 workers" in capsys.readouterr().out
