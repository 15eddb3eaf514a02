"""Small builders of what the crowd's tests are not about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crowdstack.crowd.journal import Attempt
from crowdstack.model import AssignmentId, UnitId, VisitId, WorkerId
from crowdstack.tokens import Secret
from crowdstack.wire.configs import CrowdConfig

LABEL = {"type": "object", "properties": {"label": {"enum": ["a", "b", "c"]}}, "required": ["label"]}
LINK_KEY = Secret(b"k" * 32)


def crowd_config(**changes: Any) -> CrowdConfig:
    config = CrowdConfig(
        kind="bots",
        run="birds-1",
        task="birds",
        study="birds-1",
        origin="http://127.0.0.1:1",
        link_key=LINK_KEY,
        seed=1,
        workers=3,
        answers=LABEL,
        recording=None,
    )
    return replace(config, **changes)


def attempt(number: int = 1, **changes: Any) -> Attempt:
    made = Attempt(
        worker=WorkerId("ann"),
        visit=VisitId(f"visit-{number:016d}"),
        unit=UnitId(f"unit-{number:016d}"),
        assignment=AssignmentId(f"assignment-{number:016d}"),
        nonce=f"nonce-{number:016d}",
        answers={"label": "a"},
    )
    return replace(made, **changes)
