"""`units`: look at units and at what was submitted for them, give verdicts."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crowdstack import errors
from crowdstack.cli import render
from crowdstack.cli.session import Session, confirm, out, output_option, pass_session, say, spec_option, yes_option
from crowdstack.model import SubmissionStatus, UnitId, UnitState, Verdict
from crowdstack.ports import SubmissionRow

if TYPE_CHECKING:
    from crowdstack.wiring import Project

identified_option = click.option("--identified", is_flag=True, help="The provider's worker ids instead of pseudonyms.")


@click.group()
def units() -> None:
    """Look at units and judge what was submitted for them.

    \b
    Example:
      crowdstack units ls --state submitted
      crowdstack units approve --all
    """


@units.command("ls")
@spec_option
@click.option("--state", type=click.Choice([state.value for state in UnitState]), help="Only units in this state.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option("--after", metavar="UNIT", default="", help="Go on after this unit.")
@identified_option
@output_option(*render.FORMATS)
@pass_session
def list_units(
    session: Session, spec: Path | None, state: str | None, limit: int, after: str, identified: bool, form: str
) -> None:
    """List units: their item, state, and who did them.

    \b
    Example:
      crowdstack units ls --state submitted --limit 10
      crowdstack units ls -o ndjson
    """
    with session.project(spec) as project:
        runs = project.store.runs(project.task)
        if not runs:
            raise errors.NotFound(f"no run of task {project.task}", hint="crowdstack up")
        wanted = None if state is None else UnitState(state)
        found = project.store.units(runs[-1].id, state=wanted, limit=limit, after=after)
        name = names(project, identified=identified)
        rows = [
            (
                row.unit,
                row.item,
                row.repeat,
                row.state.value,
                row.attempt,
                row.worker and name(row.worker),
                row.submissions,
            )
            for row in found
        ]
    out(render.records(("unit", "item", "repeat", "state", "attempt", "worker", "submissions"), rows, form))
    if len(found) == limit:
        say(f"there may be more: --after {found[-1].unit}")


@units.command()
@click.argument("unit")
@spec_option
@identified_option
@output_option(*render.FORMATS)
@pass_session
def show(session: Session, unit: str, spec: Path | None, identified: bool, form: str) -> None:
    """Show what was submitted for a unit, the latest last.

    \b
    Example:
      crowdstack units show u4Jx0rVb2Tq8mN5sKdWfYgA
    """
    with session.project(spec) as project:
        name = names(project, identified=identified)
        rows = [
            (row.submission, row.run, name(row.worker), row.receipt, row.status.value, row.submitted_at.isoformat(),
             round(row.duration_s, 1), render.to_json(row.answers, indent=None) if form in ("text", "md") else row.answers)
            for row in _submissions(project, unit)
        ]  # fmt: skip
    headers = ("submission", "run", "worker", "receipt", "status", "submitted_at", "duration_s", "answers")
    out(render.records(headers, rows, form))


def names(project: Project, *, identified: bool) -> Callable[[str], str]:
    """How a worker is called on the screen."""
    from crowdstack.review.export import pseudonym

    if identified:
        return str
    key = project.store.pseudonym_key(project.task)
    return lambda worker: pseudonym(key, worker)


def _submissions(project: Project, unit: str) -> list[SubmissionRow]:
    found = list(project.store.submissions(project.task, unit=UnitId(unit)))
    if not found:
        raise errors.NotFound(f"nothing was submitted for a unit {unit}", hint="crowdstack units ls")
    return found


# ---------------------------------------------------------------------------------------------------- verdicts

AT_ONCE = 200  # verdicts in one transaction: the reconciler waits for it


def _verdict_command(verdict: Verdict, meaning: str) -> click.Command:
    needed: dict[str, Any] = {"required": True} if verdict is Verdict.REJECT else {"default": ""}

    @click.argument("unit_ids", metavar="[UNIT]...", nargs=-1)
    @click.option("--all", "everything", is_flag=True, help="All submissions that wait for a verdict.")
    @click.option("--submission", type=int, help="This submission of the unit, not its latest.")
    @click.option("--reason", **needed, help="Why; kept with the verdict.")
    @spec_option
    @yes_option
    @pass_session
    def judge(
        session: Session,
        unit_ids: tuple[str, ...],
        everything: bool,
        submission: int | None,
        reason: str,
        spec: Path | None,
        yes: bool,
    ) -> None:
        if bool(unit_ids) == everything:
            raise errors.UsageError("name units, or --all", hint="crowdstack units ls --state submitted")
        with session.project(spec) as project:
            if everything:
                chosen = [
                    row for row in project.store.submissions(project.task) if row.status is SubmissionStatus.SUBMITTED
                ]
                if chosen:
                    confirm(f"{verdict.value} {len(chosen)} submissions?", yes=yes)
            else:
                chosen = [_one_of(_submissions(project, unit), submission) for unit in unit_ids]
            _judge(project, chosen, verdict, reason)
            for key, why in project.settle().items():
                say(render.safe_text(f"! {key} was refused and stays owed: {why}"))
        out(f"{verdict.status.value}: {len(chosen)} submission{'' if len(chosen) == 1 else 's'}")

    example = f"crowdstack units {verdict.value} --all"
    if verdict is not Verdict.APPROVE:
        example = f'crowdstack units {verdict.value} u4Jx0rVb2Tq8mN5sKdWfYgA --reason "all answers the same"'
    judge.__doc__ = f"{meaning}\n\n\b\nExample:\n  {example}\n"
    return click.command(verdict.value)(judge)


def _one_of(rows: Sequence[SubmissionRow], submission: int | None) -> SubmissionRow:
    if submission is None:
        return rows[-1]
    for row in rows:
        if row.submission == submission:
            return row
    raise errors.NotFound(
        f"unit {rows[0].unit} has no submission {submission}", hint=f"crowdstack units show {rows[0].unit}"
    )


def me() -> str:
    """Who gives the verdicts: the user's name, or `uid:1000` for one whom this machine does not know (a container)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid:{os.getuid()}"


def _judge(project: Project, chosen: Sequence[SubmissionRow], verdict: Verdict, reason: str) -> None:
    """Each verdict names the version that was looked at: a verdict given meanwhile by somebody else stands."""
    by = me()
    for start in range(0, len(chosen), AT_ONCE):
        seen = [(row.submission, row.version) for row in chosen[start : start + AT_ONCE]]
        project.store.judge_all(seen, verdict, reason=reason, by=by, now=datetime.now(timezone.utc))


units.add_command(_verdict_command(Verdict.APPROVE, "Approve: it is paid and counts."))
units.add_command(
    _verdict_command(Verdict.EXCLUDE, "Exclude: it is paid and does not count; the unit is offered again.")
)
units.add_command(
    _verdict_command(Verdict.REJECT, "Reject: it is not paid and does not count; the unit is offered again.")
)

COMMANDS = (units,)
