"""Routes of studies, their submissions and what is paid for them."""

from __future__ import annotations

from crowdstack.fakes.prolific import bonuses, pages, studies, submissions, views, wallet
from crowdstack.fakes.prolific.refusal import invalid
from crowdstack.fakes.prolific.router import Answer, Call, flag, needed, route
from crowdstack.fakes.prolific.shape import integer, read

# ------------------------------------------------------------------------------------------------ studies


@route("GET", "/studies/", "state", bare=True)
def get_studies(call: Call) -> Answer:
    """All on one page, as the document names no parameters for pages here."""
    state = call.query.get("state")
    states = {"ACTIVE", "PAUSED", "UNPUBLISHED", "PUBLISHING", "COMPLETED", "AWAITING REVIEW", "UNKNOWN", "SCHEDULED"}
    if state is not None and state not in states:
        raise invalid({"state": [f"{state!r} is not a valid choice."]})
    found = [s for s in call.world.studies.values() if not s.deleted and state in (None, s.status.value)]
    return Answer(200, {"results": [views.study_short(call.world, each) for each in found]})


@route("POST", "/studies/", body=True, bare=True)
def post_studies(call: Call) -> Answer:
    return Answer(201, views.study(call.world, studies.create(call.world, call.body)))


@route("GET", "/studies/{id}/")
def get_studies_by_id(call: Call) -> Answer:
    return Answer(200, views.study(call.world, call.world.study(call.key)))


@route("PATCH", "/studies/{id}/", body=True)
def patch_studies_by_id(call: Call) -> Answer:
    return Answer(200, views.study(call.world, studies.patch(call.world, call.world.study(call.key), call.body)))


@route("DELETE", "/studies/{id}/")
def delete_studies_by_id(call: Call) -> Answer:
    studies.delete(call.world, call.world.study(call.key))
    return Answer(204)


@route("POST", "/studies/{id}/transition/", body=True)
def post_studies_transition(call: Call) -> Answer:
    return Answer(200, views.study(call.world, studies.transition(call.world, call.world.study(call.key), call.body)))


@route("POST", "/studies/{id}/clone/", body=True)
def post_studies_clone(call: Call) -> Answer:
    return Answer(200, views.study(call.world, studies.clone(call.world, call.world.study(call.key), call.body)))


@route("POST", "/studies/{id}/test-study")
def post_studies_test_study(call: Call) -> Answer:
    test = studies.make_test(call.world, call.world.study(call.key))
    return Answer(200, {"study_id": test.id, "study_url": f"https://app.prolific.com/studies/{test.id}"})


@route("GET", "/studies/{id}/access-details-progress/")
def get_studies_access_details_progress(call: Call) -> Answer:
    return Answer(200, views.access_progress(call.world, call.world.study(call.key)))


@route("GET", "/studies/{id}/cost/", "is_projected", bare=True)
def get_studies_cost(call: Call) -> Answer:
    return Answer(200, views.study_cost(call.world, call.world.study(call.key), bool(flag(call, "is_projected"))))


@route("GET", "/studies/{id}/submissions/", "page", "page_size", "ordering", bare=True)
def get_studies_submissions(call: Call) -> Answer:
    return _submissions(call, call.key)


@route("GET", "/studies/{id}/submissions/counts/", bare=True)
def get_studies_submissions_counts(call: Call) -> Answer:
    return Answer(200, views.counts(call.world.of_study(call.world.study(call.key))))


@route("POST", "/study-cost-calculator/", body=True, bare=True)
def post_study_cost_calculator(call: Call) -> Answer:
    fields = {"reward": integer(1), "total_available_places": integer(1)}
    asked = read(call.body, fields, list(fields))
    cost = wallet.price(call.world.settings, asked["reward"]).times(asked["total_available_places"])
    return Answer(200, {"total_cost": cost.total})


# ------------------------------------------------------------------------------------------------ submissions


_FLAGS = {
    "completed": {"AWAITING REVIEW", "APPROVED", "PARTIALLY APPROVED", "REJECTED", "SCREENED OUT"},
    "returned": {"RETURNED"},
    "awaiting_review": {"AWAITING REVIEW"},
    "approved": {"APPROVED"},
    "active": {"ACTIVE"},
    "timeout": {"TIMED-OUT"},
    "rejected": {"REJECTED"},
    "screened_out": {"SCREENED OUT"},
    "completeoractive": {"AWAITING REVIEW", "APPROVED", "PARTIALLY APPROVED", "ACTIVE"},
}
_STATUSES = {
    "ACTIVE", "AWAITING_REVIEW", "APPROVED", "PARTIALLY_APPROVED", "REJECTED", "RETURNED", "SCREENED_OUT", "TIMED-OUT",
    "UNKNOWN",
}  # fmt: skip


@route(
    "GET", "/submissions/", "study", "status", *_FLAGS, "submitted_from", "submitted_before", "ordering", "page",
    "page_size", bare=True,
)  # fmt: skip
def get_submissions(call: Call) -> Answer:
    return _submissions(call, needed(call, "study"))


def _submissions(call: Call, study: str) -> Answer:
    found = list(call.world.of_study(call.world.study(study)))
    status = call.query.get("status")
    if status is not None:
        if status not in _STATUSES:
            raise invalid({"status": [f"{status!r} is not a valid choice."]})
        found = [each for each in found if each.status.value == status.replace("_", " ")]
    for name, statuses in _FLAGS.items():
        wanted = flag(call, name)
        if wanted is not None:
            found = [each for each in found if (each.status.value in statuses) is wanted]
    found = submissions.within(found, call.query.get("submitted_from"), call.query.get("submitted_before"))
    ordering = call.query.get("ordering", "started_at")
    if ordering.lstrip("-") not in ("started_at", "submission_reward", "study_name"):
        raise invalid({"ordering": [f"{ordering!r} is not a valid choice."]})
    found.sort(key=lambda each: each.started_at or each.reserved_at, reverse=ordering == "-started_at")
    page = pages.numbered(found, call.url, call.query)
    page["results"] = [views.submission_item(call.world, each) for each in page["results"]]
    return Answer(200, page)


@route("POST", "/submissions/bulk-approve/", body=True, bare=True)
def post_submissions_bulk_approve(call: Call) -> Answer:
    count = submissions.bulk_approve(call.world, call.body)
    return Answer(200, f"{count} submissions will be approved.")


@route("POST", "/submissions/bonus-payments/", body=True)
def post_submissions_bonus_payments(call: Call) -> Answer:
    bulk = bonuses.create(call.world, call.body)
    return Answer(201, views.bulk(bulk, bonuses.cost(call.world, bulk)))


@route("POST", "/bulk-bonus-payments/{id}/pay/")
def post_bulk_bonus_payments_pay(call: Call) -> Answer:
    bonuses.pay(call.world, call.key)
    return Answer(202, "The payments are being made.")


@route("GET", "/submissions/{id}/")
def get_submissions_by_id(call: Call) -> Answer:
    return Answer(200, views.submission_detail(call.world, call.world.submission(call.key)))


@route("POST", "/submissions/{id}/transition/", body=True)
def post_submissions_transition(call: Call) -> Answer:
    moved = submissions.transition(call.world, call.world.submission(call.key), call.body)
    return Answer(200, views.submission_moved(call.world, moved))


@route("POST", "/submissions/{id}/request-return/", body=True)
def post_submissions_request_return(call: Call) -> Answer:
    asked = submissions.request_return(call.world, call.world.submission(call.key), call.body)
    return Answer(200, views.submission_asked(asked))
