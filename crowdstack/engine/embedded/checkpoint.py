"""The checkpoint: what a stack is made of, as a file that Pulumi can read (deployment version 3).

Written whole after every step, so that a kill leaves the old or the new state, and never a mix. Before a step touches
the world its operation is written down as pending: what was begun and not finished is known to the next run.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crowdstack import __version__
from crowdstack.engine.secrets import Vault
from crowdstack.engine.urns import STACK_TYPE, name_of
from crowdstack.engine.values import SECRET, SIGNATURE, Properties, SecretValue, mapped
from crowdstack.errors import StateMismatch, StepFailed
from crowdstack.folder import private_folder, sync_folder, write_private

_VERSION = 3

# Fields of a resource and how Pulumi calls them. It leaves out what is empty, but for the first three.
_WORDS = {
    "urn": "urn",
    "custom": "custom",
    "type": "type",
    "delete": "delete",
    "id": "id",
    "inputs": "inputs",
    "outputs": "outputs",
    "parent": "parent",
    "protect": "protect",
    "dependencies": "dependencies",
    "provider": "provider",
    "property_dependencies": "propertyDependencies",
    "pending_replacement": "pendingReplacement",
    "additional_secret_outputs": "additionalSecretOutputs",
    "custom_timeouts": "customTimeouts",
    "import_id": "importID",
    "retain_on_delete": "retainOnDelete",
    "deleted_with": "deletedWith",
    "ignore_changes": "ignoreChanges",
    "replace_on_changes": "replaceOnChanges",
}
_ALWAYS = ("urn", "custom", "type")

# What Pulumi's own engine may have written and this one cannot carry on. Times and places in sources only tell, and go.
_FOREIGN = {
    "external": "it is only read, not managed",
    "taint": "it is marked to be replaced",
    "initErrors": "it was made and did not come up",
    "viewOf": "it is a view of another resource",
    "resourceHooks": "it has hooks",
}


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


class Checkpoint:
    """The state file of one stack, its predecessor (`.bak`) and the serial that tells an old copy from the last one."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        self.path = folder / "state.json"
        self._backup = folder / "state.json.bak"
        self._serial_file = folder / "state.serial"
        self._vault = vault
        self._lineage = secrets.token_hex(16)
        self._serial = 0
        self._written = State()

    def load(self) -> State:
        """The state as it was last written; empty when there is none."""
        last = self._last_serial()  # read first: a state written meanwhile is newer, never older
        try:
            document = json.loads(self.path.read_bytes())
            version, ours, deployment = document["version"], document["crowdstack"], document["deployment"]
            self._lineage, self._serial = str(ours["lineage"]), int(ours["serial"])
        except FileNotFoundError:
            return State()
        except (ValueError, KeyError, TypeError) as fault:
            raise StateMismatch(
                "the engine's state cannot be read",
                where=str(self.path),
                why=f"{type(fault).__name__}: {fault}",
                hint=f"put back {self._backup.name} in its place and delete {self._serial_file.name}",
            ) from fault
        if version != _VERSION:
            raise StateMismatch(f"state of version {version}, this program knows {_VERSION}", where=str(self.path))
        self._check_age(last)
        self._check_key(deployment)
        self._written = self.parsed(deployment)
        return self._written

    def parsed(self, deployment: Mapping[str, Any]) -> State:
        """A deployment whose secrets are sealed by our vault."""
        return State(
            resources=tuple(self._read(found) for found in deployment.get("resources") or ()),
            pending=tuple(
                Operation(kind=found["type"], resource=self._read(found["resource"]))
                for found in deployment.get("pending_operations") or ()
            ),
        )

    def save(self, state: State) -> None:
        """On return the state is on disk. No change, no write. StepFailed when the disk refuses; the old state is intact."""
        if state == self._written:
            return
        try:
            private_folder(self.path.parent)
            self._vault.prepare()
            document = {
                "version": _VERSION,
                "deployment": self._deployment(state),
                "crowdstack": {"lineage": self._lineage, "serial": self._serial + 1},
            }
            if self.path.exists():
                write_private(self._backup, self.path.read_bytes())
            write_private(self.path, json.dumps(document, indent=1).encode())
            self._serial += 1
            self._written = state
            write_private(self._serial_file, f"{self._lineage} {self._serial}".encode())
        except OSError as fault:
            raise StepFailed(
                "the engine's state could not be written, nothing more was done",
                where=str(self.path),
                why=fault.strerror,
                hint="make room or mend the disk, then run the same command again",
            ) from fault

    def remove(self) -> None:
        """Forget a stack that has no resource left. A kill in the middle leaves an empty stack."""
        assert not self._written.resources
        for path in (self._serial_file, self.path, self._backup):
            path.unlink(missing_ok=True)
        if self.path.parent.exists():
            sync_folder(self.path.parent)

    def _last_serial(self) -> tuple[str, int] | None:
        try:
            lineage, serial = self._serial_file.read_text().split()
            return lineage, int(serial)
        except FileNotFoundError:
            return None

    def _check_age(self, last: tuple[str, int] | None) -> None:
        if last is None:
            return
        lineage, serial = last
        if lineage != self._lineage or serial > self._serial:
            raise StateMismatch(
                "this is not the state that was written last, but an older copy or another stack's",
                where=str(self.path),
                why=f"serial {self._serial} of {self._lineage[:8]}, last written: {serial} of {lineage[:8]}",
                hint=f"put the last one back; to go on with this one all the same, delete {self._serial_file}",
            )

    def _check_key(self, deployment: Mapping[str, Any]) -> None:
        expected = (deployment.get("secrets_providers") or {}).get("state", {}).get("key")
        if expected is not None and expected != self._vault.key_id:
            raise StateMismatch(
                "the state was encrypted with another key",
                where=str(self._vault.key_file),
                hint="put the key back that belongs to it",
            )

    def _deployment(self, state: State) -> dict[str, Any]:
        return {
            "manifest": {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "magic": hashlib.sha256(__version__.encode()).hexdigest(),
                "version": __version__,
            },
            "secrets_providers": {"type": "crowdstack-key-file", "state": {"key": self._vault.key_id}},
            "resources": [self._write(resource) for resource in state.resources],
            "pending_operations": [
                {"resource": self._write(operation.resource), "type": operation.kind} for operation in state.pending
            ],
            "metadata": {},
        }

    def _write(self, resource: Resource) -> dict[str, Any]:
        told = {word: getattr(resource, name) for name, word in _WORDS.items()}
        told |= {word: self._sealed(told[word]) for word in ("inputs", "outputs")}
        return {word: value for word, value in told.items() if value or word in _ALWAYS}

    def _read(self, told: Mapping[str, Any]) -> Resource:
        if foreign := [about for word, about in _FOREIGN.items() if told.get(word)]:
            raise StateMismatch(
                "the state holds a resource that the embedded engine cannot carry on",
                where=f"{self.path}: {told['urn']}",
                why="; ".join(foreign),
                hint="work on this stack with Pulumi's own engine",
            )
        fields = {name: told[word] for name, word in _WORDS.items() if told.get(word) is not None}
        fields |= {name: self._opened(fields.get(name) or {}) for name in ("inputs", "outputs")}
        fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        needed_by = fields.get("property_dependencies") or {}
        fields["property_dependencies"] = {name: tuple(urns or ()) for name, urns in needed_by.items()}
        return Resource(**fields)

    def _sealed(self, value: Properties) -> Properties:
        def seal(part: Any) -> Any:
            if isinstance(part, SecretValue):
                return {SIGNATURE: SECRET, "ciphertext": self._vault.seal(json.dumps(mapped(part.value, seal)))}
            return part

        sealed: Properties = mapped(value, seal)
        return sealed

    def _opened(self, value: Properties) -> Properties:
        def unseal(part: Any) -> Any:
            if isinstance(part, dict) and part.get(SIGNATURE) == SECRET:
                return SecretValue(mapped(json.loads(self._vault.open(part["ciphertext"])), unseal))
            return part

        opened: Properties = mapped(value, unseal)
        return opened
