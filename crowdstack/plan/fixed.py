"""Fixed: what of a run its provider will not let anybody change once the study is published. For preview. Pure."""

from __future__ import annotations

import json
from typing import Any

from crowdstack.plan.desired import Desired

_FIELDS = {  # as a preview says them: fields of Desired.provider
    "devices": ("device",),
    "peripherals": ("peripherals",),
    "who may take part": ("filters", "eligibility_requirements"),
    "groups allowed": ("allow_groups",),
    "groups blocked": ("block_groups",),
    "naivety": ("naivety",),
    "label": ("study_labels",),
    "content warning": ("content_warnings", "content_warning_details"),
}
_SHOWN = 100  # characters


def fixed_by_publishing(desired: Desired) -> tuple[str, ...]:
    """Each with its value. Of one study: the next run may have others."""
    told = desired.provider
    if told.get("type") != "prolific":
        return ()
    longest = f", {told['maximum_minutes']} min at most" if told.get("maximum_minutes") else ""
    facts: dict[str, str] = {
        "name": told["name"],
        "description": told["description"],
        "reward": f"{desired.reward} per visit",
        "time": f"{desired.minutes} min per visit{longest}",
        "link": "our page, with Prolific's ids",
        "completion codes": ", ".join(told["codes"].values()),
    }
    also = {"groups blocked": "whom you block or workers.exclude names"}
    if desired.require:
        also["groups allowed"] = f"who holds {', '.join(desired.require)}"
    unset = []
    for name, fields in _FIELDS.items():
        parts = [part for field in fields if (part := told.get(field)) not in (None, [], "")]
        parts += [also[name]] if name in also else []
        facts[name] = "; ".join(map(_words, parts))
        if not parts:
            unset.append(name)
    return (
        *(f"study {desired.study}: {name}: {_short(value)}" for name, value in facts.items() if value),
        f"study {desired.study}: places, but to add some",
        *([f"study {desired.study}: what is not set: {', '.join(unset)}"] if unset else []),
    )


def _words(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
