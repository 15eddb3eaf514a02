"""The checkpoint: a stack's state as a file that Pulumi can read, secrets sealed with our key.

Written whole after every step, so that a kill leaves the old or the new state, and never a mix. Before a step touches
the world its operation is written down as pending: what was begun and not finished is known to the next run.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crowdstack.engine.deployments import VERSION, sealed, unsealed
from crowdstack.engine.embedded.state import State, read, told
from crowdstack.engine.secrets import Vault
from crowdstack.errors import StateMismatch, StepFailed
from crowdstack.folder import private_folder, sync_folder, write_private


class Checkpoint:
    """The state file of one stack, its predecessor (`.bak`) and the serial that tells an old copy from the last one."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        self.path = folder / "state.json"
        self._backup = folder / "state.json.bak"
        self._serial_file = folder / "state.serial"
        self._vault = vault
        self._lineage = secrets.token_hex(16)
        self._serial = 0
        self.state = State()  # as it was last read or written

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
        if version != VERSION:
            raise StateMismatch(f"state of version {version}, this program knows {VERSION}", where=str(self.path))
        self._check_age(last)
        self._check_key(deployment)
        self.state = read(unsealed(deployment, self._vault.open), where=str(self.path))
        return self.state

    def save(self, state: State) -> None:
        """On return the state is on disk. No change, no write. StepFailed when the disk refuses; the old state is intact."""
        if state == self.state:
            return
        try:
            private_folder(self.path.parent)
            self._vault.prepare()
            document = {
                "version": VERSION,
                "deployment": {
                    **sealed(told(state), self._vault.seal),
                    "secrets_providers": {"type": "crowdstack-key-file", "state": {"key": self._vault.key_id}},
                },
                "crowdstack": {"lineage": self._lineage, "serial": self._serial + 1},
            }
            if self.path.exists():
                write_private(self._backup, self.path.read_bytes())
            write_private(self.path, json.dumps(document, indent=1).encode())
            self._serial += 1
            self.state = state
            write_private(self._serial_file, f"{self._lineage} {self._serial}".encode())
        except OSError as fault:
            raise StepFailed(
                "the engine's state could not be written, nothing more was done",
                where=str(self.path),
                why=fault.strerror,
                hint="make room or mend the disk, then run the same command again",
            ) from fault

    def remove(self) -> None:
        """Forget a stack that has nothing left. A kill in the middle leaves an empty stack."""
        assert self.state == State()
        for path in (self._backup, self._serial_file, self.path):
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
