"""The state machine of a submission: people, time, completion codes and the researcher's decisions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.lab import APPROVING, CODE, DRAFT, LONG, Lab

MINUTE, DAY = 60, 86_400


def code(name: str, *actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"code": name, "code_type": "OTHER", "actions": list(actions), **more}


def with_codes(*codes: dict[str, Any]) -> dict[str, Any]:
    return {"completion_codes": [*DRAFT["completion_codes"], *codes]}


def in_state(lab: Lab, study: str, state: str) -> str:
    if state == "RESERVED":
        return lab.fake.reserve(study, "anna").id
    submission = (
        lab.handed_in(study, code=CODE) if state in ("AWAITING REVIEW", "APPROVED", "REJECTED") else lab.begun(study)
    )
    match state:
        case "TIMED-OUT":
            lab.fake.advance(87 * MINUTE)
        case "RETURNED":
            lab.fake.give_back(submission)
        case "APPROVED":
            lab.decide(submission, "APPROVE")
        case "REJECTED":
            lab.reject(submission)
        case "SCREENED OUT":
            lab.fake.complete(submission, "SCREEN")
        case "PARTIALLY APPROVED":
            lab.decide(
                submission, "COMPLETE", completion_code="PART", completion_code_data={"percentage_of_reward": 50}
            )
    return submission


CODES = with_codes(
    code("SCREEN", {"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 10, "slots": 3}),
    code("PART", {"action": "DYNAMIC_PAYMENT"}, actor="researcher"),
    code("SERVER", {"action": "MANUALLY_REVIEW"}, actor="researcher"),
)
STATES = ("RESERVED", "ACTIVE", "TIMED-OUT", "RETURNED", "AWAITING REVIEW", "APPROVED", "REJECTED", "SCREENED OUT",
          "PARTIALLY APPROVED")  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "APPROVE": {"action": "APPROVE"},
    "REJECT": {"action": "REJECT", "message": LONG, "rejection_category": "LOW_EFFORT"},
    "COMPLETE": {"action": "COMPLETE", "completion_code": "SERVER"},
    **{action: {"action": action} for action in ("RETURN", "START", "SCREEN_OUT", "UNREJECT", "UNRETURN")},
}
# What an action leads to; from anywhere else it is refused. The same decision again changes nothing.
ALLOWED = {
    ("AWAITING REVIEW", "APPROVE"): "APPROVED",
    ("APPROVED", "APPROVE"): "APPROVED",
    ("AWAITING REVIEW", "REJECT"): "REJECTED",
    ("REJECTED", "REJECT"): "REJECTED",
    ("ACTIVE", "COMPLETE"): "AWAITING REVIEW",
}


@pytest.mark.parametrize("action", BODIES)
@pytest.mark.parametrize("state", STATES)
def test_an_action_moves_a_submission_from_the_states_of_the_table_alone(state: str, action: str) -> None:
    lab = Lab()
    study = lab.live(**CODES)
    submission = in_state(lab, study, state)
    assert lab.submission(submission)["status"] == state
    lines = len(lab.fake.wallet_lines())
    path = f"/submissions/{submission}/transition/"
    end = ALLOWED.get((state, action))
    if end is None:
        lab.api.refused("POST", path, BODIES[action])
        assert lab.submission(submission)["status"] == state
        assert len(lab.fake.wallet_lines()) == lines
    else:
        assert lab.api.post(path, BODIES[action])["status"] == end
        assert len(lab.fake.wallet_lines()) == lines + ((state, action) == ("AWAITING REVIEW", "APPROVE"))


@pytest.mark.parametrize("verb", ["start", "complete", "give_back"])
@pytest.mark.parametrize("state", STATES)
def test_people_too_keep_to_the_table(state: str, verb: str) -> None:
    from crowdstack.fakes.prolific.refusal import Refusal

    lab = Lab()
    submission = in_state(lab, lab.live(**CODES), state)
    ends = {
        ("RESERVED", "start"): "ACTIVE", ("ACTIVE", "start"): "ACTIVE", ("ACTIVE", "complete"): "AWAITING REVIEW",
        ("TIMED-OUT", "complete"): "AWAITING REVIEW", ("RESERVED", "give_back"): "RETURNED",
        ("ACTIVE", "give_back"): "RETURNED", ("AWAITING REVIEW", "give_back"): "RETURNED",
    }  # fmt: skip
    act = {
        "start": lab.fake.start,
        "complete": lambda key: lab.fake.complete(key, CODE),
        "give_back": lab.fake.give_back,
    }[verb]
    if (state, verb) in ends:
        act(submission)
    else:
        with pytest.raises(Refusal):
            act(submission)
    assert lab.submission(submission)["status"] == ends.get((state, verb), state)


def test_the_link_is_filled_with_who_where_and_which() -> None:
    lab = Lab()
    study = lab.live()
    submission = lab.fake.reserve(study, "anna").id
    assert lab.fake.start(submission) == f"https://example.org/t?p=anna&s={study}&v={submission}"
    assert lab.fake.start(submission).endswith(submission)  # a second tab


def test_a_reservation_lapses_and_frees_its_place() -> None:
    lab = Lab()
    study = lab.live(total_available_places=1)
    submission = lab.fake.reserve(study, "anna").id
    assert lab.fake.open_studies("ben") == []
    lab.fake.advance(601)
    assert lab.submission(submission)["status"] == "RETURNED"
    lab.begun(study, "ben")


def test_time_runs_out_and_frees_the_place() -> None:
    lab = Lab()
    study = lab.live(total_available_places=1, maximum_allowed_time=30)
    submission = lab.begun(study)
    lab.fake.advance(29 * MINUTE)
    assert lab.submission(submission)["status"] == "ACTIVE"
    lab.fake.advance(2 * MINUTE)
    assert lab.submission(submission)["status"] == "TIMED-OUT"
    lab.begun(study, "ben")


def test_a_late_finisher_comes_back_when_nobody_took_the_place() -> None:
    from crowdstack.fakes.prolific.refusal import Refusal

    lab = Lab()
    study = lab.live(total_available_places=1)
    anna = lab.begun(study, "anna")
    lab.fake.advance(DAY)
    ben = lab.begun(study, "ben")
    with pytest.raises(Refusal):
        lab.fake.complete(anna, CODE)
    lab.fake.give_back(ben)
    lab.fake.complete(anna, CODE)
    assert lab.submission(anna)["status"] == "AWAITING REVIEW"


def test_silence_pays_after_21_days() -> None:
    lab = Lab()
    submission = lab.handed_in(lab.live())
    lab.fake.advance(21 * DAY - 60)
    assert lab.submission(submission)["status"] == "AWAITING REVIEW"
    lab.fake.advance(61)
    assert lab.submission(submission)["status"] == "APPROVED"
    assert [(line.submission, line.purpose, line.total) for line in lab.fake.wallet_lines()] == [
        (submission, "reward", 100)
    ]


def test_a_submission_is_active_until_the_redirect_reaches_the_books() -> None:
    lab = Lab(completion_lag_s=5)
    submission = lab.handed_in(lab.live())
    lab.fake.advance(4)
    shown = lab.submission(submission)
    assert (shown["status"], shown["entered_code"], shown["completed_at"]) == ("ACTIVE", None, None)
    assert "ACTIVE" in lab.api.refused("POST", f"/submissions/{submission}/transition/", BODIES["APPROVE"])
    lab.fake.advance(2)
    assert lab.decide(submission, "APPROVE")["status"] == "APPROVED"


def test_an_approving_code_pays_at_once() -> None:
    lab = Lab()
    submission = lab.handed_in(lab.live(), code=APPROVING)
    assert lab.submission(submission)["status"] == "APPROVED"
    assert lab.fake.balance() == 9_900


@pytest.mark.parametrize("entered", ["WRONG", None, "SERVER"])
def test_a_wrong_code_or_none_waits_for_review(entered: str | None) -> None:
    lab = Lab()
    submission = lab.handed_in(lab.live(**CODES), code=entered)
    shown = lab.submission(submission)
    assert (shown["status"], shown["entered_code"]) == ("AWAITING REVIEW", entered)


def test_no_code_may_be_asked_for() -> None:
    lab = Lab()
    submission = lab.handed_in(
        lab.live(completion_codes=[{"code": None, "code_type": "COMPLETED", "actions": []}]), code=None
    )
    assert lab.submission(submission)["status"] == "AWAITING REVIEW"


def test_a_code_may_ask_for_a_return() -> None:
    lab = Lab()
    study = lab.live(**with_codes(code("GO", {"action": "REQUEST_RETURN", "return_reason": "No consent"})))
    submission = lab.handed_in(study, code="GO")
    assert lab.submission(submission)["return_requested"] is not None
    lab.fake.give_back(submission)
    assert lab.submission(submission)["status"] == "RETURNED"


def test_a_code_moves_people_between_groups() -> None:
    lab = Lab()
    workspace = lab.fake.workspace.id
    here, gone = (
        lab.api.post("/participant-groups/", {"name": name, "workspace_id": workspace, "participant_ids": people})["id"]
        for name, people in (("here", []), ("gone", ["anna"]))
    )
    moves = code("C", {"action": "ADD_TO_PARTICIPANT_GROUP", "participant_group": here},
                 {"action": "REMOVE_FROM_PARTICIPANT_GROUP", "participant_group": gone})  # fmt: skip
    lab.handed_in(lab.live(**with_codes(moves)), code="C")
    members = [lab.api.get(f"/participant-groups/{group}/participants/")["results"] for group in (here, gone)]
    assert [[each["participant_id"] for each in group] for group in members] == [["anna"], []]


def test_a_screen_out_pays_a_part_and_frees_the_place_until_the_slots_are_used() -> None:
    lab = Lab()
    slots = {"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 10, "slots": 2}
    fields = with_codes(code("SCREEN", slots))
    study = lab.live(total_available_places=1, **fields)
    assert lab.fake.available() == 10_000 - 100 - 20
    for who in ("anna", "ben"):
        assert lab.submission(lab.handed_in(study, who, "SCREEN"))["status"] == "SCREENED OUT"
    assert lab.status(study) == "PAUSED"
    assert (lab.fake.balance(), lab.fake.available()) == (9_980, 9_880)
    path = f"/studies/{study}/"
    fewer = with_codes(code("SCREEN", slots | {"slots": 1}))
    assert "more screen-out slots" in lab.api.refused("PATCH", path, fewer)
    lab.api.patch(path, with_codes(code("SCREEN", slots | {"slots": 3})))
    lab.api.act(study, "START")
    lab.handed_in(study, "cleo", "SCREEN")
    assert lab.status(study) == "PAUSED"
    lab.api.act(study, "START")
    assert lab.submission(lab.handed_in(study, "dora", "SCREEN"))["status"] == "AWAITING REVIEW"  # no slot is left


def test_the_server_hands_in_with_its_own_code() -> None:
    lab = Lab()
    study = lab.live(total_available_places=3, **CODES)
    submission = lab.begun(study)
    path = f"/submissions/{submission}/transition/"
    assert "no code" in lab.api.refused("POST", path, {"action": "COMPLETE", "completion_code": CODE})
    assert "percentage_of_reward" in lab.api.refused("POST", path, {"action": "COMPLETE", "completion_code": "PART"})
    part = {"completion_code": "PART", "completion_code_data": {"percentage_of_reward": 33}}
    for _ in range(2):
        assert lab.decide(submission, "COMPLETE", **part)["status"] == "PARTIALLY APPROVED"
    assert [line.amount for line in lab.fake.wallet_lines()] == [33]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"message": LONG[:99]}, "100 characters"), ({"message": None}, "string"), ({"rejection_category": "DULL"}, "valid choice"),
     ({"rejection_category": ["LOW_EFFORT"]}, "valid choice"), ({"reason": "x"}, "Unknown field")],
)  # fmt: skip
def test_a_rejection_needs_words_and_a_category(change: dict[str, Any], said: str) -> None:
    lab = Lab()
    submission = lab.handed_in(lab.live())
    assert said in lab.api.refused("POST", f"/submissions/{submission}/transition/", BODIES["REJECT"] | change)
    assert lab.submission(submission)["status"] == "AWAITING REVIEW"


def test_bulk_approval_is_queued_and_passes_over_what_cannot_be_approved() -> None:
    lab = Lab(bulk_lag_s=5)
    study = lab.live(total_available_places=3)
    first, second, active = lab.handed_in(study, "anna"), lab.handed_in(study, "ben"), lab.begun(study, "cleo")
    lab.api.post("/submissions/bulk-approve/", {"submission_ids": [first, second, active]})
    assert lab.submission(first)["status"] == "AWAITING REVIEW"
    lab.reject(second)
    lab.fake.advance(6)
    assert [lab.submission(key)["status"] for key in (first, second, active)] == ["APPROVED", "REJECTED", "ACTIVE"]
    lab.api.post("/submissions/bulk-approve/", {"study_id": study, "participant_ids": ["anna"]})
    lab.fake.advance(6)
    assert len(lab.fake.wallet_lines()) == 1


@pytest.mark.parametrize(
    "body", [{}, {"submission_ids": []}, {"study_id": "s"}, {"submission_ids": ["x"], "study_id": "s"}]
)
def test_bulk_approval_takes_one_of_two_forms(body: dict[str, Any]) -> None:
    assert Lab().api.send("POST", "/submissions/bulk-approve/", body).status_code == 400


def test_bulk_approval_of_a_stranger_is_refused_whole() -> None:
    lab = Lab()
    study = lab.live()
    lab.handed_in(study)
    body = {"study_id": study, "participant_ids": ["anna", "zoe"]}
    lab.api.refused("POST", "/submissions/bulk-approve/", body, expect=404)


def test_a_return_is_asked_for_and_not_forced() -> None:
    lab = Lab()
    submission = lab.begun(lab.live())
    asked = lab.api.post(f"/submissions/{submission}/request-return/", {"request_return_reasons": ["Withdrew consent"]})
    assert (asked["status"], asked["return_requested"] is not None) == ("ACTIVE", True)
    assert lab.submission(submission)["return_requested"] == asked["return_requested"]


def test_one_submission_each_unless_more_are_allowed() -> None:
    lab = Lab()
    study = lab.live(total_available_places=9)
    lab.handed_in(study, "anna")
    assert lab.fake.open_studies("anna") == []
    many = lab.live(total_available_places=9, submissions_config={"max_submissions_per_participant": -1})
    first = lab.handed_in(many, "anna")
    assert lab.handed_in(many, "anna") != first


def test_no_more_at_the_same_time_than_allowed() -> None:
    lab = Lab()
    study = lab.live(total_available_places=9, submissions_config={"max_concurrent_submissions": 1})
    inside = lab.begun(study, "anna")
    assert lab.fake.open_studies("ben") == []
    lab.fake.complete(inside, CODE)
    assert [found.id for found in lab.fake.open_studies("ben")] == [study]


def test_groups_are_followed_while_a_study_is_live() -> None:
    lab = Lab()
    workspace = lab.fake.workspace.id
    allow, block = (
        lab.api.post("/participant-groups/", {"name": name, "workspace_id": workspace})["id"]
        for name in ("allow", "block")
    )
    study = lab.live(filters=[
        {"filter_id": "participant_group_allowlist", "selected_values": [allow]},
        {"filter_id": "participant_group_blocklist", "selected_values": [block]},
    ])  # fmt: skip
    assert lab.fake.open_studies("anna") == []
    for _ in range(2):
        lab.api.post(f"/participant-groups/{allow}/participants/", {"participant_ids": ["anna"]})
    assert [found.id for found in lab.fake.open_studies("anna")] == [study]
    lab.api.post(f"/participant-groups/{block}/participants/", {"participant_ids": ["anna"]})
    assert lab.fake.open_studies("anna") == []
    for _ in range(2):
        lab.api.call("DELETE", f"/participant-groups/{block}/participants/", {"participant_ids": ["anna"]})
    assert [found.id for found in lab.fake.open_studies("anna")] == [study]
    lab.api.patch(f"/participant-groups/{allow}/", {"participant_ids": ["ben"]})
    assert lab.fake.open_studies("anna") == []


def test_filters_are_and_values_are_or() -> None:
    lab = Lab()
    lab.fake.add_person("anna", age=30, handedness="1")
    lab.fake.add_person("ben", age=70, handedness="1")
    lab.fake.add_person("cleo", age=30, handedness="0")
    grown = {"filter_id": "age", "selected_range": {"lower": 18, "upper": 60}}
    right = {"filter_id": "handedness", "selected_values": ["1", "2"]}
    named = {"filter_id": "custom_allowlist", "selected_values": ["ben"]}

    def let_in(*filters: Any) -> list[str]:
        study = lab.live(filters=list(filters))
        found = [who for who in ("anna", "ben", "cleo", "dora") if study in [s.id for s in lab.fake.open_studies(who)]]
        lab.api.act(study, "STOP")
        return found

    assert let_in(grown, right) == ["anna"]
    assert let_in({"filter_id": "or", "selected_filters": [grown, named]}) == ["anna", "ben", "cleo"]
    assert let_in({"filter_id": "and", "selected_filters": [right, named]}) == ["ben"]
    assert let_in({"filter_id": "custom_blocklist", "selected_values": ["ben"]}) == ["anna", "cleo", "dora"]
