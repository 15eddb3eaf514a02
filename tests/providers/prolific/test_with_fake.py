"""The client against the fake account: whole stories, and what is known after each fault. Every request and answer of
them is held against the published document."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from crowdstack.errors import Busy, CredentialsRefused, CrowdstackError, Refused, Unclear
from crowdstack.fakes.prolific import FakeProlific, Faults, InProcessTransport, Service, Settings
from crowdstack.fakes.prolific.http import serve
from crowdstack.model import Money
from crowdstack.providers.origins import PROLIFIC
from crowdstack.providers.prolific.account import Account
from crowdstack.providers.prolific.answers import StudyStatus, SubmissionStatus
from crowdstack.providers.prolific.api import Prolific, Rejection, StudyMove
from crowdstack.providers.prolific.audience import group_named
from crowdstack.providers.prolific.draft import CodeAction, CompletionCode, StudyDraft
from crowdstack.providers.prolific.faults import ApiRefused
from crowdstack.providers.prolific.transport import Transport
from crowdstack.tokens import Secret
from tests.contracts.prolific_contract import check_answer, check_request

LONG = "You answered every question the same way, although the questions asked for different answers; see the log."
AFTER = ("5xx_after", "drop_after", "timeout_after")


def gbp(minor: int) -> Money:
    return Money(minor, "GBP")


class Checking(BaseAdapter):
    """Hands requests on to the fake, and collects what does not fit the document."""

    def __init__(self, inner: InProcessTransport) -> None:
        super().__init__()
        self.inner = inner
        self.misfits: list[str] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        method, body = str(request.method), json.loads(request.body) if request.body else None
        self._check(check_request, method, parts.path, dict(parse_qsl(parts.query)), body)
        response = self.inner.send(request, *args, **kwargs)
        if response.status_code < 500:
            said = response.content
            self._check(check_answer, method, parts.path, response.status_code, json.loads(said) if said else None)
        return response

    def _check(self, check: Callable[..., None], *given: Any) -> None:
        try:
            check(*given)
        except AssertionError as fault:
            self.misfits.append(str(fault))

    def close(self) -> None:
        pass


class Town:
    """An account of 100.00 GBP without fees, its client, and people who come when they are told to."""

    def __init__(self, *, wallet: int = 10_000, faults: Faults | None = None, **settings: Any) -> None:
        settings = {"fee_bp": 0, "publishing_s": 0, **settings}
        self.fake = FakeProlific(settings=Settings(**settings), faults=faults, wallet=wallet)
        self.adapter = Checking(InProcessTransport(Service(self.fake), self.fake.advance))
        self.http = Transport(
            Secret(b"fake-token"), adapter=self.adapter, sleep=self.fake.advance, wall=lambda: self.fake.now
        )
        self.api: Prolific = Account(self.http).open(self.fake.workspace.id)
        self.http.requests_made.clear()

    def draft(self, **changes: Any) -> StudyDraft:
        given: dict[str, Any] = {
            "name": "Birds",
            "internal_name": "birds-1",
            "metadata": "birds-1",
            "description": "Which bird is it?",
            "url": "https://example.org/t?p={{%PROLIFIC_PID%}}&v={{%SESSION_ID%}}",
            "places": 3,
            "reward": gbp(100),
            "minutes": 10,
            "codes": (
                CompletionCode(code="DONE", type="COMPLETED", actions=(CodeAction(name="MANUALLY_REVIEW"),)),
                CompletionCode(
                    code="OURS", type="OTHER", actions=(CodeAction(name="MANUALLY_REVIEW"),), by_researcher=True
                ),
            ),
        }
        return StudyDraft(**{**given, **changes})

    def live(self, **changes: Any) -> str:
        study = self.api.create_study(self.draft(**changes)).id
        self.api.move_study(study, StudyMove.PUBLISH)
        self.fake.advance(1)
        return study

    def comes(self, study: str, who: str, code: str | None = "DONE") -> str:
        """Somebody takes a place, works and hands in; their submission."""
        submission = self.fake.reserve(study, who).id
        self.fake.start(submission)
        self.fake.complete(submission, code)
        return submission

    def paid(self) -> list[int]:
        return sorted(line.amount for line in self.fake.wallet_lines())


@pytest.fixture
def town() -> Iterator[Town]:
    it = Town()
    yield it
    assert it.adapter.misfits == []


def test_a_study_from_draft_to_the_last_payment(town: Town) -> None:
    api = town.api
    assert api.fetch_balance().available == gbp(10_000)
    assert api.quote(gbp(100), 3) == gbp(300)
    study = town.live()
    assert api.fetch_study(study).status is StudyStatus.ACTIVE
    good, bad, late = (town.comes(study, who) for who in ("anna", "ben", "cleo"))
    assert [one.status for one in api.list_submissions(study)] == [SubmissionStatus.AWAITING_REVIEW] * 3
    assert api.approve(good).status is SubmissionStatus.APPROVED
    assert api.reject(bad, message=LONG, category=Rejection.LOW_EFFORT).status is SubmissionStatus.REJECTED
    assert api.approve_many([late]) == 1
    town.fake.advance(60)
    counts = api.count_submissions(study)
    assert (counts.by_status[SubmissionStatus.APPROVED], counts.by_status[SubmissionStatus.REJECTED]) == (2, 1)
    assert api.change_published(study, places=5).places == 5
    bonus = api.create_bonus(study, {good: gbp(150), late: gbp(5)}, booked=gbp(155))
    assert (bonus.amount, bonus.total) == (gbp(155), gbp(155))
    api.pay_bonus(bonus.id)
    town.fake.advance(60)
    assert api.fetch_submission(good).bonuses == (gbp(150),)
    assert town.paid() == [5, 100, 100, 150]
    assert api.fetch_cost(study).total == gbp(355)
    assert api.move_study(study, StudyMove.STOP).status in (StudyStatus.COMPLETED, StudyStatus.AWAITING_REVIEW)


def test_a_list_and_each_detail_say_the_same_over_many_pages(town: Town) -> None:
    town.fake.top_up(1_000_000)
    study = town.live(places=230)
    for number in range(230):
        town.comes(study, f"p{number:03d}")
        town.fake.advance(1)
    town.http.requests_made.clear()
    found = town.api.list_submissions(study)
    assert len({one.id for one in found}) == 230
    assert town.http.requests_made == {"submissions": 3}
    for one in found[::50]:
        seen = town.api.fetch_submission(one.id)
        assert (seen.participant, seen.study, seen.status, seen.code) == (one.participant, study, one.status, one.code)
        assert (seen.started_at, seen.completed_at) == (one.started_at, one.completed_at)


@pytest.mark.parametrize("kind", AFTER)
def test_a_study_whose_answer_was_lost_is_found_again_and_there_is_one(town: Town, kind: str) -> None:
    town.fake.world.faults.force(kind, method="POST", path="/studies/$")
    with pytest.raises(Unclear):
        town.api.create_study(town.draft())
    (found,) = town.api.find_studies("birds-1")
    assert found.status is StudyStatus.UNPUBLISHED
    assert town.api.find_studies("birds-1", project=found.project) == [found]
    assert sum(effect.verb == "create_study" for effect in town.fake.effects()) == 1


@pytest.mark.parametrize("state", ["published", "completed", "renamed"])
def test_it_is_found_in_whatever_state_somebody_left_it(town: Town, state: str) -> None:
    study = town.live()
    if state == "completed":
        town.api.move_study(study, StudyMove.STOP)
    if state == "renamed":
        town.fake.edit_by_hand(study, internal_name="my birds")
    began = datetime.fromtimestamp(town.fake.now - 60, timezone.utc)
    assert [one.id for one in town.api.find_studies("birds-1", since=began)] == [study]


@pytest.mark.parametrize("kind", AFTER)
def test_a_payment_whose_answer_was_lost_is_paid_once_and_seen_in_the_submission(town: Town, kind: str) -> None:
    study = town.live()
    good = town.comes(study, "anna")
    town.api.approve(good)
    bonus = town.api.create_bonus(study, {good: gbp(150)}, booked=gbp(150))
    before = town.api.fetch_submission(good).bonuses
    town.fake.world.faults.force(kind, method="POST", path="/pay/$")
    with pytest.raises(Unclear):
        town.api.pay_bonus(bonus.id)
    town.fake.advance(60)
    assert before == ()
    assert town.api.fetch_submission(good).bonuses == (gbp(150),)
    assert town.paid() == [100, 150]


@pytest.mark.parametrize("kind", ["5xx_before", "drop_before"])
def test_what_was_lost_before_the_effect_looks_the_same_and_is_looked_up_too(town: Town, kind: str) -> None:
    town.fake.world.faults.force(kind, method="POST", path="/studies/$")
    with pytest.raises(Unclear):
        town.api.create_study(town.draft())
    assert town.api.find_studies("birds-1") == []


def test_a_throttled_write_was_not_done(town: Town) -> None:
    town.fake.world.faults.force("429", method="POST", path="/studies/$")
    with pytest.raises(Busy) as told:
        town.api.create_study(town.draft())
    assert not isinstance(told.value, Unclear)
    assert town.api.find_studies("birds-1") == []


@pytest.mark.parametrize("kind", ["429", "5xx_before", "5xx_after", "drop_before", "drop_after"])
def test_a_read_outlives_two_faults(town: Town, kind: str) -> None:
    study = town.live()
    town.fake.world.faults.force(kind, method="GET", path="/studies/", times=2)
    assert town.api.fetch_study(study).id == study
    assert town.http.requests_made["study"] == 3


def test_every_wrong_turn_has_its_kind_of_no(town: Town) -> None:
    study = town.live()
    absent = "60a1000000000000000000cc"
    turns: list[Callable[[], object]] = [
        lambda: town.api.fetch_study(absent),
        lambda: town.api.fetch_submission(absent),
        lambda: town.api.approve(absent),
        lambda: town.api.delete_draft(study),
        lambda: town.api.move_study(study, StudyMove.PUBLISH),
        lambda: town.api.change_published(study, places=1),
        lambda: town.api.change_published(study, places=100_000),  # no funds
        lambda: town.api.change_draft(study, town.draft(reward=gbp(500))),
        lambda: town.api.create_bonus(study, {absent: gbp(5)}, booked=gbp(5)),
        lambda: town.api.approve(town.fake.reserve(study, "dora").id),
    ]
    for turn in turns:
        with pytest.raises(ApiRefused) as told:
            turn()
        assert told.value.why
        assert told.value.hint
        assert told.value.where


def test_a_revoked_token_is_told_at_once(town: Town) -> None:
    http = Transport(Secret(b"another-token"), adapter=town.adapter, sleep=town.fake.advance)
    with pytest.raises(CredentialsRefused):
        Account(http).fetch_me()
    assert http.requests_made == {"me": 1}


def test_a_study_of_another_currency_gets_no_bonus(town: Town) -> None:
    study = town.live()
    good = town.comes(study, "anna")
    town.api.approve(good)
    stranger = Prolific(town.http, workspace=town.fake.workspace.id, currency="USD")
    with pytest.raises(Refused, match="is in GBP, not in USD"):
        stranger.create_bonus(study, {good: Money(150, "USD")}, booked=Money(150, "USD"))
    assert not [effect for effect in town.fake.effects() if "bonus" in effect.verb]


def test_fees_beyond_what_was_booked_stop_a_bonus() -> None:
    town = Town(fee_bp=4280, vat_bp=2000)
    study = town.live()
    good = town.comes(study, "anna")
    town.api.approve(good)
    with pytest.raises(Refused, match="Prolific would pay"):
        town.api.create_bonus(study, {good: gbp(1000)}, booked=gbp(1000))
    quoted = town.api.quote(gbp(1000), 1)
    assert town.api.create_bonus(study, {good: gbp(1000)}, booked=quoted).total == quoted
    assert town.adapter.misfits == []


def test_groups_filters_messages_and_hooks(town: Town) -> None:
    api = town.api
    group = api.create_group("good birds", members=["60a1000000000000000000f1"])
    assert group_named(api.list_groups(), "good birds") == group
    people = [f"60a1{number:020d}" for number in range(60)]
    api.add_members(group.id, people)
    api.add_members(group.id, people[:5])
    api.remove_members(group.id, [people[0], "60a1000000000000000000f1", "60a1000000000000000000f2"])
    assert api.list_members(group.id) == set(people[1:])
    assert {one.id for one in api.list_filters()} >= {"participant_group_allowlist", "age"}
    assert api.count_eligible([]) >= 0
    study = town.live(filters=({"filter_id": "participant_group_allowlist", "selected_values": [group.id]},))
    town.comes(study, people[1])
    api.send_message(people[1], "thank you", study=study)
    api.send_messages([people[1]], "thank you", study=study)
    secret = api.create_hook_secret()
    assert secret.value
    made = api.subscribe("submission.status.change", "https://example.org/hook")
    assert [one.id for one in api.list_subscriptions()] == [made.id]
    api.unsubscribe(made.id)
    assert api.list_subscriptions() == []


def test_taskflow_and_trials(town: Town) -> None:
    parts = (("https://example.org/1", 1), ("https://example.org/2", 2))
    study = town.live(url=None, allocations=parts)
    assert [(one.url, one.places) for one in town.api.fetch_allocations(study)] == list(parts)
    draft = town.api.clone_study(study)
    assert draft.status is StudyStatus.UNPUBLISHED
    town.api.create_test_participant("new@example.org")
    town.api.delete_draft(draft.id)
    with pytest.raises(ApiRefused) as told:
        town.api.fetch_study(draft.id)
    assert told.value.status == 404


@contextmanager
def on_a_port(service: Service) -> Iterator[str]:
    """The fake on loopback, in a loop of its own."""
    said: list[Any] = []
    ready = threading.Event()

    async def main() -> None:
        over = asyncio.Event()
        async with serve(service) as origin:
            said.extend((origin, asyncio.get_running_loop(), over))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(10)
    try:
        yield said[0]
    finally:
        said[1].call_soon_threadsafe(said[2].set)
        thread.join()


@pytest.mark.parametrize("kind", AFTER)
def test_over_a_real_connection_a_lost_answer_is_unclear_too(kind: str) -> None:
    fake = FakeProlific(settings=Settings(fee_bp=0), wallet=10_000)
    with on_a_port(Service(fake)) as origin:
        http = Transport(Secret(b"fake-token"), origin=origin, budget_s=3.0)
        api = Account(http).open(fake.workspace.id)
        fake.world.faults.force(kind, method="POST", path="/projects/$")
        with pytest.raises(Unclear):
            api.create_project("birds")
        assert [one.title for one in api.fetch_projects()].count("birds") == 1
        http.close()


def test_a_thousand_faults_leave_every_answer_in_one_of_four_kinds() -> None:
    rates = {
        "429": 0.1,
        "5xx_before": 0.1,
        "drop_before": 0.1,
        "5xx_after": 0.1,
        "drop_after": 0.1,
        "timeout_after": 0.1,
    }
    town = Town(wallet=1_000_000)
    study = town.live(places=50)
    town.fake.world.faults.set(rates)
    kinds = {"yes": 0, "no": 0, "busy": 0, "unclear": 0}
    for number in range(300):
        created = len([effect for effect in town.fake.effects() if effect.verb == "create_study"])
        try:
            town.api.create_study(town.draft(internal_name=f"birds-{number}"))
            kind = "yes"
        except Unclear:
            kind = "unclear"
        except Busy:
            kind = "busy"
        except CrowdstackError:
            kind = "no"
        kinds[kind] += 1
        made = len([effect for effect in town.fake.effects() if effect.verb == "create_study"]) - created
        assert {"yes": made == 1, "busy": made == 0, "no": made == 0, "unclear": made in (0, 1)}[kind]
    assert all(kinds[kind] > 20 for kind in ("yes", "busy", "unclear"))
    assert town.adapter.misfits == []
    town.fake.world.faults.set({})
    assert town.api.fetch_study(study).places == 50


def test_the_address_is_the_providers_own_unless_told() -> None:
    assert Transport(Secret(b"fake-token")).origin == PROLIFIC == "https://api.prolific.com"
