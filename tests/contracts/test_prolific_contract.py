"""The reduced document and its checker: what fits, what does not, and that no difference is without a use."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.prolific_contract import API, DIFFERENCES, check_answer, check_request, template_of
from tests.contracts.reduce_prolific import reduce

STUDY: dict[str, Any] = {
    "name": "Birds",
    "description": "Look at birds",
    "external_study_url": "https://example.org/?p={{%PROLIFIC_PID%}}",
    "prolific_id_option": "url_parameters",
    "total_available_places": 10,
    "estimated_completion_time": 5,
    "reward": 100,
    "completion_codes": [{"code": "C1", "code_type": "COMPLETED", "actions": [{"action": "MANUALLY_REVIEW"}]}],
    "filters": [{"filter_id": "age", "selected_range": {"lower": 18, "upper": 30}}],
}


def test_a_draft_as_the_document_has_it_fits() -> None:
    check_request("POST", "/api/v1/studies/", {}, STUDY)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"completion_code": "C1"}, "completion_code"),
        ({"reward": "1.00"}, "is not of type 'number'"),
        ({"device_compatibility": ["fridge"]}, "fridge"),
        ({"completion_codes": [{"code": "C1", "code_type": "X", "actions": [{"action": "PAY"}]}]}, "PAY"),
        ({"filters": [{"filter_id": "age", "selected_range": {"from": 18}}]}, "from"),
        ({"filters": [{"filter_id": "and", "selected_filters": [{"filter_id": "age", "value": 3}]}]}, "value"),
    ],
)
def test_a_request_is_read_strictly(change: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_request("POST", "/api/v1/studies/", {}, STUDY | change)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(AssertionError, match="'reward' is a required property"):
        check_request("POST", "/api/v1/studies/", {}, {k: v for k, v in STUDY.items() if k != "reward"})


def test_free_text_is_a_code_type_and_a_url_gives_way_to_access_details() -> None:
    codes = [{"code": "C1", "code_type": "LUNCH", "actions": []}]
    taskflow = {k: v for k, v in STUDY.items() if k != "external_study_url"}
    details = [{"external_url": "https://example.org", "total_allocation": 10}]
    check_request("POST", "/api/v1/studies/", {}, taskflow | {"completion_codes": codes, "access_details": details})


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("/api/v1/submissions/", {}, "study: missing"),
        ("/api/v1/submissions/", {"study": "s", "page": "two"}, "page"),
        ("/api/v1/submissions/", {"study": "s", "status": "AWAITING REVIEW"}, "AWAITING REVIEW"),
        ("/api/v1/submissions/", {"study": "s", "limit": 5}, "limit: not in the document"),
        ("/api/v1/submissions", {"study": "s"}, "slash"),
    ],
)
def test_a_query_is_read_strictly(path: str, query: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_request("GET", path, query)


def test_queries_that_fit() -> None:
    check_request("GET", "/api/v1/submissions/", {"study": "s", "page": "2", "page_size": 20, "status": "TIMED-OUT"})
    check_request("GET", "/api/v1/participant-groups/", {"workspace_id": "w", "limit": 200})
    check_request("GET", "/api/v1/studies/s1/cost/", {"is_projected": "true"})


def test_a_body_that_nobody_asks_for_is_a_fault() -> None:
    check_request("POST", "/api/v1/bulk-bonus-payments/b1/pay/")
    with pytest.raises(AssertionError, match="none is asked for"):
        check_request("POST", "/api/v1/bulk-bonus-payments/b1/pay/", {}, {"twice": True})


def test_the_same_place_has_one_path() -> None:
    assert template_of("/api/v1/submissions/bulk-approve/") == "/api/v1/submissions/bulk-approve/"
    assert template_of("/api/v1/submissions/5f/") == "/api/v1/submissions/{id}/"


DETAIL = {"status": 400, "error_code": 1, "title": "No", "detail": {"reward": ["too small"]}}


@pytest.mark.parametrize("body", [DETAIL, {"error": DETAIL}, {"message": "no", "detail": "because"}])
def test_each_form_of_an_error_fits(body: dict[str, Any]) -> None:
    check_answer("POST", "/api/v1/studies/", 400, body)
    check_answer("POST", "/api/v1/studies/", 429, body)


def test_answers_are_checked_by_type_and_may_hold_more() -> None:
    check_answer("GET", "/api/v1/users/me/", 200, {"id": "u", "email": "a@b.c", "balance": 3})
    with pytest.raises(AssertionError, match="'email' is a required property"):
        check_answer("GET", "/api/v1/users/me/", 200, {"id": "u"})
    with pytest.raises(AssertionError, match="201 is not in the document"):
        check_answer("GET", "/api/v1/users/me/", 201, {"id": "u", "email": "a@b.c"})
    with pytest.raises(AssertionError, match="no client expects 418"):
        check_answer("GET", "/api/v1/users/me/", 418, DETAIL)
    check_answer("DELETE", "/api/v1/studies/s1/", 204, None)
    check_answer("DELETE", "/api/v1/studies/s1/", 200, {})


def test_each_difference_is_one_and_has_a_reason() -> None:
    assert len({tuple(difference[:3]) for difference in DIFFERENCES}) == len(DIFFERENCES)
    for difference in DIFFERENCES:
        assert difference.path in API["paths"], difference
        assert difference.method in API["paths"][difference.path], difference
        assert len(difference.reason) > 20, difference
        check_of = {"patch": {}, "post": {}}.get(difference.method)
        with pytest.raises(
            AssertionError, match=r"^(?!no such difference)"
        ):  # carried out, then the request is no good
            check_request(difference.method, difference.path.replace("{", "").replace("}", ""), {"no": 1}, check_of)


def test_the_reduction_keeps_types_and_drops_prose() -> None:
    prose = {"description": "long", "example": "x", "title": "Thing"}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "API", "version": "1"},
        "servers": [{"url": "https://api.example.org"}],
        "paths": {
            "/api/v1/users/me/": {
                "get": {
                    "summary": "me",
                    "parameters": [{"name": "Authorization", "in": "header", "schema": {"type": "string"}}],
                    "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/User"}}}}},
                }
            },
            "/api/v1/surveys/": {"get": {"responses": {}}},
        },
        "components": {"schemas": {"User": {**prose, "type": "object", "properties": {"title": {**prose, "type": "string"}}}, "Unused": {}}},
    }  # fmt: skip
    reduced = reduce(document, "2026-08")
    assert reduced["schemas"] == {"User": {"type": "object", "properties": {"title": {"type": "string"}}}}
    assert list(reduced["paths"]) == ["/api/v1/users/me/"]
    assert reduced["paths"]["/api/v1/users/me/"]["get"]["answers"] == {"200": {"$ref": "#/schemas/User"}}
    assert reduced["source"]["title"] == "API"


def test_the_reduced_document_holds_types_and_no_prose() -> None:
    keywords = {
        "type",
        "properties",
        "required",
        "enum",
        "items",
        "oneOf",
        "format",
        "default",
        "additionalProperties",
        "$ref",
    }

    def words(schema: Any) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(words, schema)) if schema else set()
        if not isinstance(schema, dict):
            return set()
        found = set(schema) | set().union(
            *(words(value) for key, value in schema.items() if key != "properties"), set()
        )
        return found | set().union(*map(words, schema.get("properties", {}).values()), set())

    assert words(list(API["schemas"].values())) <= keywords
    longest = max(len(value) for schema in API["schemas"].values() for value in schema.get("enum", []))
    assert longest < 30
