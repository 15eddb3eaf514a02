"""What goes wrong on the way: before the effect nothing happened, after it everything did."""

from __future__ import annotations

import pytest
import requests

from crowdstack.fakes.prolific import Faults
from tests.fakes.lab import DRAFT, Lab

BEFORE = {"429": None, "5xx_before": None, "drop_before": requests.ConnectionError}
AFTER = {"5xx_after": None, "drop_after": requests.ConnectionError, "timeout_after": requests.ReadTimeout}


@pytest.mark.parametrize(("kind", "fault"), [*BEFORE.items(), *AFTER.items()])
def test_a_fault_comes_before_or_after_the_effect(kind: str, fault: type[Exception] | None) -> None:
    lab = Lab()
    lab.fake.world.faults.force(kind, method="POST", path="/studies/$")
    if fault is None:
        assert lab.api.send("POST", "/studies/", DRAFT).status_code in (429, 500, 502)
    else:
        with pytest.raises(fault):
            lab.api.send("POST", "/studies/", DRAFT)
    assert len(lab.api.get("/studies/")["results"]) == (kind in AFTER)
    lab.api.post("/studies/", DRAFT)  # it was forced once


def test_a_time_out_takes_the_callers_time() -> None:
    lab = Lab()
    lab.fake.world.faults.force("timeout_after")
    before = lab.fake.now
    with pytest.raises(requests.ReadTimeout):
        lab.api.get("/users/me/")
    assert lab.fake.now == before + 5


def test_pay_that_was_lost_was_paid() -> None:
    lab = Lab()
    study = lab.live()
    submission = lab.handed_in(study)
    bulk = lab.bonus(study, (submission, "1.00"))["id"]
    lab.fake.world.faults.force("drop_after", path="/pay/")
    with pytest.raises(requests.ConnectionError):
        lab.api.post(f"/bulk-bonus-payments/{bulk}/pay/")
    lab.fake.advance(60)
    assert lab.submission(submission)["bonus_payments"] == [100]


def test_some_429s_say_when_to_come_again_and_some_do_not() -> None:
    lab = Lab(faults=Faults(3, {"429": 1.0}))
    answers = [lab.api.send("GET", "/users/me/") for _ in range(40)]
    said = [answer.headers.get("Retry-After") for answer in answers]
    assert None in said
    assert any(value and int(value) >= 1 for value in said)
    assert {answer.json()["message"] for answer in answers} == {"Too many requests"}


def test_a_server_fault_may_be_a_page_of_html() -> None:
    lab = Lab(faults=Faults(3, {"5xx_before": 1.0}))
    answers = [lab.api.send("GET", "/users/me/") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {500, 502}
    assert any(answer.text.startswith("<html>") for answer in answers)


def test_the_same_seed_meets_the_same_faults() -> None:
    def met(seed: int) -> list[str | None]:
        faults = Faults(seed, {"429": 0.2, "5xx_after": 0.2, "drop_after": 0.1})
        return [faults.draw("GET", "/x/") for _ in range(200)]

    assert met(1) == met(1) != met(2)
    assert set(met(1)) == {None, "429", "5xx_after", "drop_after"}


def test_the_wallet_may_be_busier_than_the_rest() -> None:
    lab = Lab(faults=Faults(1, {"429_money": 1.0}))
    study = lab.live()
    submission = lab.handed_in(study)
    path = f"/submissions/{submission}/transition/"
    assert lab.api.send("POST", path, {"action": "APPROVE"}).status_code == 429
    assert lab.submission(submission)["status"] == "AWAITING REVIEW"


@pytest.mark.parametrize(
    ("rates", "said"), [({"404": 0.1}, "no fault"), ({"429": 1.5}, "between 0 and 1"), ({"stale_s": -1}, "seconds")]
)
def test_faults_that_there_are_not_are_told(rates: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Faults(0, rates)


# ------------------------------------------------------------------------------------------------ late reads


def test_a_read_may_show_an_older_state_and_never_one_older_than_asked_for() -> None:
    lab = Lab(faults=Faults(5, {"stale": 1.0, "stale_s": 10.0}))
    lab.api.get("/users/me/")
    lab.fake.advance(100)
    study = lab.draft()
    seen = [len(lab.api.get("/studies/")["results"]) for _ in range(20)]
    assert set(seen) == {0}
    lab.fake.advance(5)
    assert {len(lab.api.get("/studies/")["results"]) for _ in range(40)} == {0, 1}
    assert {lab.api.send("GET", f"/studies/{study}/").status_code for _ in range(40)} == {200, 404}
    lab.fake.advance(6)
    assert {len(lab.api.get("/studies/")["results"]) for _ in range(40)} == {1}


def test_a_late_read_is_of_one_moment() -> None:
    lab = Lab(faults=Faults(5, {"stale": 1.0, "stale_s": 10.0}))
    lab.api.get("/users/me/")
    lab.fake.advance(50)
    study = lab.api.post("/studies/", DRAFT)["id"]
    lab.api.post(f"/studies/{study}/transition/", {"action": "PUBLISH"})
    lab.fake.advance(50)
    submission = lab.handed_in(study)
    lab.decide(submission, "APPROVE")
    lab.fake.advance(5)
    shown = {
        (c["TOTAL"], c["APPROVED"]) for c in (lab.api.get(f"/studies/{study}/submissions/counts/") for _ in range(60))
    }
    assert shown == {(0, 0), (1, 1)}
    assert (
        lab.fake.world.count(lab.fake.world.study(study), frozenset({lab.fake.world.submission(submission).status}))
        == 1
    )


def test_what_was_there_before_late_reads_began_was_there_always() -> None:
    lab = Lab()
    study = lab.draft()
    lab.fake.world.faults.set({"stale": 1.0, "stale_s": 1000.0})
    lab.api.get("/users/me/")
    assert lab.api.get(f"/studies/{study}/")["status"] == "UNPUBLISHED"
