"""The command `crowdstack`: finds a command by name; turns every fault into a message and an exit code.

Called by the console script and by `python -m crowdstack`. Heavy libraries are imported by the commands that need
them, when they run, so that `crowdstack --help` answers at once.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import os
import resource
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from crowdstack import __version__, errors
from crowdstack.cli import render
from crowdstack.cli.session import Session, pass_session, say

# The module each command lives in (its `COMMANDS`), in the order in which they are met.
HOMES = {
    "new": "spec_commands",
    "validate": "spec_commands",
    "schema": "spec_commands",
    "explain": "spec_commands",
    "preview": "run_commands",
    "simulate": "simulate_command",
    "up": "run_commands",
    "refresh": "run_commands",
    "status": "run_commands",
    "logs": "run_commands",
    "stop": "run_commands",
    "resume": "run_commands",
    "destroy": "run_commands",
    "export": "export_command",
    "units": "unit_commands",
    "workers": "worker_commands",
    "pay": "pay_commands",
    "cost": "pay_commands",
    "engine": "engine_commands",
    "state": "state_commands",
    "register": "register_command",
    "doctor": "doctor_command",
    "restore": "restore_command",
    "fake": "fake_command",
    "reconcile": "reconcile_command",
}
ALIASES = {"plan": "preview", "ps": "status", "down": "destroy"}

# A stable contract: scripts may rely on it. docs/cli.md prints this table.
EXIT_CODES = {
    0: "done",
    1: "another failure",
    2: "the command or the spec is not valid",
    3: "credentials are missing, or not accepted",
    4: "the engine, the provider or the operating system refused or failed",
    5: "refused by budget, `--max-cost` or a policy",
    6: "no such spec, stack, run or unit",
    8: "cancelled or declined; also when Ctrl-C ended the watching of a run that goes on",
    9: "a time-out, or somebody else holds the lock",
    10: "the state is not as expected: changes under `--expect-no-changes`, drift, a stale version",
    141: "whoever read the output closed it (as `head` does)",
    255: "a bug in crowdstack",
}

# What the operating system refuses without naming a path: no room, too many files, a folder that is gone.
_OUTSIDE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip
_HINTS = {
    errno.EACCES: "use a folder of yours (-C, --state), or let this user in",
    errno.EPERM: "use a folder of yours (-C, --state), or let this user in",
    errno.EROFS: "use a folder that can be written (-C, --state)",
    errno.ENOENT: "see whether its folder is there and takes files",
    errno.ENOSPC: "free some space, then the same command again",
    errno.EDQUOT: "free some space, then the same command again",
    errno.EMFILE: "ulimit -n 4096, then the same command again",
}


class Commands(click.Group):
    """The sub-commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in HOMES:
            return None
        commands: Sequence[click.Command] = importlib.import_module(f"crowdstack.cli.{HOMES[name]}").COMMANDS
        return next(command for command in commands if command.name == name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], [*HOMES, *ALIASES], n=1)
            raise errors.UsageError(
                f"there is no command {args[0]!r}", hint=f"crowdstack {near[0]}" if near else "crowdstack --help"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-C", "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Work in this folder.")
@click.option("-s", "--stack", metavar="STACK", help="The stack (task name) to act on, where several are live.")
@click.option(
    "--engine",
    type=click.Choice(("embedded", "pulumi")),
    help="What makes the stack: built in, or Pulumi's own CLI (default: embedded; then what `up` was told).",
)
@click.option(
    "--state",
    "states",
    metavar="DIR|URL",
    multiple=True,
    help="State folder (default: .crowdstack beside the spec), or the URL of a Pulumi backend; may be given for each.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-color", is_flag=True, help="No colours (also: NO_COLOR).")
@click.version_option(__version__, prog_name="crowdstack")
@pass_session
@click.pass_context
def cli(
    ctx: click.Context,
    session: Session,
    folder: str | None,
    stack: str | None,
    engine: str | None,
    states: tuple[str, ...],
    debug: bool,
    no_color: bool,
) -> None:
    """Collect data from people: declare a task in YAML, preview it, bring it up.

    \b
    Example:
      crowdstack new my-task
      crowdstack up my-task/task.yaml
      crowdstack export my-task/task.yaml -f csv -o answers.csv
    """
    if no_color or os.environ.get("NO_COLOR"):
        ctx.color = False
    if folder is not None:
        os.chdir(folder)
    for state in states:
        if "://" in state:
            session.backend = state
        else:
            session.state = Path(state)
    session.stack, session.engine, session.debug = stack, engine, debug


def run(arguments: Sequence[str] | None = None, session: Session | None = None) -> int:
    """One call of `crowdstack`: its exit code. Nothing but an exit code leaves here."""
    session = session or Session()
    try:
        code = _call(arguments, session)
        sys.stdout.flush()
    except SystemExit as ended:  # click's own ways out: shell completion (0), and nobody reads what we print (1)
        return 141 if ended.code == 1 else 0
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # what is still buffered has nowhere to go: say nothing at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _call(arguments: Sequence[str] | None, session: Session) -> int:
    try:
        result = cli.main(args=arguments, prog_name="crowdstack", standalone_mode=False, obj=session)
        return result if isinstance(result, int) else 0
    except errors.CrowdstackError as fault:
        return _failed(fault, session)
    except (click.Abort, KeyboardInterrupt):
        return _failed(errors.Cancelled("cancelled"), session)
    except click.UsageError as fault:
        if isinstance(fault, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # of newer versions of click
            say(fault.format_message())
            return errors.UsageError.exit_code
        where = fault.ctx.command_path if fault.ctx else "crowdstack"
        return _failed(errors.UsageError(fault.format_message(), hint=f"{where} --help"), session)
    except click.ClickException as fault:
        return _failed(errors.UsageError(fault.format_message()), session)
    except BrokenPipeError:
        raise
    except Exception as fault:  # the edge of the program: what is not the system's no is a bug of ours
        refused = _refused_by_system(fault)
        return _bug(fault, session) if refused is None else _failed(refused, session)


def _refused_by_system(fault: Exception) -> errors.Refused | None:
    """What the operating system refused, in our words. None for a fault of ours: a bad descriptor, or no OSError at all."""
    if not isinstance(fault, OSError) or (fault.filename is None and fault.errno not in _OUTSIDE):
        return None
    path = fault.filename2 or fault.filename
    where = os.fsdecode(path) if isinstance(path, (str, bytes)) else None
    hint = _HINTS.get(fault.errno or 0, "mend it and run the same command again")
    return errors.Refused(f"the operating system says: {fault.strerror or fault}", where=where, hint=hint)


def _failed(fault: errors.CrowdstackError, session: Session) -> int:
    if session.debug:
        say(_trace())
    say(render.error(fault))
    return 1 if session.any_error_is_1 else fault.exit_code


def _bug(fault: Exception, session: Session) -> int:
    if session.debug:
        say(_trace())
    what = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    hint = (
        "report it with the lines above"
        if session.debug
        else "the same command as `crowdstack --debug ...` shows where"
    )
    say(render.error(errors.CrowdstackError(what, why="this is a bug in crowdstack, not in your task", hint=hint)))
    return 255


def _trace() -> str:
    """Where it happened, without the values of any variable (threats E4)."""
    return "\n".join(render.safe_text(line) for line in traceback.format_exc().splitlines())


def main() -> None:
    # Whatever a command and the processes it starts write is the operator's alone, and no dump holds keys (threats L1, E4).
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 gets \u escapes, not a crash
    sys.exit(run())
