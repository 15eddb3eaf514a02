"""The stack of a run on this machine: keys, bundle and task server."""

from __future__ import annotations

import pulumi

from crowdstack.engine.resources import Run
from crowdstack.wire.stack import StackInputs


def program(inputs: StackInputs) -> None:
    run = Run(inputs.task, inputs)
    pulumi.export("run", inputs.run)
    pulumi.export("origin", run.server.origin)
    pulumi.export("port", run.server.port)
    pulumi.export("bundle", run.bundle.digest)
    pulumi.export("keys", run.keys.keys)
