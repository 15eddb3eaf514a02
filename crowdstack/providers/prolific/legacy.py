"""Eligibility requirements as older tools write them (`{"name": "AgeRangeEligibilityRequirement", "min_age": 18}`, or by
`_cls`) -> today's filters. The service no longer documents the old form, so it is never sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowdstack.errors import Refused

_RANGES = {  # name without its ending: (filter, lower, upper)
    "AgeRange": ("age", "min_age", "max_age"),
    "ApprovalNumbers": ("approval_numbers", "minimum_approvals", "maximum_approvals"),
    "ApprovalRate": ("approval_rate", "minimum_approval_rate", "maximum_approval_rate"),
}
_LISTS = {
    "CustomWhitelist": ("custom_allowlist", "white_list"),
    "CustomBlacklist": ("custom_blocklist", "black_list"),
    "ParticipantGroup": ("participant_group_allowlist", "id"),
}
_ENDING = "EligibilityRequirement"


def as_filter(requirement: Mapping[str, Any]) -> dict[str, Any]:
    """The filter that asks for the same. Refused for a kind that has none."""
    named = str(requirement.get("name") or requirement.get("_cls") or "").rpartition(".")[2]
    kind = named.removesuffix(_ENDING)
    if kind in _RANGES:
        filter_id, lower, upper = _RANGES[kind]
        bounds = {"lower": requirement.get(lower), "upper": requirement.get(upper)}
        return {
            "filter_id": filter_id,
            "selected_range": {name: value for name, value in bounds.items() if value is not None},
        }
    if kind in _LISTS:
        filter_id, field = _LISTS[kind]
        given = requirement.get(field)
        return {"filter_id": filter_id, "selected_values": [given] if isinstance(given, str) else list(given or ())}
    known = ", ".join(sorted([*_RANGES, *_LISTS]))
    raise Refused(
        f"the eligibility requirement {named or 'without a name'!r} has no filter that asks for the same",
        why=f"those that have one: {known}",
        hint="write it as an entry of provider.filters; the ids are listed on Prolific's site",
    )
