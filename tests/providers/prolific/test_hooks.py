"""Prolific's hooks: subscribed to once, mended when something is missing, left to nobody, and never more than a hint."""

from __future__ import annotations

import math

import pytest

from crowdstack.errors import Busy, Refused
from crowdstack.model import StudyKey
from crowdstack.providers.prolific.provider import ProlificProvider
from crowdstack.server.hooks import verify_hook
from tests.contracts.provider import KEY
from tests.providers.prolific.test_provider import Lab

AT = "https://study.example.org/v1/hooks"
EVENTS = {"submission.status.change", "study.status.change"}


def opened(lab: Lab, *, pace_s: tuple[float, float] = (0, 0)) -> ProlificProvider:
    provider = lab.open(webhooks=True)
    provider._pace_s = pace_s
    return provider


def subscribed(lab: Lab, at: str = AT) -> dict[str, str]:
    """Event -> id of what is confirmed and delivers to this address."""
    there = [found for found in lab.fake.world.subscriptions.values() if found.target_url == at]
    assert all(found.confirmed for found in there)
    assert len(there) == len({found.event_type for found in there}), "a change is told twice"
    return {found.event_type: found.id for found in there}


def writes(lab: Lab) -> int:
    return sum(count for name, count in lab.service.requests.items() if "hooks" in name and not name.startswith("GET"))


def test_watching_again_changes_nothing_in_this_life_or_another() -> None:
    lab = Lab()
    provider = opened(lab)
    key = provider.watch(KEY, AT)
    there, made = subscribed(lab), writes(lab)
    assert there.keys() == EVENTS
    assert provider.watch(KEY, AT) == opened(lab).watch(KEY, AT) == key
    assert (subscribed(lab), writes(lab)) == (there, made)
    provider.unwatch(KEY, AT)
    assert subscribed(lab) == {}
    provider.unwatch(KEY, AT)


def test_what_is_delivered_is_signed_with_the_key() -> None:
    lab = Lab()
    provider = opened(lab)
    key = provider.watch(KEY, AT)
    assert key is not None
    assert "Secret(…)" in repr(key.secret)
    assert "secret" not in repr(key)
    lab.open_study(provider)
    lab.fake.advance(1)
    found = lab.fake.deliveries()
    assert found
    for hook in found:
        assert hook.url == AT
        assert hook.headers[key.event]
        assert verify_hook(key.secret, hook.headers[key.timestamp], hook.body, hook.headers[key.signature])


def test_the_secret_of_the_workspace_is_shared_with_whoever_made_it() -> None:
    lab = Lab()
    one, other = opened(lab).watch(KEY, AT), opened(lab).watch(StudyKey("cats-1"), "https://cats.example.org/v1/hooks")
    assert one == other
    assert len(lab.fake.world.secrets) == 1
    assert subscribed(lab).keys() == EVENTS, "another run's address was taken for ours"


def test_without_the_setting_nothing_is_asked() -> None:
    lab = Lab()
    provider = lab.open()
    assert provider.watch(KEY, AT) is None
    provider.unwatch(KEY, AT)
    assert not lab.service.requests


@pytest.mark.parametrize("fault", ["5xx_after", "drop_after", "timeout_after", "5xx_before"])
@pytest.mark.parametrize("path", ["/secrets/$", "/subscriptions/$", "/subscriptions/.+/$"])
def test_a_lost_answer_leaves_one_confirmed_subscription_for_each_event(fault: str, path: str) -> None:
    lab = Lab()
    lab.faults.force(fault, method="POST", path=path, times=1)
    for _ in range(3):
        try:
            opened(lab).watch(KEY, AT)
            break
        except Busy:
            lab.fake.advance(60)
    assert subscribed(lab).keys() == EVENTS
    assert len(lab.fake.world.secrets) == 1


def test_a_subscription_that_was_deleted_or_given_up_on_is_made_again() -> None:
    lab = Lab()
    provider = opened(lab)
    provider.watch(KEY, AT)
    first, second = lab.fake.world.subscriptions.values()
    del lab.fake.world.subscriptions[first.id]
    second.enabled = False
    provider.watch(KEY, AT)
    working = [found for found in lab.fake.world.subscriptions.values() if found.enabled]
    assert {found.event_type for found in working} == EVENTS
    provider.unwatch(KEY, AT)
    assert not lab.fake.world.subscriptions, "one that was given up on is left behind"


def test_when_the_address_changes_the_old_one_is_told_nothing_more() -> None:
    lab = Lab()
    provider = opened(lab)
    provider.watch(KEY, AT)
    provider.watch(KEY, "https://new.example.org/v1/hooks")
    assert subscribed(lab) == {}
    assert subscribed(lab, "https://new.example.org/v1/hooks").keys() == EVENTS


def test_where_prolific_takes_no_such_address_it_is_refused_and_the_study_goes_on() -> None:
    lab = Lab(refuse_local_urls=True)
    provider = opened(lab)
    with pytest.raises(Refused):
        provider.watch(KEY, "http://127.0.0.1:8080/v1/hooks")
    lab.open_study(provider)
    assert provider.fetch_study(KEY) is not None


def test_10_000_hooks_cost_at_most_one_look_in_5_s_for_each_resource() -> None:
    lab = Lab()
    provider = opened(lab, pace_s=(5.0, 60.0))
    lab.open_study(provider)
    provider.fetch_visits(KEY)
    lab.service.requests.clear()
    took_s = 100
    for _ in range(10_000):
        provider.hint(KEY)
        lab.fake.advance(took_s / 10_000)
        provider.fetch_study(KEY)
        provider.fetch_visits(KEY)
    asked = sum(lab.service.requests.values())
    most = 2 * math.ceil(took_s / 5.0)
    print(f"\n10,000 hooks in {took_s} s: {asked} requests, {most} at most")
    assert asked <= most
    assert asked >= most - 4, "hints do not make it look"


def test_a_hint_is_looked_into_within_5_s_and_nothing_is_believed_of_it() -> None:
    lab = Lab()
    provider = opened(lab, pace_s=(5.0, 60.0))
    lab.open_study(provider)
    for _ in range(200):  # long silence
        provider.fetch_visits(KEY)
        lab.fake.advance(1)
    lab.service.requests.clear()
    lab.came("ann")  # type: ignore[arg-type]
    provider.hint(KEY)
    lab.fake.advance(5)
    found = provider.fetch_visits(KEY)
    assert found is not None
    assert [visit.worker for visit in found.visits] == ["ann"]
