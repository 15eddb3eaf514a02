"""A real crowd, played: the RTE recording is given by a panel's people, who return, run out of time and forget their codes,
while the provider loses answers and the reconciler is killed. What counts at the end is money and answers, to the last one.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crowdstack import process
from crowdstack.crowd.journal import accepted
from crowdstack.errors import CrowdstackError
from crowdstack.fakes.prolific import FakeProlific
from crowdstack.plan.forecast import matches
from crowdstack.providers.generic import GenericProvider
from crowdstack.review.export import rows
from crowdstack.simulation import TOKEN, People, Result, Simulation, patiently, simulation
from tests.size import FULL
from tests.stories.stage import pause, rte_project

pytestmark = [pytest.mark.story, pytest.mark.timeout(3000 if FULL else 600)]

SEED = 20261126
FAULTS = {"429": 0.1, "5xx_before": 0.05, "5xx_after": 0.05, "timeout_after": 0.05}
ITEMS = 800 if FULL else 40
SPEED = 20.0  # 14 minutes at the provider are 42 s
KILLS = 10 if FULL else 3
REQUESTS_PER_VISIT = 15.0  # measured: 4 with 400 visits, 9 with 20

PROLIFIC = """
target: {repeats: 10}
budget: {max: 900.00 GBP}
provider:
  type: prolific
  max_submissions_per_participant: -1
  maximum_allowed_time: 14m
architect: {type: local}
"""
GENERIC = """
target: {repeats: 10}
budget: {max: 900.00 GBP}
provider:
  type: generic
  finish: {code: RTE-DONE}
  nothing: {code: RTE-NOTHING}
