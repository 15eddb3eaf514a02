"""What a resource's options mean for its properties: which changes count, which replace, which outputs are secret. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from crowdstack.engine.embedded.paths import covers, parse, reset
from crowdstack.engine.embedded.state import Resource
from crowdstack.engine.plugin import Diff, ResourceType, diff
from crowdstack.engine.values import UNKNOWN, Properties, SecretValue

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def unsure(resource: Resource, replaced: Collection[str]) -> Properties | None:
    """Its inputs, unknown where they come from a resource that is replaced; None when none of them does."""
    from_them = {name for name, urns in resource.property_dependencies.items() if not set(urns).isdisjoint(replaced)}
    touched = from_them & resource.inputs.keys()
    return {**resource.inputs, **dict.fromkeys(touched, UNKNOWN)} if touched else None


def ignoring(old: Resource, wanted: Resource) -> Resource:
    """The resource as wanted, with what its `ignore_changes` name as it was."""
    inputs = wanted.inputs
    for path in wanted.ignore_changes:
        inputs = reset(parse(path), old.inputs, inputs)
    return replace(wanted, inputs=inputs)


def gap_between(kind: ResourceType, old: Resource, inputs: Properties, replace_on_changes: Iterable[str]) -> Diff:
    """What separates what is there from these inputs. A component has nothing in common with a thing of the plugin's."""
    if not old.custom:
        return Diff(replaces=("provider",))
    gap = diff(kind, old.inputs, inputs)
    paths = [parse(path) for path in replace_on_changes]
    forced = {name for name in gap.changed if any(covers(path, (name,)) for path in paths)}
    return replace(gap, replaces=tuple(sorted({*gap.replaces, *forced})))


def hidden(resource: Resource) -> Properties:
    """Its outputs, with those marked as secret that the program names or that are secret inputs too."""
    secret = {name for name, value in resource.inputs.items() if isinstance(value, SecretValue)}
    secret.update(resource.additional_secret_outputs)
    return {
        name: SecretValue(value) if name in secret and not isinstance(value, SecretValue) else value
        for name, value in resource.outputs.items()
    }


def seconds(duration: str) -> float:
    """`1h30m` -> 5400.0. ValueError for what is no duration."""
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is no duration")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
