"""`crowdstack state`: looking at a stack's state, and moving it: to a file, from a file, from one engine to the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from crowdstack.engine import deployments, state_file
from crowdstack.engine.chosen import EMBEDDED, Choice, ChosenEngine
from crowdstack.engine.deployments import Deployment
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.urns import name_of
from crowdstack.engine.values import SECRET, SIGNATURE, mapped
from crowdstack.errors import NotFound, StateMismatch
from crowdstack.folder import private_folder, write_private


class Stateful(Protocol):
    """What both engines can do with their state, whole and with its secrets in clear."""

    def export(self) -> Deployment | None: ...
    def replace_state(self, deployment: Deployment) -> None: ...
    def remove(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StackState:
    """The state of one stack. What changes it first writes what was there into `backups`."""

    chosen: ChosenEngine
    open_: Callable[[Choice], Stateful]
    plugin: Plugin
    project: str
    stack: str
    passphrase: Path
    backups: Path

    def resources(self) -> list[Mapping[str, Any]]:
        """Each as it stands in the state, secrets masked."""
        masked: list[Mapping[str, Any]] = mapped(deployments.resources(self._there()), _mask)
        return masked

    def resource(self, which: str) -> Mapping[str, Any]:
        """By its URN or its name."""
        return _find(self.resources(), which)

    def export(self) -> bytes:
        return state_file.write(self._there(), self.passphrase)

    def import_(self, data: bytes, *, where: str, wish: Choice | None, allowed: Callable[[str], str | None]) -> Choice:
        """Make this the state, of the engine that is wished for; the other one forgets the stack. The engine it is now.

        allowed: why the run of this id must not be brought back, or None.
        """
        deployment = state_file.read(data, self.passphrase, where=where)
        state_file.check_importable(deployment, self.plugin, project=self.project, stack=self.stack, where=where)
        run = str((deployments.outputs(deployment) or {}).get("run", ""))
        if why := allowed(run):
            raise StateMismatch("this state belongs to another run", where=where, why=why)
        before = self.chosen.remembered
        target = wish or before
        if target.engine == EMBEDDED:
            state_file.check_served(deployment, self.plugin.package, where=where)
        for choice in {before, target}:
            self._back_up(self.open_(choice).export())
        self.open_(target).replace_state(deployment)
        self.chosen.remember(target)
        if target != before:
            self.open_(before).remove()
        return target

    def forget(self, which: str) -> str:
        """Take one resource out of the state and leave it alone in the world; its URN. StateMismatch when others need it."""
        there = self._there()
        urn = str(_find(deployments.resources(there), which)["urn"])
        left = [found for found in deployments.resources(there) if found["urn"] != urn]
        if needing := [found["urn"] for found in left if _needs(found, urn)]:
            raise StateMismatch("others depend on it", where=urn, why=", ".join(needing), hint="take those out first")
        self._back_up(there)
        self.open_(self.chosen.remembered).replace_state({**there, "resources": left})
        return urn

    def _there(self) -> Deployment:
        found = self.open_(self.chosen.remembered).export()
        if found is None:
            raise NotFound(f"there is no stack {self.stack}", hint="crowdstack up SPEC")
        return found

    def _back_up(self, deployment: Deployment | None) -> None:
        if deployment is not None:
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            path = private_folder(self.backups) / f"{self.stack}-state-{stamp}-{time.time_ns() % 10**9:09d}.json"
            write_private(path, state_file.write(deployment, self.passphrase))


def _find(resources: list[Mapping[str, Any]], which: str) -> Mapping[str, Any]:
    found = [resource for resource in resources if which in (resource["urn"], name_of(resource["urn"]))]
    if len(found) != 1:
        known = ", ".join(name_of(resource["urn"]) for resource in resources)
        raise NotFound(f"{len(found) or 'no'} resource is called {which}", hint=f"by URN, or one of: {known}")
    return found[0]


def _needs(resource: Mapping[str, Any], urn: str) -> bool:
    refers = [resource.get("parent"), str(resource.get("provider", "")).rpartition("::")[0]]
    return urn in refers or urn in (resource.get("dependencies") or ())


def _mask(part: Any) -> Any:
    return "[secret]" if isinstance(part, dict) and part.get(SIGNATURE) == SECRET else part
