"""`engine`: the Pulumi CLI for the engine `pulumi`, and how to use it by hand on a task's stack."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from crowdstack.cli.session import Session, out, pass_session, say, spec_argument


@click.group()
def engine() -> None:
    """Pulumi's own CLI, which the engine `pulumi` runs.

    \b
    Example:
      crowdstack engine install
      crowdstack --engine pulumi up task.yaml
    """


@engine.command("install")
def install() -> None:
    """Install the Pulumi CLI that belongs to this crowdstack into ~/.pulumi, unless one is there.

    \b
    Example:
      crowdstack engine install
    """
    from crowdstack.engine.automation import cli as pulumi_cli
    from crowdstack.errors import Refused

    try:
        found = pulumi_cli.find_cli()
        out(f"the Pulumi CLI {pulumi_cli.check_version(found)} is there: {found}")
        return
    except Refused as missing:
        say(f"{missing.what}: fetching it, about 100 MB ...")
    path = Path(pulumi_cli.install())
    out(f"installed the Pulumi CLI {pulumi_cli.check_version(path)}: {path}")


@engine.command("env")
@spec_argument
@pass_session
def env(session: Session, spec: Path | None) -> None:
    """Print what `pulumi` must know to work on this task's stack by hand, as lines for a shell.

    \b
    Example:
      eval "$(crowdstack engine env task.yaml)"
      pulumi stack ls
    """
    with session.project(spec) as project:
        told = project.pulumi_environment()
    out("\n".join(f"export {name}={shlex.quote(value)}" for name, value in told.items()))


COMMANDS = (engine,)
