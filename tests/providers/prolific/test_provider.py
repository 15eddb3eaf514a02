"""Prolific behind the port: the contract of every adapter, and what only this one has to withstand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone

import pytest

from crowdstack.errors import Busy, NotYet, Refused, Unclear
from crowdstack.fakes.prolific.fake import FakeProlific
from crowdstack.fakes.prolific.faults import Faults
from crowdstack.fakes.prolific.service import Service
from crowdstack.fakes.prolific.settings import Settings
from crowdstack.fakes.prolific.states import StudyStatus
from crowdstack.fakes.prolific.transport import InProcessTransport
from crowdstack.model import ListedState, Money, RunId, StudyKey, StudyState, VisitId, WorkerId, visit_of
from crowdstack.ports import Memory, Provider
from crowdstack.providers.prolific.api import Prolific
from crowdstack.providers.prolific.provider import ProlificProvider
from crowdstack.providers.prolific.transport import Transport
from crowdstack.tokens import Secret
from tests.contracts.provider import ANN, BOB, KEY, REWARD, ManagedProviderContract

SETTINGS = {
    "type": "prolific",
    "minutes": 5,
    "codes": {"done": "DONE1234", "nothing": "NONE1234"},
    "fee_bp": 4280,
    "vat_bp": 0,
}
TOKEN = "t0ken-of-the-fake-account"


class Notes(dict[str, str]):
    """ports.Memory that outlives an adapter."""

    def put(self, name: str, value: str) -> None:
        self[name] = value


class Lab:
    """A fake account, and adapters that forget all but their notes."""

    def __init__(self, *, wallet: int = 100_000, **settings: object) -> None:
        self.faults = Faults(1)
        self.fake = FakeProlific(
            wallet=wallet,
            currency="USD",
            token=TOKEN,
            faults=self.faults,
            settings=Settings(pay_lag_s=0, publishing_s=0, **settings),  # type: ignore[arg-type]
        )
        self.service = Service(self.fake)
        self.notes: dict[RunId, Notes] = {}

    def open(self, *, pace_s: tuple[float, float] = (0, 0), **more: object) -> ProlificProvider:
        http = Transport(
            Secret(TOKEN.encode()),
            adapter=InProcessTransport(self.service, self.fake.advance),  # type: ignore[arg-type]
            sleep=self.fake.advance,
            wall=lambda: self.fake.now,
        )
        return ProlificProvider(
            Prolific(http, workspace=self.fake.workspace.id, currency="USD"),
            {**SETTINGS, **more},
            page=lambda key: f"https://study.example.org/?t=signed-for-{key}",
            memory=self._memory,
            runs=lambda: [run for run, notes in self.notes.items() if notes],
            now=lambda: datetime.fromtimestamp(self.fake.now, timezone.utc),
            monotonic=lambda: self.fake.now,
            pace_s=pace_s,
        )

    def _memory(self, run: RunId) -> Memory:
        return self.notes.setdefault(run, Notes())

    def study(self) -> str:
        return self.notes[RunId(KEY)]["study"]

    def came(self, worker: WorkerId, *, code: str | None = "DONE1234") -> tuple[VisitId, str]:
        """This worker took a place, worked, and handed in."""
        submission = self.fake.reserve(self.study(), worker)
        self.fake.start(submission.id)
        self.fake.advance(60)
        self.fake.complete(submission.id, code)
        self.fake.advance(1)
        return visit_of(KEY, worker, submission.id), submission.id

    def open_study(self, provider: Provider, places: int = 2) -> None:
        provider.open_study(KEY, places=places, reward=REWARD, title="Birds")

    def published(self) -> list[str]:
        return [effect.subject for effect in self.fake.effects() if effect.verb == "publish"]


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def provider(lab: Lab) -> Iterator[ProlificProvider]:
    opened = lab.open()
    yield opened
    opened.close()


class TestProlificProvider(ManagedProviderContract):
    @pytest.fixture(autouse=True)
    def _lab(self, lab: Lab) -> None:
        self.lab = lab

    def came(self, provider: Provider, number: int, worker: WorkerId) -> tuple[VisitId, str | None]:
        try:
            return self.lab.came(worker)
        except Exception as refusal:  # there is no place
            raise Refused(str(refusal)) from refusal


def test_everybody_who_took_a_place_is_told_with_our_name_of_the_visit(lab: Lab, provider: ProlificProvider) -> None:
    lab.open_study(provider, places=3)
    visit, submission = lab.came(ANN)
    inside = lab.fake.reserve(lab.study(), BOB)
    listing = provider.fetch_visits(KEY)
    assert listing is not None
    told = {found.submission: (found.visit, found.worker, found.state, found.code) for found in listing.visits}
    assert told == {
        submission: (visit, ANN, ListedState.AWAITING, "DONE1234"),
        inside.id: (visit_of(KEY, BOB, inside.id), BOB, ListedState.RESERVED, None),
    }


def test_until_the_visits_are_asked_for_anew_they_are_the_same_listing(lab: Lab) -> None:
    provider = lab.open(pace_s=(30, 30))
    lab.open_study(provider)
    first = provider.fetch_visits(KEY)
    lab.fake.advance(29)
    assert first is not None
    assert provider.fetch_visits(KEY) is first
    lab.fake.advance(2)
    later = provider.fetch_visits(KEY)
    assert later is not None
    assert later.at > first.at, "nobody came, and now that is known of a later time"


@pytest.mark.parametrize("fault", ["5xx_after", "drop_after", "timeout_after"])
@pytest.mark.parametrize("path", ["/studies/$", "/transition/", "/studies/.+/$"])
def test_a_lost_answer_leads_to_one_published_study(lab: Lab, fault: str, path: str) -> None:
    lab.faults.force(fault, method="POST", path=path)
    for _ in range(3):
        provider = lab.open()  # a new life each time
        try:
            lab.open_study(provider)
            break
        except Busy:
            lab.fake.advance(30)
    assert len(set(lab.published())) == 1
    study = lab.open().fetch_study(KEY)
    assert study is not None
    assert (study.places, study.state) == (2, StudyState.OPEN)


def test_killed_between_draft_and_note_only_the_noted_one_is_published(lab: Lab) -> None:
    first = lab.open()
    create = first._create
    made: list[str] = []

    def killed(*arguments: object, **more: object) -> str:
        made.append(create(*arguments, **more))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    first._create = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        lab.open_study(first)
    lab.open_study(lab.open())
    assert lab.published() == made  # found by its name


def test_a_bonus_whose_payment_got_no_answer_is_not_paid_again(lab: Lab) -> None:
    provider = lab.open()
    lab.open_study(provider)
    visit, submission = lab.came(ANN)
    provider.approve(KEY, visit, ANN, submission)
    lab.faults.force("drop_after", path="/pay/")
    with pytest.raises(Unclear):
        provider.pay_bonus(KEY, visit, ANN, submission, payment="first", net=REWARD)
    lab.open().pay_bonus(KEY, visit, ANN, submission, payment="first", net=REWARD)  # it is shown: all is well
    lines = [line for line in lab.fake.wallet_lines() if line.purpose.startswith("bonus")]
    assert len(lines) == 1


def test_a_bonus_that_was_never_paid_stays_unclear_and_is_never_sent_again(lab: Lab) -> None:
    provider = lab.open()
    lab.open_study(provider)
    visit, submission = lab.came(ANN)
    provider.approve(KEY, visit, ANN, submission)
    lab.faults.force("drop_before", path="/pay/")
    for _ in range(3):
        with pytest.raises(Unclear):
            lab.open().pay_bonus(KEY, visit, ANN, submission, payment="first", net=REWARD)
        lab.fake.advance(3600)
    assert not [line for line in lab.fake.wallet_lines() if line.purpose.startswith("bonus")]
    with pytest.raises(NotYet):  # and until a person has looked, no other one to this submission
        lab.open().pay_bonus(KEY, visit, ANN, submission, payment="second", net=REWARD)


def test_a_bonus_that_the_service_would_not_take_is_sent_again(lab: Lab) -> None:
    provider = lab.open()
    lab.open_study(provider)
    visit, submission = lab.came(ANN)
    provider.approve(KEY, visit, ANN, submission)
    lab.faults.force("429", path="/pay/")
    with pytest.raises(Busy):
        provider.pay_bonus(KEY, visit, ANN, submission, payment="first", net=REWARD)
    lab.fake.top_up(-lab.fake.available())
    with pytest.raises(Refused):  # no funds
        provider.pay_bonus(KEY, visit, ANN, submission, payment="first", net=REWARD)
    lab.fake.top_up(1_000)
    lab.open().pay_bonus(KEY, visit, ANN, submission, payment="first", net=REWARD)
    lab.open().pay_bonus(
        KEY, visit, ANN, submission, payment="second", net=REWARD
    )  # and it is no other one's turn for ever
    assert len([line for line in lab.fake.wallet_lines() if line.purpose == "bonus"]) == 2


def test_a_full_study_is_open_for_more_places(lab: Lab, provider: ProlificProvider) -> None:
    lab.open_study(provider, places=1)
    visit, submission = lab.came(ANN)
    provider.approve(KEY, visit, ANN, submission)
    study = provider.fetch_study(KEY)
    assert study is not None
    assert (study.state, study.by_hand) == (StudyState.OPEN, False)
    assert provider.raise_places(KEY, 2).places == 2
    lab.came(BOB)


@pytest.mark.parametrize("seed", range(10))
def test_what_a_copy_that_lags_behind_says_is_no_refusal(seed: int) -> None:
    """A study that was published and is said not to be must stay in the exposure: only a definite no may take it out."""
    lab = Lab()
    lab.faults.random.seed(seed)
    lab.faults.set({"stale": 1.0, "stale_s": 30, "5xx_after": 0.2})
    for _ in range(40):
        with suppress(Busy):
            lab.open_study(lab.open())
        lab.fake.advance(3)
    assert len(set(lab.published())) == 1


def test_a_study_that_was_deleted_on_the_site_is_closed_once_no_copy_can_lag_behind_so_long(lab: Lab) -> None:
    provider = lab.open()
    lab.open_study(provider)
    lab.fake.by_hand(lab.study(), "DELETE")
    with pytest.raises(NotYet, match="is not shown by Prolific now"):
        provider.fetch_study(KEY)
    lab.fake.advance(120)
    study = provider.fetch_study(KEY)
    assert study is not None
    assert (study.state, study.by_hand, study.reward) == (StudyState.CLOSED, True, REWARD)
    assert provider.fetch_visits(KEY) is None
    with pytest.raises(Refused, match="not at Prolific any more"):
        provider.raise_places(KEY, 5)


@pytest.mark.parametrize("freed_by", ["rejection", "return", "time"])
def test_a_full_study_that_pauses_because_a_place_is_free_again_is_nobodys_wish(freed_by: str) -> None:
    lab = Lab(full_when_taken=True)
    provider = lab.open()
    lab.open_study(provider, places=1)
    if freed_by == "time":
        lab.fake.start(lab.fake.reserve(lab.study(), ANN).id)
        lab.fake.advance(24 * 3600)
    else:
        visit, submission = lab.came(ANN)
        if freed_by == "return":
            lab.fake.give_back(submission)
        else:
            provider.reject(KEY, visit, ANN, "no answer was accepted", submission)
    study = provider.fetch_study(KEY)
    assert study is not None
    assert (study.state, study.by_hand) == (StudyState.PAUSED, False)
    assert provider.set_state(KEY, StudyState.OPEN).state is StudyState.OPEN
    lab.fake.by_hand(lab.study(), "PAUSE")
    study = lab.open().fetch_study(KEY)
    assert study is not None
    assert study.by_hand  # this time nobody has left: it is somebody's wish


def test_a_closed_study_that_a_freed_place_opens_again_is_stopped() -> None:
    lab = Lab(freed_is_active=True)
    provider = lab.open()
    lab.open_study(provider, places=2)
    submission = lab.came(ANN)[1]
    lab.came(BOB)
    assert provider.set_state(KEY, StudyState.CLOSED).state is StudyState.CLOSED  # full: there is nothing to stop
    lab.fake.give_back(submission)
    assert lab.fake.world.studies[lab.study()].status is StudyStatus.ACTIVE
    found = provider.fetch_study(KEY)
    assert found is not None
    assert found.state is StudyState.CLOSED
    assert lab.fake.world.studies[lab.study()].status is not StudyStatus.ACTIVE
    provider.close()


def test_a_study_that_somebody_paused_on_the_site_is_said_to_be(lab: Lab, provider: ProlificProvider) -> None:
    lab.open_study(provider)
    lab.fake.by_hand(lab.study(), "PAUSE")
    study = provider.fetch_study(KEY)
    assert study is not None
    assert (study.state, study.by_hand) == (StudyState.PAUSED, True)


def test_a_full_study_that_a_returned_place_paused_is_ours_to_start_and_paused_by_hand_after_that_it_is_not(
    lab: Lab, provider: ProlificProvider
) -> None:
    lab.open_study(provider, places=1)
    _, submission = lab.came(ANN)
    lab.fake.give_back(submission)
    study = provider.fetch_study(KEY)
    assert study is not None
    assert (study.state, study.by_hand) == (StudyState.PAUSED, False)
    assert provider.set_state(KEY, StudyState.OPEN).state is StudyState.OPEN
    lab.fake.by_hand(lab.study(), "PAUSE")
    study = provider.fetch_study(KEY)
    assert study is not None
    assert (study.state, study.by_hand) == (StudyState.PAUSED, True)


def test_a_full_study_that_paused_itself_before_it_was_given_more_places_is_ours_to_start(
    lab: Lab, provider: ProlificProvider
) -> None:
    lab.open_study(provider, places=1)
    _, submission = lab.came(ANN)
    lab.fake.give_back(submission)
    assert provider.raise_places(KEY, 2).places == 2
    study = provider.fetch_study(KEY)
    assert study is not None
    assert (study.state, study.by_hand) == (StudyState.PAUSED, False)


def test_a_study_that_we_paused_is_not(lab: Lab, provider: ProlificProvider) -> None:
    lab.open_study(provider)
    assert not provider.set_state(KEY, StudyState.PAUSED).by_hand
    assert provider.set_state(KEY, StudyState.OPEN).state is StudyState.OPEN


def test_no_funds_is_a_refusal_and_the_draft_waits(lab: Lab) -> None:
    poor = Lab(wallet=10)
    with pytest.raises(Refused):
        poor.open_study(poor.open())
    poor.fake.top_up(100_000)
    poor.open_study(poor.open())
    assert len(poor.published()) == 1


def test_a_gross_price_is_the_dearer_of_quote_and_table(lab: Lab, provider: ProlificProvider) -> None:
    assert provider.gross(Money(100, "USD")) == Money(143, "USD")


def test_another_run_has_its_own_study(lab: Lab, provider: ProlificProvider) -> None:
    lab.open_study(provider)
    provider.open_study(StudyKey("birds-2"), places=1, reward=REWARD, title="Birds")
    assert len(set(lab.published())) == 2


def test_a_filter_that_the_account_does_not_know_is_told_before_anything_is_made(lab: Lab) -> None:
    provider = lab.open(filters=[{"filter_id": "agee", "selected_range": {"lower": 18}}])
    with pytest.raises(Refused, match="no filter 'agee'") as told:
        lab.open_study(provider)
    assert "'age'" in str(told.value)
    assert not lab.fake.effects()


def test_an_old_requirement_becomes_the_filter_that_asks_for_the_same(lab: Lab) -> None:
    old = {"name": "AgeRangeEligibilityRequirement", "min_age": 18, "max_age": 30}
    provider = lab.open(eligibility_requirements=[old])
    lab.open_study(provider)
    young, grown = lab.fake.add_person(ANN, age=17), lab.fake.add_person(BOB, age=20)
    assert not lab.fake.open_studies(young.id)
    assert lab.fake.open_studies(grown.id)


def test_an_old_requirement_without_a_filter_is_refused(lab: Lab) -> None:
    with pytest.raises(Refused, match="HandednessEligibilityRequirement"):
        lab.open_study(lab.open(eligibility_requirements=[{"name": "HandednessEligibilityRequirement"}]))


def test_a_group_that_is_not_there_is_made_if_the_spec_says_so(lab: Lab) -> None:
    lab.open_study(lab.open(block_groups=["careless"], create=True))
    (study,) = lab.fake.world.studies.values()
    (group,) = lab.fake.world.groups.values()
    assert group.name == "careless"
    assert study.fields["filters"] == [{"filter_id": "participant_group_blocklist", "selected_values": [group.id]}]


def test_a_group_that_is_not_there_is_told(lab: Lab) -> None:
    with pytest.raises(Refused, match="no participant group 'friends'"):
        lab.open_study(lab.open(allow_groups=["friends"]))


def test_what_was_changed_on_the_site_is_told(lab: Lab, provider: ProlificProvider) -> None:
    lab.open_study(provider)
    assert provider.drift(KEY, reward=REWARD, title="Birds") == ()
    lab.fake.edit_by_hand(lab.study(), name="Cats")
    assert provider.drift(KEY, reward=REWARD, title="Birds") == ("name: Cats there, Birds in the spec",)
    told = provider.drift(KEY, reward=Money(60, "USD"), title="Birds")
    assert "reward (minor units): 50 there, 60 in the spec" in told
