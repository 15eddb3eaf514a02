"""The programs on the embedded engine alone, where there is no CLI: they come to their end, previewed as it happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.conformance.moves import Case
from tests.engine.conformance.ours import Ours
from tests.engine.conformance.programs import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_was_previewed_is_what_happens(case: Case, tmp_path: Path) -> None:
    for number, outcome in enumerate(Ours(tmp_path).play(case)):
        assert outcome.failed or outcome.previewed in ((), outcome.done), f"move {number}: {case.shows}"
