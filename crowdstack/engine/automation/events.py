"""What the real engine tells while it works -> the steps that the embedded engine would tell, and the first fault. No I/O.

An event is a JSON object of the CLI's event log. Values in it are masked where they are secret; none is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crowdstack.engine.automation.faults import about_targets
from crowdstack.engine.urns import PROVIDER_TYPE, name_of, type_of
from crowdstack.engine.values import differing
from crowdstack.errors import StepFailed
from crowdstack.ports import OnStep, Operation, Step

_OPERATIONS: Mapping[str, Operation] = {
    "same": Operation.SAME,
    "create": Operation.CREATE,
    "import": Operation.IMPORT,
    "update": Operation.UPDATE,
    "create-replacement": Operation.REPLACE,
    "import-replacement": Operation.IMPORT,
    "delete": Operation.DELETE,
    "delete-replaced": Operation.DELETE,
    "remove-pending-replace": Operation.DELETE,
    "refresh": Operation.REFRESH,
}
_DOING: Mapping[str, str] = {
    "create": "creating",
    "create-replacement": "creating",
    "update": "updating",
    "delete": "deleting",
    "delete-replaced": "deleting",
    "refresh": "reading",
}
# Of a plugin that was found on PATH, which is where ours is; and, in a preview, of what `up` will take up.
_EXPECTED_WARNINGS = ("from $PATH at", "pending operations from previous deployment")
# What the program says of an engine that stopped by itself: never the reason.
_AFTERMATH = "Resource monitor has terminated"
_OVERALL = ("update failed", "preview failed", "refresh failed", "destroy failed")


class Story:
    """Collects one operation. `steps` come in the order of the embedded engine: what groups before what it holds.

    taken_up: URNs whose create was cut off and is in the state by now. Whatever the engine does to them makes the create
    complete, which is how it is told.
    """

    def __init__(self, on_step: OnStep, taken_up: Iterable[str] = ()) -> None:
        self._on_step = on_step
        self._taken_up = frozenset(taken_up)
        self.steps: list[Step] = []
        self.warnings: list[str] = []
        self._replaced: set[str] = set()
        self._looked_at: set[str] = set()
        self._failed: dict[str, str] = {}  # URN -> what was being done to it
        self._told: list[tuple[str, str]] = []  # (URN, message), errors only

    def hear(self, event: Mapping[str, Any]) -> None:
        if begun := event.get("resourcePreEvent"):
            looks = begun["metadata"]["op"] == "refresh"
            (self._looked_at.add if looks else self._looked_at.discard)(begun["metadata"]["urn"])
            # A component, and the stack itself, is there before its children and complete after them.
            metadata = begun["metadata"]
            if not _custom(metadata) and metadata["op"] not in ("delete", "refresh"):
                self._did(metadata)
        elif done := event.get("resOutputsEvent"):
            metadata = done["metadata"]
            if metadata["urn"] in self._looked_at:  # `pulumi refresh` tells what it came to: same, update, delete
                metadata = {**metadata, "op": "refresh"}
            if _custom(metadata) or metadata["op"] in ("delete", "refresh"):
                self._did(metadata)
        elif failed := event.get("resOpFailedEvent"):
            metadata = failed["metadata"]
            self._failed[metadata["urn"]] = _DOING.get(metadata["op"], metadata["op"])
        elif said := event.get("diagnosticEvent"):
            self._said(said)

    def fault(self) -> StepFailed | None:
        """The first thing that went wrong, in the words of whoever said it."""
        for urn, message in self._told:
            if urn in self._failed:
                return _step_failed(self._failed[urn], urn, message)
        for urn, message in self._told:
            if (about := about_targets(urn, message)) is not None:
                return about
        for urn, message in self._told:
            if urn:
                return StepFailed(f"{type_of(urn)} {name_of(urn)} was refused by the engine", where=urn, why=message)
        for _, message in self._told:
            return StepFailed("the engine failed", why=message)
        return None

    def _said(self, said: Mapping[str, Any]) -> None:
        message = str(said.get("message", "")).strip()
        if said.get("severity") == "error" and message not in _OVERALL and _AFTERMATH not in message:
            self._told.append((said.get("urn") or "", message))
        elif said.get("severity") == "warning" and not any(words in message for words in _EXPECTED_WARNINGS):
            self.warnings.append(message)

    def _did(self, metadata: Mapping[str, Any]) -> None:
        operation, urn = _OPERATIONS.get(metadata["op"]), metadata["urn"]
        if operation is None or metadata["type"].startswith(PROVIDER_TYPE):
            return
        changed = tuple(sorted(metadata.get("diffs") or ()))
        if operation is Operation.REFRESH:
            changed = _seen_changed(metadata)
            if not changed and metadata.get("new"):
                return
        if operation in (Operation.REPLACE, Operation.IMPORT):  # under another name too, if it had one
            self._replaced |= {urn, (metadata.get("old") or {}).get("urn", urn)}
        if metadata["op"] == "delete-replaced" and (urn in self._replaced or not metadata["old"].get("delete")):
            return  # the line of the replacement has said it, or will once the new one is there
        if urn in self._taken_up and operation in (Operation.SAME, Operation.UPDATE, Operation.REPLACE):
            operation, changed = Operation.CREATE, ()
        step = Step(
            operation=operation,
            urn=urn,
            type=type_of(urn),
            name=name_of(urn),
            changed=() if operation in (Operation.SAME, Operation.IMPORT) else changed,
            replaced_by=tuple(sorted(metadata.get("keys") or ())) if operation is Operation.REPLACE else (),
        )
        self.steps.append(step)
        self._on_step(step)


def _custom(metadata: Mapping[str, Any]) -> bool:
    state = metadata.get("new") or metadata.get("old") or {}
    return bool(state.get("custom"))


def _seen_changed(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What a refresh found other than it was written down."""
    old, new = metadata.get("old") or {}, metadata.get("new")
    if new is None:
        return ()
    parts = (differing(old.get(part) or {}, new.get(part) or {}) for part in ("inputs", "outputs"))
    return tuple(sorted({name for part in parts for name in part}))


def _step_failed(doing: str, urn: str, message: str) -> StepFailed:
    """As the plugin wrote it: what, then lines `why:` and `try:`."""
    what, *more = message.splitlines()
    told = {key: line.partition(": ")[2] for line in more for key in ("why", "try") if line.startswith(f"  {key}: ")}
    return StepFailed(
        f"{doing} {type_of(urn)} {name_of(urn)} failed: {what}", where=urn, why=told.get("why"), hint=told.get("try")
    )
