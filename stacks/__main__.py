"""The stack program: reads the configuration and makes what the run's architect needs.

An ordinary Pulumi program, run by either engine. `crowdstack:deployment` is the whole run as JSON (`StackInputs`).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pulumi

from crowdstack.wire.stack import StackInputs

# `mock` is `local` with the server inside the process: the difference is the plugin's, not the program's.
PROGRAMS = {"local": "local", "mock": "local"}


def main() -> None:
    inputs = StackInputs.from_json(pulumi.Config("crowdstack").require("deployment"))
    path = Path(__file__).parent / PROGRAMS[inputs.architect] / "__main__.py"
    # By its file: installed, this folder is data of the package and not on the import path.
    spec = importlib.util.spec_from_file_location(f"crowdstack_stack_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.program(inputs)


main()
