"""Each verb against answers word for word; every request of ours is held against the published document."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from crowdstack.errors import Busy, Refused, Unclear
from crowdstack.model import Money
from crowdstack.providers.prolific.account import Account
from crowdstack.providers.prolific.answers import StudyStatus, SubmissionStatus
from crowdstack.providers.prolific.api import Prolific, Rejection, StudyMove
from crowdstack.providers.prolific.audience import group_named
from crowdstack.providers.prolific.draft import CodeAction, CompletionCode, StudyDraft
from crowdstack.providers.prolific.faults import ApiRefused
from crowdstack.server.hooks import verify_hook
from crowdstack.tokens import Secret
from tests.providers.prolific import service as s
from tests.providers.prolific.service import (
    Service,
    a_line,
    a_study,
    an_error,
    cost,
    detail,
    listed,
    prolific,
    transport,
)

STUDIES = f"GET /projects/{s.PROJECT}/studies/"
NOON = datetime(2026, 11, 2, 12, tzinfo=timezone.utc)


def gbp(minor: int) -> Money:
    return Money(minor, "GBP")


@pytest.fixture
def api(service: Service) -> Prolific:
    return prolific(service)


def a_draft(**changes: Any) -> StudyDraft:
    given: dict[str, Any] = {
        "name": "Birds",
        "internal_name": "birds-1",
        "metadata": "birds-1",
        "description": "<p>Look at birds</p>",
        "url": "https://example.org/?p={{%PROLIFIC_PID%}}&s={{%SESSION_ID%}}",
        "project": s.PROJECT,
        "places": 10,
        "reward": gbp(75),
        "minutes": 5,
    }
    return StudyDraft(**{**given, **changes})


FULL = a_draft(
    most_minutes=30,
    codes=(
        CompletionCode(code="DONE", type="COMPLETED", actions=(CodeAction(name="MANUALLY_REVIEW"),)),
        CompletionCode(
            code="OUT",
            type="FIXED_SCREENOUT",
            actions=(CodeAction(name="FIXED_SCREEN_OUT_PAYMENT", reward=gbp(10), slots=5),),
        ),
        CompletionCode(
            code="BACK",
            type="NO_CONSENT",
            actions=(
                CodeAction(name="REQUEST_RETURN", return_reason="no consent"),
                CodeAction(name="ADD_TO_PARTICIPANT_GROUP", group=s.GROUP),
            ),
        ),
        CompletionCode(code="OURS", type="a type of ours", actions=(), by_researcher=True),
    ),
    devices=("desktop", "tablet"),
    peripherals=("audio",),
    filters=(
        {"filter_id": "handedness", "selected_values": ["1"]},
        {"filter_id": "age", "selected_range": {"lower": 18, "upper": 60}},
    ),
    naivety=0.5,
    most_per_participant=3,
    most_at_once=50,
    auto_reject=("EXCEPTIONALLY_FAST",),
    labels=("annotation",),
    content_warnings=("sensitive",),
    content_warning_details="birds of prey",
    signed_url=True,
)


# ---------------------------------------------------------------------------------------------------- account


def test_an_account_and_its_workspaces(service: Service) -> None:
    service.says("GET /users/me/", {"id": "1", "email": "ann@example.org", "currency_code": "GBP", "balance": 3})
    service.says("GET /workspaces/", {"results": [{"id": s.WORKSPACE, "title": "Lab"}]})
    balance = {"currency_code": "USD", "total_balance": 1000, "available_balance": 250, "balance_breakdown": {}}
    service.says(f"GET /workspaces/{s.WORKSPACE}/balance/", balance)
    service.says("POST /workspaces/", {"id": s.WORKSPACE, "title": "New"}, status=201)
    account = Account(transport(service))
    assert account.fetch_me().currency == "GBP"
    assert [workspace.title for workspace in account.fetch_workspaces()] == ["Lab"]
    assert account.fetch_balance(s.WORKSPACE).available == Money(250, "USD")
    assert account.create_workspace("New", currency="GBP").title == "New"
    assert account.open(s.WORKSPACE).currency == "USD"


def test_projects(service: Service, api: Prolific) -> None:
    project = {"id": s.PROJECT, "title": "Birds", "type": "PRIVATE"}
    service.says(f"GET /workspaces/{s.WORKSPACE}/projects/", {"results": [project]})
    service.says(f"POST /workspaces/{s.WORKSPACE}/projects/", project, status=201)
    assert api.fetch_projects() == [api.create_project("Birds")]


# ---------------------------------------------------------------------------------------------------- studies


@pytest.mark.parametrize(
    "draft",
    [
        a_draft(),
        FULL,
        a_draft(filter_set=(s.GROUP, 2)),
        a_draft(url=None, allocations=(("https://example.org/1", 4), ("https://example.org/2", 6))),
        a_draft(codes=(CompletionCode(code=None, type="COMPLETED"),)),
    ],
)
def test_a_draft_is_a_request_of_the_document(service: Service, api: Prolific, draft: StudyDraft) -> None:
    service.says("POST /studies/", a_study(), status=201)
    service.says(f"PATCH /studies/{s.STUDY}/", a_study())
    made = api.create_study(draft)
    assert (made.id, made.reward, made.status) == (s.STUDY, gbp(75), StudyStatus.UNPUBLISHED)
    assert api.change_draft(s.STUDY, draft) == made
    assert service.heard[0].body["reward"] == 75
    assert service.heard[0].body["prolific_id_option"] == "url_parameters"
    assert "status" not in service.heard[0].body


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"reward": Money(75, "USD")}, "is not in GBP"),
        ({"reward": gbp(-1)}, "can be paid"),
        ({"filters": ({},), "filter_set": ("a", 1)}, "not both"),
        ({"url": None}, "one address"),
        ({"allocations": (("https://a.example", 10),)}, "one address"),
        ({"url": None, "allocations": (("https://a.example", 9),)}, "do not add up"),
    ],
)
def test_a_draft_that_contradicts_itself_is_not_sent(
    service: Service, api: Prolific, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(Refused, match=fault):
        api.create_study(a_draft(**changes))
    assert service.heard == []


def test_a_study_of_today_and_of_tomorrow(service: Service, api: Prolific) -> None:
    for status in ("AWAITING REVIEW", "PROCESSING"):
        service.says(f"GET /studies/{s.STUDY}/", a_study(status=status), odd=True)
    assert api.fetch_study(s.STUDY).status is StudyStatus.AWAITING_REVIEW
    assert api.fetch_study(s.STUDY).status is StudyStatus.UNKNOWN


@pytest.mark.parametrize("reward", [75.5, "75", True, None, 1e15])
def test_a_reward_that_is_no_whole_number_of_pence_is_refused(service: Service, api: Prolific, reward: Any) -> None:
    service.says(f"GET /studies/{s.STUDY}/", a_study(reward=reward), odd=True)
    with pytest.raises(Refused, match="reward"):
        api.fetch_study(s.STUDY)


def test_what_changes_after_publishing(service: Service, api: Prolific) -> None:
    service.says(f"PATCH /studies/{s.STUDY}/", a_study(total_available_places=12, status="ACTIVE"))
    assert api.change_published(s.STUDY, places=12).places == 12
    api.change_published(s.STUDY, internal_name="new", allocations=(("https://example.org/3", 2),))
    assert [heard.body for heard in service.heard] == [
        {"total_available_places": 12},
        {
            "internal_name": "new",
            "access_details": [{"external_url": "https://example.org/3", "total_allocation": 2}],
        },
    ]


@pytest.mark.parametrize("move", list(StudyMove))
def test_a_study_is_moved(service: Service, api: Prolific, move: StudyMove) -> None:
    service.says(f"POST /studies/{s.STUDY}/transition/", a_study(status="ACTIVE"))
    at = NOON if move is StudyMove.SCHEDULE else None
    assert api.move_study(s.STUDY, move, at=at).status is StudyStatus.ACTIVE
    assert service.heard[0].body == {"action": move.value, **({"publish_at": "2026-11-02T12:00:00Z"} if at else {})}


@pytest.mark.parametrize(("status", "body"), [(200, {}), (204, None)])
def test_a_draft_is_deleted(service: Service, api: Prolific, status: int, body: Any) -> None:
    service.says(f"DELETE /studies/{s.STUDY}/", body, status=status)
    api.delete_draft(s.STUDY)


def test_copies_and_trials(service: Service, api: Prolific) -> None:
    service.says(f"POST /studies/{s.STUDY}/clone/", a_study())
    url = "https://app.prolific.com/studies/1"
    service.says(f"POST /studies/{s.STUDY}/test-study", {"study_id": s.STUDY, "study_url": url})
    service.says("POST /researchers/participants/", {"participant_id": s.PARTICIPANT}, status=201)
    assert api.clone_study(s.STUDY, block_previous=False).id == s.STUDY
    assert service.heard[0].body == {"block_previous_participants": False}
    assert api.create_test_study(s.STUDY).url == url
    assert api.create_test_participant("new@example.org") == s.PARTICIPANT


def test_counts_and_costs(service: Service, api: Prolific) -> None:
    service.says(f"GET /studies/{s.STUDY}/submissions/counts/", {"APPROVED": 3, "TIMED-OUT": 1.0, "TOTAL": 4, "NEW": 9})
    service.says(f"GET /studies/{s.STUDY}/cost/", cost())
    service.says("POST /study-cost-calculator/", {"total_cost": 1428})
    rates = [{"currency": "GBP", "min_reward_per_hour": 600, "recommended_reward_per_hour": 900}]
    service.says("GET /reward-recommendations/", rates)
    progress = [{"external_url": "https://a.example", "total_allocation": 4, "allocated": 1}]
    service.says(f"GET /studies/{s.STUDY}/access-details-progress/", {"id": s.STUDY, "progress": progress})
    counts = api.count_submissions(s.STUDY)
    assert (counts.total, counts.by_status[SubmissionStatus.APPROVED]) == (4, 3)
    assert counts.by_status[SubmissionStatus.TIMED_OUT] == 1
    assert api.fetch_cost(s.STUDY).total == gbp(600)
    assert api.fetch_cost(s.STUDY, projected=True).rewards.gross == gbp(300)
    assert service.heard[-1].query == {"is_projected": "true"}
    assert api.quote(gbp(100), 10) == gbp(1428)
    assert service.heard[-1].body == {"reward": 100, "total_available_places": 10}
    (rate,) = api.fetch_reward_rates()
    assert (rate.least_per_hour, rate.advised_per_hour) == (gbp(600), gbp(900))
    assert [(one.places, one.taken) for one in api.fetch_allocations(s.STUDY)] == [(4, 1)]


# ---------------------------------------------------------------------------------------------------- finding


def a_page(*results: Any, next_: str | None = None, count: int | None = None) -> dict[str, Any]:
    meta = {} if count is None else {"meta": {"count": count}}
    return {"results": list(results), "_links": {"next": {"href": next_, "title": "Next"}}, **meta}


def test_a_study_is_found_by_its_key_over_all_pages_and_states(service: Service, api: Prolific) -> None:
    ids = [f"70{number:022d}" for number in range(4)]
    second = f"{service.origin}/api/v1/projects/{s.PROJECT}/studies/?page=2&page_size=100"
    service.says(STUDIES, a_page(a_line(ids[0], internal_name="other"), a_line(ids[1]), next_=second))
    service.says(STUDIES, a_page(a_line(ids[2], status="COMPLETED"), a_line(ids[3], internal_name=None)))
    for id_ in ids:
        service.says(f"GET /studies/{id_}/", a_study(id=id_))
    assert [study.id for study in api.find_studies("birds-1", project=s.PROJECT)] == [ids[1], ids[2]]
    assert [heard.query.get("page") for heard in service.heard[:2]] == [None, "2"]
    assert "state" not in service.heard[0].query


def test_a_study_whose_name_somebody_edited_is_found_by_its_metadata(service: Service, api: Prolific) -> None:
    old, new, edited = (f"70{number:022d}" for number in range(3))
    lines = [
        a_line(old, internal_name="x", date_created=(NOON - timedelta(days=1)).isoformat()),
        a_line(new, internal_name="y", date_created=(NOON + timedelta(minutes=1)).isoformat()),
        a_line(edited, internal_name="z", date_created=(NOON + timedelta(minutes=2)).isoformat()),
    ]
    service.says("GET /studies/", {"results": lines})
    service.says(f"GET /studies/{new}/", a_study(id=new, internal_name="y", metadata="another"))
    service.says(f"GET /studies/{edited}/", a_study(id=edited, internal_name="z", metadata="birds-1"))
    assert [study.id for study in api.find_studies("birds-1", since=NOON)] == [edited]
    assert api.find_studies("birds-1") == []
    assert f"GET /studies/{old}/" not in service.lines()


# ---------------------------------------------------------------------------------------------------- submissions


def test_lists_and_details_are_one_kind_of_value(service: Service, api: Prolific) -> None:
    both = {"completed_at": "2026-11-02T09:05:00Z", "started_at": "2026-11-02T11:00:00+02:00"}
    item = listed(id=s.SUBMISSION, status="APPROVED", bonus_payments=[150, 25.0], **both)
    service.says("GET /submissions/", {"results": [item]})
    service.says(f"GET /submissions/{s.SUBMISSION}/", detail(bonus_payments=[150, 25], **both))
    (from_list,) = api.list_submissions(s.STUDY)
    assert from_list == api.fetch_submission(s.SUBMISSION)
    assert from_list.bonuses == (gbp(150), gbp(25))
    assert from_list.started_at == datetime(2026, 11, 2, 9, tzinfo=timezone.utc)


def test_bonuses_that_are_not_told_are_not_taken_for_none(service: Service, api: Prolific) -> None:
    service.says("GET /submissions/", {"results": [listed()]})
    service.says(f"GET /submissions/{s.SUBMISSION}/", detail(bonus_payments=[]))
    assert api.list_submissions(s.STUDY)[0].bonuses is None
    assert api.fetch_submission(s.SUBMISSION).bonuses == ()


@pytest.mark.parametrize("word", [*(status.value for status in SubmissionStatus), "PROCESSING", "awaiting review"])
def test_every_status_is_read_and_a_new_one_is_unknown(service: Service, api: Prolific, word: str) -> None:
    service.says(f"GET /submissions/{s.SUBMISSION}/", detail(status=word), odd=True)
    known = {status.value: status for status in SubmissionStatus}
    assert api.fetch_submission(s.SUBMISSION).status is known.get(word, SubmissionStatus.UNKNOWN)


def test_one_status_alone_is_asked_for_in_the_form_of_queries(service: Service, api: Prolific) -> None:
    service.says("GET /submissions/", {"results": []})
    for status, word in (
        (SubmissionStatus.AWAITING_REVIEW, "AWAITING_REVIEW"),
        (SubmissionStatus.TIMED_OUT, "TIMED-OUT"),
    ):
        api.list_submissions(s.STUDY, status=status)
        assert service.heard[-1].query["status"] == word


def submissions(service: Service, *pages: Any) -> None:
    for page in pages:
        service.says("GET /submissions/", page)


def test_all_pages_are_read_and_a_404_past_the_end_is_the_end(service: Service, api: Prolific) -> None:
    link = f"{service.origin}/api/v1/submissions/?study={s.STUDY}&page="
    first, second = a_page(listed(1), listed(2), next_=f"{link}2"), a_page(listed(2), listed(3), next_=f"{link}3")
    submissions(service, first, second)
    service.says("GET /submissions/", an_error("Invalid page.", status=404), status=404)
    found = api.list_submissions(s.STUDY)
    assert [one.id[-1] for one in found] == ["1", "2", "3"]
    assert api.requests_made == {"submissions": 3}
    assert service.heard[0].query["ordering"] == "started_at"


def test_a_404_on_the_first_page_is_a_refusal(service: Service, api: Prolific) -> None:
    service.says("GET /submissions/", an_error("no such study", status=404), status=404)
    with pytest.raises(ApiRefused) as told:
        api.list_submissions(s.STUDY)
    assert told.value.status == 404


def test_a_next_page_is_asked_for_at_our_origin_also_when_the_link_says_http_or_is_short(
    service: Service, api: Prolific
) -> None:
    https = service.origin.replace("http:", "https:")
    for href in (f"{https}/api/v1/submissions/?study={s.STUDY}&page=2", f"/api/v1/submissions/?study={s.STUDY}&page=2"):
        submissions(service, a_page(listed(1), next_=href), a_page(listed(2)))
    submissions(service, a_page())
    assert [len(api.list_submissions(s.STUDY)) for _ in range(2)] == [2, 2]


def test_a_list_without_links_goes_on_while_its_pages_are_full(service: Service, api: Prolific) -> None:
    submissions(service, {"results": [listed(number) for number in range(100)]}, {"results": [listed(100)]})
    assert len(api.list_submissions(s.STUDY)) == 101
    assert service.heard[1].query["page"] == "2"


def test_a_list_without_links_goes_by_its_count(service: Service, api: Prolific) -> None:
    submissions(service, {"results": [listed(1)], "meta": {"count": 2}}, {"results": [listed(2)], "meta": {"count": 2}})
    assert len(api.list_submissions(s.STUDY)) == 2


def test_a_service_that_always_gives_the_same_page_is_asked_twice(service: Service, api: Prolific) -> None:
    submissions(service, {"results": [listed(number) for number in range(100)]})
    assert len(api.list_submissions(s.STUDY)) == 100
    assert len(service.heard) == 2


def test_a_list_that_breaks_off_is_not_taken_for_whole(service: Service, api: Prolific) -> None:
    link = f"{service.origin}/api/v1/submissions/?study={s.STUDY}&page=2"
    submissions(service, a_page(listed(1), next_=link))
    service.says("GET /submissions/", an_error(status=502), status=502)
    with pytest.raises(Busy):
        api.list_submissions(s.STUDY)


@pytest.mark.parametrize("missing", ["id", "participant_id", "status"])
def test_a_field_that_is_missing_deep_in_a_list_is_named(service: Service, api: Prolific, missing: str) -> None:
    bad = {name: value for name, value in listed(2).items() if name != missing}
    service.says("GET /submissions/", {"results": [listed(1), bad]}, odd=True)
    with pytest.raises(Refused, match=rf"results\[1\]\.{missing} is missing"):
        api.list_submissions(s.STUDY)


def test_verdicts(service: Service, api: Prolific) -> None:
    service.says(f"POST /submissions/{s.SUBMISSION}/transition/", detail())
    assert api.approve(s.SUBMISSION).status is SubmissionStatus.APPROVED
    message = "You did not follow the instructions: " + "each of the ten answers was one letter. " * 2
    api.reject(s.SUBMISSION, message=message, category=Rejection.LOW_EFFORT)
    api.complete(s.SUBMISSION, "OURS")
    api.complete(s.SUBMISSION, "OURS", percentage=50, message="half of it was done")
    assert [heard.body for heard in service.heard] == [
        {"action": "APPROVE"},
        {"action": "REJECT", "message": message, "rejection_category": "LOW_EFFORT"},
        {"action": "COMPLETE", "completion_code": "OURS"},
        {
            "action": "COMPLETE",
            "completion_code": "OURS",
            "completion_code_data": {"percentage_of_reward": 50, "message_to_participant": "half of it was done"},
        },
    ]
    assert api.requests_made == {"approve": 1, "reject": 1, "complete": 2}


@pytest.mark.parametrize("message", ["", "too short", " " * 200, "x" * 99 + "   "])
def test_a_rejection_with_a_short_message_is_not_sent(service: Service, api: Prolific, message: str) -> None:
    with pytest.raises(Refused, match="at least 100 characters"):
        api.reject(s.SUBMISSION, message=message, category=Rejection.OTHER)
    assert service.heard == []


@pytest.mark.parametrize(("how_many", "sizes"), [(0, []), (1, [1]), (500, [500]), (1201, [500, 500, 201])])
def test_approvals_go_in_bulk(service: Service, api: Prolific, how_many: int, sizes: list[int]) -> None:
    service.says("POST /submissions/bulk-approve/", "The request to bulk approve has been made successfully.")
    ids = [f"60b{number:021d}" for number in range(how_many)]
    assert api.approve_many([*ids, *ids]) == len(sizes)
    assert [len(heard.body["submission_ids"]) for heard in service.heard] == sizes
    assert [id_ for heard in service.heard for id_ in heard.body["submission_ids"]] == ids


def test_a_forged_id_spoils_no_bulk_half_way(service: Service, api: Prolific) -> None:
    with pytest.raises(Refused, match="is no id"):
        api.approve_many([*(f"60b{number:021d}" for number in range(600)), "../x"])
    assert service.heard == []


def test_a_return_is_asked_for(service: Service, api: Prolific) -> None:
    answer = {
        "id": s.SUBMISSION,
        "status": "ACTIVE",
        "participant": s.PARTICIPANT,
        "return_requested": NOON.isoformat(),
    }
    service.says(f"POST /submissions/{s.SUBMISSION}/request-return/", answer)
    assert api.request_return(s.SUBMISSION, ["no answers came"]) == NOON


# ---------------------------------------------------------------------------------------------------- people


def a_group(id_: str = s.GROUP, **changes: Any) -> dict[str, Any]:
    return {"id": id_, "name": "good", "workspace_id": s.WORKSPACE, "participant_count": 2, **changes}


def test_groups(service: Service, api: Prolific) -> None:
    service.says("GET /participant-groups/", {"results": [a_group(), a_group("60a2", name="bad")]})
    service.says("POST /participant-groups/", a_group(), status=201)
    members = f"/participant-groups/{s.GROUP}/participants/"
    people = {"results": [{"participant_id": s.PARTICIPANT, "datetime_created": "2026-11-02T09:00:00Z"}]}
    for method in ("GET", "POST", "DELETE"):
        service.says(f"{method} {members}", people)
    found = group_named(api.list_groups(), "good")
    assert found == api.create_group("good", members=[s.PARTICIPANT])
    assert group_named(api.list_groups(), "nobody") is None
    assert api.list_members(s.GROUP) == {s.PARTICIPANT}
    api.add_members(s.GROUP, [s.PARTICIPANT])
    api.remove_members(s.GROUP, [s.PARTICIPANT])
    assert service.heard[-1].body == {"participant_ids": [s.PARTICIPANT]}


def test_two_groups_of_one_name_are_for_a_person_to_sort_out(service: Service, api: Prolific) -> None:
    service.says("GET /participant-groups/", {"results": [a_group(), a_group("60a2")]})
    with pytest.raises(Refused, match="2 participant groups are called good"):
        group_named(api.list_groups(), "good")


def test_filters(service: Service, api: Prolific) -> None:
    select = {"filter_id": "handedness", "title": "Hand", "type": "select", "choices": {"1": "left", "2": "right"}}
    range_ = {"filter_id": "age", "title": "Age", "type": "range", "min": 18, "max": 100, "data_type": "integer"}
    service.says("GET /filters/", {"results": [select, range_]}, odd=True)
    service.says("POST /eligibility-count/", {"count": 1234.0})
    hand, age = api.list_filters()
    assert hand.choices == {"1": "left", "2": "right"}
    assert (age.lower, age.upper) == (18, 100)
    assert api.count_eligible([{"filter_id": "handedness", "selected_values": ["1"]}]) == 1234


def test_messages(service: Service, api: Prolific) -> None:
    service.says("POST /messages/", status=204)
    service.says("POST /messages/bulk/", status=204)
    api.send_message(s.PARTICIPANT, "thank you", study=s.STUDY)
    api.send_messages([s.PARTICIPANT], "thank you", study=s.STUDY)
    assert service.heard[0].body == {"recipient_id": s.PARTICIPANT, "body": "thank you", "study_id": s.STUDY}
    sent = {
        "id": "60a4",
        "sender_id": s.PARTICIPANT,
        "body": "hello",
        "sent_at": "2026-11-02T09:00:00Z",
        "channel_id": "c",
    }
    service.says("GET /messages/", {"results": [sent | {"data": {"study_id": s.STUDY}}, sent]})
    told = [(found.sender, found.text, found.study) for found in api.list_messages(s.PARTICIPANT)]
    assert told == [(s.PARTICIPANT, "hello", s.STUDY), (s.PARTICIPANT, "hello", None)]


# ---------------------------------------------------------------------------------------------------- hooks

EVENT, TARGET, HOOK = "submission.status.change", "https://example.org/hook", "60a3"


def a_subscription(**changes: Any) -> dict[str, Any]:
    known = {"id": HOOK, "event_type": EVENT, "target_url": TARGET, "is_enabled": True, "workspace_id": s.WORKSPACE}
    return {**known, **changes}


@pytest.mark.parametrize("as_list", [False, True])
def test_a_subscription_is_confirmed(service: Service, api: Prolific, as_list: bool) -> None:
    made: Any = (
        {"results": [a_subscription(id="other", event_type="x"), a_subscription()]} if as_list else a_subscription()
    )
    service.says("POST /hooks/subscriptions/", made, status=201, headers={"x-hook-secret": "abc"}, odd=as_list)
    service.says(f"POST /hooks/subscriptions/{HOOK}/", a_subscription())
    assert api.subscribe(EVENT, TARGET).id == HOOK
    assert service.heard[1].body == {"secret": "abc"}


def test_a_subscription_that_cannot_be_confirmed_is_unclear(service: Service, api: Prolific) -> None:
    service.says("POST /hooks/subscriptions/", a_subscription(), status=201)
    with pytest.raises(Unclear, match="X-Hook-Secret"):
        api.subscribe(EVENT, TARGET)


def test_hooks_are_listed_and_deleted(service: Service, api: Prolific) -> None:
    secret = {"id": "1", "value": "the-hook-secret", "workspace_id": s.WORKSPACE}
    service.says("POST /hooks/secrets/", secret, status=201)
    service.says("GET /hooks/secrets/", {"results": [secret]})
    service.says("GET /hooks/subscriptions/", {"results": [a_subscription(is_enabled=False)]})
    service.says(f"DELETE /hooks/subscriptions/{HOOK}/", status=204)
    made = api.create_hook_secret()
    assert api.list_hook_secrets() == [made]
    assert "the-hook-secret" not in repr(made)
    assert [one.enabled for one in api.list_subscriptions(enabled=False)] == [False]
    api.unsubscribe(HOOK)


def test_a_hook_is_verified_by_its_whole_body_and_time() -> None:
    secret, body, time = Secret(b"s3cret"), b'{"event_type": "x", "u": "\xc3\xa4"}', "1700000000"
    signature = base64.b64encode(hmac.new(secret, time.encode() + body, hashlib.sha256).digest()).decode()
    assert verify_hook(secret, time, body, signature)
    assert not verify_hook(secret, time, body + b" ", signature)
    assert not verify_hook(secret, "1700000001", body, signature)
    assert not verify_hook(secret, time[:-1], time[-1].encode() + body[1:], signature)
    assert not verify_hook(Secret(b"other"), time, body, signature)
    for forged in ("", "ä", signature[:-1], signature.lower(), "\udcff"):
        assert not verify_hook(secret, time, body, forged)
