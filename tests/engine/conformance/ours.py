"""A case on the embedded engine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from crowdstack.engine.deployments import CREATING
from crowdstack.engine.embedded.checkpoint import Checkpoint
from crowdstack.engine.embedded.engine import EmbeddedEngine
from crowdstack.engine.embedded.state import State
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.secrets import Vault
from crowdstack.engine.values import SECRET, SIGNATURE, mapped
from crowdstack.errors import StepFailed
from crowdstack.folder import private_folder
from crowdstack.ports import Operation, Program, Step
from tests.engine.conformance.moves import PROJECT, STACK, Case, Destroy, Move, Outside, Refresh, Up, plugin_types
from tests.engine.conformance.outcome import Line, Outcome, canonical, lines
from tests.engine.world import ThingType


class Ours:
    """A stack on the embedded engine and its world."""

    def __init__(self, root: Path) -> None:
        self.root, self.stack = root, root / "stack"
        self.kind = ThingType(private_folder(root / "things"))
        plugin = Plugin("crowdstack", plugin_types(self.kind))
        self.engine = EmbeddedEngine(self.stack, root / "state.key", plugin)

    def play(self, case: Case) -> list[Outcome]:
        return [self.move(move) for move in case.moves]

    def move(self, move: Move) -> Outcome:
        before = len(self.kind.calls())
        found = canonical(self.deployment()["resources"])
        begun = {operation.resource.urn for operation in self._state().pending if operation.kind == CREATING}
        previewed: tuple[Line, ...] | None = ()
        done: list[Step] = []
        message = ""
        try:
            match move:
                case Up(targets=targets):
                    program = Program(project=PROJECT, stack=STACK, config={}, run=move.body)
                    previewed = None
                    previewed = lines(self.engine.preview(program, targets=targets).steps)
                    self.engine.up(program, done.append, targets=targets)
                case Refresh(targets=targets):
                    self.engine.refresh(done.append, targets=targets)
                case Destroy(targets=targets):
                    self.engine.destroy(done.append, targets=targets)
                case Outside():
                    move.change(self.kind)
        except StepFailed as fault:
            message = str(fault)
            if "no resource has the name of this target" in message:
                done = [step for step in done if step.operation is not Operation.SAME]
        if not isinstance(move, Outside):
            assert bool(move.fails) == bool(message), f"{move}: {message}"
            assert re.search(move.fails, message, re.I), message
        if isinstance(move, Up | Destroy) and not (message or move.targets):
            assert self._state().pending == ()
        return Outcome(
            failed=bool(message),
            previewed=None if previewed is None else _without_begun(previewed, begun),
            done=_without_begun(lines(done), begun),
            state=canonical(self.deployment()["resources"]),
            world=tuple({"id": path.name, **thing} for path, thing in self.kind.things().items()),
            calls=tuple(self.kind.calls()[before:]),
            message=message,
            before=found,
        )

    def deployment(self) -> dict[str, Any]:
        """The state as Pulumi's deployment, secrets opened (`plaintext`)."""
        return parsed(self.engine.export() or {"resources": []})

    def take(self, deployment: dict[str, Any]) -> None:
        """Go on with a state as the CLI exports it, secrets opened."""
        self.engine.replace_state(deployment)

    def _state(self) -> State:
        return Checkpoint(self.stack, Vault(self.root / "state.key")).load()


def _without_begun(told: tuple[Line, ...], begun: set[str]) -> tuple[Line, ...]:
    """Without the delete of what each failed create may have left: only our engine looks after that."""
    left = list(told)
    for line in (Line("delete", urn) for urn in begun):
        if line in left:
            left.remove(line)
    return tuple(left)


def parsed(value: Any) -> Any:
    """With what is in its secrets as values, and not as JSON."""

    def change(part: Any) -> Any:
        if isinstance(part, dict) and part.get(SIGNATURE) == SECRET:
            return {**part, "plaintext": parsed(json.loads(part["plaintext"]))}
        return part

    return mapped(value, change)
