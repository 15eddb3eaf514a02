"""`crowdstack simulate`: a rehearsal of a spec for a real crowd, against a fake of its provider."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdstack.cli import render
from crowdstack.cli.interrupts import Deadline, Interrupts
from crowdstack.cli.run_commands import money
from crowdstack.cli.session import Session, out, output_option, pass_session, spec_options, timeout_option
from crowdstack.cli.watch import GONE, watch
from crowdstack.errors import StateMismatch, UsageError

if TYPE_CHECKING:
    from crowdstack.deploy import Status
    from crowdstack.simulation import Result, Simulation

_PATIENT = 20  # looks in a row at a run that waits for somebody, before that is taken for its end
_RESTING = ("verdicts", "budget", "needs_person")


@click.command()
@spec_options
@click.option(
    "--people", type=click.IntRange(1, 2000), default=20, show_default=True, help="How many are at work at a time."
)
@click.option(
    "--recording",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV of recorded answers (item, worker, answer columns) that people give; else they answer by the schema.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of people and faults.")
@click.option(
    "--speed", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds of theirs in a real one."
)
@click.option("--returns", type=click.FloatRange(0, 1), default=0.08, show_default=True, help="Share of visits.")
@click.option("--times-out", type=click.FloatRange(0, 1), default=0.04, show_default=True, help="Share of visits.")
@click.option("--no-code", type=click.FloatRange(0, 1), default=0.03, show_default=True, help="Share of visits.")
@click.option(
    "--fault",
    "faults",
    metavar="NAME=NUMBER",
    multiple=True,
    help="What goes wrong at the provider how often, like 429=0.1 or 5xx_after=0.05; may be given for each.",
)
@click.option("--wallet", metavar="AMOUNT", help="What is in the fake's wallet; default: four times the budget.")
@timeout_option
@output_option("text", "json")
@pass_session
def simulate(
    session: Session,
    spec: Path,
    overlays: tuple[Path, ...],
    sets: tuple[str, ...],
    people: int,
    recording: Path | None,
    seed: int,
    speed: float,
    returns: float,
    times_out: float,
    no_code: float,
    faults: tuple[str, ...],
    wallet: str | None,
    timeout: float | None,
    form: str,
) -> None:
    """Rehearse SPEC against a fake of its provider with simulated people, and say what it took and cost.

    Nothing of it reaches a real account, and nothing is kept: state, task server, fake and people go away at the end.

    \b
    Example:
      crowdstack simulate task.yaml
      crowdstack simulate task.yaml --recording answers.csv --fault 429=0.1 --fault 5xx_after=0.05
    """
    import tempfile

    from crowdstack.simulation import People, data, patiently, simulation

    logging.getLogger("tornado").setLevel(logging.CRITICAL)  # broken requests are asked for here
    deadline = Deadline(timeout)
    who = People(count=people, seed=seed, recording=recording, returns=returns, times_out=times_out, no_code=no_code)
    with (
        tempfile.TemporaryDirectory(prefix="crowdstack-") as room,
        simulation(
            spec,
            Path(room).resolve(),
            overlays=overlays,
            sets=sets,
            people=who,
            speed=speed,
            faults=dict(map(_rate, faults)),
            wallet=money(wallet) if wallet else None,
        ) as here,
        Interrupts("the simulation is ended") as interrupts,
    ):
        patiently(here.project.up)
        here.begin()
        watch(here.project, interrupts, _Rests(here).over, deadline=deadline)
        result = here.result()
    out(render.to_json(data(result)) if form == "json" else _text(result))
    if result.lost or result.done < result.target:
        raise StateMismatch(
            f"{result.done} of {result.target} units were done, {result.lost} answers lost",
            why=result.note,
            hint="crowdstack simulate --timeout gives it more time",
        )


class _Rests:
    """Whether a run has come to its end, or to a point where only a person can go on. Answers that wait for a verdict are approved."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._looks = 0

    def over(self, now: Status) -> bool:
        noted = self._simulation.project.store.noted(now.run) if now.run else None
        resting = noted is not None and noted[0] in _RESTING and not self._simulation.review()
        self._looks = self._looks + 1 if resting else 0
        return now.state in (*GONE, "done") or self._looks >= _PATIENT


def _rate(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise UsageError(f"--fault {text[:80]} is not NAME=NUMBER", hint="like --fault 429=0.1") from None


def _text(result: Result) -> str:
    visits = ", ".join(f"{count} {ending}" for ending, count in sorted(result.visits.items())) or "none"
    rows: list[tuple[str, object]] = [
        ("units", f"{result.done} of {result.target} done ({result.state})"),
        ("time", f"{_span(result.took_s)}, which is {_span(result.took_s * result.speed)} of people's time"),
        ("cost", f"{result.paid} left the wallet; the ledger says {result.ledger}, preview said at most {result.cap}"),
        ("visits", visits),
        ("answers", f"{result.accepted} accepted, {result.exported} of them in the export, {result.lost} lost"),
    ]
    if result.requests:
        each = f", {result.requests_per_visit} for each visit handed in" if result.requests_per_visit else ""
        rows.append(("requests", f"{sum(_asked(result))} to the provider{each}"))
    return render.table(("", "what came of it"), rows)


def _asked(result: Result) -> Sequence[int]:
    return list(result.requests.values())


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if count) or "0 s"
    )


COMMANDS = [simulate]
