"""Webhooks: confirmed first, signed, told again until taken, at times twice, late or not at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from crowdstack.fakes.prolific import Faults
from crowdstack.fakes.prolific.world import Delivery
from tests.fakes.lab import CODE, Lab

DAY = 86_400


def listening(lab: Lab, event_type: str = "submission.status.change") -> tuple[str, str]:
    """A confirmed subscription and the workspace's secret."""
    workspace = lab.fake.workspace.id
    secret = lab.api.post("/hooks/secrets/", {"workspace_id": workspace})["value"]
    body = {"workspace_id": workspace, "event_type": event_type, "target_url": "https://example.org/hook"}
    made = lab.api.send("POST", "/hooks/subscriptions/", body)
    key = made.json()["id"]
    lab.api.post(f"/hooks/subscriptions/{key}/", {"secret": made.headers["X-Hook-Secret"]})
    return key, secret


def told(lab: Lab, ok: bool = True) -> list[Delivery]:
    found: list[Delivery] = []
    lab.fake.pump(lambda delivery: found.append(delivery) or ok)  # type: ignore[func-returns-value]
    return found


def payload(delivery: Delivery) -> Any:
    return json.loads(delivery.body)


def test_nothing_is_delivered_before_it_is_confirmed() -> None:
    lab = Lab()
    workspace = lab.fake.workspace.id
    body = {"workspace_id": workspace, "event_type": "study.status.change", "target_url": "https://example.org/"}
    assert "secret" in lab.api.refused("POST", "/hooks/subscriptions/", body)
    lab.api.post("/hooks/secrets/", {"workspace_id": workspace})
    key = lab.api.post("/hooks/subscriptions/", body)["id"]
    lab.live()
    assert told(lab) == []
    assert "not the secret" in lab.api.refused("POST", f"/hooks/subscriptions/{key}/", {"secret": "x"})


def test_a_delivery_is_signed_over_its_time_and_raw_body() -> None:
    lab = Lab()
    _, secret = listening(lab)
    submission = lab.handed_in(lab.live(), "anna")
    found = told(lab)
    assert sorted(payload(each)["status"] for each in found) == ["ACTIVE", "AWAITING REVIEW", "RESERVED"]
    for each in found:
        stamp = each.headers["X-Prolific-Request-Timestamp"]
        mac = hmac.new(secret.encode(), stamp.encode() + each.body, hashlib.sha256).digest()
        assert each.headers["X-Prolific-Request-Signature"] == base64.b64encode(mac).decode()
        assert int(stamp) == int(lab.fake.now)
        assert payload(each)["resource_id"] == submission
        assert payload(each)["participant_id"] == "anna"


def test_a_new_secret_takes_the_place_of_the_old() -> None:
    lab = Lab()
    _, old = listening(lab)
    workspace = lab.fake.workspace.id
    new = lab.api.post("/hooks/secrets/", {"workspace_id": workspace})["value"]
    assert (
        [found["value"] for found in lab.api.get("/hooks/secrets/", workspace_id=workspace)["results"]]
        == [new]
        != [old]
    )


def test_what_is_not_taken_is_told_again_with_the_same_id_for_a_day() -> None:
    lab = Lab()
    key, _ = listening(lab, "study.status.change")
    lab.live()
    first = told(lab, ok=False)
    ids = {each.headers["X-Event-ID"] for each in first}
    assert len(ids) == len(first) == 2  # PUBLISHING, ACTIVE
    tries = len(first)
    for _ in range(100):
        lab.fake.advance(DAY / 100)
        again = told(lab, ok=False)
        assert {each.headers["X-Event-ID"] for each in again} <= ids
        tries += len(again)
    assert tries == 2 * 12
    events = lab.api.get(f"/hooks/subscriptions/{key}/events/", status="FAILED")
    assert events["meta"]["count"] == 2


def test_five_days_of_failure_end_a_subscription() -> None:
    lab = Lab()
    key, _ = listening(lab, "study.status.change")
    study = lab.live()
    for day in range(6):
        told(lab, ok=False)
        lab.api.act(study, "PAUSE" if day % 2 == 0 else "START")
        lab.fake.advance(DAY)
    told(lab, ok=False)
    assert not lab.api.get(f"/hooks/subscriptions/{key}/")["is_enabled"]
    assert lab.api.get("/hooks/subscriptions/", is_enabled="true")["results"] == []
    assert lab.api.patch(f"/hooks/subscriptions/{key}/", {"is_enabled": True})["is_enabled"]


def test_a_subscription_that_is_deleted_hears_nothing() -> None:
    lab = Lab()
    key, _ = listening(lab)
    lab.api.call("DELETE", f"/hooks/subscriptions/{key}/")
    lab.begun(lab.live())
    assert told(lab) == []


def test_hooks_are_lost_doubled_late_and_out_of_order() -> None:
    lab = Lab(faults=Faults(4, {"hook_lost": 0.2, "hook_twice": 0.3, "hook_late_s": 60.0}))
    listening(lab)
    study = lab.live(total_available_places=30)
    heard: list[Delivery] = []
    for number in range(30):
        lab.handed_in(study, f"p{number}")
        lab.fake.advance(5)
        heard += told(lab)
    lab.fake.advance(60)
    heard += told(lab)
    ids = [each.headers["X-Event-ID"] for each in heard]
    assert len(set(ids)) < len(ids)  # twice
    assert len(set(ids)) < 90  # lost
    times = [float(each.headers["X-Timestamp"]) for each in heard]
    assert times != sorted(times)


def test_other_events_are_told_too() -> None:
    lab = Lab()
    for kind in ("study.progress.change", "study.has_high_return_rate"):
        listening(lab, kind)
    study = lab.live(total_available_places=20)
    for number in range(12):
        submission = lab.begun(study, f"p{number}")
        lab.fake.give_back(submission) if number % 2 else lab.fake.complete(submission, CODE)
    kinds = [payload(each)["event_type"] for each in told(lab)]
    assert kinds.count("study.progress.change") == 6
    assert kinds.count("study.has_high_return_rate") == 1
    listed = {found["event_type"] for found in lab.api.get("/hooks/event-types/")["results"]}
    assert {"submission.status.change", "study.status.change", *kinds} == listed
