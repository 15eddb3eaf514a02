"""The state machine of a study: each move, and what is refused from each state."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tests.fakes.lab import APPROVING, CODE, DRAFT, Lab

ACTIONS = ("PUBLISH", "SCHEDULE_PUBLISH", "CANCEL_PUBLISH", "PAUSE", "START", "STOP")
ALLOWED = {
    "UNPUBLISHED": {"PUBLISH", "SCHEDULE_PUBLISH"},
    "SCHEDULED": {"CANCEL_PUBLISH"},
    "PUBLISHING": set(),
    "ACTIVE": {"PAUSE", "STOP"},
    "PAUSED": {"START", "STOP"},
    "AWAITING REVIEW": set(),
    "COMPLETED": set(),
}


def tomorrow(lab: Lab) -> str:
    return datetime.fromtimestamp(lab.fake.now + 86_400, timezone.utc).isoformat()


def in_state(lab: Lab, state: str) -> str:
    study = lab.draft(total_available_places=1)
    if state == "UNPUBLISHED":
        return study
    if state == "SCHEDULED":
        lab.api.act(study, "SCHEDULE_PUBLISH", publish_at=tomorrow(lab))
        return study
    lab.api.act(study, "PUBLISH")
    if state == "PUBLISHING":
        return study
    lab.fake.advance(2)
    if state == "PAUSED":
        lab.api.act(study, "PAUSE")
    if state == "AWAITING REVIEW":
        lab.handed_in(study)
    if state == "COMPLETED":
        lab.handed_in(study, code=APPROVING)
    return study


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", ALLOWED)
def test_an_action_moves_a_study_from_the_states_of_the_table_alone(state: str, action: str) -> None:
    lab = Lab(publishing_s=2)
    study = in_state(lab, state)
    assert lab.status(study) == state
    body = {"action": action, "publish_at": tomorrow(lab)}
    if action in ALLOWED[state]:
        lab.api.post(f"/studies/{study}/transition/", body)
        assert lab.status(study) != state
    else:
        before = len(lab.fake.effects())
        assert state in lab.api.refused("POST", f"/studies/{study}/transition/", body)
        assert lab.status(study) == state
        assert len(lab.fake.effects()) == before


def test_a_study_is_publishing_for_a_short_while() -> None:
    lab = Lab(publishing_s=2)
    study = lab.draft()
    assert lab.api.act(study, "PUBLISH")["status"] == "PUBLISHING"
    lab.fake.advance(1.9)
    assert lab.status(study) == "PUBLISHING"
    lab.fake.advance(0.2)
    assert lab.status(study) == "ACTIVE"


def test_a_scheduled_study_goes_live_at_its_time_when_there_is_money() -> None:
    lab = Lab()
    study, poor = lab.draft(), lab.draft(total_available_places=99)
    for each in (study, poor):
        lab.api.act(each, "SCHEDULE_PUBLISH", publish_at=tomorrow(lab))
    lab.fake.top_up(-500)
    lab.fake.advance(86_401)
    assert (lab.status(study), lab.status(poor)) == ("ACTIVE", "UNPUBLISHED")


def test_create_makes_a_draft_each_time() -> None:
    lab = Lab()
    first, second = lab.draft(), lab.draft()
    assert first != second
    assert lab.status(first) == "UNPUBLISHED"
    assert lab.api.get("/users/me/")["available_balance"] == 10_000


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"completion_code": CODE}, "Unknown field"),
    ({"completion_option": "url"}, "Unknown field"),
    ({"eligibility_requirements": []}, "Unknown field"),
    ({"status": "ACTIVE"}, "Unknown field"),
    ({"reward": None}, "required"),
    ({"reward": "100"}, "integer"),
    ({"reward": 1.5}, "integer"),
    ({"reward": 0}, "greater"),
    ({"external_study_url": "example.org"}, "valid URL"),
    ({"external_study_url": None}, "required"),
    ({"total_available_places": True}, "integer"),
    ({"maximum_allowed_time": 28}, "at least 29"),
    ({"project": "0" * 24}, "No project"),
    ({"naivety_distribution_rate": 2}, "0 to 1"),
    ({"completion_codes": [DRAFT["completion_codes"][0]] * 2}, "unique"),
    (
        {"completion_codes": [{"code": "A", "code_type": "X", "actions": [{"action": "MANUALLY_REVIEW"}, {"action": "AUTOMATICALLY_APPROVE"}]}]},
        "exclude each other",
    ),
    ({"completion_codes": [{"code": "A", "code_type": "X", "actions": [{"action": "DYNAMIC_PAYMENT"}]}]}, "researcher"),
    ({"completion_codes": [{"code": "A", "code_type": "X", "actions": [{"action": "REQUEST_RETURN"}]}]}, "return_reason"),
    ({"completion_codes": [{"code": "A", "actions": []}]}, "missing"),
    ({"completion_codes": [{"code": None, "code_type": "X", "actions": []}, DRAFT["completion_codes"][0]]}, "null"),
    (
        {"completion_codes": [{"code": "A", "code_type": "X", "actions": [{"action": "ADD_TO_PARTICIPANT_GROUP", "participant_group": "g"}]}]},
        "no participant group",
    ),
    (
        {"completion_codes": [{"code": "A", "code_type": "X", "actions": [{"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 100, "slots": 1}]}]},
        "less than the reward",
    ),
    ({"access_details": [{"external_url": "https://a.example", "total_allocation": 1}]}, "add up"),
    ({"filters": [{"filter_id": "shoe-size", "selected_values": ["40"]}]}, "not a filter"),
    ({"filters": [{"filter_id": "handedness", "selected_values": ["9"]}]}, "not a choice"),
    ({"filters": [{"filter_id": "age", "selected_range": {"from": 3}}]}, "lower and upper"),
    ({"filters": [{"filter_id": "participant_group_allowlist", "selected_values": ["g"]}]}, "no participant group"),
    ({"filter_set_id": "f"}, "No filter set"),
    ({"submissions_config": {"max_submissions_per_participant": 0}}, "nobody"),
    ({"credential_pool_id": "x"}, "feature"),
    ({"publish_at": "tomorrow"}, "ISO 8601"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_a_draft_that_is_wrong_is_refused_and_says_why(change: dict[str, Any], said: str) -> None:
    lab = Lab()
    assert said in lab.api.refused("POST", "/studies/", DRAFT | change)
    assert lab.fake.effects() == []


@pytest.mark.parametrize("field", ["name", "description", "external_study_url", "prolific_id_option", "reward",
                                   "total_available_places", "estimated_completion_time"])  # fmt: skip
def test_what_is_required_is_required(field: str) -> None:
    body = {name: value for name, value in DRAFT.items() if name != field}
    assert "required" in Lab().api.refused("POST", "/studies/", body)


def test_underpaying_is_flagged_and_not_refused() -> None:
    lab = Lab()
    assert lab.api.post("/studies/", DRAFT | {"reward": 99})["is_underpaying"]
    assert not lab.api.post("/studies/", DRAFT | {"reward": 100})["is_underpaying"]


def test_a_study_without_a_code_for_participants_is_not_ready() -> None:
    lab = Lab()
    study = lab.draft(completion_codes=[{"code": "R", "code_type": "X", "actor": "researcher", "actions": []}])
    assert not lab.api.get(f"/studies/{study}/")["is_ready_to_publish"]
    assert "completion code" in lab.api.refused("POST", f"/studies/{study}/transition/", {"action": "PUBLISH"})


def test_local_urls_can_be_refused_as_the_real_service_does() -> None:
    url = {"external_study_url": "http://127.0.0.1:8000/"}
    assert "public" in Lab(refuse_local_urls=True).api.refused("POST", "/studies/", DRAFT | url)
    Lab().draft(**url)


@pytest.mark.parametrize("change", [{"reward": 120}, {"name": "B"}, {"description": "B"}, {"filters": []},
                                    {"external_study_url": "https://b.example"}, {"metadata": "k"}])  # fmt: skip
def test_publishing_freezes(change: dict[str, Any]) -> None:
    lab = Lab()
    study = lab.draft()
    lab.api.patch(f"/studies/{study}/", change)
    lab.api.act(study, "PUBLISH")
    assert "cannot be changed" in lab.api.refused("PATCH", f"/studies/{study}/", change)


def test_the_internal_name_and_the_limits_stay_open() -> None:
    lab = Lab()
    study = lab.live()
    lab.api.patch(f"/studies/{study}/", {"internal_name": "b", "submissions_config": {"max_concurrent_submissions": 1}})
    shown = lab.api.get(f"/studies/{study}/")
    assert (shown["internal_name"], shown["submissions_config"]["max_concurrent_submissions"]) == ("b", 1)
    assert shown["submissions_config"]["max_submissions_per_participant"] == 1


def test_places_grow_and_never_shrink() -> None:
    lab = Lab()
    study = lab.live()
    for _ in range(2):
        assert lab.api.patch(f"/studies/{study}/", {"total_available_places": 5})["total_available_places"] == 5
    assert "never go down" in lab.api.refused("PATCH", f"/studies/{study}/", {"total_available_places": 4})


def test_only_drafts_are_deleted() -> None:
    lab = Lab()
    draft, live = lab.draft(), lab.live()
    project = lab.api.get(f"/studies/{live}/")["project"]
    assert lab.api.send("DELETE", f"/studies/{draft}/").status_code == 204
    assert "ACTIVE" in lab.api.refused("DELETE", f"/studies/{live}/")
    assert "ACTIVE" in lab.api.refused("DELETE", f"/projects/{project}/studies/{live}/")
    lab.api.refused("GET", f"/studies/{draft}/", expect=404)


def test_full_goes_to_review_and_reviewed_to_completed() -> None:
    lab = Lab()
    study = lab.live()
    first, second = lab.handed_in(study, "anna"), lab.begun(study, "ben")
    assert lab.status(study) == "ACTIVE"
    lab.fake.complete(second, CODE)
    assert lab.status(study) == "AWAITING REVIEW"
    lab.decide(first, "APPROVE")
    assert lab.status(study) == "AWAITING REVIEW"
    lab.decide(second, "APPROVE")
    assert lab.status(study) == "COMPLETED"


def test_full_may_mean_that_every_place_is_taken() -> None:
    lab = Lab(full_when_taken=True, freed_is_active=True)
    study = lab.live()
    lab.begun(study, "anna")
    inside = lab.fake.reserve(study, "ben").id
    assert lab.status(study) == "AWAITING REVIEW"
    lab.fake.give_back(inside)
    assert lab.status(study) == "ACTIVE"


@pytest.mark.parametrize(("active", "status"), [(False, "PAUSED"), (True, "ACTIVE")])
def test_a_rejection_in_a_full_study_frees_its_place(active: bool, status: str) -> None:
    lab = Lab(freed_is_active=active)
    study = lab.live(total_available_places=1)
    lab.reject(lab.handed_in(study))
    assert lab.status(study) == status
    if status == "PAUSED":
        lab.api.act(study, "START")
    lab.handed_in(study, "ben")
    assert lab.status(study) == "AWAITING REVIEW"


@pytest.mark.parametrize("code", [CODE, APPROVING])
def test_more_places_open_a_full_study_again(code: str) -> None:
    lab = Lab()
    study = lab.live(total_available_places=1)
    lab.handed_in(study, code=code)
    assert lab.status(study) == ("AWAITING REVIEW" if code == CODE else "COMPLETED")
    lab.api.patch(f"/studies/{study}/", {"total_available_places": 2})
    assert lab.status(study) == "ACTIVE"
    lab.handed_in(study, "ben")


def test_stop_waits_for_those_inside_and_more_places_open_it_again() -> None:
    lab = Lab()
    study = lab.live()
    inside = lab.begun(study)
    assert lab.api.act(study, "STOP")["status"] == "AWAITING REVIEW"
    lab.fake.complete(inside, CODE)
    lab.decide(inside, "APPROVE")
    assert lab.status(study) == "COMPLETED"
    assert lab.api.patch(f"/studies/{study}/", {"total_available_places": 3})["status"] == "ACTIVE"
    assert lab.fake.available() == 10_000 - 300  # one paid, two listed


def test_stop_may_be_the_last_word() -> None:
    lab = Lab(stop_is_final=True)
    study = lab.live()
    assert lab.api.act(study, "STOP")["status"] == "COMPLETED"
    assert "stopped" in lab.api.refused("PATCH", f"/studies/{study}/", {"total_available_places": 3})


def test_a_rejection_after_stop_opens_nothing() -> None:
    lab = Lab()
    study = lab.live()
    inside = lab.handed_in(study)
    lab.api.act(study, "STOP")
    lab.reject(inside)
    assert lab.status(study) == "COMPLETED"


def test_paused_lets_those_inside_finish_and_nobody_in() -> None:
    lab = Lab()
    study = lab.live()
    inside = lab.begun(study)
    lab.api.act(study, "PAUSE")
    assert lab.fake.open_studies("ben") == []
    lab.fake.complete(inside, CODE)
    assert lab.submission(inside)["status"] == "AWAITING REVIEW"


def test_a_clone_is_a_draft_that_keeps_out_who_was_in() -> None:
    lab = Lab()
    study = lab.live()
    lab.handed_in(study, "anna")
    copy = lab.api.post(f"/studies/{study}/clone/", {})
    assert copy["status"] == "UNPUBLISHED"
    lab.api.act(copy["id"], "PUBLISH")
    assert [s.id for s in lab.fake.open_studies("anna")] == []
    assert copy["id"] in [s.id for s in lab.fake.open_studies("ben")]
    both = lab.api.post(f"/studies/{study}/clone/", {"block_previous_participants": False})["id"]
    lab.api.act(both, "PUBLISH")
    assert [s.id for s in lab.fake.open_studies("anna")] == [both]


def test_a_test_study_is_free_and_for_test_participants() -> None:
    lab = Lab()
    draft = lab.draft()
    assert "test participant" in lab.api.refused("POST", f"/studies/{draft}/test-study")
    tester = lab.api.post("/researchers/participants/", {"email": "t@example.org"})["participant_id"]
    assert "e-mail" in lab.api.refused("POST", "/researchers/participants/", {"email": "t@example.org"})
    test = lab.api.post(f"/studies/{draft}/test-study")["study_id"]
    assert [s.id for s in lab.fake.open_studies("anna")] == []
    lab.handed_in(test, tester, APPROVING)
    assert lab.fake.balance() == lab.fake.available() == 10_000


def test_features_that_a_workspace_lacks_are_refused() -> None:
    lab = Lab(features=frozenset())
    lab.api.refused("POST", f"/studies/{lab.draft()}/test-study", expect=403)
    lab.api.refused("POST", "/researchers/participants/", {"email": "t@example.org"}, expect=403)
    slots = {"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 10, "slots": 1}
    codes = [*DRAFT["completion_codes"], {"code": "S", "code_type": "SCREENED_OUT", "actions": [slots]}]
    assert "does not have" in lab.api.refused("POST", "/studies/", DRAFT | {"completion_codes": codes})
    config = {"submissions_config": {"auto_rejection_categories": ["EXCEPTIONALLY_FAST"]}}
    assert "rejection" in lab.api.refused("POST", "/studies/", DRAFT | config)


def test_taskflow_gives_each_url_its_places() -> None:
    lab = Lab()
    details = [{"external_url": f"https://{name}.example", "total_allocation": 1} for name in "ab"]
    body = {name: value for name, value in DRAFT.items() if name != "external_study_url"}
    study = lab.api.post("/studies/", body | {"access_details": details})["id"]
    lab.api.act(study, "PUBLISH")
    urls = [lab.fake.start(lab.fake.reserve(study, who).id) for who in ("anna", "ben")]
    assert sorted(urls) == ["https://a.example", "https://b.example"]
    assert lab.fake.open_studies("cleo") == []
    path = f"/studies/{study}/"
    assert "add up" in lab.api.refused("PATCH", path, {"total_available_places": 3})
    more = lab.api.patch(path, {"access_details": [{"external_url": "https://c.example", "total_allocation": 1}]})
    assert more["total_available_places"] == 3
    raised = [{"external_url": "https://a.example", "total_allocation": 2}]
    assert "Send total_available_places" in lab.api.refused("PATCH", path, {"access_details": raised})
    lab.api.patch(path, {"access_details": raised, "total_available_places": 4})
    lowered = {"access_details": details, "total_available_places": 3}
    assert "never go down" in lab.api.refused("PATCH", path, lowered)
    progress = lab.api.get(f"/studies/{study}/access-details-progress/")["progress"]
    assert [(row["total_allocation"], row["allocated"]) for row in progress] == [(2, 1), (1, 1), (1, 0)]
    lab.api.refused("GET", f"/studies/{lab.draft()}/access-details-progress/", expect=404)


def test_a_study_changed_or_gone_by_hand_is_seen_so() -> None:
    lab = Lab()
    study = lab.live()
    lab.fake.by_hand(study, "PAUSE")
    lab.fake.edit_by_hand(study, name="Other birds", total_available_places=3)
    shown = lab.api.get(f"/studies/{study}/")
    assert (shown["status"], shown["name"], shown["total_available_places"]) == ("PAUSED", "Other birds", 3)
    lab.fake.by_hand(study, "DELETE")
    lab.api.refused("GET", f"/studies/{study}/", expect=404)
    assert lab.fake.available() == 10_000
    assert {effect.by for effect in lab.fake.effects()} == {"api", "hand"}
