"""`restore`: the last backup in the place of a store that is lost or broken."""

from __future__ import annotations

from pathlib import Path

import click

from crowdstack.cli import render
from crowdstack.cli.session import Session, confirm, out, pass_session, say, yes_option


@click.command()
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@yes_option
@pass_session
def restore(session: Session, spec: Path | None, yes: bool) -> None:
    """Put the last backup in the place of a store that is lost or broken. The old one is kept beside it.

    A live run then goes on: its task server tells again every answer that came after the backup. Verdicts given after it
    have to be given again.

    \b
    Example:
      crowdstack restore
      crowdstack restore task.yaml --yes
    """
    from crowdstack import wiring

    state = session.folder(spec)
    say(render.safe_text(f"the store of {state} is replaced by its last backup, for every task in it"))
    confirm("Put it back?", yes=yes)
    taken, aside = wiring.restore(state)
    out(render.safe_text(f"put back: {taken}"))
    if aside is not None:
        out(render.safe_text(f"the store as it was: {aside}"))
    out("next: the same `crowdstack up` again")


COMMANDS = (restore,)
