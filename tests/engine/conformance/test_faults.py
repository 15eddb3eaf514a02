"""On both engines: programs that fail in the middle, and what the same or another program makes of what is left."""

from __future__ import annotations

from tests.engine.conformance import faults
from tests.engine.conformance.suite import Conformance


class TestFaults(Conformance):
    cases = faults.CASES
