"""On both engines: programs of resource options."""

from __future__ import annotations

from tests.engine.conformance import options
from tests.engine.conformance.suite import Conformance


class TestOptions(Conformance):
    cases = options.CASES
