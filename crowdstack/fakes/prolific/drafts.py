"""What a researcher may write of a study: its fields, their defaults, and all that is refused (with the reason)."""

from __future__ import annotations

import math
from typing import Any

from crowdstack.fakes.prolific import filters
from crowdstack.fakes.prolific.refusal import invalid
from crowdstack.fakes.prolific.shape import (
    Check,
    choice,
    date_time,
    integer,
    many,
    number,
    optional,
    problems,
    text,
    url,
    words,
)  # fmt: skip
from crowdstack.fakes.prolific.world import World

REQUIRED = (
    "name", "description", "prolific_id_option", "total_available_places", "estimated_completion_time", "reward",
)  # fmt: skip
_LABELS = (
    "survey", "writing_task", "annotation", "decision_making_task", "interview", "other", "ai_annotation",
    "ai_evaluation", "ai_reasoning", "ai_fact_checking", "ai_safety", "ai_data_creation_text",
    "ai_data_creation_audio", "ai_data_creation_video", "ai_data_creation_images", "ai_other",
)  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "internal_name": None, "external_study_url": None, "completion_codes": [], "device_compatibility": [],
    "peripheral_requirements": [], "filters": [], "filter_set_id": None, "filter_set_version": None,
    "naivety_distribution_rate": None, "study_labels": [], "content_warnings": [], "content_warning_details": "",
    "metadata": None, "credential_pool_id": None, "has_credentials": False, "data_collection_method": None,
    "data_collection_id": None, "data_collection_metadata": None, "access_details": None, "publish_at": None,
    "is_external_study_url_secure": False,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "max_submissions_per_participant": 1, "max_concurrent_submissions": -1, "auto_rejection_categories": [],
}  # fmt: skip

_GROUP: dict[str, Check] = {"participant_group": words}
_ACTIONS: dict[str, dict[str, Check]] = {
    "AUTOMATICALLY_APPROVE": {},
    "MANUALLY_REVIEW": {},
    "REQUEST_RETURN": {"return_reason": words},
    "ADD_TO_PARTICIPANT_GROUP": _GROUP,
    "REMOVE_FROM_PARTICIPANT_GROUP": _GROUP,
    "FIXED_SCREEN_OUT_PAYMENT": {"fixed_screen_out_reward": integer(1), "slots": integer(1)},
    "DYNAMIC_PAYMENT": {},
}
_FEATURE_OF = {"FIXED_SCREEN_OUT_PAYMENT": "screen-out", "DYNAMIC_PAYMENT": "dynamic-payment"}


def _not_here(value: Any) -> str | None:
    return "This workspace does not have this feature." if value else None


def _fields(world: World) -> dict[str, Check]:
    public = world.settings.refuse_local_urls
    return {
        "name": words, "internal_name": optional(text), "description": words,
        "external_study_url": optional(url(public)),
        "prolific_id_option": choice("question", "url_parameters", "not_required"),
        "completion_codes": many(_code), "total_available_places": integer(1), "estimated_completion_time": integer(1),
        "maximum_allowed_time": integer(1), "reward": integer(1),
        "device_compatibility": many(choice("desktop", "tablet", "mobile")),
        "peripheral_requirements": many(choice("audio", "camera", "download", "microphone")),
        "filters": optional(lambda value: filters.faults(world, value)),
        "filter_set_id": optional(lambda value: f"No filter set {value} is here."), "filter_set_version": optional(integer(1)),
        "naivety_distribution_rate": optional(number(0, 1)), "project": text, "submissions_config": _config,
        "study_labels": many(choice(*_LABELS)), "content_warnings": many(choice("sensitive", "explicit")),
        "content_warning_details": text, "metadata": optional(text), "publish_at": optional(date_time),
        "access_details": optional(many(lambda value: _access_detail(value, public))),
        # What this fake has no part of: login pools, the service's own task builder, signed visitors.
        "credential_pool_id": _not_here, "has_credentials": _not_here, "data_collection_method": _not_here,
        "data_collection_id": _not_here, "data_collection_metadata": _not_here, "is_external_study_url_secure": _not_here,
    }  # fmt: skip


def complete(world: World, body: Any) -> dict[str, Any]:
    """The fields of a new draft with their defaults. Refusal 400 with everything that is wrong."""
    return _checked(world, body, {})


def patched(world: World, before: dict[str, Any], body: Any) -> dict[str, Any]:
    """The fields of a draft after an edit."""
    return _checked(world, body, before)


def _checked(world: World, body: Any, before: dict[str, Any]) -> dict[str, Any]:
    found = problems(body, _fields(world), () if before else REQUIRED)
    if found:
        raise invalid(found)
    config = CONFIG | before.get("submissions_config", {}) | body.get("submissions_config", {})
    fields: dict[str, Any] = DEFAULTS | before | body | {"submissions_config": config}
    fields["filters"] = fields["filters"] or []
    if not fields.get("project"):
        fields["project"] = next(iter(world.projects))  # the first that was made
    if "maximum_allowed_time" not in body and (
        "maximum_allowed_time" not in before or "estimated_completion_time" in body
    ):
        fields["maximum_allowed_time"] = largest_time(fields["estimated_completion_time"])
    faults = _together(world, fields)
    if not before or {"completion_codes", "reward"} & set(body):
        faults |= _codes(world, fields)
    if faults:
        raise invalid(faults)
    return fields


