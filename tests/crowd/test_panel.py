"""People whom a panel sends: the real task server, a fake of the service, and a crowd that is killed in between."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from crowdstack import tokens
from crowdstack.crowd.crowd import play
from crowdstack.crowd.journal import Journal, accepted
from crowdstack.crowd.panel import LinkPanel, PlaceState
from crowdstack.crowd.participant import Course, Fate, course
from crowdstack.crowd.replay import Pool
from crowdstack.fakes.prolific import FakeProlific, Service, Settings, Submission, studies
from crowdstack.fakes.prolific.background import played
from crowdstack.fakes.prolific.clock import running
from crowdstack.model import WorkerId
from crowdstack.tokens import Secret
from crowdstack.wire.configs import Claims, Ending, Finish, PanelConfig
from tests.crowd.builders import LINK_KEY
from tests.crowd.town import Town, ended_at_last, offer, open_study, until, write_recording
from tests.fakes.lab import CODE, DRAFT

ANN = WorkerId("ann")
SITE = {
    "claims": Claims(worker="PROLIFIC_PID", submission="SESSION_ID"),
    "finish": Finish(answered=Ending(code=CODE), empty=Ending(code="N0THING")),
    "units_per_visit": 5,
}


def panel(**rates: float) -> PanelConfig:
    return PanelConfig(kind="fake", url="", **rates)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- how visits end


def test_a_visit_ends_in_every_process_as_it_was_drawn() -> None:
    config = panel(returns=0.3, times_out=0.3, no_code=0.3)
    drawn = [course(config, seed=1, worker=ANN, number=number) for number in range(400)]
    assert drawn == [course(config, seed=1, worker=ANN, number=number) for number in range(400)]
    shares = Counter(found.fate for found in drawn)
    assert all(90 <= shares[fate] <= 150 for fate in (Fate.RETURNS, Fate.TIMES_OUT, Fate.NO_CODE))
    assert all((found.leaves_after is None) == (found.fate in (Fate.NO_CODE, Fate.HANDS_IN)) for found in drawn)


def test_without_rates_everybody_hands_in() -> None:
    assert course(panel(), seed=1, worker=ANN, number=1) == Course(Fate.HANDS_IN)


def test_each_recorded_answer_is_given_once_and_again_when_it_came_to_nothing() -> None:
    out: list[dict[str, str]] = []
    pool = Pool(
        {ANN: {"7": {"a": "x"}}, WorkerId("bo"): {"7": {"a": "y"}}, WorkerId("cy"): {"7": {"a": "x"}}}, lambda _: out
    )
    while (given := pool.next("7")) is not None:
        out.append(dict(given))
    assert Counter(answers["a"] for answers in out) == {"x": 2, "y": 1}
    out.remove({"a": "y"})
    assert pool.next("7") == {"a": "y"}
    assert pool.next("8") is None


async def test_a_link_that_everybody_has_is_opened_with_ids_of_ones_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    config = PanelConfig(kind="link", url="https://here.example/?t=s.t&worker=WORKER&visit=VISIT")
    here = LinkPanel(config, journal)
    first = await here.reserve(ANN)
    second = await here.reserve(ANN)
    assert first
    assert second
    url = await here.start(ANN, second)
    assert dict(parse_qsl(urlsplit(str(url)).query)) == {"t": "s.t", "worker": "ann", "visit": "ann-2"}
    assert await here.complete(ANN, first, {"code": "DONE"})
    await journal.close()
    again = Journal(tmp_path / "journal.jsonl")
    assert [place.state for place in await LinkPanel(config, again).places(ANN)] == [
        PlaceState.HANDED_IN,
        PlaceState.TAKEN,
    ]
    assert again.places(ANN)[0].code == "DONE"
    await again.close()


# ---------------------------------------------------------------------------------------------------- whole crowds


@contextmanager
def study_for(town: Town, *, places: int, **fields: object) -> Iterator[tuple[Service, str]]:
    """A fake with one study that sends people to the town; it and its origin."""
    fake = FakeProlific(wallet=1_000_000, settings=Settings(fee_bp=0, publishing_s=0))
    now = int(time.time())
    claims = tokens.link_claims(
        run="birds-1", study="birds-1", provider="prolific", worker="*", origin=town.origin, issued=now, expires=None
    )
    link = tokens.link_url(town.origin, tokens.Signer(LINK_KEY, "link").sign(claims))
    ids = "&PROLIFIC_PID={{%PROLIFIC_PID%}}&SESSION_ID={{%SESSION_ID%}}"
    config = {"max_submissions_per_participant": -1}
    body = {**DRAFT, "external_study_url": link + ids, "total_available_places": places, "submissions_config": config}
    studies.act(fake.world, studies.create(fake.world, {**body, **fields}), "PUBLISH")
    service = Service(fake, control_token="c", clock=running(fake.now))
    with played(service) as origin:
        yield service, origin


def submissions(service: Service) -> list[Submission]:
    with service.paused() as fake:
        return list(fake.world.submissions.values())


def answered(town: Town) -> int:
    return sum(not line["void"] for line in accepted(town.run.crowd / "journal.jsonl").values())


async def test_killed_between_any_two_steps_people_go_on_with_the_places_they_took(tmp_path: Path) -> None:
    town, items = Town(tmp_path), 60
    recording = write_recording(tmp_path / "recorded.csv", [(i, f"w{i % 7}", "abc"[i % 3]) for i in range(items)])
    async with town.server(**SITE) as server:
        await offer(server, items)
        await open_study(server)
        with study_for(town, places=100) as (service, origin):
            source = PanelConfig(kind="fake", url=origin, token=Secret(b"c"), no_code=0.3)
            town.write_crowd(kind="replay", recording=str(recording), workers=7, panel=source, time_per_unit_s=0.05)
            with ended_at_last(town.crowd_process()) as started:
                for due in (10, 25, 40):
                    await until(lambda due=due: answered(town) >= due, within_s=60, what=f"{due} answers")
                    started[-1].send_signal(signal.SIGKILL)
                    started[-1].wait()
                    started.append(town.crowd_process())
                await until(lambda: answered(town) == items, within_s=60, what="all answers")

                def closed() -> bool:
                    return not any(s.status.value == "ACTIVE" and not s.handed_in for s in submissions(service))

                await until(closed, within_s=60, what="everybody to hand in")
            found = submissions(service)
    assert town.assert_journal_is_inbox() == items
    by_item = {event["unit"][5:13]: event["answers"]["label"] for event in town.events("submitted")}
    assert by_item == {f"{i:08d}": "abc"[i % 3] for i in range(items)}
    worked = [s for s in found if s.status.value == "AWAITING REVIEW" and not s.return_requested]
    uncoded = {s.id for s in worked if s.entered_code is None}
    expected = set()
    for worker in {s.participant for s in found}:
        own = [s for s in found if s.participant == worker]
        expected |= {
            s.id
            for number, s in enumerate(own, start=1)
            if course(source, seed=1, worker=WorkerId(worker), number=number).fate is Fate.NO_CODE
        }
    assert uncoded <= expected
    assert {s.id for s in worked if s.entered_code == CODE}.isdisjoint(expected)


async def test_who_returns_a_place_counts_its_answers_as_none_and_comes_again(tmp_path: Path) -> None:
    town = Town(tmp_path)
    async with town.server(**SITE) as server:
        await offer(server, 200)
        await open_study(server)
        with study_for(town, places=100) as (service, origin):
            source = PanelConfig(kind="fake", url=origin, token=Secret(b"c"), returns=0.5)
            town.write_crowd(kind="bots", workers=3, panel=source)
            playing = asyncio.ensure_future(play(town.run.crowd))
            try:
                await until(lambda: answered(town) >= 60, within_s=60, what="60 answers")
            finally:
                playing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await playing
            found = submissions(service)
    returned = {s.id for s in found if s.status.value == "RETURNED"}
    assert len(returned) >= 3
    void = {line["place"] for line in town.journal("void")}
    came = {line["place"] for line in town.journal("visit")}
    assert void <= returned
    assert len((returned & came) - void) <= 3, "all but those who were about to look again"
