"""Visits by ids that anybody could have written into an address: what they may have until the provider was asked, and after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crowdstack.model import (
    Arrived,
    Claim,
    EventKind,
    LeftReason,
    StudyKey,
    StudyState,
    Submitted,
    VisitId,
    WorkerId,
    visit_of,
)
from crowdstack.server.pool import No, Pool
from crowdstack.server.rows import Visit
from crowdstack.server.server import TaskServer
from crowdstack.wire import worker as frames
from crowdstack.wire.configs import Claims, Ending, Finish, ServerConfig
from crowdstack.wire.control import UnitPut
from tests.server.test_pool import at, kinds, pool, refused, submit, take, visit
from tests.server.world import STUDY, Page, a_server, config, control, link, offer, told

CLAIMS = Claims(worker="PROLIFIC_PID", submission="SESSION_ID")
FINISH = Finish(
    answered=Ending(code="C1", url="https://app.prolific.com/submissions/complete?cc=C1"),
    empty=Ending(code="C0", url="https://app.prolific.com/submissions/complete?cc=C0"),
    hosts=("app.prolific.com",),
)
THANKS = {"message": "Thank you!"}
C1, C0 = {**THANKS, **FINISH.answered.to("", "")}, {**THANKS, **FINISH.empty.to("", "")}
Story = Callable[[TaskServer], Awaitable[None]]


def claimed(of: Pool, worker: str, submission: str = "s1", when: float = 0.0) -> Visit:
    found, _ = of.arrive(worker, "s", at(when), submission)
    assert isinstance(found, Visit), found
    return found


def settle(of: Pool, claim: Claim, *visits: Visit, when: float = 0.0) -> list[EventKind]:
    return kinds(of.settle([(each.id, claim) for each in visits], at(when)))


def id_of(worker: str, submission: str, study: str = "s") -> VisitId:
    return visit_of(StudyKey(study), WorkerId(worker), submission)


# ---------------------------------------------------------------------------------------------------- which visit


def test_a_claimed_visit_has_the_id_that_store_and_adapter_compute_and_is_told_with_its_submission() -> None:
    found, change = pool(["a"]).arrive("p1", "s", at(), "s1")
    assert isinstance(found, Visit)
    assert found.id == id_of("p1", "s1")
    assert change.events == [
        (
            EventKind.ARRIVED,
            Arrived(visit=found.id, worker=WorkerId("p1"), study=StudyKey("s"), submission="s1"),
        )
    ]


def test_a_second_tab_and_a_reload_find_the_same_visit_and_its_hold() -> None:
    world = pool(["a", "b"])
    first = claimed(world, "p1")
    assert claimed(world, "p1") is first
    assert take(world, first) is take(world, claimed(world, "p1"))


def test_the_same_pair_after_it_left_is_told_how_it_ended_and_takes_no_other_place() -> None:
    world = pool(["a", "b"], units_per_visit=1)
    submit(world, take(world, claimed(world, "p1")))
    again = claimed(world, "p1")
    assert again.left is LeftReason.VISIT
    assert refused(world, again) == "visit"
    assert world.studies["s"].taken == 1


def test_where_nobody_tells_who_came_a_claim_has_no_place_beside_those_that_are_listed() -> None:
    of = pool("ab", places=1, listed=False)
    claimed(of, "ann")
    refused_, _ = of.arrive("bo", "s", at(0), "s2")
    assert refused_ == No()


def test_the_same_submission_with_another_worker_is_another_visit() -> None:
    world = pool(["a", "b"])
    assert claimed(world, "p1").id != claimed(world, "p2").id
    assert len(world.active) == 2


def test_another_submission_of_the_same_worker_ends_the_older_one_and_frees_its_unit() -> None:
    world = pool(["a"])
    old = claimed(world, "p1")
    hold = take(world, old)
    new, change = world.arrive("p1", "s", at(), "s2")
    assert isinstance(new, Visit)
    assert kinds(change) == [EventKind.RETURNED, EventKind.LEFT, EventKind.ARRIVED]
    assert old.left is LeftReason.REPLACED
    assert refused(world, old) == "replaced"
    assert take(world, new).unit is hold.unit
    assert claimed(world, "p1", "s1") is old, "the old address does not take the visit back"
    assert new.left is None
    assert world.studies["s"].taken == 1


def test_the_place_of_the_older_visit_is_enough_for_the_newer_one() -> None:
    world = pool(["a"], places=1)
    for n in range(6):
        claimed(world, f"p{n}")
    assert world.arrive("p9", "s", at(), "s1")[0] == No()
    claimed(world, "p1", "s2")
    assert world.studies["s"].taken == 6


def test_a_claim_ends_no_visit_that_is_more_than_one_but_waits_until_it_is_verified_itself() -> None:
    world = pool(["a", "b"])
    real = claimed(world, "p1")
    settle(world, Claim.VERIFIED, real)
    hold = take(world, real)
    other = claimed(world, "p1", "s2")
    assert refused(world, other) is None
    assert take(world, real) is hold
    assert settle(world, Claim.VERIFIED, other) == [EventKind.RETURNED, EventKind.LEFT]
    assert real.left is LeftReason.REPLACED
    assert take(world, other).visit == other.id


def test_a_claim_that_waits_beside_a_verified_visit_goes_on_when_that_one_has_left() -> None:
    world = pool(["a", "b"], units_per_visit=1)
    real = claimed(world, "p1")
    settle(world, Claim.VERIFIED, real)
    hold = take(world, real)
    other = claimed(world, "p1", "s2")
    submit(world, hold)
    assert take(world, other).visit == other.id


def test_a_claim_that_waits_and_is_not_heard_of_leaves_though_its_worker_holds_a_unit() -> None:
    world = pool(["a"], timeout_s=100)
    real = claimed(world, "p1")
    settle(world, Claim.VERIFIED, real)
    other = claimed(world, "p1", "s2")
    take(world, real, 50)
    assert [kinds(change) for change in world.tick(at(100))] == [[EventKind.LEFT]]
    assert (other.left, real.left) == (LeftReason.TIMEOUT, None)
    assert refused(world, claimed(world, "p1", "s3", 101), 101) is None
    assert take(world, real, 101).visit == real.id


def test_a_signed_link_is_not_led_into_a_visit_that_somebody_claimed_in_its_workers_name() -> None:
    world = pool(["a", "b"])
    forged = claimed(world, "ann")
    take(world, forged)
    mine = visit(world, "ann")
    assert mine is not forged
    assert mine.claim is Claim.SIGNED
    assert forged.left is LeftReason.REPLACED
    assert refused(world, claimed(world, "ann", "s2")) is None
    assert take(world, visit(world, "ann")).visit == mine.id


# ---------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(("places", "beside"), [(1, 5), (20, 5), (40, 10), (100, 25), (0, 0)])
def test_claims_take_a_quarter_more_places_than_there_are_and_five_at_least(places: int, beside: int) -> None:
    world = pool(["a"], places=places)
    came = [world.arrive(f"p{n}", "s", at(), "s1")[0] for n in range(places + beside + 10)]
    assert sum(isinstance(each, Visit) for each in came) == places + beside
    assert came[-1] == No()
    assert world.arrive("ann", "s", at())[0] == No(), "who was invited counts by the places that there are"


def test_a_visit_that_the_provider_told_of_before_it_came_is_let_in_whoever_else_is_inside() -> None:
    world = pool(["a"], places=1)
    for n in range(6):
        claimed(world, f"p{n}")
    assert world.arrive("real", "s", at(), "s1")[0] == No()
    assert world.settle([(id_of("real", "s1"), Claim.VERIFIED)], at()).rows
    assert claimed(world, "real").claim is Claim.VERIFIED


def test_a_visit_that_the_provider_refuted_before_it_came_is_not_let_in() -> None:
    world = pool(["a"])
    change = world.settle([(id_of("p1", "s1"), Claim.REFUTED)], at())
    assert change.rows == [("claims", (id_of("p1", "s1"), "refuted"))]
    assert not world.settle([(id_of("p1", "s1"), Claim.REFUTED)], at()).rows
    assert world.arrive("p1", "s", at(), "s1")[0] == No("ineligible")
    world.settle([(id_of("p1", "s1"), Claim.VERIFIED)], at())
    claimed(world, "p1")


def test_who_is_not_let_in_leaves_nothing_in_memory() -> None:
    world = pool(["a"], places=1)
    for n in range(1000):
        world.arrive(f"p{n}", "s", at(), "s1")
    assert len(world.workers) == len(world.visits) == 6


def test_a_closed_or_paused_study_admits_no_claim() -> None:
    world = pool(["a"])
    world.settle([(id_of("p1", "s1"), Claim.VERIFIED)], at())
    world.open_study("s", 9, StudyState.PAUSED, at())
    assert world.arrive("p1", "s", at(), "s1")[0] == No()
    world.open_study("s", 9, StudyState.CLOSED, at())
    assert world.arrive("p1", "s", at(), "s1")[0] == No("closed")


# ---------------------------------------------------------------------------------------------------- the provider's word


def test_a_refuted_visit_gives_back_its_unit_and_place_and_is_told_so() -> None:
    world = pool(["a"])
    forged = claimed(world, "p1")
    hold = take(world, forged)
    assert settle(world, Claim.REFUTED, forged) == [EventKind.RETURNED, EventKind.LEFT]
    assert forged.left is LeftReason.INELIGIBLE
    assert refused(world, forged) == refused(world, claimed(world, "p1")) == "ineligible"
    assert world.studies["s"].taken == 0
    assert take(world, claimed(world, "p2")).unit is hold.unit


def test_the_same_word_again_changes_nothing() -> None:
    world = pool(["a"])
    forged, real = claimed(world, "p1"), claimed(world, "p2")
    for claim, each in ((Claim.REFUTED, forged), (Claim.VERIFIED, real)):
        assert world.settle([(each.id, claim)], at())
        assert not world.settle([(each.id, claim)], at())


def test_what_a_refuted_visit_submitted_frees_its_place_and_its_unit_is_given_out_when_offered_again() -> None:
    world = pool(["a"], units_per_visit=1)
    forged = claimed(world, "p1")
    submit(world, take(world, forged))
    assert (forged.left, world.studies["s"].taken) == (LeftReason.VISIT, 1)
    assert settle(world, Claim.REFUTED, forged) == []
    assert world.studies["s"].taken == 0
    assert refused(world, forged) == "ineligible"
    world.offer([], [UnitPut(unit="a/0", item="a", attempt=2)], [], at())
    assert take(world, claimed(world, "p2")).unit.id == "a/0"


def test_late_answers_of_a_refuted_visit_are_kept_and_never_count() -> None:
    world = pool(["a"], places=1)
    forged = claimed(world, "p1")
    hold = take(world, forged)
    settle(world, Claim.REFUTED, forged)
    body = submit(world, hold, 5)
    assert (body.late, body.counts) == (True, False)
    assert (forged.submissions, world.studies["s"].taken) == (1, 0)
    assert take(world, claimed(world, "p2")).unit is hold.unit


def test_work_that_somebody_did_in_a_workers_name_is_not_held_against_the_worker() -> None:
    world = pool(["a"], max_units=1)
    forged = claimed(world, "p1", "made-up")
    hold = take(world, forged)
    submit(world, hold)
    assert world.arrive("p1", "s", at(), "s1")[0] == No("limit")
    settle(world, Claim.REFUTED, forged)
    world.offer([], [UnitPut(unit=hold.unit.id, item=hold.unit.item.id, attempt=2)], [], at())
    mine = claimed(world, "p1", "s1")
    assert take(world, mine).unit is hold.unit


def test_items_that_a_worker_passed_because_of_a_forged_visit_come_again() -> None:
    world = pool(["a"], repeats=2)
    forged = claimed(world, "p1", "made-up")
    submit(world, take(world, forged))
    assert refused(world, forged) == "target"
    settle(world, Claim.REFUTED, forged)
    assert take(world, claimed(world, "p1", "s1")).unit.id == "a/1"


def test_a_visit_that_the_provider_finds_after_all_counts_again_and_stays_out() -> None:
    world = pool(["a", "b"], max_units=1)
    late = claimed(world, "p1")
    submit(world, take(world, late))
    settle(world, Claim.REFUTED, late)
    settle(world, Claim.VERIFIED, late)
    assert world.studies["s"].taken == 1
    assert (late.worker.done, dict(late.worker.did)) == (1, {"a": 1})
    assert refused(world, late) == "limit"


def test_the_last_hold_of_a_drain_may_be_a_refuted_one() -> None:
    world = pool(["a"])
    forged = claimed(world, "p1")
    take(world, forged)
    world.drain(False, at())
    assert settle(world, Claim.REFUTED, forged) == [EventKind.RETURNED, EventKind.LEFT, EventKind.DRAINED]
    assert settle(world, Claim.VERIFIED, forged) == []


def test_no_word_of_a_provider_touches_a_visit_by_a_signed_link() -> None:
    world = pool(["a"])
    ann = visit(world, "ann")
    assert not world.settle([(ann.id, Claim.REFUTED)], at())
    take(world, ann)


# ---------------------------------------------------------------------------------------------------- over the sockets


def play(folder: Path, story: Story, *, units: int = 3, **changes: Any) -> None:
    async def run() -> None:
        async with a_server(folder, units=units, **{"claims": CLAIMS, "finish": FINISH, **changes}) as server:
            await story(server)

    asyncio.run(run())


async def came(server: TaskServer, worker: str, submission: str = "s1", **params: str) -> tuple[Page, frames.ToWorker]:
    page = await Page.open(server.origin)
    params = {"t": link(server.origin, "*"), "PROLIFIC_PID": worker, "SESSION_ID": submission, **params}
    answer = await page.ask(frames.Hello(protocol=1, bundle="", params=params))
    if isinstance(answer, frames.Welcome):
        page.session = answer.session
    return page, answer


def test_who_comes_by_a_link_for_everybody_is_who_the_address_says(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page, answer = await came(server, "5e9a", "60b")
        assert isinstance(answer, frames.Welcome)
        assert (answer.worker, answer.visit) == ("5e9a", id_of("5e9a", "60b", STUDY))
        unit = await page.take()
        assert isinstance(await page.submit(unit.assignment, {"label": "yes"}), frames.Accepted)
        async with control(server) as client:
            await client.connect(None)
            arrived, *_, submitted = [event.body for event in await told(client, until=3)]
        assert isinstance(arrived, Arrived)
        assert isinstance(submitted, Submitted)
        assert (arrived.submission, arrived.visit, submitted.visit) == ("60b", answer.visit, answer.visit)
        page.close()

    play(tmp_path, story)


def test_a_reload_after_the_end_is_given_the_same_code_again(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page, _ = await came(server, "p1")
        await page.submit((await page.take()).assignment, {"label": "yes"})
        done = frames.Done(reason="visit", completion=C1)
        assert await page.next() == done
        again = await Page.open(server.origin)
        assert isinstance(await again.hello(session=page.session), frames.Welcome)
        assert await again.next() == done
        anew, _ = await came(server, "p1")
        assert await anew.next() == done
        for each in (page, again, anew):
            each.close()

    play(tmp_path, story, units_per_visit=1)


def test_a_visit_without_answers_ends_with_another_code_than_one_with(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        first, _ = await came(server, "p1")
        second, _ = await came(server, "p2")
        await first.submit((await first.take()).assignment, {"label": "yes"})
        assert await second.next() == frames.Done(reason="target", completion=C0)
        assert await first.next() == frames.Done(reason="target", completion=C1)
        third, answer = await came(server, "p3")
        assert answer == frames.Done(reason="target", completion=C0)
        server.reread(replace(server.config, finish=None))
        assert await first.next() == frames.Done(reason="target", completion=THANKS)
        server.reread(replace(server.config, finish=Finish(answered=Ending(code="other"))))
        assert await first.next() == frames.Done(reason="target", completion={**THANKS, "code": "other"})
        assert await second.next() == frames.Done(reason="target", completion=THANKS)
        for each in (first, second, third):
            each.close()

    play(tmp_path, story, units=1)


def test_a_page_whose_visit_was_replaced_leads_nowhere_lest_it_end_the_newer_one(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        old, _ = await came(server, "p1", "s1")
        new, _ = await came(server, "p1", "s2")
        assert await old.next() == frames.Done(reason="replaced", completion=THANKS)
        await new.take()
        old.close(), new.close()

    play(tmp_path, story)


def test_a_refuted_visit_hears_so_in_all_its_pages_and_never_gets_the_code_for_answers(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        page, answer = await came(server, "p1")
        assert isinstance(answer, frames.Welcome)
        await page.submit((await page.take()).assignment, {"label": "yes"})
        held = await page.take()
        async with control(server) as client:
            await client.connect(None)
            await client.settle_claims([(VisitId(answer.visit), Claim.REFUTED)])
            await client.settle_claims([(VisitId(answer.visit), Claim.REFUTED)])
            late = await page.submit(held.assignment, {"label": "no"})
            assert isinstance(late, frames.Accepted)
            assert late.late
            ineligible = frames.Done(reason="ineligible", completion=C0)
            assert await page.next() == ineligible
            anew, welcome = await came(server, "p1")
            assert isinstance(welcome, frames.Welcome)
            assert await anew.next() == ineligible
            *_, returned, left, submitted = await told(client, until=late.receipt)
        assert [each.kind for each in (returned, left, submitted)] == [
            EventKind.RETURNED,
            EventKind.LEFT,
            EventKind.LATE,
        ]
        assert (left.body.reason, left.body.submissions) == (LeftReason.INELIGIBLE, 1)
        assert not submitted.body.counts
        page.close(), anew.close()

    play(tmp_path, story)


def test_a_restart_keeps_claims_and_what_was_said_of_them(tmp_path: Path) -> None:
    held: dict[str, Any] = {}

    async def before(server: TaskServer) -> None:
        async with control(server) as client:
            await client.connect(None)
            for name in ("real", "forged", "open"):
                page, answer = await came(server, name)
                assert isinstance(answer, frames.Welcome)
                held[name] = (page.session, (await page.take()).assignment, VisitId(answer.visit))
                page.close()
            await client.settle_claims(
                [
                    (held["real"][2], Claim.VERIFIED),
                    (held["forged"][2], Claim.REFUTED),
                    (id_of("later", "s1", STUDY), Claim.REFUTED),
                ]
            )
        held["port"] = server.port

    async def after(server: TaskServer) -> None:
        pool = server.desk.pool
        assert {visit.worker.id: visit.claim for visit in pool.visits.values()} == {
            "real": Claim.VERIFIED,
            "forged": Claim.REFUTED,
            "open": Claim.CLAIMED,
        }
        assert {visit.submission for visit in pool.visits.values()} == {"s1"}
        assert pool.studies[STUDY].taken == 2
        for name in ("real", "open"):
            page = await Page.open(server.origin)
            assert isinstance(await page.hello(session=held[name][0]), frames.Welcome)
            assert (await page.take()).assignment == held[name][1]
            page.close()
        page, _ = await came(server, "forged")
        assert await page.next() == frames.Done(reason="ineligible", completion=C0)
        page.close()
        page, answer = await came(server, "later")
        assert answer == frames.Done(reason="ineligible", completion=C0)
        page.close()

    play(tmp_path, before)
    play(tmp_path, after, units=0, port=held["port"])


def test_a_session_of_a_claim_makes_no_signed_visit_where_the_inbox_was_lost(tmp_path: Path) -> None:
    held: dict[str, Any] = {}

    async def before(server: TaskServer) -> None:
        page, answer = await came(server, "p1")
        assert isinstance(answer, frames.Welcome)
        held.update(session=page.session, visit=answer.visit, port=server.port)
        page.close()

    async def after(server: TaskServer) -> None:
        async with control(server) as client:
            await offer(client, ["crow"])
        page = await Page.open(server.origin)
        answer = await page.hello(session=held["session"])
        assert isinstance(answer, frames.Welcome)
        assert answer.visit == held["visit"]
        assert server.desk.pool.visits[answer.visit].claim is Claim.CLAIMED
        page.close()

    play(tmp_path, before)
    for path in (tmp_path / "run").glob("inbox.*"):
        path.unlink()
    play(tmp_path, after, units=0, port=held["port"])


def test_pages_are_counted_by_visit_so_that_a_made_up_one_shuts_nobody_out(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        pages = [(await came(server, "p1", "made-up"))[0] for _ in range(4)]
        page, answer = await came(server, "p1", "made-up")
        assert isinstance(answer, frames.Busy)
        mine, welcome = await came(server, "p1", "s1")
        assert isinstance(welcome, frames.Welcome)
        for each in (*pages, page, mine):
            each.close()

    play(tmp_path, story)


def test_who_waits_by_made_up_ids_is_a_stranger_who_keeps_nobody_out(tmp_path: Path) -> None:
    async def story(server: TaskServer) -> None:
        async with control(server) as client:
            await client.connect(None)
            await client.open_study(STUDY, places=0, state=StudyState.OPEN)
        pages = [await came(server, f"p{n}") for n in range(8)]
        assert all(isinstance(answer, frames.Wait) for _, answer in pages)
        assert len(server.door.strangers) <= 5
        assert len([await page.closed() for page, _ in pages[:3]]) == 3, "the one silent longest makes room"
        for page, _ in pages:
            page.close()

    play(tmp_path, story, limits={"waiting_per_address": 5})


# ---------------------------------------------------------------------------------------------------- settings


def test_claims_and_finish_come_back_from_the_file_as_they_were(tmp_path: Path) -> None:
    made = config(tmp_path / "blobs", claims=CLAIMS, finish=FINISH)
    assert ServerConfig.from_bytes(made.to_bytes()) == made
    assert ServerConfig.from_bytes(config(tmp_path / "blobs").to_bytes()).finish is None


@pytest.mark.parametrize("name", ["", "t", "preview", "review", "a b", "ä", "x" * 65])
def test_a_parameter_that_means_something_else_names_nobody(name: str) -> None:
    with pytest.raises(ValueError, match="claims"):
        Claims(worker=name, submission="SESSION_ID")
    with pytest.raises(ValueError, match="claims"):
        Claims(worker="PROLIFIC_PID", submission=name)


def test_an_address_at_the_end_is_filled_with_who_came_behind_its_question_mark() -> None:
    ending = Finish(answered=Ending(url="https://a.example/done?w={worker}&s={submission}"), hosts=("a.example",))
    assert ending.answered.to("a+b@c", "s&1") == {"url": "https://a.example/done?w=a%2Bb%40c&s=s%261"}


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "//a.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://evil.example/",
        "https://a.example.evil.example/",
        "https://a.example@evil.example/",
        "https://evil.example@a.example/",
        "https://a.example:8443/",
        "https://a.example\\@evil.example/",
        "https:/a.example/",
        "https:///a.example/",
        "https://A.example/",
        " https://a.example/",
        "https://a.exa\tmple/",
        "https://a.example/\n",
        "https://{worker}/",
        "https://a.example/{worker}",
        "https://a.example/?x={other}",
        "https://a.example/?x={worker",
        'https://a.example/?"',
        "https://a.example/" + "x" * 2000,
    ],
)
def test_no_page_is_sent_to_an_address_that_is_not_https_at_a_host_of_the_list(url: str) -> None:
    for finish in ({"answered": Ending(url=url)}, {"empty": Ending(url=url)}):
        with pytest.raises(ValueError, match=r"not an https address at a\.example"):
            Finish(**finish, hosts=("a.example",))


@pytest.mark.parametrize(
    "data",
    [
        {"answered": {"code": "x" * 129}},
        {"answered": {"code": "a\nb"}},
        {"answered": {"code": 7}},
        {"answered": {"path": "/etc"}},
        {"answered": "C1"},
        {"other": {}},
        {"hosts": "a.example"},
        {"hosts": ["*"]},
        {"hosts": ["a.example/x"]},
        {"hosts": ["x@a.example"]},
        {"answered": {"url": ["https://a.example/"]}, "hosts": ["a.example"]},
    ],
)
def test_what_is_no_finish_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Finish.of(data)
