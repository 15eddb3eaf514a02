"""How a study that is out differs from what the spec would make of it now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {  # fields of a study, and what a preview calls them
    "name": "name",
    "description": "description",
    "reward": "reward (minor units)",
    "estimated_completion_time": "time (min)",
    "maximum_allowed_time": "time at most (min)",
    "device_compatibility": "devices",
    "peripheral_requirements": "peripherals",
    "naivety_distribution_rate": "naivety",
    "content_warnings": "content warnings",
    "completion_codes": "completion codes",
}
_SHOWN = 60  # characters


def drift(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[str, ...]:
    """A line for each field that the spec gives and the provider shows otherwise. What only one of them tells is no drift:
    answers leave out fields, and have defaults of their own. Places are no drift either: the run sees to them."""
    return tuple(
        f"{words}: {_short(there[name])} there, {_short(wanted[name])} in the spec"
        for name, words in _WORDS.items()
        if wanted.get(name) is not None and there.get(name) is not None and _plain(wanted[name]) != _plain(there[name])
    )


def _plain(value: Any) -> Any:
    """Codes by themselves, since answers add fields to them; lists without their order."""
    if isinstance(value, list):
        return sorted(str(entry.get("code", entry)) if isinstance(entry, Mapping) else str(entry) for entry in value)
    return value


def _short(value: Any) -> str:
    told = _plain(value)
    text = ", ".join(told) if isinstance(told, list) else str(told)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
