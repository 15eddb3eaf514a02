"""What a stack is made of, as values, and how that stands in Pulumi's form of a state (`deployments`). No file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from crowdstack import __version__
from crowdstack.engine import deployments
from crowdstack.engine.deployments import Deployment, closed, opened
from crowdstack.engine.urns import STACK_TYPE, name_of
from crowdstack.engine.values import Properties
from crowdstack.errors import StateMismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource of a stack. `custom`: the plugin makes it; others (components, the stack itself) only group."""

    urn: str
    type: str
    custom: bool
    id: str = ""
    parent: str = ""
    provider: str = ""
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    delete: bool = False  # replaced; to be deleted once its dependents have moved on
    pending_replacement: bool = False  # deleted already; its replacement is to be made
    protect: bool = False
    retain_on_delete: bool = False
    deleted_with: str = ""
    import_id: str = ""
    additional_secret_outputs: tuple[str, ...] = ()
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)  # seconds, by verb

    @property
    def name(self) -> str:
        return name_of(self.urn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A step that was begun: `creating`, `updating` or `deleting`. Gone once its outcome is in the state."""

    kind: str
    resource: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Resources, each after all it depends on, and the operations that are under way."""

    resources: tuple[Resource, ...] = ()
    pending: tuple[Operation, ...] = ()

    @property
    def outputs(self) -> Properties | None:
        """The stack's outputs; None when there is no stack."""
        return next((found.outputs for found in self.resources if found.type == STACK_TYPE), None)


# ---------------------------------------------------------------------------------------------------- in Pulumi's form


def _word(name: str) -> str:
    """How Pulumi calls a field: `import_id` -> `importID`."""
    first, *more = name.split("_")
    return first + "".join("ID" if part == "id" else part.title() for part in more)


_WORDS = {known.name: _word(known.name) for known in fields(Resource)}
_ALWAYS = ("urn", "custom", "type")  # of others it leaves out what is empty

# What Pulumi's own engine may have written and this one cannot carry on. Times and places in sources only tell, and go.
_FOREIGN = {
    "external": "it is only read, not managed",
    "taint": "it is marked to be replaced",
    "initErrors": "it was made and did not come up",
    "viewOf": "it is a view of another resource",
    "resourceHooks": "it has hooks",
}


def told(state: State) -> dict[str, Any]:
    """The deployment as of now, secrets in clear."""
    return {
        "manifest": {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "magic": hashlib.sha256(__version__.encode()).hexdigest(),
            "version": __version__,
        },
        "resources": [_told(resource) for resource in state.resources],
        "pending_operations": [{"resource": _told(begun.resource), "type": begun.kind} for begun in state.pending],
        "metadata": {},
    }


def read(deployment: Deployment, *, where: str) -> State:
    """What a deployment in clear holds. StateMismatch for a resource that this engine cannot carry on."""
    return State(
        resources=tuple(_read(found, where) for found in deployments.resources(deployment)),
        pending=tuple(
            Operation(kind=found["type"], resource=_read(found["resource"], where))
            for found in deployments.pending(deployment)
        ),
    )


def _told(resource: Resource) -> dict[str, Any]:
    whole = {word: getattr(resource, name) for name, word in _WORDS.items()}
    whole |= {word: closed(whole[word]) for word in ("inputs", "outputs")}
    return {word: value for word, value in whole.items() if value or word in _ALWAYS}


def _read(found: Mapping[str, Any], where: str) -> Resource:
    if foreign := [about for word, about in _FOREIGN.items() if found.get(word)]:
        raise StateMismatch(
            "the state holds a resource that the embedded engine cannot carry on",
            where=f"{where}: {found['urn']}",
            why="; ".join(foreign),
            hint="work on this stack with Pulumi's own engine",
        )
    given = {name: found[word] for name, word in _WORDS.items() if found.get(word) is not None}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    given |= {name: opened(found.get(name) or {}) for name in ("inputs", "outputs")}
    needed_by = found.get("propertyDependencies") or {}
    given["property_dependencies"] = {name: tuple(urns or ()) for name, urns in needed_by.items()}
    return Resource(**given)
