"""The rules of handing out: values in, decisions out; time passes when the test says so."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import pytest

from crowdstack.model import EventKind, LeftReason, StudyState, Submitted
from crowdstack.server.pool import Fault, No, Now, Pool, Terms
from crowdstack.server.rows import Change, Hold, Snapshot, Visit
from crowdstack.wire.control import ItemData, UnitPut
from crowdstack.wire.worker import Submit

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(seconds: float = 0.0) -> Now:
    return Now(START + timedelta(seconds=seconds), seconds)


def pool(items: Iterable[str] = (), *, repeats: int = 1, places: int = 100, **terms: int | None) -> Pool:
    made = Pool(Terms(**{"timeout_s": 600, "units_per_visit": None, "max_units": None, **terms}), lambda _: None)  # type: ignore[arg-type]
    items = list(items)
    put = [UnitPut(unit=f"{item}/{k}", item=item, attempt=1) for item in items for k in range(repeats)]
    made.offer([ItemData(item=item, data={}) for item in items], put, [], at())
    made.open_study("s", places, StudyState.OPEN, at())
    return made


def visit(of: Pool, worker: str, when: float = 0.0) -> Visit:
    found, _ = of.arrive(worker, "s", at(when))
    assert isinstance(found, Visit), found
    return found


def take(of: Pool, of_visit: Visit, when: float = 0.0) -> Hold:
    found, _ = of.next(of_visit, at(when))
    assert isinstance(found, Hold), found
    return found


def refused(of: Pool, of_visit: Visit, when: float = 0.0) -> str | None:
    found, _ = of.next(of_visit, at(when))
    assert isinstance(found, No)
    return found.reason


def submit(of: Pool, hold: Hold, when: float = 0.0) -> Submitted:
    frame = Submit(assignment=hold.id, nonce="n" * 22, answers={"label": "yes"})
    asked = of.asked(frame, hold.worker.id, at(when))
    assert isinstance(asked, Hold), asked
    body = of.accept(asked, frame, "", at(when)).events[0][1]
    assert isinstance(body, Submitted)
    return body


def kinds(change: Change) -> list[EventKind]:
    return [kind for kind, _ in change.events]


def test_nobody_gets_an_item_twice() -> None:
    world = pool(["a", "b"], repeats=3)
    ann = visit(world, "ann")
    got = []
    for _ in range(2):
        hold = take(world, ann)
        got.append(hold.unit.item.id)
        submit(world, hold)
    assert got == ["a", "b"]
    assert refused(world, ann) == "target"


def test_who_did_an_item_in_an_earlier_run_does_not_get_it() -> None:
    world = pool(["a"])
    world.offer([ItemData(item="a", data={}, done_by=("ann",))], [], [], at())
    assert world.arrive("ann", "s", at())[0] == No("target")


def test_a_second_tab_gets_the_same_hold() -> None:
    world = pool(["a", "b"])
    assert take(world, visit(world, "ann")) is take(world, visit(world, "ann"))


def test_a_unit_is_held_once_and_others_wait_for_it() -> None:
    world = pool(["a"])
    hold = take(world, visit(world, "ann"))
    bob = visit(world, "bob")
    assert refused(world, bob) is None
    world.give_back(hold.id, "ann", at())
    assert take(world, bob).unit is hold.unit


def test_a_returned_unit_comes_back_to_who_returned_it_after_all_others() -> None:
    world = pool(["a", "b"])
    ann = visit(world, "ann")
    world.give_back(take(world, ann).id, "ann", at())
    second = take(world, ann)
    assert second.unit.item.id == "b"
    submit(world, second)
    assert take(world, ann).unit.item.id == "a"


def test_an_expired_hold_frees_its_unit() -> None:
    world = pool(["a"])
    hold = take(world, visit(world, "ann"))
    assert world.tick(at(599)) == []
    assert [kinds(change) for change in world.tick(at(600))] == [[EventKind.EXPIRED]]
    assert take(world, visit(world, "bob", 601), 601).unit is hold.unit


def test_late_answers_count_while_the_unit_is_open() -> None:
    world = pool(["a"])
    hold = take(world, visit(world, "ann"))
    world.tick(at(600))
    body = submit(world, hold, 700)
    assert (body.late, body.counts, body.duration_s) == (True, True, 700)
    assert world.arrive("bob", "s", at(700))[0] == No("target")


def test_late_answers_to_a_unit_in_other_hands_are_kept_and_do_not_count() -> None:
    world = pool(["a"])
    hold = take(world, visit(world, "ann"))
    world.tick(at(600))
    bobs = take(world, visit(world, "bob", 600), 600)
    body = submit(world, hold, 601)
    assert (body.late, body.counts) == (True, False)
    assert submit(world, bobs, 602).counts


def test_late_answers_do_not_count_for_who_holds_another_unit_of_the_same_item() -> None:
    world = pool(["a"], repeats=2)
    ann = visit(world, "ann")
    first = take(world, ann)
    world.tick(at(600))
    second = take(world, ann, 601)
    assert second.unit is not first.unit
    assert not submit(world, first, 602).counts
    assert submit(world, second, 603).counts
    assert take(world, visit(world, "bob", 604), 604).unit is first.unit


def test_late_answers_count_for_who_holds_a_unit_of_another_item() -> None:
    world = pool(["a", "b"])
    ann = visit(world, "ann")
    first = take(world, ann)
    world.tick(at(600))
    assert take(world, ann, 601).unit.item is not first.unit.item
    assert submit(world, first, 602).counts


def test_late_answers_take_the_place_that_their_visit_had_left() -> None:
    world = pool(["a", "b"], repeats=2, places=1)
    ann = visit(world, "ann")
    first = take(world, ann)
    world.tick(at(600))
    world.tick(at(1200))
    assert ann.left is LeftReason.TIMEOUT
    frame = Submit(assignment=first.id, nonce="n" * 22, answers={})
    change = world.accept(first, frame, "", at(1201))
    assert ("visits", (ann.id, "ann", "s", 1, "timeout", None, "signed")) in change.rows
    assert world.arrive("bob", "s", at(1202))[0] == No()  # the only place is taken


def test_late_answers_to_a_visit_that_has_some_take_no_further_place() -> None:
    world = pool(["a", "b", "c"], places=2)
    ann = visit(world, "ann")
    submit(world, take(world, ann))
    late = take(world, ann)
    world.tick(at(600))
    world.tick(at(1200))
    submit(world, late, 1201)
    assert visit(world, "bob", 1202).left is None


def test_a_unit_offered_to_one_worker_goes_to_no_other() -> None:
    world = pool()
    put = [UnitPut(unit="u", item="a", attempt=1, offered_to="ann")]
    world.offer([ItemData(item="a", data={})], put, [], at())
    assert world.arrive("bob", "s", at())[0] == No("target")
    ann = visit(world, "ann")
    hold = take(world, ann)
    world.tick(at(600))
    assert take(world, ann, 601).unit is hold.unit


def test_a_visit_ends_with_its_last_unit() -> None:
    world = pool(["a", "b"], units_per_visit=1)
    ann = visit(world, "ann")
    hold = take(world, ann)
    frame = Submit(assignment=hold.id, nonce="n" * 22, answers={})
    assert kinds(world.accept(hold, frame, "", at())) == [EventKind.SUBMITTED, EventKind.LEFT]
    assert refused(world, ann) == "visit"
    assert visit(world, "ann") is not ann


def test_a_worker_at_the_limit_gets_no_further_visit() -> None:
    world = pool(["a", "b"], max_units=1)
    submit(world, take(world, visit(world, "ann")))
    assert world.arrive("ann", "s", at())[0] == No("limit")


def test_places_are_kept_by_those_who_submitted_and_freed_by_those_who_did_not() -> None:
    world = pool(["a", "b", "c"], places=1, units_per_visit=1)
    visit(world, "ann")
    assert world.arrive("bob", "s", at())[0] == No()
    assert [kinds(change) for change in world.tick(at(600))] == [[EventKind.LEFT]]
    submit(world, take(world, visit(world, "bob", 600), 600), 600)
    assert world.arrive("cleo", "s", at(600))[0] == No()
    world.open_study("s", 2, StudyState.OPEN, at(600))
    visit(world, "cleo", 600)


def test_a_visit_is_not_ended_while_it_is_heard_or_holds_a_unit() -> None:
    world = pool(["a"], timeout_s=100)
    ann = visit(world, "ann")
    take(world, ann)
    world.tick(at(100))  # the hold expires; the worker has one timeout more
    assert ann.left is None
    world.tick(at(199))
    assert ann.left is None
    world.tick(at(200))
    assert ann.left is LeftReason.TIMEOUT


def test_who_returns_and_goes_has_left_by_returning() -> None:
    world = pool(["a"])
    ann = visit(world, "ann")
    world.give_back(take(world, ann).id, "ann", at())
    world.tick(at(600))
    assert ann.left is LeftReason.RETURNED


def test_a_paused_or_unknown_study_admits_later_a_closed_one_never() -> None:
    world = pool(["a"])
    assert world.arrive("ann", "other", at())[0] == No()
    world.open_study("s", 9, StudyState.PAUSED, at())
    assert world.arrive("ann", "s", at())[0] == No()
    world.open_study("s", 9, StudyState.CLOSED, at())
    assert world.arrive("ann", "s", at())[0] == No("closed")


def test_a_blocked_worker_gets_nothing_and_an_unblocked_one_does() -> None:
    world = pool(["a"])
    world.admit(["ann"], None, at())
    assert world.arrive("ann", "s", at())[0] == No("blocked")
    world.admit([], None, at())
    visit(world, "ann")


def test_where_some_alone_are_admitted_others_get_nothing() -> None:
    world = pool(["a", "b"])
    ann = visit(world, "ann")
    take(world, ann)
    assert world.admit([], ["bob"], at()).rows
    assert not world.admit([], ["bob"], at()).rows
    assert world.arrive("zoe", "s", at())[0] == No("ineligible")
    submit(world, take(world, ann))  # what she holds she may finish
    assert refused(world, ann) == "ineligible"
    take(world, visit(world, "bob"))
    world.admit([], None, at())
    visit(world, "zoe")


def test_a_higher_attempt_offers_a_done_unit_again_to_others_and_a_repeat_does_nothing() -> None:
    world = pool(["a"])
    ann = visit(world, "ann")
    submit(world, take(world, ann))
    put = [UnitPut(unit="a/0", item="a", attempt=2)]
    assert world.offer([], put, [], at()).rows
    assert not world.offer([], put, [], at()).rows
    assert refused(world, ann) == "target"
    assert take(world, visit(world, "bob")).unit.attempt == 2


def test_a_dropped_unit_is_not_given_out() -> None:
    world = pool(["a", "b"])
    world.offer([], [], ["a/0"], at())
    assert take(world, visit(world, "ann")).unit.item.id == "b"


def test_drained_is_the_last_event_and_waits_for_the_last_hold() -> None:
    world = pool(["a", "b"])
    ann = visit(world, "ann")
    hold = take(world, ann)
    assert kinds(world.drain(False, at())) == []
    frame = Submit(assignment=hold.id, nonce="n" * 22, answers={})
    assert kinds(world.accept(hold, frame, "", at())) == [EventKind.SUBMITTED, EventKind.LEFT, EventKind.DRAINED]
    assert world.arrive("bob", "s", at())[0] == No("closed")


def test_after_drained_nothing_more_is_taken() -> None:
    world = pool(["a"])
    hold = take(world, visit(world, "ann"))
    assert kinds(world.drain(True, at())) == [EventKind.EXPIRED, EventKind.LEFT, EventKind.DRAINED]
    frame = Submit(assignment=hold.id, nonce="n" * 22, answers={})
    assert world.asked(frame, "ann", at()) == Fault("closed", "the study is over; nothing more can be taken")


def test_choosing_stays_quick_among_a_hundred_thousand_units() -> None:
    """One choice costs much the same as among two thousand (processor time, which other programs do not take part in)."""

    def cost(items: int) -> float:
        world = pool((f"item{n}" for n in range(items)), repeats=5, places=1000)
        visits = [visit(world, f"w{n}") for n in range(items // 100)]
        for _ in range(50):
            for each in visits:
                submit(world, take(world, each))
        took = []
        for batch in range(10):
            late = [visit(world, f"late{batch}-{n}") for n in range(20)]
            start = time.process_time()
            for each in late:
                submit(world, take(world, each))
            took.append(time.process_time() - start)
        return min(took)

    assert cost(20_000) < 10 * cost(400)


def test_after_it_stood_still_a_hold_has_two_minutes_and_who_is_inside_may_come_back() -> None:
    world = pool(["crow", "duck"])
    hold, idle = take(world, visit(world, "ann")), visit(world, "bob")
    world.stood_still(at(5000))
    assert world.tick(at(5119)) == []
    (expired,) = world.tick(at(5120))
    assert kinds(expired) == [EventKind.EXPIRED]
    assert hold.id not in world.holds
    assert idle.left is None, "silent for one timeout only from when it could be heard again"
    assert [kinds(change) for change in world.tick(at(5600))] == [[EventKind.LEFT]]
    assert idle.left is LeftReason.TIMEOUT


def test_who_had_more_time_left_keeps_it_when_it_stood_still() -> None:
    world = pool(["crow"])
    take(world, visit(world, "ann"))
    world.stood_still(at(60))
    assert world.tick(at(599)) == []
    assert kinds(world.tick(at(600))[0]) == [EventKind.EXPIRED]


@pytest.mark.parametrize("years", [-1, 1])
def test_no_hold_expires_when_the_wall_clock_jumps(years: int) -> None:
    there = pool(["crow", "duck"])
    hold = take(there, visit(there, "ann"))
    jumped = START + timedelta(days=365 * years)
    assert there.tick(Now(jumped, 599.0)) == []
    rows: dict[str, dict[object, tuple[object, ...]]] = {}

    def kept(table: str, values: tuple[object, ...]) -> None:
        rows.setdefault(table, {})[values[0]] = values

    for table, values in (*(unit.row() for unit in there.units.values()), hold.row(), hold.worker.visit.row()):  # type: ignore[union-attr]
        kept(table, values)
    for table, values in (each.row() for each in (*there.items.values(), *there.studies.values())):
        kept(table, values)
    again = pool()
    told = {name: rows[name].values() for name in ("items", "units", "studies", "visits")}
    again.load(
        Snapshot(
            **told,
            workers=(),
            holds=rows["assignments"].values(),
            done=(),
            claims=(),
            allowed=None,
            draining=False,
            drained=False,
        ),
        Now(jumped, 0.0),
    )  # type: ignore[arg-type]
    assert list(again.holds) == [hold.id]
    assert again.tick(Now(jumped, 119.0)) == [], "after a restart it has two minutes at least"
    assert kinds(again.tick(Now(jumped, 601.0))[0]) == [EventKind.EXPIRED], "and its whole time at most"
