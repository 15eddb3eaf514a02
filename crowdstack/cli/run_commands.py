"""The life of a run: preview, up, status, logs, stop, resume, destroy. Each parses, asks the project, prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdstack import errors
from crowdstack.cli import render
from crowdstack.cli.interrupts import Deadline, Interrupts
from crowdstack.cli.logs import follow, named
from crowdstack.cli.session import (
    Session,
    confirm,
    out,
    output_option,
    pass_session,
    say,
    spec_argument,
    spec_options,
    timeout_option,
    yes_option,
)
from crowdstack.cli.watch import GONE, watch
from crowdstack.model import Money
from crowdstack.ports import Operation, Step

if TYPE_CHECKING:
    from crowdstack.deploy import Preview, Status
    from crowdstack.wiring import Project

DETACHING = "letting go after this step; Ctrl-C again to cancel"
PROOF_S = 15.0  # how long processes may take to end after the run is destroyed


def money(text: str) -> Money:
    try:
        return Money.parse(text)
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from fault


fresh_option = click.option("--fresh", is_flag=True, help="Answers of earlier runs do not count for a new run.")


# ---------------------------------------------------------------------------------------------------- preview


@click.command()
@spec_options
@fresh_option
@output_option(*render.FORMATS)
@click.option("--expect-no-changes", is_flag=True, help="Exit 10 if there is anything to change.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 0 without changes, 2 with changes, 1 on any error.")
@pass_session
def preview(
    session: Session,
    spec: Path,
    overlays: tuple[Path, ...],
    sets: tuple[str, ...],
    fresh: bool,
    form: str,
    expect_no_changes: bool,
    detailed_exitcode: bool,
) -> int:
    """Show what `up` of SPEC (default: task.yaml) would change and what it may cost. Changes nothing. (Also: plan)

    \b
    Example:
      crowdstack preview task.yaml
      crowdstack preview task.yaml -f prod.yaml --set target.repeats=5 -o json
    """
    session.any_error_is_1 = detailed_exitcode
    with session.project(spec, overlays, sets) as project:
        plan = project.preview(fresh=fresh)
    out(_preview_as(plan, form))
    if plan.changes and expect_no_changes:
        raise errors.StateMismatch("there are changes, and none were expected", hint="crowdstack up")
    return 2 if plan.changes and detailed_exitcode else 0


def _preview_as(plan: Preview, form: str) -> str:
    if form == "text":
        return render.preview(plan)
    if form == "json":
        return render.to_json(render.preview_data(plan))
    lines = render.records(("part", "sign", "text"), render.preview_records(plan), form)
    return lines if form == "ndjson" else f"{lines}\n\n{render.code_span(render.totals(plan))}"


# ---------------------------------------------------------------------------------------------------- up


@click.command()
@spec_options
@yes_option
@fresh_option
@click.option("--detach", is_flag=True, help="Return once the run is up and its links answer.")
@click.option(
    "--max-cost", type=money, metavar="MONEY", help='Refuse if people may cost more, even with --yes: "20 USD".'
)
@click.option("--open", "open_link", is_flag=True, help="Open the first worker link in a browser.")
@timeout_option
@pass_session
@click.pass_context
def up(
    ctx: click.Context,
    session: Session,
    spec: Path,
    overlays: tuple[Path, ...],
    sets: tuple[str, ...],
    yes: bool,
    fresh: bool,
    detach: bool,
    max_cost: Money | None,
    open_link: bool,
    timeout: float | None,
) -> None:
    """Make SPEC (default: task.yaml) so: show the preview, ask, deploy, watch until the target is met and all is down again.

    The same command again goes on with what is there. Ctrl-C lets go and the run goes on by itself.

    \b
    Example:
      crowdstack up task.yaml
      crowdstack up task.yaml --yes --detach --max-cost "20 USD"
    """
    deadline, color = Deadline(timeout), ctx.color is not False
    with session.project(spec, overlays, sets) as project:
        plan = project.preview(fresh=fresh)
        say(render.preview(plan) + "\n")
        if plan.target_met and not plan.changes:
            out(f"{render.safe_text(plan.task)}: the target is met, nothing to do\n{_next_export(plan.task, spec)}")
            return
        refuse_above(plan, max_cost)
        if plan.changes:
            confirm("Bring it up?", yes=yes)
        with Interrupts(DETACHING) as interrupts:
            project.up(seen=plan, fresh=fresh, on_step=_tell)
            links = project.links()
            for person, link in links.items():
                say(render.safe_text(f"link for {person}: {link}"))
            if open_link and links:
                click.launch(next(iter(links.values())))
            until = (lambda now: now.server_healthy or _over(now)) if detach else _over
            now = watch(project, interrupts, until, deadline=deadline, color=color)
            if now.state in GONE:
                _prove(project, interrupts)
    if not _over(now):
        _let_go(now, asked=interrupts.asked)
        return
    if now.done < now.target:
        raise errors.StateMismatch(
            f"{now.run} is {now.state}, with {now.done} of {now.target} done",
            why="it was taken down before its target was met",
            hint="crowdstack up goes on with what is missing",
        )
    out(f"{render.progress(now, None)}\n{_next_export(now.task, spec)}")


def _tell(change: Step) -> None:
    if change.operation is not Operation.SAME:
        say(f"  {render.step(change)}")


def refuse_above(plan: Preview, max_cost: Money | None) -> None:
    """OverBudget when people may cost more than `--max-cost`."""
    if max_cost is None:
        return
    worst = plan.cost.cap
    if worst.minor and worst.currency != max_cost.currency:
        raise errors.UsageError(f"--max-cost is in {max_cost.currency}, the task pays in {worst.currency}")
    if worst.minor > max_cost.minor:
        raise errors.OverBudget(
            f"people may cost {worst}, more than --max-cost {max_cost}",
            hint="lower target, reward or budget.max, or raise --max-cost",
        )


def _over(now: Status) -> bool:
    """Nothing more will happen by itself: taken down, or done and kept."""
    return now.state in (*GONE, "done")


def _let_go(now: Status, *, asked: bool) -> None:
    """The run goes on without us. Let go by Ctrl-C it is no success of `up`: what comes next in a script must not run."""
    come_back = "come back: crowdstack status, or the same `crowdstack up`; end it: crowdstack destroy"
    if asked:
        raise errors.Cancelled(f"watching ended; {now.run} goes on by itself", hint=come_back)
    out(f"{render.progress(now, None)}\n{come_back}")


def _next_export(task: str, spec: Path | None) -> str:
    which = f"export {spec}" if spec else f"-s {task} export"
    return render.safe_text(f"next: crowdstack {which} -f csv -o {task}.csv")


# ---------------------------------------------------------------------------------------------------- looking


@click.command()
@spec_argument
@click.option("--links", is_flag=True, help="Print the links for people too. Whoever has one is that worker.")
@click.option("--why", "worker", metavar="WORKER", help="Say why this worker gets no work.")
@output_option(*render.FORMATS)
@pass_session
def status(session: Session, spec: Path | None, links: bool, worker: str | None, form: str) -> None:
    """Show how far the run is, what runs and what was spent. (Also: ps)

    JSON always holds the links for people.

    \b
    Example:
      crowdstack status
      crowdstack status --links
      crowdstack status task.yaml -o json
      crowdstack status --why 5f3c8d1e2a9b7c6d5e4f3a2b
    """
    with session.project(spec) as project:
        if worker is not None:
            causes = project.why(worker)
            out(render.records(("cause",), [(cause,) for cause in causes or ["nothing stands in the way"]], form))
            return
        out(render.status(project.status(), form, links=links))


@click.command()
@click.argument("what", nargs=-1, metavar="[SPEC] [server|loop|crowd]...")
@click.option("-F", "--follow", "following", is_flag=True, help="Go on showing what is written, until Ctrl-C.")
@click.option(
    "-n", "--lines", "count", type=click.IntRange(0), default=50, show_default=True, help="Last lines of each."
)
@pass_session
def logs(session: Session, what: tuple[str, ...], following: bool, count: int) -> None:
    """Show the logs of the task server, the reconciler (loop) and the simulated crowd.

    \b
    Example:
      crowdstack logs
      crowdstack logs task.yaml loop --follow
    """
    parts = [word for word in what if word in ("server", "loop", "crowd")]
    specs = [Path(word) for word in what if word not in parts]
    if len(specs) > 1:
        raise errors.UsageError(
            f"{specs[1]} is none of server, loop and crowd, and {specs[0]} is the spec already",
            hint="crowdstack logs task.yaml server",
        )
    if specs and not specs[0].suffix and not specs[0].exists():
        raise errors.UsageError(
            f"{specs[0]} is none of server, loop and crowd, and no spec", hint="crowdstack logs server loop"
        )
    with session.project(specs[0] if specs else None) as project, Interrupts("") as interrupts:
        follow(named(project.logs(), parts), interrupts, last=count, on=following)


@click.command()
@spec_argument
@click.option("--target", "targets", metavar="URN", multiple=True, help="Look at this resource only; may be repeated.")
@click.option("--expect-no-changes", is_flag=True, help="Exit 10 if anything is not as it was left.")
@pass_session
def refresh(session: Session, spec: Path | None, targets: tuple[str, ...], expect_no_changes: bool) -> None:
    """Look at every resource of the stack, so that its state says what is there. Changes nothing else; `up` mends it.

    \b
    Example:
      crowdstack refresh
      crowdstack refresh task.yaml --expect-no-changes
    """
    with session.project(spec) as project:
        found = [change for change in project.refresh(targets) if change.operation is not Operation.SAME]
        for change in found:
            out(render.step(change))
        if not found:
            out(f"{render.safe_text(project.task)}: everything is as it was left")
        elif expect_no_changes:
            raise errors.StateMismatch(f"{len(found)} resources are not as they were left", hint="crowdstack up")


# ---------------------------------------------------------------------------------------------------- steering


@click.command()
@spec_argument
@pass_session
def stop(session: Session, spec: Path | None) -> None:
    """Pause intake: nobody new is let in, those at work may finish. Nothing is lost.

    \b
    Example:
      crowdstack stop
    """
    with session.project(spec) as project:
        project.stop()
        project.start_loop()
        out(f"{render.safe_text(project.task)}: intake is paused; go on with `crowdstack resume`")


@click.command()
@spec_argument
@pass_session
def resume(session: Session, spec: Path | None) -> None:
    """Open intake again, and start the reconciler if it does not run.

    \b
    Example:
      crowdstack resume
    """
    with session.project(spec) as project:
        project.resume()
        project.start_loop()
        out(f"{render.safe_text(project.task)}: goes on; look with `crowdstack status`")


@click.command()
@spec_argument
@yes_option
@click.option("--now", is_flag=True, help="Do not wait for people who hold a unit: their holds end.")
@timeout_option
@pass_session
@click.pass_context
def destroy(
    ctx: click.Context, session: Session, spec: Path | None, yes: bool, now: bool, timeout: float | None
) -> None:
    """Take the run down: close intake, wait for who is at work, store everything, delete, prove that nothing is left. (Also: down)

    Collected answers stay in the store and can be exported afterwards.

    \b
    Example:
      crowdstack destroy
      crowdstack destroy task.yaml --yes --now
    """
    with session.project(spec) as project:
        before = project.status()
        if before.state in GONE and not project.gone():
            out(f"{render.safe_text(project.task)}: nothing is up")
            return
        say(render.leaving(before, now=now))
        confirm("Take it down?", yes=yes)
        with Interrupts(DETACHING) as interrupts:
            project.destroy(now=now)
            after = watch(
                project,
                interrupts,
                lambda seen: seen.state in GONE,
                deadline=Deadline(timeout),
                color=ctx.color is not False,
            )
            if after.state not in GONE:
                raise errors.Cancelled(
                    f"watching ended; {after.run} is being taken down by itself", hint="crowdstack status"
                )
            _prove(project, interrupts)
    out(render.safe_text(f"{after.run}: destroyed, nothing is left; {after.done} of {after.target} were done"))
    if after.run and (backup := project.folder.backup(after.run)).exists():
        out(render.safe_text(f"the store as it was before: {backup}"))
    out(_next_export(after.task, spec))


def _prove(project: Project, interrupts: Interrupts) -> None:
    """Return once nothing is left; what is still there after a while is an error that names it."""
    deadline = Deadline(PROOF_S)
    while left := project.gone():
        if deadline.passed or interrupts.wait(0.1):
            raise errors.StateMismatch(
                "destroyed, but not everything is gone", why="; ".join(left), hint="crowdstack destroy"
            )


COMMANDS = (preview, up, refresh, status, logs, stop, resume, destroy)