architect: {type: local}
"""


def project(folder: Path, provider: str) -> tuple[Path, Counter[tuple[str, str]]]:
    """The spec of the RTE task for this crowd; the recorded (item, answer)."""
    recording = rte_project(folder, items=ITEMS)
    spec = folder / "task.yaml"
    task = spec.read_text().partition("target:")[0].replace("reward: 0.02 USD", "reward: 0.60 GBP")
    spec.write_text(task + provider)
    return spec, Counter((item, answer) for item, _, answer in recording)


@contextmanager
def rehearsal(tmp_path: Path, provider: str, **more: float) -> Iterator[tuple[Simulation, Counter[tuple[str, str]]]]:
    spec, recorded = project(tmp_path / "task", provider)
    room = tmp_path / "room"
    room.mkdir()
    people = People(count=40, seed=SEED, recording=tmp_path / "task" / "answers.csv", time_per_unit_s=0.05)
    with simulation(spec, room, people=people, speed=SPEED, faults=more) as here:
        yield here, recorded


def told(here: Simulation) -> str:
    """What the processes said last."""
    logs = [*here.room.rglob("*.log")]
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2500:]}" for log in logs)


def kill_loop(here: Simulation) -> bool:
    run = here.project.run
    assert run is not None
    found = process.written(here.project.folder.run(run.id).loop_process)
    if found is None or not process.send_signal(found, signal.SIGKILL):
        return False
    process.wait_gone(found, 10)
    return True


def live(here: Simulation, *, kills: int, within_s: float) -> int:
    """Play until the run is gone; its reconciler is killed at seeded moments and brought back by the same `up`."""
    draw, killed, end = random.Random(SEED), 0, time.monotonic() + within_s
    strike = time.monotonic() + draw.uniform(1, 4)
    while (now := here.project.status()).state != "destroyed":
        assert time.monotonic() < end, f"{now.state}, {now.done} of {now.target} done: {now.loop_note}\n{told(here)}"
        if killed < kills and time.monotonic() > strike and kill_loop(here):
            killed += 1
            strike = time.monotonic() + draw.uniform(2, 6)
        if not now.loop_running and now.state != "destroyed":
            try:
                patiently(here.project.up)
            except CrowdstackError:
                assert here.project.status().state == "destroyed", told(here)
        pause(0.2)
    return killed


def assert_only_the_reconciler_has_the_token(here: Simulation) -> None:
    run = here.project.run
    assert run is not None
    folder = here.project.folder.run(run.id)
    for path, has in ((folder.loop_process, True), (folder.server_process, False)):
        found = process.written(path)
        assert found is not None
        environment = Path(f"/proc/{found.pid}/environ").read_bytes()
        assert (TOKEN.encode() in environment) is has, f"{path.name}: the token is{'' if has else ' not'} expected here"
    # Not read in this process: closing a database's file would drop the locks that it holds on it.
    found_in = subprocess.run(["grep", "-rlF", TOKEN, str(here.room)], capture_output=True, text=True)
    assert found_in.returncode == 1, f"the token stands in {found_in.stdout}"


def counted(here: Simulation) -> list[dict[str, object]]:
    """The rows of the export that count."""
    exported = rows(here.project.store, here.project.task, identified=True)
    return [row for row in exported if row["status"] in ("submitted", "approved")]


def answers(found: list[dict[str, object]]) -> Counter[tuple[str, str]]:
    return Counter((str(row["item"]), str(row["answers"]["entails"])) for row in found)  # type: ignore[index]


def test_whatever_fails_at_the_provider_the_recorded_answers_are_approved_and_each_visit_is_paid_once(
    tmp_path: Path,
) -> None:
    with rehearsal(tmp_path, PROLIFIC, **FAULTS) as (here, recorded):
        promised = patiently(here.project.preview).lines
        patiently(here.project.up)
        assert_only_the_reconciler_has_the_token(here)
        here.begin()
        killed = live(here, kills=KILLS, within_s=1500 if FULL else 300)
        result, found = here.result(), counted(here)
        assert result.lost == 0
        assert answers(found) == recorded, "other answers count than were recorded"
        assert here.service is not None
        with here.service.paused() as fake:
            judge(fake, here, result, {str(row["visit"]) for row in found})
        _, lines = here.project.history()
        assert matches(promised, lines), f"the journal says {[*map(str, lines)]}, the preview {[*map(str, promised)]}"
        print(f"\nProlific: {report(result)}; {killed} kills, seed {SEED}\n  {dict(result.requests)}")
        assert killed == KILLS
        assert result.requests_per_visit is not None
        assert result.requests_per_visit <= REQUESTS_PER_VISIT


def judge(fake: FakeProlific, here: Simulation, result: Result, visits: set[str]) -> None:
    """The fake's own books against ours."""
    effects = fake.effects()
    assert sum(effect.verb == "publish" for effect in effects) == 1
    lines = fake.wallet_lines()
    paid = Counter(line.submission for line in lines)
    assert set(paid.values()) <= {1}, "a visit was paid twice"
    approved = [found for found in fake.world.submissions.values() if found.status.value == "APPROVED"]
    assert set(paid) == {found.id for found in approved}
    assert len(visits) == len(approved), f"{len(visits)} visits have answers that count, {len(approved)} were paid"
    assert result.paid == result.ledger, "the ledger differs from the wallet"
    assert result.paid.minor <= result.cap.minor
    worked = {line["visit"] for line in accepted(here.crowd_folder / "journal.jsonl").values() if not line["void"]}
    assert len(worked) == len(approved), "somebody worked and was not paid"


def report(result: Result) -> str:
    endings = ", ".join(f"{count} {ending}" for ending, count in sorted(result.visits.items()))
    return (
        f"{result.done} answers in {result.took_s} s, {result.paid} paid; visits: {endings}; "
        f"{sum(result.requests.values())} requests, {result.requests_per_visit} for each visit handed in"
    )


def test_a_panel_without_an_interface_is_told_to_pay_just_the_visits_with_answers(tmp_path: Path) -> None:
    with rehearsal(tmp_path, GENERIC) as (here, recorded):
        promised = patiently(here.project.preview).lines
        patiently(here.project.up)
        here.begin()
        killed = live(here, kills=KILLS, within_s=900 if FULL else 300)
        result, found = here.result(), counted(here)
        assert result.lost == 0
        assert answers(found) == recorded
        books = GenericProvider(here.project.folder.panel_books, {})
        listed = books.payments()
        books.close()
        with_answers = {str(row["visit"]) for row in rows(here.project.store, here.project.task, identified=True)}
        assert {line.visit for line in listed} == with_answers
        assert all(line.state == "to_pay" for line in listed)
        assert len({line.submission for line in listed}) == len(listed)
        assert result.ledger == result.paid
        assert result.ledger.minor <= result.cap.minor
        _, lines = here.project.history()
        assert matches(promised, lines), f"the journal says {[*map(str, lines)]}, the preview {[*map(str, promised)]}"
        print(f"\nGeneric panel: {report(result)}; {killed} kills, seed {SEED}")
