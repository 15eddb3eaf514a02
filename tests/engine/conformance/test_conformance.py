"""Each program on both engines: the same steps, state and world; and the embedded engine, broken on purpose, is found out."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engine.conformance.moves import Case, Up
from tests.engine.conformance.mutants import MUTANTS
from tests.engine.conformance.ours import Ours
from tests.engine.conformance.outcome import Outcome
from tests.engine.conformance.programs import CASES
from tests.engine.conformance.real import Real, Site
from tests.size import FULL

SEED = 4
pytestmark = [pytest.mark.pulumi, pytest.mark.story, pytest.mark.timeout(300)]
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
some = pytest.mark.parametrize(
    "case", CASES if FULL else random.Random(SEED).sample(CASES, 8), ids=lambda case: case.name
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("pulumi"))


def differences(ours: Sequence[Outcome], real: Sequence[Outcome]) -> list[str]:
    return [
        f"move {number}: {found}"
        for number, (mine, its) in enumerate(zip(ours, real, strict=True))
        for found in mine.differences(its)
    ]


@every
def test_both_engines_do_the_same_and_a_broken_one_is_found_out(
    case: Case, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Real(site, tmp_path / "real").play(case)
    ours = Ours(tmp_path / "ours").play(case)
    assert differences(ours, real) == [], case.shows
    for outcome in (*ours, *real):
        assert outcome.failed or outcome.previewed in ((), outcome.done), "what was previewed is what happened"
    with monkeypatch.context() as patch:
        MUTANTS[case.notices](patch)
        assert _found_out(Ours(tmp_path / "broken"), case, real), f"{case.name} does not notice: {case.notices}"


def _found_out(broken: Ours, case: Case, real: Sequence[Outcome]) -> bool:
    try:
        return differences(broken.play(case), real) != []
    except Exception:  # whatever it stumbled over: it did not come to the same end
        return True


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
