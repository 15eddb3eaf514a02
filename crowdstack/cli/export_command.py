"""`export`: what was collected, as a file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from crowdstack.cli.session import Session, pass_session, say, spec_argument
from crowdstack.errors import UsageError


@click.command()
@spec_argument
@click.option("-f", "--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option(
    "-o", "--output", "to", metavar="FILE", type=click.Path(path_type=Path), help="Write here; default: stdout."
)
@click.option("--identified", is_flag=True, help="The provider's worker ids instead of pseudonyms.")
@click.option("--raw", is_flag=True, help="CSV cells as they are, even those a spreadsheet takes for formulas.")
@pass_session
def export(session: Session, spec: Path | None, form: str, to: Path | None, identified: bool, raw: bool) -> None:
    """Write all submissions of the task to a file, those of earlier runs that count included. Works while the run is live.

    \b
    Example:
      crowdstack export task.yaml -f csv -o answers.csv
      crowdstack export task.yaml -f jsonl | head -1
    """
    from crowdstack.review.export import Format, export

    target = None if to is None or str(to) == "-" else to
    if target is None and sys.stdout.isatty():  # as they are, answers may hold what acts on a terminal (threats R6)
        raise UsageError("answers are not printed on a terminal as they are", hint="-o FILE, or a pipe: | less")
    with session.project(spec) as project:
        written = export(project.store, project.task, target, Format(form), identified=identified, raw=raw)
    say(f"{written} submissions" + (f" in {target}" if target else ""))


COMMANDS = (export,)
