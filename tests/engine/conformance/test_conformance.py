"""The suite as a whole: nothing is left out of it; and states that move from one engine to the other and go on there."""

from __future__ import annotations

import random
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from tests.engine.conformance.moves import Case, Up
from tests.engine.conformance.mutants import MUTANTS
from tests.engine.conformance.ours import Ours
from tests.engine.conformance.outcome import Outcome
from tests.engine.conformance.programs import CASES
from tests.engine.conformance.real import Real, Site
from tests.engine.conformance.suite import MARKS, Conformance
from tests.size import FULL

SEED = 4
pytestmark = MARKS
some = pytest.mark.parametrize(
    "case", CASES if FULL else random.Random(SEED).sample(CASES, 8), ids=lambda case: case.name
)


def test_every_program_is_played_once() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        import_module(f"{__package__}.{path.stem}")
    played = [case.name for group in Conformance.__subclasses__() for case in group.cases]
    assert sorted(played) == sorted(case.name for case in CASES)


def test_every_mutant_is_some_programs_to_notice() -> None:
    assert {case.notices for case in CASES} == set(MUTANTS)


# ------------------------------------------------------------------------------------------------ states that move over


def last_up(case: Case) -> int | None:
    """The last move after which program and stack agree."""
    whole = [n for n, move in enumerate(case.moves) if isinstance(move, Up) and not (move.fails or move.targets)]
    return whole[-1] if whole else None


@some
def test_a_state_of_the_real_engine_is_carried_on_by_ours(case: Case, site: Site, tmp_path: Path) -> None:
    at = last_up(case)
    if at is None:
        return
    real = Real(site, tmp_path / "real")
    for move in case.moves[: at + 1]:
        real.move(move)
    ours = Ours(tmp_path / "ours")
    shutil.copytree(real.kind.folder, ours.kind.folder, dirs_exist_ok=True)
    ours.take(real.export())
    nothing_to_do(ours.move(case.moves[at]))


@some
def test_a_state_of_ours_is_carried_on_by_the_real_engine(case: Case, site: Site, tmp_path: Path) -> None:
    at = last_up(case)
    if at is None:
        return
    ours = Ours(tmp_path / "ours")
    for move in case.moves[: at + 1]:
        ours.move(move)
    real = Real(site, tmp_path / "real")
    shutil.copytree(ours.kind.folder, real.kind.folder, dirs_exist_ok=True)
    real.take(ours.deployment())
    nothing_to_do(real.move(case.moves[at]))


def nothing_to_do(outcome: Outcome) -> None:
    assert outcome.previewed is not None
    assert {line.operation for line in (*outcome.previewed, *outcome.done)} == {"same"}
    assert outcome.calls == ()
