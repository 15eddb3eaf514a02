"""The stack program: reads the configuration and makes what the run's architect needs.

An ordinary Pulumi program, run by either engine. `crowdstack:deployment` is the whole run as JSON (`StackInputs`); without
it, `crowdstack:spec` names the task's spec, so that `pulumi up` alone makes the stack that `crowdstack up` would.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import closing
from pathlib import Path

import pulumi

from crowdstack.folder import of_pulumi_project
from crowdstack.wire.stack import SPEC, STATE_VARIABLE, StackInputs

# `mock` is `local` with the server inside the process: the difference is the plugin's, not the program's.
PROGRAMS = {"local": "local", "mock": "local"}


def told() -> StackInputs:
    """By whoever runs this program."""
    config = pulumi.Config("crowdstack")
    if deployment := config.get("deployment"):
        return StackInputs.from_json(deployment)
    return by_spec(config.require(SPEC))


def by_spec(spec: str) -> StackInputs:
    """The stack of the task's live run, else of its next one. Only a real `up` puts its files in place."""
    from crowdstack.wiring import Project

    state = os.environ.get(STATE_VARIABLE)
    path = of_pulumi_project(spec, Path.cwd())
    with closing(Project.open(spec=path, state=Path(state) if state else None)) as project:
        return project.stack_inputs(staged=not pulumi.runtime.is_dry_run())


def main() -> None:
    inputs = told()
    path = Path(__file__).parent / PROGRAMS[inputs.architect] / "__main__.py"
    # By its file: installed, this folder is data of the package and not on the import path.
    spec = importlib.util.spec_from_file_location(f"crowdstack_stack_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.program(inputs)


main()
