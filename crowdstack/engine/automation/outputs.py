"""What was last seen of a stack's outputs, encrypted: for those who ask often, and to notice an older state.

`status` and the reconciler ask for outputs again and again, and the CLI takes half a second to answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crowdstack.engine.secrets import Vault
from crowdstack.errors import StateMismatch
from crowdstack.folder import private_folder, write_private

FRESH_S = 30.0  # how long they hold where nothing tells that they have changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    outputs: Mapping[str, Any] | None = field(repr=False)


@dataclass(frozen=True)
class Outputs:
    """The note of one stack. `stamp`: what changes with the state; None where nothing does."""

    path: Path
    vault: Vault

    def read(self, stamp: str | None, *, now: float | None = None) -> Kept | None:
        """What was kept, if it still holds."""
        found = self._load()
        if found is None:
            return None
        if stamp is None:
            age = (time.time() if now is None else now) - found["at"]
            return Kept(outputs=found["outputs"]) if 0 <= age < FRESH_S else None
        return Kept(outputs=found["outputs"]) if found["stamp"] == stamp else None

    def last(self) -> Kept | None:
        """What was kept, however long ago."""
        found = self._load()
        return None if found is None else Kept(outputs=found["outputs"])

    def last_written(self) -> str | None:
        """When the state that was seen last was written (`pulumi_state.written_at`)."""
        found = self._load()
        return found["written"] if found else None

    def keep(self, stamp: str | None, outputs: Mapping[str, Any] | None, *, written: str) -> None:
        private_folder(self.path.parent)
        self.vault.prepare()
        told = {"stamp": stamp, "outputs": outputs, "written": written, "at": time.time()}
        write_private(self.path, self.vault.seal(json.dumps(told)).encode())

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def _load(self) -> dict[str, Any] | None:
        """None when there is nothing that can be read: it is only a note, and the state says it again."""
        try:
            found: dict[str, Any] = json.loads(self.vault.open(self.path.read_text()))
        except (FileNotFoundError, ValueError, StateMismatch):
            return None
        return found
