"""All programs, by name."""

from __future__ import annotations

from tests.engine.conformance import aliases, drift, faults, lifecycle, options, replacement

CASES = (*lifecycle.CASES, *replacement.CASES, *options.CASES, *aliases.CASES, *faults.CASES, *drift.CASES)
assert len({case.name for case in CASES}) == len(CASES)
