"""`workers`: who came and in which visits; whom the operator wants no more, what workers hold, messages to them."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click

from crowdstack import errors
from crowdstack.cli import render
from crowdstack.cli.session import (
    Session,
    check_carried_out,
    confirm,
    out,
    output_option,
    pass_session,
    say,
    spec_option,
    yes_option,
)
from crowdstack.cli.unit_commands import identified_option, me, names
from crowdstack.model import WorkerId


@click.group()
def workers() -> None:
    """Look at workers and their visits, block them, give and take qualifications, write to them.

    \b
    Example:
      crowdstack workers ls --identified
      crowdstack workers block 5f3c... --reason "same answer throughout"
    """


@workers.command("ls")
@spec_option
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option("--after", metavar="WORKER", default="", help="Go on after this worker's id.")
@identified_option
@output_option(*render.FORMATS)
@pass_session
def list_workers(session: Session, spec: Path | None, limit: int, after: str, identified: bool, form: str) -> None:
    """List everybody who came: visits, submissions, blocked or not.

    \b
    Example:
      crowdstack workers ls --limit 10
    """
    with session.project(spec) as project:
        found = project.store.workers(project.task, limit=limit, after=after)
        name = names(project, identified=identified)
        rows = [
            (
                name(row.worker),
                row.visits,
                row.submissions,
                row.last_came and row.last_came.isoformat(),
                "yes" if row.blocked else "",
            )
            for row in found
        ]
    out(render.records(("worker", "visits", "submissions", "last_came", "blocked"), rows, form))
    if len(found) == limit:
        say("there may be more: raise --limit, or --after the last id (--identified shows it)")


@workers.command("show")
@click.argument("worker")
@spec_option
@output_option(*render.FORMATS)
@pass_session
def show_worker(session: Session, worker: str, spec: Path | None, form: str) -> None:
    """Show one worker's visits (or one visit, by our id or the provider's).

    \b
    Example:
      crowdstack workers show 5f3c8d1e2a9b7c6d5e4f3a2b
    """
    with session.project(spec) as project:
        found = project.store.visits(project.task, worker)
        if not found:
            raise errors.NotFound(f"no worker or visit {worker} in task {project.task}", hint="crowdstack workers ls")
        rows = [
            (row.visit, row.run, row.submission, row.claim.value, row.listed and row.listed.value, row.state.value,
             row.submissions, row.arrived_at and row.arrived_at.isoformat())
            for row in found
        ]  # fmt: skip
    headers = ("visit", "run", "at_provider", "claim", "listed", "state", "submissions", "arrived_at")
    out(render.records(headers, rows, form))


@workers.command()
@click.argument("worker_ids", metavar="WORKER...", nargs=-1, required=True)
@click.option("--reason", default="", help="Why; kept with the block.")
@spec_option
@pass_session
def block(session: Session, worker_ids: tuple[str, ...], reason: str, spec: Path | None) -> None:
    """Block workers: they get nothing in any run of this task. What they did stays as it is.

    \b
    Example:
      crowdstack workers block 5f3c8d1e2a9b7c6d5e4f3a2b --reason "same answer throughout"
    """
    with session.project(spec) as project:
        chosen = [WorkerId(worker) for worker in worker_ids]
        project.store.block(project.task, chosen, reason=reason, by=me(), now=datetime.now(timezone.utc))
    out(f"blocked: {len(worker_ids)}")


@workers.command()
@click.argument("worker_ids", metavar="WORKER...", nargs=-1, required=True)
@spec_option
@pass_session
def unblock(session: Session, worker_ids: tuple[str, ...], spec: Path | None) -> None:
    """Take blocks back (those of the spec's workers.block stay).

    \b
    Example:
      crowdstack workers unblock 5f3c8d1e2a9b7c6d5e4f3a2b
    """
    with session.project(spec) as project:
        freed = project.store.unblock(project.task, [WorkerId(worker) for worker in worker_ids])
    out(f"unblocked: {freed}")


@workers.command()
@click.argument("name")
@click.argument("worker_ids", metavar="WORKER...", nargs=-1, required=True)
@click.option("--score", type=int, default=100, show_default=True, help="Kept with it.")
@spec_option
@pass_session
def qualify(session: Session, name: str, worker_ids: tuple[str, ...], score: int, spec: Path | None) -> None:
    """Give workers a qualification (see workers.require and workers.exclude of the spec). In force at once.

    \b
    Example:
      crowdstack workers qualify trained 5f3c8d1e2a9b7c6d5e4f3a2b
    """
    with session.project(spec) as project:
        chosen = [WorkerId(worker) for worker in worker_ids]
        project.store.qualify(project.task, chosen, name, score, by=me(), now=datetime.now(timezone.utc))
    out(f"{name}: {len(worker_ids)}")


@workers.command()
@click.argument("name")
@click.argument("worker_ids", metavar="WORKER...", nargs=-1, required=True)
@spec_option
@pass_session
def revoke(session: Session, name: str, worker_ids: tuple[str, ...], spec: Path | None) -> None:
    """Take a qualification from workers.

    \b
    Example:
      crowdstack workers revoke trained 5f3c8d1e2a9b7c6d5e4f3a2b
    """
    with session.project(spec) as project:
        gone = project.store.revoke(project.task, [WorkerId(worker) for worker in worker_ids], name)
    out(f"{name}: {gone} fewer")


@workers.command()
@click.argument("worker")
@click.option("--text", required=True, help="What the worker reads.")
@click.option("--id", "name", help="A name for this message: the same name is sent once, however often it is asked.")
@spec_option
@yes_option
@pass_session
def message(session: Session, worker: str, text: str, name: str | None, spec: Path | None, yes: bool) -> None:
    """Write to a worker through the provider, about the last visit (or name a visit). Of provider prolific.

    \b
    Example:
      crowdstack workers message 5f3c8d1e2a9b7c6d5e4f3a2b --text "Thank you for your careful answers." --id thanks-1
    """
    if not text.strip():
        raise errors.UsageError("the message is empty", hint='--text "..."')
    with session.project(spec) as project:
        order = project.message(worker, text, name=name)
        say(render.safe_text(f"~ write to {order.worker} about visit {order.visit}: {text}"))
        confirm("Send it?", yes=yes)
        check_carried_out("message", order.message, project.carry_out(order))
    out(render.safe_text(f"message {order.message}: sent"))


COMMANDS = (workers,)
