"""What holds for every program on both engines. The tests of each group of programs inherit it, so that groups run side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from tests.engine.conformance.moves import Case
from tests.engine.conformance.mutants import MUTANTS
from tests.engine.conformance.ours import Ours
from tests.engine.conformance.outcome import Outcome
from tests.engine.conformance.real import Real, Site

MARKS = [pytest.mark.pulumi, pytest.mark.story, pytest.mark.timeout(300)]


class Conformance:
    """The same steps, state and world; and the embedded engine, broken on purpose, is found out."""

    cases: ClassVar[tuple[Case, ...]]
    pytestmark: ClassVar[list[pytest.MarkDecorator]] = MARKS

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        metafunc.parametrize("case", self.cases, ids=lambda case: case.name)

    def test_both_engines_do_the_same_and_a_broken_one_is_found_out(
        self, case: Case, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Real(site, tmp_path / "real").play(case)
        ours = Ours(tmp_path / "ours").play(case)
        assert differences(ours, real) == [], case.shows
        for outcome in (*ours, *real):
            assert outcome.failed or outcome.previewed in ((), outcome.done), "what was previewed is what happened"
        with monkeypatch.context() as patch:
            MUTANTS[case.notices](patch)
            assert _found_out(Ours(tmp_path / "broken"), case, real), f"{case.name} does not notice: {case.notices}"


def differences(ours: Sequence[Outcome], real: Sequence[Outcome]) -> list[str]:
    return [
        f"move {number}: {found}"
        for number, (mine, its) in enumerate(zip(ours, real, strict=True))
        for found in mine.differences(its)
    ]


def _found_out(broken: Ours, case: Case, real: Sequence[Outcome]) -> bool:
    try:
        return differences(broken.play(case), real) != []
    except Exception:  # whatever it stumbled over: it did not come to the same end
        return True
