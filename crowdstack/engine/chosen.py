"""Which engine makes a stack: chosen when it is brought up, written beside its state for whoever comes later.

While something is up its engine stays the same, so that reconciler, `status` and `destroy` find what `up` had made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crowdstack.errors import Refused, StateMismatch
from crowdstack.folder import private_folder, write_private
from crowdstack.ports import Engine, OnStep, Program, StackResult, ignore

EMBEDDED, PULUMI = "embedded", "pulumi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An engine and, for `pulumi`, where it keeps the state (None: beside the store) and what keeps its secrets."""

    engine: str = EMBEDDED
    backend: str | None = None
    secrets: str = "passphrase"

    def means(self, there: Choice) -> bool:
        """Whether this is another way to say `there`: who names no backend means the one that is known."""
        return self.engine == there.engine and self.backend in (None, there.backend)

    def __str__(self) -> str:
        return f"{self.engine} at {self.backend}" if self.backend else self.engine


class ChosenEngine:
    """ports.Engine: the one that was chosen. Asked anew for each verb, because a stack may move while somebody waits.

    wish: what the command was told; None for no matter. bound: whether something is up, which a wish cannot change.
    """

    def __init__(
        self, folder: Path, *, wish: Choice | None, bound: Callable[[], bool], open_: Callable[[Choice], Engine]
    ) -> None:
        self._file = folder / "engine.json"
        self._wish, self._bound, self._open = wish, bound, open_

    @property
    def choice(self) -> Choice:
        """Refused when the wish is another than what is up."""
        remembered = self._read()
        there = remembered or Choice()
        if self._wish is None or (remembered is not None and self._wish.means(there)):
            return there
        if self._bound() and not self._wish.means(there):
            raise Refused(
                f"this stack was brought up by the engine {there}, not by {self._wish}",
                where=str(self._file),
                hint="leave out --engine and the backend's URL; or move it: crowdstack state export, then state import",
            )
        return self._wish

    def remember(self, choice: Choice | None = None) -> None:
        """From now on this one is meant, also by commands that are not told."""
        choice = choice or self.choice
        if choice != self.remembered:
            private_folder(self._file.parent)
            write_private(self._file, json.dumps(asdict(choice)).encode())

    @property
    def remembered(self) -> Choice:
        """Whose the stack is, whatever is wished for."""
        return self._read() or Choice()

    @property
    def current(self) -> Engine:
        return self._open(self.choice)

    def preview(self, program: Program, *, targets: Collection[str] = ()) -> StackResult:
        return self.current.preview(program, targets=targets)

    def up(self, program: Program, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        return self.current.up(program, on_step, targets=targets)

    def destroy(self, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        return self.current.destroy(on_step, targets=targets)

    def refresh(self, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        return self.current.refresh(on_step, targets=targets)

    def outputs(self) -> Mapping[str, Any] | None:
        return self.current.outputs()

    def _read(self) -> Choice | None:
        try:
            return Choice(**json.loads(self._file.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as fault:
            hint = f'write {{"engine": "{EMBEDDED}"}} into it, or the engine that the stack was brought up by'
            raise StateMismatch(
                "which engine this stack belongs to cannot be read", where=str(self._file), hint=hint
            ) from fault
