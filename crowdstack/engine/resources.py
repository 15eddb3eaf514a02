"""The resources as a stack program writes them: thin classes over the plugin's types, and the component of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pulumi

from crowdstack.engine.types import BUNDLE, KEYS, TASK_SERVER
from crowdstack.wire.configs import Claims, Finish
from crowdstack.wire.stack import StackInputs


class Keys(pulumi.CustomResource):
    """The run's random root key and what is derived from it."""

    root: pulumi.Output[str]
    keys: pulumi.Output[Mapping[str, str]]

    def __init__(self, name: str, *, run: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(KEYS, name, {"run": run, "root": None, "keys": None}, opts)


class Bundle(pulumi.CustomResource):
    """The files that workers' browsers may load."""

    digest: pulumi.Output[str]
    files: pulumi.Output[Mapping[str, Any]]

    def __init__(
        self, name: str, *, digest: str, files: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(BUNDLE, name, {"digest": digest, "files": files}, opts)


class TaskServer(pulumi.CustomResource):
    """The server that workers talk to. `settings`: the inputs of the plugin's type."""

    origin: pulumi.Output[str]
    port: pulumi.Output[int]

    def __init__(self, name: str, settings: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        told = {"origin": None, "config": None, "process": None}
        super().__init__(TASK_SERVER, name, {**settings, **told}, opts)


class Run(pulumi.ComponentResource):
    """All that one run needs on this machine: keys, bundle, task server."""

    def __init__(self, name: str, inputs: StackInputs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("crowdstack:local:Run", name, None, opts)
        within = pulumi.ResourceOptions(parent=self)
        files = {url: asdict(file) for url, file in inputs.files.items()}
        self.keys = Keys(f"{name}-keys", run=inputs.run, opts=within)
        self.bundle = Bundle(f"{name}-bundle", digest=inputs.bundle, files=files, opts=within)
        self.server = TaskServer(
            f"{name}-server",
            {
                "run": inputs.run,
                "task": inputs.task,
                "title": inputs.title,
                "description": inputs.description,
                "host": inputs.host,
                "port": inputs.port or 0,
                "publicUrl": inputs.public_url,
                "bundle": self.bundle.digest,
                "files": files,
                "answers": _text(inputs.answers),
                "timeoutS": inputs.timeout_s,
                "unitsPerVisit": inputs.units_per_visit,
                "maxUnits": inputs.max_units,
                "sample": _text(inputs.sample),
                "completion": inputs.completion,
                "claims": _plain(inputs.claims),
                "finish": _plain(inputs.finish),
                "frameAncestors": list(inputs.frame_ancestors) or None,
                "limits": dict(inputs.limits) or None,
                "keys": self.keys.keys,
            },
            opts=within,
        )
        self.register_outputs({"origin": self.server.origin})


def _plain(value: Claims | Finish | None) -> dict[str, Any] | None:
    told: dict[str, Any] | None = None if value is None else json.loads(json.dumps(asdict(value)))
    return told


def _text(value: Mapping[str, Any] | None) -> str | None:
    """JSON as text: a schema means what it says, null and 1.0 included, which properties of resources do not keep."""
    return None if value is None else json.dumps(value, sort_keys=True)
