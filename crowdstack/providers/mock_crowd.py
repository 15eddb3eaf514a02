"""The mock provider's crowd: people with signed links, or simulated workers in a process of their own."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from crowdstack import process, tokens
from crowdstack.errors import Busy
from crowdstack.folder import private_folder, read_bytes, write_private
from crowdstack.model import WorkerId
from crowdstack.process import ProcessId
from crowdstack.wire.configs import CrowdConfig

LINK_DAYS = 30
_PAUSE_S = 2.0  # a crowd that ended is not started again at once: perhaps nothing is left for it
_GRACE_S = 10.0


class MockCrowd:
    """ports.Crowd. `settings`: Desired.crowd. Its process says who it is once it holds its folder's lock, so there is
    never a second one; killed, `ensure` starts it again and its journal tells it where it was."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        run: str,
        task: str,
        study: str,
        origin: str,
        link_key: tokens.Secret,
        answers: Mapping[str, Any] | None,
        opened_at: datetime,
    ) -> None:
        self._folder = folder
        self._kind = settings["kind"]
        self._people: Sequence[str] = settings.get("people", ())
        self._named = {"run": run, "study": study, "origin": origin}
        self._link_key = link_key
        self._issued = int(opened_at.timestamp())
        self._config = None
        if self._kind != "human":
            values = {"recording": None, **settings, **self._named, "task": task}
            self._config = CrowdConfig(**values, link_key=link_key, answers=answers)
        self._started_at = float("-inf")

    def ensure(self) -> None:
        if self._config is None:
            return
        config, path = self._config.to_bytes(), self._folder / "crowd.json"
        if self.running():
            if read_bytes(path) == config:
                return
            self.stop()  # it goes by other settings, like an older schema of answers
        elif time.monotonic() < self._started_at + _PAUSE_S:
            return
        private_folder(self._folder)
        write_private(path, config)
        arguments = ["-m", "crowdstack.crowd", "--folder", str(self._folder)]
        process.spawn_detached(arguments, log=self._folder / "crowd.log", folder=self._folder)
        self._started_at = time.monotonic()

    def running(self) -> bool:
        process.reap()
        found = self._process()
        return found is not None and process.alive(found)

    def stop(self) -> None:
        # Without its configuration a crowd that was started but holds no lock yet ends by itself.
        (self._folder / "crowd.json").unlink(missing_ok=True)
        found = self._process()
        if found is None:
            return
        for number, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
            if not process.send_signal(found, number) or process.wait_gone(found, patience_s):
                return
        raise Busy(f"the crowd (pid {found.pid}) does not end")

    def links(self) -> Mapping[WorkerId, str]:
        signer = tokens.Signer(self._link_key, "link")
        expires = self._issued + LINK_DAYS * 86_400
        return {
            WorkerId(person): tokens.link_url(
                self._named["origin"],
                signer.sign(
                    tokens.link_claims(
                        **self._named, provider="mock", worker=person, issued=self._issued, expires=expires
                    )
                ),
            )
            for person in self._people
        }

    def _process(self) -> ProcessId | None:
        return process.written(self._folder / "crowd.process.json")
