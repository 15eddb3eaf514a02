"""The embedded engine: Pulumi programs made so in this process, with nothing to install and no port opened.

The program runs as the SDK runs it anywhere; only the monitor that it talks to is ours. Pulumi itself is imported when a
program runs: reading outputs and `destroy` need none of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crowdstack.engine.embedded.checkpoint import Checkpoint
from crowdstack.engine.embedded.deployment import Deployment
from crowdstack.engine.embedded.names import Names
from crowdstack.engine.embedded.state import State, read, told
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.secrets import Vault
from crowdstack.engine.values import plain
from crowdstack.errors import CrowdstackError, StepFailed
from crowdstack.lock import held
from crowdstack.ports import OnStep, Program, StackResult, ignore

_log = logging.getLogger(__name__)


class EmbeddedEngine:
    """ports.Engine for one stack. `folder` holds its state and lock; verbs may be called from any thread."""

    def __init__(self, folder: Path, key_file: Path, plugin: Plugin) -> None:
        self._folder = folder
        self._vault = Vault(key_file)
        self._plugin = plugin

    def preview(self, program: Program, *, targets: Collection[str] = ()) -> StackResult:
        deployment = Deployment(self._checkpoint().state, self._plugin, names=_names(program), targets=targets)
        return _make_so(program, deployment)

    def up(self, program: Program, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        with self._changing(on_step, targets, _names(program)) as deployment:
            return _make_so(program, deployment)

    def destroy(self, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        if not self._folder.exists():
            return StackResult(steps=())
        with self._changing(on_step, targets) as deployment:
            deployment.finish()
            return deployment.result()

    def refresh(self, on_step: OnStep = ignore, *, targets: Collection[str] = ()) -> StackResult:
        if not self._folder.exists():
            return StackResult(steps=())
        with self._changing(on_step, targets) as deployment:
            deployment.refresh()
            return deployment.result()

    def outputs(self) -> Mapping[str, Any] | None:
        outputs = self._checkpoint().state.outputs
        return None if outputs is None else plain(outputs)

    # ------------------------------------------------------------------------------------------ state

    def export(self) -> Mapping[str, Any] | None:
        """The state as a Pulumi deployment, secrets in clear; None when there is no stack."""
        checkpoint = self._checkpoint()
        return told(checkpoint.state) if checkpoint.path.exists() else None

    def replace_state(self, deployment: Mapping[str, Any]) -> None:
        """Put this state in the place of what is there."""
        with self._alone() as checkpoint:
            checkpoint.save(read(deployment, where=str(checkpoint.path)))

    def remove(self) -> None:
        """Forget the stack and leave its resources alone."""
        with self._alone() as checkpoint:
            checkpoint.save(State())

    # ------------------------------------------------------------------------------------------ one at a time

    def _checkpoint(self) -> Checkpoint:
        checkpoint = Checkpoint(self._folder, self._vault)
        checkpoint.load()
        return checkpoint

    @contextmanager
    def _alone(self) -> Iterator[Checkpoint]:
        """Under the stack's lock. Nothing is left on disk of a stack that has nothing left."""
        with held(self._folder / "lock"):
            checkpoint = self._checkpoint()
            try:
                yield checkpoint
            finally:
                if checkpoint.state == State() and checkpoint.path.exists():
                    checkpoint.remove()

    @contextmanager
    def _changing(self, on_step: OnStep, targets: Collection[str], names: Names | None = None) -> Iterator[Deployment]:
        with self._alone() as last:
            yield Deployment(last.state, self._plugin, names=names, save=last.save, on_step=on_step, targets=targets)


def _names(program: Program) -> Names:
    return Names(program.project, program.stack)


def _make_so(program: Program, deployment: Deployment) -> StackResult:
    deployment.refresh()
    _run(program, deployment)
    deployment.finish()
    return deployment.result()


def _run(program: Program, deployment: Deployment) -> None:
    """Run the program to its end; every resource it makes goes through `deployment`. Raises the first step's fault."""
    from pulumi.runtime import run_in_stack
    from pulumi.runtime.config import set_all_config
    from pulumi.runtime.settings import Settings, configure

    from crowdstack.engine.embedded.monitor import Monitor

    monitor = Monitor(deployment)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        # One worker: registrations come one at a time, in the same order in a preview and in an up.
        loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
        # A failed step also fails futures that nobody waits for; the fault itself is raised below.
        loop.set_exception_handler(lambda _, context: _log.debug("%s", context["message"]))
        # Both live in context variables, which this job has for itself: engines in other threads see nothing of them.
        dry_run = deployment.preview
        configure(
            Settings(project=program.project, stack=program.stack, monitor=monitor, engine=monitor, dry_run=dry_run)
        )
        set_all_config(dict(program.config), [])
        await run_in_stack(program.run)

    try:
        asyncio.run(main())
    except CrowdstackError:
        raise
    except Exception as fault:
        if monitor.fault is None:
            raise StepFailed("the stack program failed", why=f"{type(fault).__name__}: {fault}") from fault
    if monitor.fault is not None:
        raise monitor.fault
