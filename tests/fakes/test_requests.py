"""Transport: token, pages, both forms of an error, unknown paths and parameters; every call of the document is there."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from crowdstack.fakes.prolific import router, service
from crowdstack.fakes.prolific.records import Workspace
from tests.contracts.prolific_contract import API
from tests.fakes.lab import DRAFT, HOST, Lab


def test_every_call_of_the_reduced_document_is_answered() -> None:
    assert service._ROUTES
    there = {(route.method.lower(), route.template) for route in router.ROUTES}
    assert there == {(method, path) for path, calls in API["paths"].items() for method in calls}


def test_without_the_token_nothing_is_said() -> None:
    lab = Lab()
    lab.fake.world.meta.token = "new"
    assert "Invalid token" in lab.api.refused("GET", "/users/me/", expect=401)
    assert "Invalid token" in lab.api.refused("POST", "/studies/", DRAFT, expect=401)
    assert lab.fake.effects() == []


def test_a_workspace_of_others_is_forbidden_and_not_listed() -> None:
    lab = Lab()
    theirs = Workspace(id="f" * 24, title="Theirs", currency="GBP", foreign=True)
    lab.fake.world.workspaces[theirs.id] = theirs
    lab.api.refused("GET", f"/workspaces/{theirs.id}/balance/", expect=403)
    assert [found["title"] for found in lab.api.get("/workspaces/")["results"]] == ["My workspace"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/studies", 404),
        ("GET", "/studies/5f/", 404),
        ("GET", "/submissions/5f/", 404),
        ("POST", "/bulk-bonus-payments/5f/pay/", 404),
        ("GET", "/participant-groups/5f/", 404),
        ("PATCH", "/users/me/", 405),
        ("GET", "/workspaces/5f/", 404),
    ],
)
def test_what_is_not_here_is_said_so(method: str, path: str, status: int) -> None:
    url = f"{HOST}/api/v1{path}"
    lab = Lab()
    answer = lab.api.session.request(method, url, json=None)
    assert (answer.status_code, answer.json()["error"]["status"]) == (status, status)


@pytest.mark.parametrize(
    ("method", "path", "body", "bare"),
    [
        ("POST", "/studies/", {}, True),
        ("GET", "/studies/?state=ASLEEP", None, True),
        ("GET", "/submissions/", None, True),
        ("POST", "/study-cost-calculator/", {}, True),
        ("POST", "/submissions/bulk-approve/", {}, True),
        ("POST", "/messages/", {}, True),
        ("GET", "/reward-recommendations/", None, True),
        ("PATCH", "/studies/{study}/", {"reward": "x"}, False),
        ("POST", "/studies/{study}/transition/", {"action": "START"}, False),
        ("POST", "/participant-groups/", {}, False),
        ("POST", "/submissions/bonus-payments/", {}, False),
        ("POST", "/hooks/secrets/", {}, False),
    ],
)
def test_errors_have_the_form_that_the_document_gives_the_call(method: str, path: str, body: Any, bare: bool) -> None:
    lab = Lab()
    answer = lab.api.session.request(method, f"{HOST}/api/v1{path.format(study=lab.draft())}", json=body)
    assert answer.status_code == 400
    detail = answer.json() if bare else answer.json()["error"]
    assert {"status", "error_code", "title", "detail"} <= set(detail)
    assert ("error" in answer.json()) is not bare


@pytest.mark.parametrize(("body", "said"), [(b"{", "JSON"), (b"[]", "object")])
def test_a_body_must_be_a_json_object(body: bytes, said: str) -> None:
    answer = Lab().api.session.post(f"{HOST}/api/v1/studies/", data=body)
    assert answer.status_code == 400
    assert said in answer.text


def test_parameters_and_bodies_that_nobody_asks_for_are_refused() -> None:
    lab = Lab()
    assert "Unknown parameter" in lab.api.refused("GET", "/users/me/", page=1)
    assert "No body" in lab.api.refused("GET", "/users/me/", {"page": 1})


def test_submissions_come_in_pages_of_twenty_with_links() -> None:
    lab = Lab()
    study = lab.live(total_available_places=45)
    made = [lab.handed_in(study, f"p{number:02}") for number in range(45)]
    first = lab.api.get("/submissions/", study=study)
    assert (len(first["results"]), first["meta"]["count"]) == (20, 45)
    assert first["_links"]["previous"]["href"] is None
    found, url = [], f"{HOST}/api/v1/submissions/?study={study}&page_size=10&status=AWAITING_REVIEW"
    while url:
        page = lab.api.session.get(url).json()
        found += [each["id"] for each in page["results"]]
        url = page["_links"]["next"]["href"]
    assert found == made
    lab.api.refused("GET", "/submissions/", expect=404, study=study, page=4)
    lab.api.refused("GET", "/submissions/", study=study, page=0)
    assert lab.api.get("/submissions/", study=study, page=5, page_size=10)["_links"]["next"]["href"] is None
    assert lab.api.get("/submissions/", study=lab.draft(), page=1)["results"] == []


def test_workspaces_come_by_limit_and_offset() -> None:
    lab = Lab()
    for number in range(25):
        lab.api.post("/workspaces/", {"title": f"W{number:02}"})
    assert len(lab.api.get("/workspaces/")["results"]) == 20
    rest = lab.api.get("/workspaces/", limit=10, offset=20)
    assert ([found["title"] for found in rest["results"]][-1], len(rest["results"])) == ("W24", 6)
    assert rest["_links"]["next"]["href"] is None
    assert "offset=10" in rest["_links"]["previous"]["href"]
    assert lab.api.get("/workspaces/", offset=99)["results"] == []


def test_list_and_detail_name_things_differently() -> None:
    lab = Lab()
    study = lab.live()
    submission = lab.handed_in(study, "anna")
    item = lab.api.get(f"/studies/{study}/submissions/")["results"][0]
    assert (item["participant_id"], item["study_code"]) == ("anna", "C0MPLETED")
    detail = lab.submission(submission)
    assert (detail["participant"], detail["entered_code"]) == ("anna", "C0MPLETED")
    assert not {"participant", "entered_code"} & set(item)
    assert not {"participant_id", "study_code"} & set(detail)


def test_counts_have_spaces_and_one_hyphen() -> None:
    lab = Lab()
    study = lab.live()
    lab.handed_in(study, "anna")
    lab.fake.reserve(study, "ben")
    counts = lab.api.get(f"/studies/{study}/submissions/counts/")
    assert counts["AWAITING REVIEW"] == counts["RESERVED"] == 1
    assert counts["TOTAL"] == 2
    assert {"TIMED-OUT", "PARTIALLY APPROVED", "SCREENED OUT"} <= set(counts)


def test_places_taken_still_counts_rejected_ones() -> None:
    lab = Lab()
    study = lab.live()
    lab.reject(lab.handed_in(study, "anna"))
    lab.fake.give_back(lab.begun(study, "ben"))
    listed = lab.api.get("/studies/", state="ACTIVE")["results"][0]
    assert (listed["places_taken"], listed["number_of_submissions"]) == (1, 2)


@pytest.mark.parametrize(
    ("query", "found"),
    [({"awaiting_review": "true"}, 1), ({"returned": "1"}, 1), ({"active": "yes"}, 0), ({"status": "RETURNED"}, 1),
     ({"submitted_from": "01/01/2026"}, 1), ({"submitted_before": "01/01/2026"}, 0)],
)  # fmt: skip
def test_submissions_are_filtered(query: dict[str, str], found: int) -> None:
    lab = Lab()
    study = lab.live()
    lab.handed_in(study, "anna")
    lab.fake.give_back(lab.begun(study, "ben"))
    assert lab.api.get("/submissions/", study=study, **query)["meta"]["count"] == found


def test_account_workspaces_projects_groups() -> None:
    lab = Lab()
    me = lab.api.get("/users/me/")
    assert (me["currency_code"], me["balance"]) == ("GBP", 10_000)
    made = lab.api.post("/workspaces/", {"title": "W", "currency_code": "USD"})["id"]
    assert lab.api.patch(f"/workspaces/{made}/", {"title": "V"})["title"] == "V"
    assert lab.api.get(f"/workspaces/{made}/balance/")["currency_code"] == "USD"
    project = lab.api.post(f"/workspaces/{made}/projects/", {"title": "P"})["id"]
    assert lab.api.patch(f"/projects/{project}/", {"description": "D"})["description"] == "D"
    assert [found["id"] for found in lab.api.get(f"/workspaces/{made}/projects/")["results"]] == [project]
    study = lab.draft(project=project)
    assert [found["id"] for found in lab.api.get(f"/projects/{project}/studies/")["results"]] == [study]
    assert "Insufficient" in lab.api.refused("POST", f"/studies/{study}/transition/", {"action": "PUBLISH"})
    group = lab.api.post("/participant-groups/", {"name": "g", "project_id": project})["id"]
    assert [found["id"] for found in lab.api.get("/participant-groups/", project_id=project)["results"]] == [group]
    assert lab.api.get(f"/participant-groups/{group}/")["workspace_id"] == made
    lab.api.call("DELETE", f"/participant-groups/{group}/")
    lab.api.refused("GET", f"/participant-groups/{group}/", expect=404)
    assert lab.api.get("/participant-groups/", workspace_id=made, active="true")["results"] == []
    again = {"name": "g", "workspace_id": made}
    assert "already exists" in lab.api.refused("POST", "/participant-groups/", again)
    assert "organisation" in lab.api.refused("GET", "/participant-groups/", expect=404, organisation_id="o")


def test_filters_counts_and_recommendations() -> None:
    lab = Lab()
    for number in range(30):
        lab.fake.add_person(f"p{number}", age=20 + number)
    young = {"filter_id": "age", "selected_range": {"upper": 44}}
    assert lab.api.post("/eligibility-count/", {"filters": [young], "workspace_id": lab.fake.workspace.id}) == {
        "count": 25
    }
    young["selected_range"] = {"upper": 43}
    assert lab.api.post("/eligibility-count/", {"filters": [young]}) == {"count": 0}  # fewer than 25
    names = {found["filter_id"] for found in lab.api.get("/filters/", workspace_id=lab.fake.workspace.id)["results"]}
    assert {"age", "custom_allowlist", "participant_group_blocklist"} <= names
    assert "category" in lab.api.get("/filters/", detailed="true")["results"][0]
    found = lab.api.get("/reward-recommendations/", workspace_id=lab.fake.workspace.id, currency="USD")
    assert found == [{"currency": "USD", "min_reward_per_hour": 800, "recommended_reward_per_hour": 1200}]


def test_messages_go_both_ways() -> None:
    lab = Lab()
    study = lab.live()
    lab.handed_in(study, "anna")
    group = lab.api.post(
        "/participant-groups/", {"name": "g", "workspace_id": lab.fake.workspace.id, "participant_ids": ["anna"]}
    )
    lab.api.post("/messages/", {"recipient_id": "anna", "body": "Hello", "study_id": study})
    lab.api.post("/messages/bulk/", {"ids": ["anna"], "body": "Hello", "study_id": study})
    lab.api.post("/messages/participant-group/", {"participant_group_id": group["id"], "body": "Hello"})
    lab.fake.say("anna", study, "Thanks")
    assert [found["body"] for found in lab.api.get("/messages/", user_id="anna")["results"]] == ["Hello"] * 3 + [
        "Thanks"
    ]
    assert [found["sender_id"] for found in lab.api.get("/messages/unread/")["results"]] == ["anna"]
    assert "30 days" in lab.api.refused("GET", "/messages/", created_after="2020-01-01T00:00:00Z")
    assert "not known" in lab.api.refused("POST", "/messages/", {"recipient_id": "zoe", "body": "x", "study_id": study})


def test_answers_carry_the_fakes_own_time() -> None:
    lab = Lab()
    before = lab.api.send("GET", "/users/me/").headers["Date"]
    lab.fake.advance(86_400)
    assert lab.api.send("GET", "/users/me/").headers["Date"] != before


def test_control_has_a_token_of_its_own() -> None:
    lab = Lab()
    session = requests.Session()
    session.mount(HOST, lab.api.session.get_adapter(HOST))
    study = lab.live()

    def control(verb: str, **body: Any) -> Any:
        method = "POST" if body else "GET"
        answer = session.request(method, f"{HOST}/_fake/{verb}", json=body or None)
        return answer.json() if answer.ok else answer.status_code

    assert control("wallet") == 401
    session.headers["Authorization"] = "Token control-token"
    submission = control("reserve", study=study, participant="anna")["submission"]
    assert "p=anna" in control("start", submission=submission)["url"]
    control("complete", submission=submission, code="APPR0VED")
    assert [line["total"] for line in control("wallet")["lines"]] == [100]
    assert control("open-studies?participant=ben") == [study]
    assert control("reserve", study=study, participant="anna") == 400
    other = control("reserve", study=study, participant="ben")["submission"]
    control("return", submission=other)
    now = control("clock")["now"]
    assert control("advance", seconds=60)["now"] == now + 60
    assert control("hand", study=study, action="PAUSE") == {"status": "PAUSED"}
    assert control("edit", study=study, fields={"name": "B"})["name"] == "B"
    assert control("top-up", minor=5) == {"balance": 9_905}
    control("faults", rates={"429": 1.0})
    assert lab.api.send("GET", "/users/me/").status_code == 429
    assert control("faults", rates={"430": 1.0}) == 400
    control("faults", rates={"stale_s": 0.0})
    control("faults/force", kind="429", times=1)
    assert lab.api.send("GET", "/users/me/").status_code == 429
    control("people", participant="ben", attributes={"age": 3})
    assert control("token", token="next") == {}
    assert lab.api.send("GET", "/users/me/").status_code == 401
    assert any(effect["verb"] == "publish" for effect in control("effects"))
    assert control("requests")["POST /api/v1/studies/"] == 1
    assert ["submission", "RESERVED", "start", "ACTIVE", 1] in control("transitions")
    group = lab.fake.world.new_id()
    assert control("groups", group=group, add=["anna"]) == 404
    control("say", participant="anna", study=study, body="hi")
    assert control("nothing") == 404
