"""What preview prints, and how the journal is held against it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from crowdstack.model import IntentState, Item, ItemId, Money, RunId, RunState, StudyState, WorkerId
from crowdstack.plan.actions import (
    Action,
    ApproveVisit,
    CloseStudy,
    OfferUnits,
    OpenStudy,
    PauseStudy,
    RaisePlaces,
    TearDown,
    action_of,
    draft,
)
from crowdstack.plan.desired import Count, Desired, visits_needed
from crowdstack.plan.forecast import fold, forecast, journaled, matches
from crowdstack.ports import Intent
from tests.plan.builders import CENTS_5, STUDY, desired, observed, visit

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def lines(want: Desired, **world: object) -> list[str]:
    return [str(line) for line in forecast(want, observed(**world))]  # type: ignore[arg-type]


def test_a_new_run_is_five_changes() -> None:
    assert lines(desired(items=800, repeats=10, per_visit=20), open=8000, offered=False) == [
        "+ offer 8,000 units (800 items x 10)",
        "+ open study birds-1: 400 places",
        "~ approve 400 visits: 20.00 USD",
        "- close study birds-1",
        "- tear down",
    ]


def test_waves_are_one_line() -> None:
    whole = lines(desired(items=50), open=50, offered=False)
    assert lines(desired(items=50, wave=7), open=50, offered=False) == whole
    assert lines(desired(items=50, wave=7, count=Count.APPROVED), open=50, offered=False) == whole


def test_a_kept_run_is_not_torn_down() -> None:
    assert lines(desired(keep=True), open=10, offered=False)[-1] == "- close study birds-1"


def test_a_budget_that_pauses_shows_only_what_fits() -> None:
    shown = lines(desired(budget=Money(20, "USD")), open=10, offered=False)
    assert shown == [
        "+ offer 10 units (10 items x 1)",
        "+ open study birds-1: 4 places",
        "~ approve 4 visits: 0.20 USD",
    ]


def test_a_met_target_is_nothing_to_do() -> None:
    assert lines(desired(), submitted=10, before=10) == []


def test_a_run_under_way_shows_what_is_left_of_it() -> None:
    assert lines(desired(), open=6, assigned=1, submitted=3, places=10, paid=2, active=1, ended=(visit(),)) == [
        "~ approve 8 visits: 0.40 USD",
        "- close study birds-1",
        "- tear down",
    ]


def test_more_repeats_raise_the_study_that_is_there() -> None:
    shown = lines(desired(repeats=2), open=10, submitted=10, places=10, paid=10, offers=(20, 10))
    assert shown[:2] == ["+ offer 20 units (10 items x 2)", "~ raise study birds-1 to 20 places"]


def test_destroy_shows_what_it_closes_and_whom_it_pays() -> None:
    shown = lines(desired(), open=9, submitted=1, places=10, ended=(visit(),), wanted=RunState.DESTROYED)
    assert shown == ["~ approve 1 visit: 0.05 USD", "- close study birds-1", "- tear down"]


def test_the_number_of_visits_without_an_end_is_known_after_up() -> None:
    want = desired(items=10, per_visit=10, visits=4, personal=True, open_ended=True)
    assert lines(want, open=10, offered=False)[1:3] == [
        "+ open study birds-1: 4 places",
        "~ approve visits: known after up",
    ]


def test_named_workers_each_need_visits_of_their_own() -> None:
    names = [WorkerId(f"w{n}") for n in range(3)]
    items = [Item(id=ItemId(str(n)), data={}, offered_to=(names[n % 2], names[2])) for n in range(6)]
    assert visits_needed(items, repeats=2, per_visit=4, crowd=None) == 1 + 1 + 2
    assert visits_needed(items, repeats=2, per_visit=6, crowd=50) == 3
    anybody = [Item(id=ItemId(str(n)), data={}) for n in range(6)]
    assert visits_needed(anybody, repeats=2, per_visit=5, crowd=None) == 3
    assert visits_needed(anybody, repeats=2, per_visit=6, crowd=5) == 5


# ---------------------------------------------------------------------- the journal


def written(actions: list[Action], state: IntentState = IntentState.DONE) -> list[Intent]:
    drafts = [draft(action, NOW) for action in actions]
    return [
        Intent(id=n, run=RunId("birds-1"), key=d.key, kind=d.kind, body=d.body, state=state, at=NOW)
        for n, d in enumerate(drafts)
    ]


def opened(places: int) -> OpenStudy:
    return OpenStudy(study=STUDY, places=places, gross=CENTS_5, reward=CENTS_5, title="Birds")


def approvals(count: int) -> list[Action]:
    seen = [visit(f"v{n}") for n in range(count)]
    return [ApproveVisit(study=STUDY, visit=v.visit, worker=v.worker, amount=CENTS_5) for v in seen]


def test_an_action_survives_being_written_down() -> None:
    for action in [opened(4), *approvals(1), PauseStudy(study=STUDY)]:
        kept = draft(action, NOW)
        assert action_of(kept.kind, kept.body) == action


def test_each_pause_is_an_intent_of_its_own() -> None:
    later = datetime(2026, 1, 2, tzinfo=timezone.utc)
    assert draft(PauseStudy(study=STUDY), NOW).key != draft(PauseStudy(study=STUDY), later).key


def test_refused_and_unfinished_intents_did_not_happen() -> None:
    assert journaled(written([opened(4)], IntentState.REFUSED)) == []
    assert journaled(written([opened(4)], IntentState.RECORDED)) == []
    assert journaled(written([opened(4)])) == [opened(4)]


class TestMatches:
    want = desired()
    world = observed(open=10, offered=False)
    promised = forecast(want, world)

    def story(self, *, places: int, paid: int, more: list[Action] | None = None) -> bool:
        ending = [OfferUnits(total=10), CloseStudy(study=STUDY), TearDown()]
        raised: list[Action] = [RaisePlaces(study=STUDY, places=places, gross=CENTS_5)] if places > 10 else []
        happened = [opened(min(places, 10)), *raised, *approvals(paid), *(more or []), *ending]
        return matches(self.promised, fold(happened, self.want, self.world.units))

    def test_an_ideal_crowd_gives_the_same_lines(self) -> None:
        assert self.story(places=10, paid=10)

    def test_surplus_may_add_to_it_but_not_without_end(self) -> None:
        assert self.story(places=15, paid=15)
        assert not self.story(places=16, paid=10)
        assert not self.story(places=15, paid=16)

    def test_less_than_promised_is_no_match(self) -> None:
        assert not self.story(places=10, paid=9)

    def test_the_operators_own_orders_are_no_part_of_the_preview(self) -> None:
        assert self.story(places=10, paid=10, more=[PauseStudy(study=STUDY)])

    def test_a_change_that_was_not_shown_is_no_match(self) -> None:
        assert not matches(self.promised[1:], self.promised)
        assert not matches(self.promised, self.promised[1:])
        assert not matches(self.promised, (*self.promised[:-1], replace(self.promised[-1], sign="+")))


@pytest.mark.parametrize("state", [StudyState.OPEN, StudyState.PAUSED])
def test_a_forecast_ends(state: StudyState) -> None:
    for wanted in RunState:
        for per_visit in (1, 3):
            for wave in (None, 2):
                want = desired(per_visit=per_visit, wave=wave)
                assert lines(want, open=10, wanted=wanted, places=3, state=state) != [] or wanted is RunState.PAUSED
