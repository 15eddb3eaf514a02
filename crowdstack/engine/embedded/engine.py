"""The embedded engine: Pulumi programs made so in this process, with nothing to install and no port opened.

The program runs as the SDK runs it anywhere; only the monitor that it talks to is ours. Pulumi itself is imported when a
program runs: reading outputs and `destroy` need none of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crowdstack.engine.deployments import sealed, unsealed
from crowdstack.engine.embedded.checkpoint import Checkpoint, State
from crowdstack.engine.embedded.deployment import Deployment
from crowdstack.engine.embedded.names import Names
from crowdstack.engine.plugin import Plugin
from crowdstack.engine.secrets import Vault
from crowdstack.engine.values import Unknown, holds, plain
from crowdstack.errors import CrowdstackError, StepFailed
from crowdstack.lock import held
from crowdstack.ports import OnStep, Program, StackResult, Step

_log = logging.getLogger(__name__)


def _quietly(step: Step) -> None:
    pass


class EmbeddedEngine:
    """ports.Engine for one stack. `folder` holds its state and lock; verbs may be called from any thread."""

    def __init__(self, folder: Path, key_file: Path, plugin: Plugin) -> None:
        self._folder = folder
        self._vault = Vault(key_file)
        self._plugin = plugin

    def preview(self, program: Program, *, targets: Collection[str] = ()) -> StackResult:
        return self._walk(program, self._checkpoint().load(), None, _quietly, targets)

    def up(self, program: Program, on_step: OnStep = _quietly, *, targets: Collection[str] = ()) -> StackResult:
        with held(self._folder / "lock"):
            checkpoint = self._checkpoint()
            return self._walk(program, checkpoint.load(), checkpoint.save, on_step, targets)

    def refresh(self, on_step: OnStep = _quietly, *, targets: Collection[str] = ()) -> StackResult:
        return self._without_program(Deployment.refresh, on_step, targets)

    def destroy(self, on_step: OnStep = _quietly, *, targets: Collection[str] = ()) -> StackResult:
        return self._without_program(Deployment.finish, on_step, targets)

    def outputs(self) -> Mapping[str, Any] | None:
        outputs = self._checkpoint().load().outputs
        return None if outputs is None else plain(outputs)

    def export(self) -> Mapping[str, Any] | None:
        """The state as a Pulumi deployment, secrets in clear; None when there is no stack."""
        checkpoint = self._checkpoint()
        checkpoint.load()  # with its checks
        if not checkpoint.path.exists():
            return None
        return unsealed(json.loads(checkpoint.path.read_bytes())["deployment"], self._vault.open)

    def replace_state(self, deployment: Mapping[str, Any]) -> None:
        """Put this state in the place of what is there."""
        with held(self._folder / "lock"):
            checkpoint = self._checkpoint()
            checkpoint.load()
            self._vault.prepare()
            checkpoint.save(checkpoint.parsed(sealed(deployment, self._vault.seal)))

    def remove(self) -> None:
        """Forget the stack and leave its resources alone."""
        with held(self._folder / "lock"):
            checkpoint = self._checkpoint()
            checkpoint.load()
            checkpoint.save(State())
            checkpoint.remove()

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self._folder, self._vault)

    def _walk(
        self,
        program: Program,
        state: State,
        save: Callable[[State], None] | None,
        on_step: OnStep,
        targets: Collection[str],
    ) -> StackResult:
        names = Names(program.project, program.stack)
        deployment = Deployment(state, self._plugin, names=names, save=save, on_step=on_step, targets=targets)
        deployment.refresh()
        _run(program, deployment, preview=save is None)
        deployment.finish()
        deployment.refuse_unknown_targets()
        outputs = deployment.state.outputs or {}
        known = {name: value for name, value in outputs.items() if not holds(value, Unknown)}
        return StackResult(steps=tuple(deployment.steps), outputs=plain(known))

    def _without_program(
        self, verb: Callable[[Deployment], None], on_step: OnStep, targets: Collection[str]
    ) -> StackResult:
        if not self._folder.exists():
            return StackResult(steps=())
        with held(self._folder / "lock"):
            checkpoint = self._checkpoint()
            names = Names("", "")  # nothing is registered, so they are not asked for
            deployment = Deployment(
                checkpoint.load(), self._plugin, names=names, save=checkpoint.save, on_step=on_step, targets=targets
            )
            verb(deployment)
            if not (deployment.state.resources or deployment.state.pending):
                checkpoint.remove()
            deployment.refuse_unknown_targets()
            return StackResult(steps=tuple(deployment.steps), outputs=plain(deployment.state.outputs or {}))


def _run(program: Program, deployment: Deployment, *, preview: bool) -> None:
    """Run the program to its end; every resource it makes goes through `deployment`. Raises the first step's fault."""
    from pulumi.runtime import run_in_stack
    from pulumi.runtime.config import set_all_config
    from pulumi.runtime.settings import Settings, configure

    from crowdstack.engine.embedded.monitor import Monitor

    monitor = Monitor(deployment, preview=preview)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        # One worker: registrations come one at a time, in the same order in a preview and in an up.
        loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
        # A failed step also fails futures that nobody waits for; the fault itself is raised below.
        loop.set_exception_handler(lambda _, context: _log.debug("%s", context["message"]))
        # Both live in context variables, which this job has for itself: engines in other threads see nothing of them.
        configure(
            Settings(project=program.project, stack=program.stack, monitor=monitor, engine=monitor, dry_run=preview)
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
