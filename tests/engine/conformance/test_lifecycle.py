"""On both engines: programs of things that come, change and go."""

from __future__ import annotations

from tests.engine.conformance import lifecycle
from tests.engine.conformance.suite import Conformance


class TestLifecycle(Conformance):
    cases = lifecycle.CASES
