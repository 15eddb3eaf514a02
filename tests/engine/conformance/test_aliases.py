"""On both engines: programs of things that are called otherwise than before."""

from __future__ import annotations

from tests.engine.conformance import aliases
from tests.engine.conformance.suite import Conformance


class TestAliases(Conformance):
    cases = aliases.CASES