def least_time(estimated: int) -> int:
    return math.ceil(2 + 2 * estimated + 2 * math.sqrt(estimated))


def largest_time(estimated: int) -> int:
    return 3 * least_time(estimated)  # the real largest is not documented


def _together(world: World, fields: dict[str, Any]) -> dict[str, list[str]]:
    """Faults that need more than one field to be seen."""
    faults: dict[str, list[str]] = {}
    if fields["project"] not in world.projects:
        faults["project"] = [f"No project {fields['project']} is here."]
    if fields["filters"] and fields["filter_set_id"]:
        faults["filters"] = ["Use filters or filter_set_id, not both."]
    if fields["maximum_allowed_time"] < least_time(fields["estimated_completion_time"]):
        faults["maximum_allowed_time"] = [
            f"Ensure this value is at least {least_time(fields['estimated_completion_time'])}."
        ]
    details = fields["access_details"]
    if not details and not fields["external_study_url"]:
        faults["external_study_url"] = ["This field is required."]
    if details:
        if sum(detail["total_allocation"] for detail in details) != fields["total_available_places"]:
            faults["access_details"] = ["The allocations must add up to total_available_places."]
        if len({detail["external_url"] for detail in details}) < len(details):
            faults["access_details"] = ["Each external_url may be given once."]
    if fields["submissions_config"]["auto_rejection_categories"] and "auto-reject" not in world.settings.features:
        faults["submissions_config"] = ["This workspace does not have automatic rejection."]
    return faults


def _code(value: Any) -> str | None:
    fields: dict[str, Check] = {
        "code": optional(words), "code_type": words, "actions": many(_action), "actor": choice("participant", "researcher"),
    }  # fmt: skip
    missing = [name for name in ("code", "code_type", "actions") if isinstance(value, dict) and name not in value]
    found = problems(value, fields)
    return f"missing {missing}" if missing else str(found) if found else None


def _action(value: Any) -> str | None:
    name = value.get("action") if isinstance(value, dict) else None
    if name not in _ACTIONS:
        return f"{name!r} is not an action."
    fields = _ACTIONS[name]
    found = problems(value, {"action": words, **fields}, list(fields))
    return str(found) if found else None


def _access_detail(value: Any, public: bool) -> str | None:
    fields: dict[str, Check] = {"external_url": url(public), "total_allocation": integer(1)}
    found = problems(value, fields, list(fields))
    return str(found) if found else None


def _config(value: Any) -> str | None:
    fields: dict[str, Check] = {
        "max_submissions_per_participant": optional(integer(-1)), "max_concurrent_submissions": optional(integer(-1)),
        "auto_rejection_categories": many(choice("EXCEPTIONALLY_FAST")),
    }  # fmt: skip
    found = problems(value, fields)
    if not found and 0 in (value.get("max_submissions_per_participant"), value.get("max_concurrent_submissions")):
        return "0 lets nobody in."
    return str(found) if found else None


def _codes(world: World, fields: dict[str, Any]) -> dict[str, list[str]]:
    codes = fields["completion_codes"]
    names = [code["code"] for code in codes]
    wrong = ["Completion codes must be unique within the study."] if len(set(names)) < len(names) else []
    for code in codes:
        actions = [action["action"] for action in code["actions"]]
        researcher = code.get("actor") == "researcher"
        if {"AUTOMATICALLY_APPROVE", "MANUALLY_REVIEW"} <= set(actions):
            wrong.append(f"{code['code']}: AUTOMATICALLY_APPROVE and MANUALLY_REVIEW exclude each other.")
        once = [action for action in actions if not action.endswith("PARTICIPANT_GROUP")]
        if len(set(once)) < len(once):
            wrong.append(f"{code['code']}: an action is given twice.")
        if "DYNAMIC_PAYMENT" in actions and not researcher:
            wrong.append(f"{code['code']}: DYNAMIC_PAYMENT asks for the actor researcher.")
        others = [other for other in codes if other is not code and other.get("actor") != "researcher"]
        if code["code"] is None and (researcher or others or actions):
            wrong.append("A code of null is the participant's only one and has no actions.")
        for action in code["actions"]:
            wrong += _action_faults(world, fields, code["code"], action)
    return {"completion_codes": wrong} if wrong else {}


def _action_faults(world: World, fields: dict[str, Any], code: str, action: dict[str, Any]) -> list[str]:
    name = action["action"]
    feature = _FEATURE_OF.get(name)
    if feature and feature not in world.settings.features:
        return [f"{code}: this workspace does not have {name}."]
    if name == "FIXED_SCREEN_OUT_PAYMENT" and action["fixed_screen_out_reward"] >= fields["reward"]:
        return [f"{code}: the screen-out reward must be less than the reward."]
    group = action.get("participant_group")
    if group is not None and (group not in world.groups or world.groups[group].deleted):
        return [f"{code}: no participant group {group} is here."]
    return []
