"""What a stack program is told: one JSON value of its configuration, `crowdstack:deployment`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crowdstack.wire.configs import BundleFile, Claims, Finish

CONFIG_KEY = "crowdstack:deployment"
SPEC = "spec"  # of the same configuration: a spec's file instead, for whoever runs `pulumi up` by hand
STATE_VARIABLE = "CROWDSTACK_STATE"  # the state folder that the plugin may act in


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInputs:
    """A run as its stack sees it: settings of the task server and digests, no file names and no secrets."""

    run: str
    task: str
    title: str
    description: str
    architect: str  # "local" | "mock"
    bundle: str  # digest of `files`
    files: Mapping[str, BundleFile]  # URL path -> file; the blobs themselves are staged before the stack is made
    answers: Mapping[str, Any] | None  # JSON Schema
    timeout_s: int
    units_per_visit: int | None
    max_units: int | None
    sample: Mapping[str, Any] | None
    completion: str
    claims: Claims | None = None
    finish: Finish | None = None
    host: str = "127.0.0.1"
    port: int | None = None  # None: any free one, and the same again later
    public_url: str | None = None
    frame_ancestors: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)  # overrides of wire.configs.Limits

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> StackInputs:
        data = json.loads(text)
        data["files"] = {url: BundleFile(**file) for url, file in data["files"].items()}
        data["claims"] = data["claims"] and Claims(**data["claims"])
        data["finish"] = data["finish"] and Finish.of(data["finish"])
        data["frame_ancestors"] = tuple(data["frame_ancestors"])
        return cls(**data)
