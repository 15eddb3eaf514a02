"""On both engines: programs in a world that changes by itself, and runs of some targets only."""

from __future__ import annotations

from tests.engine.conformance import drift
from tests.engine.conformance.suite import Conformance


class TestDrift(Conformance):
    cases = drift.CASES
