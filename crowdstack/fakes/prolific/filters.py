"""Filters: which exist, are these well formed, is this participant let in. Several filters: AND; several values: OR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crowdstack.fakes.prolific.records import Person
from crowdstack.fakes.prolific.shape import problems, words
from crowdstack.fakes.prolific.world import World

GROUP_FILTERS = {"participant_group_allowlist": True, "participant_group_blocklist": False}  # -> lets in
STUDY_FILTERS = {"previous_studies_allowlist": True, "previous_studies_blocklist": False}
LIST_FILTERS = {"custom_allowlist": True, "custom_blocklist": False}


def _select(filter_id: str, title: str, data_type: str, choices: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "filter_id": filter_id, "title": title, "description": title, "type": "select", "question": title,
        "data_type": data_type, "choices": choices or {},
    }  # fmt: skip


# A handful of the real ones; what a participant is in these is drawn by whoever brings the participants.
KNOWN: dict[str, dict[str, Any]] = {
    entry["filter_id"]: entry
    for entry in (
        {
            "filter_id": "age", "title": "Age", "description": "Age in years", "type": "range",
            "question": "How old are you?", "data_type": "integer", "min": 18, "max": 100,
        },
        _select("handedness", "Handedness", "ChoiceID", {"0": "Left", "1": "Right", "2": "Either"}),
        _select("sex", "Sex", "ChoiceID", {"0": "Male", "1": "Female"}),
        _select("current-country-of-residence", "Current country", "ChoiceID", {"0": "United Kingdom", "1": "United States"}),
        *(_select(name, name.replace("_", " "), "ParticipantGroupID") for name in GROUP_FILTERS),
        *(_select(name, name.replace("_", " "), "StudyID") for name in STUDY_FILTERS),
        *(_select(name, name.replace("_", " "), "ParticipantID") for name in LIST_FILTERS),
    )
}  # fmt: skip


def listed(detailed: bool) -> list[dict[str, Any]]:
    more: dict[str, Any] = {
        "researcher_help_text": None,
        "participant_help_text": None,
        "category": None,
        "subcategory": None,
        "tags": [],
    }
    return [entry | more if detailed else dict(entry) for entry in KNOWN.values()]


def faults(world: World, filters: Any) -> str | None:
    """What is wrong with a list of filters, if anything."""
    if not isinstance(filters, list):
        return "Expected a list of items."
    return next((wrong for one in filters if (wrong := _fault(world, one)) is not None), None)


def _fault(world: World, one: Any) -> str | None:
    if not isinstance(one, dict) or not isinstance(one.get("filter_id"), str):
        return "Each filter is an object with a filter_id."
    name = one["filter_id"]
    if name in ("and", "or"):
        extra = set(one) - {"filter_id", "selected_filters"}
        return f"{name}: unknown {sorted(extra)}." if extra else faults(world, one.get("selected_filters"))
    if name not in KNOWN:
        return f"{name} is not a filter."
    if KNOWN[name]["type"] == "range":
        return _range_fault(name, one)
    wrong = problems(
        one, {"filter_id": words, "selected_values": _strings, "weightings": _weights}, ["selected_values"]
    )
    if wrong:
        return f"{name}: {wrong}"
    values = one["selected_values"]
    if name in GROUP_FILTERS:
        gone = [value for value in values if value not in world.groups or world.groups[value].deleted]
        return f"{name}: no participant group {gone[0]}." if gone else None
    if name in STUDY_FILTERS:
        gone = [value for value in values if value not in world.studies]
        return f"{name}: no study {gone[0]}." if gone else None
    choices = KNOWN[name]["choices"]
    odd = [value for value in values if choices and value not in choices]
    return f"{name}: {odd[0]} is not a choice." if odd else None


def _range_fault(name: str, one: dict[str, Any]) -> str | None:
    wrong = problems(one, {"filter_id": words, "selected_range": _bounds, "weightings": _weights}, ["selected_range"])
    return f"{name}: {wrong}" if wrong else None


def _strings(value: Any) -> str | None:
    fine = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    return None if fine else "A list of strings is required."


def _weights(value: Any) -> str | None:
    return None if isinstance(value, dict) else "Not an object."


def _bounds(value: Any) -> str | None:
    fine = isinstance(value, dict) and value and set(value) <= {"lower", "upper"}
    fine = fine and all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in value.values())
    return None if fine else "An object with lower and upper is required."


def lets_in(world: World, filters: Sequence[dict[str, Any]], person: Person) -> bool:
    """Groups are read as they are now: a published study follows its groups at once."""
    return all(_passes(world, one, person) for one in filters)


def _passes(world: World, one: dict[str, Any], person: Person) -> bool:
    name = one["filter_id"]
    if name in ("and", "or"):
        return (all if name == "and" else any)(_passes(world, part, person) for part in one["selected_filters"])
    if KNOWN[name]["type"] == "range":
        bounds, value = one["selected_range"], person.attributes.get(name)
        return value is not None and bounds.get("lower", value) <= value <= bounds.get("upper", value)
    values = one["selected_values"]
    if name in GROUP_FILTERS:
        return any(person.id in world.groups[group].members for group in values) is GROUP_FILTERS[name]
    if name in STUDY_FILTERS:
        was_in = any(s.participant == person.id for key in values for s in world.of_study(world.studies[key]))
        return was_in is STUDY_FILTERS[name]
    if name in LIST_FILTERS:
        return (person.id in values) is LIST_FILTERS[name]
    held = person.attributes.get(name)
    return bool(set(values) & set([held] if isinstance(held, str) else held or []))
