"""Plugin: what another package must offer to be a provider, and how it is found. Third parties import this module.

An entry point of the group `crowdstack.providers` names a `ProviderPlugin`. Its name is `provider.name` in a spec of `type: plugin`.
Nothing of a plugin is loaded before a spec or a run names it. Docs: docs/write-a-provider.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from crowdstack.errors import Refused
from crowdstack.model import RunId, StudyKey, TaskName
from crowdstack.ports import Memory, Provider
from crowdstack.wire.configs import Claims, Ending, Finish

__all__ = ["GROUP", "Claims", "Ending", "Finish", "Opening", "ProviderPlugin", "find_plugin", "installed"]

GROUP = "crowdstack.providers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an adapter is opened with, in each process that needs it (the reconciler, and commands): keep nothing in memory that
    must be found again."""

    settings: Mapping[str, Any]  # `provider.settings` of the spec, as the schema has it
    task: TaskName
    folder: Path  # for files of the adapter's own; made when it is first opened, and kept after the run
    memory: Callable[
        [RunId], Memory
    ]  # small facts about a run, durable when `put` returns. A study's key is its run's id
    runs: Callable[[], list[RunId]]  # all runs of the task
    page: Callable[
        [StudyKey], str
    ]  # the one link for everybody, to which `claims` are added. Busy before there is a server
    now: Callable[[], datetime]  # UTC
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPlugin:
    """What the entry point names."""

    open: Callable[
        [Opening], Provider
    ]  # ask nobody yet: the first verb may. A method `close()` is called if there is one
    settings: Mapping[str, Any]  # JSON Schema of `provider.settings`, a mapping
    claims: Callable[[Mapping[str, Any]], Claims]  # settings -> the parameters of the link that say who came
    finish: Callable[[Mapping[str, Any]], Finish]  # settings -> how people get back
    managed: bool = (
        False  # True: `fetch_visits` tells who came. False: it gives None, and the task server counts places
    )
    environment: tuple[
        str, ...
    ] = ()  # variables with its credentials, for the reconciler's process; no spec holds them


def installed() -> tuple[str, ...]:
    """Names of all plugins; none of them is loaded."""
    return tuple(sorted({found.name for found in entry_points(group=GROUP)}))


def find_plugin(name: str) -> ProviderPlugin:
    """The plugin of this name. Refused: there is none, it cannot be loaded, or what it names is none."""
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(installed())
        raise Refused(
            f"there is no provider plugin {name!r} here",
            why=f"installed: {known}" if known else "none is installed",
            hint="pip install the package that brings it, beside crowdstack",
        )
    try:
        plugin = found[0].load()
    except Exception as fault:  # it is another package's code
        why = f"{type(fault).__name__}: {fault}"
        raise Refused(f"the provider plugin {name!r} cannot be loaded", where=found[0].value, why=why) from fault
    if not isinstance(plugin, ProviderPlugin):
        raise Refused(f"the provider plugin {name!r} is no crowdstack.plugin.ProviderPlugin", where=found[0].value)
    return plugin
