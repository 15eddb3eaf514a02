"""The plugin: resource types by name. What an engine asks of each, in plain values; secrets are marked by the engine.

Every verb may be repeated: a create that was cut off is called again with the same URN and finds what it had begun.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from crowdstack.engine.values import UNKNOWN, Properties, differing
from crowdstack.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One property that a program may set."""

    type: type  # str, int, list or dict
    about: str
    required: bool = True
    pattern: str | None = None
    replaces: bool = False  # a change makes a new resource
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One property that a resource tells of itself."""

    type: type  # as of Input
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What separates the inputs that are there from those that are wanted."""

    changed: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    delete_first: bool = False  # old and new cannot exist side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A resource as it is in the world. Secrets are in clear here, so it never prints them."""

    id: str
    inputs: Properties = field(repr=False)
    outputs: Properties = field(repr=False)


class ResourceType(Protocol):
    """One kind of resource. `inputs`, `outputs` and `secret_outputs` are its schema; in a preview nothing is touched."""

    @property
    def token(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Input]: ...
    @property
    def outputs(self) -> Mapping[str, Output]: ...
    @property
    def secret_outputs(self) -> frozenset[str]: ...
    @property
    def delete_first(self) -> bool: ...

    def create(self, urn: str, inputs: Properties, *, preview: bool) -> Found:
        """Make it, or find what an earlier call for this URN made. Preview: outputs that only `up` can tell are UNKNOWN."""

    def read(self, there: Found) -> Found | None:
        """It as it is now; None when it is gone. `there` may have an id only: it is to be imported. Refused if that cannot be."""

    def update(self, there: Found, inputs: Properties, *, preview: bool) -> Found:
        """Bring it to these inputs in place."""

    def delete(self, there: Found) -> None:
        """Gone when this returns; a repeat does nothing. `there` may have no id: then a create had been cut off."""


def check(kind: ResourceType, inputs: Mapping[str, Any]) -> list[str]:
    """What is wrong with these inputs, each as `property: what`. What is unknown yet is right so far."""
    faults = [f"{name}: {kind.token} has no such property" for name in sorted(set(inputs) - set(kind.inputs))]
    for name, wanted in kind.inputs.items():
        value = inputs.get(name)
        if value is None:
            if wanted.required:
                faults.append(f"{name}: is missing ({wanted.about})")
        elif value is UNKNOWN:
            continue
        elif not isinstance(value, wanted.type) or isinstance(value, bool):
            faults.append(f"{name}: is {type(value).__name__}, must be {wanted.type.__name__} ({wanted.about})")
        elif wanted.pattern and not re.fullmatch(wanted.pattern, str(value)):
            faults.append(f"{name}: does not look like {wanted.about}")
    return faults


def diff(kind: ResourceType, old: Mapping[str, Any], new: Mapping[str, Any]) -> Diff:
    changed = differing(old, new)
    replaces = tuple(name for name in changed if name not in kind.inputs or kind.inputs[name].replaces)
    return Diff(changed=changed, replaces=replaces, delete_first=kind.delete_first)


class Plugin:
    """The resource types of one package."""

    def __init__(self, package: str, types: Iterable[ResourceType]) -> None:
        self.package = package
        self._types = {kind.token: kind for kind in types}

    @property
    def types(self) -> tuple[ResourceType, ...]:
        return tuple(self._types.values())

    def type(self, token: str) -> ResourceType:
        """Refused for other packages' types and for words that the package does not know."""
        package = token.partition(":")[0]
        if package != self.package:
            raise Refused(
                f"the embedded engine does not serve {token}",
                why=f"it knows the package {self.package} only; cloud resources need Pulumi's own engine",
                hint="use an architect that runs on this machine (architect.type: local)",
            )
        if token not in self._types:
            raise Refused(f"{token} is no resource type", hint=f"known are {', '.join(sorted(self._types))}")
        return self._types[token]
