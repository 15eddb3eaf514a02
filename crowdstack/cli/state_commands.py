"""`state`: what the engine has written down of a stack; moving it to a file, from a file, to the other engine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from crowdstack import errors
from crowdstack.cli import render
from crowdstack.cli.session import Session, confirm, out, output_option, pass_session, say, spec_option, yes_option
from crowdstack.folder import write_private


@click.group()
def state() -> None:
    """Look at the state of a stack and move it. Whatever changes it makes a backup first.

    \b
    Example:
      crowdstack state export -o state.json
      crowdstack --engine pulumi state import state.json
    """


@state.command("ls")
@spec_option
@output_option(*render.FORMATS)
@pass_session
def ls(session: Session, spec: Path | None, form: str) -> None:
    """List the resources of the stack.

    \b
    Example:
      crowdstack state ls
    """
    with session.project(spec) as project:
        rows = [
            (found["type"], found["urn"].split("::")[-1], found.get("id", ""))
            for found in project.stack_state.resources()
        ]
    out(render.records(("type", "name", "id"), rows, form))


@state.command("show")
@click.argument("resource")
@spec_option
@pass_session
def show(session: Session, resource: str, spec: Path | None) -> None:
    """Show one resource, by its URN or its name, as JSON. Secrets are masked.

    \b
    Example:
      crowdstack state show my-task-server
    """
    with session.project(spec) as project:
        out(render.to_json(project.stack_state.resource(resource)))


@state.command("export")
@spec_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write (default: stdout).")
@pass_session
def export(session: Session, spec: Path | None, output: Path | None) -> None:
    """Write the state as `pulumi stack import` and `crowdstack state import` read it.

    Its secrets are encrypted with the passphrase in the state folder (state.passphrase), which the reader needs.

    \b
    Example:
      crowdstack state export -o state.json
    """
    with session.project(spec) as project:
        data = project.stack_state.export()
        if output is None:
            out(data.decode())
            return
        write_private(output, data)
        say(f"secrets in it open with {render.safe_text(str(project.folder.passphrase))}")
    out(render.safe_text(str(output)))


@state.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@spec_option
@yes_option
@pass_session
def import_(session: Session, file: Path, spec: Path | None, yes: bool) -> None:
    """Make the state in FILE (- for stdin) the stack's. With --engine, the stack moves to that engine.

    \b
    Example:
      crowdstack --engine pulumi state import state.json
    """
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as fault:
        raise errors.NotFound(f"{file} cannot be read", why=fault.strerror) from fault
    with session.project(spec) as project:
        confirm(f"Replace the state of {render.safe_text(project.task)}?", yes=yes)
        engine = project.import_state(data, where=str(file))
        out(render.safe_text(f"{project.task}: the stack is kept by the engine {engine}"))


@state.command("rm")
@click.argument("resource")
@spec_option
@yes_option
@pass_session
def rm(session: Session, resource: str, spec: Path | None, yes: bool) -> None:
    """Forget one resource, by its URN or its name; it is left alone in the world.

    \b
    Example:
      crowdstack state rm my-task-bundle
    """
    with session.project(spec) as project:
        urn = project.stack_state.resource(resource)["urn"]
        confirm(f"Forget {render.safe_text(urn)}?", yes=yes)
        out(render.safe_text(f"forgotten: {project.stack_state.forget(urn)}"))


COMMANDS = (state,)
