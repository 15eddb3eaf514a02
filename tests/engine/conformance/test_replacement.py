"""On both engines: programs of things that cannot change in place."""

from __future__ import annotations

from tests.engine.conformance import replacement
from tests.engine.conformance.suite import Conformance


class TestReplacement(Conformance):
    cases = replacement.CASES
