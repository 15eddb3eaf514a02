"""What all commands share: the global options, the way to a project, the way to the person at the terminal.

Results go to stdout (`out`), everything else to stderr (`say`). Nothing heavy is imported here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crowdstack.errors import Cancelled, Refused, UsageError

if TYPE_CHECKING:
    from crowdstack.wiring import Project

Command = TypeVar("Command", bound=Callable[..., Any])


def _open_project(**where: Any) -> Project:
    from crowdstack.wiring import Project

    return Project.open(**where)


@dataclass
class Session:
    """One call of `crowdstack`: its global options. `open_project` stands here so that tests can pass another world."""

    stack: str | None = None
    state: Path | None = None
    engine: str | None = None
    backend: str | None = None  # URL
    debug: bool = False
    any_error_is_1: bool = False  # --detailed-exitcode: 2 means changes there
    open_project: Callable[..., Project] = _open_project

    @contextmanager
    def project(
        self, spec: Path | None = None, overlays: Sequence[Path] = (), sets: Sequence[str] = ()
    ) -> Iterator[Project]:
        """The project of SPEC or of `-s`; without both, of the folder's only live stack."""
        found = self.open_project(
            spec=spec,
            overlays=overlays,
            sets=sets,
            stack=self.stack,
            state=self.state,
            engine=self.engine,
            backend=self.backend,
        )
        with closing(found) as project:
            yield project

    def folder(self, spec: Path | None) -> Path:
        """Where that project keeps its state: found without opening anything of it."""
        return self.state or (spec.parent if spec else Path.cwd()) / ".crowdstack"


pass_session = click.make_pass_decorator(Session, ensure=True)

DEFAULT_SPEC = Path("task.yaml")
_FILE = click.Path(path_type=Path)


def spec_argument(command: Command) -> Command:
    """SPEC, for commands that act on what is there: left out, it is the folder's only live stack."""
    return click.argument("spec", required=False, type=_FILE)(command)


spec_option = click.option("--spec", type=_FILE, help="The task's spec, where several are live.")


def spec_options(command: Command) -> Command:
    """SPEC (task.yaml unless named), `-f` and `--set`, for commands that read what is wanted."""
    for option in (
        click.option("--set", "sets", metavar="PATH=VALUE", multiple=True, help="Set one field of the spec."),
        click.option(
            "-f",
            "--overlay",
            "overlays",
            metavar="FILE",
            multiple=True,
            type=_FILE,
            help="Merge this file over the spec.",
        ),
        click.argument("spec", default=DEFAULT_SPEC, type=_FILE),
    ):
        command = option(command)
    return command


def output_option(*formats: str) -> Callable[[Command], Command]:
    return click.option(
        "-o", "--output", "form", type=click.Choice(formats), default="text", show_default=True, help="How to print it."
    )


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def duration(text: str) -> float:
    """Seconds, from `90`, `90s`, `5m` or `2h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a duration; write it like 90s, 5m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


timeout_option = click.option(
    "--timeout", type=duration, metavar="DURATION", help="Give up waiting after this time, like 90s or 5m."
)


# ---------------------------------------------------------------------------------------------------- talking

_COLOURS = {"+": "green", "~": "yellow", "-": "red", "+-": "magenta", "!": "magenta", "error:": "red"}


def out(text: str) -> None:
    """A result."""
    if text:
        click.echo(_painted(text))


def say(text: str) -> None:
    """Progress, questions, everything that is not the result."""
    click.echo(_painted(text), err=True)


def _painted(text: str) -> str:
    """Lines that begin with a sign get its colour; click takes it away again where there is no terminal."""
    return "\n".join(
        click.style(line, fg=_COLOURS.get(line.split(maxsplit=1)[0])) if line.strip() else line
        for line in text.split("\n")
    )


def check_carried_out(order: str, name: str, why: str | None) -> None:
    """Refused unless `why` is None: why the order (a payment, a message) is not done, and how this very one is asked for again."""
    if why is not None:
        again = f"`--id {name}` asks for this one again; without it another is made"
        raise Refused(f"{order} {name} is not done", why=why, hint=again)


def confirm(question: str, *, yes: bool) -> None:
    """Return once the person said yes; Cancelled when they did not, UsageError when there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "this needs a yes, and there is no terminal to ask at", hint="look at what would happen, then add --yes"
        )
    if not click.confirm(question, err=True):
        raise Cancelled("nothing was changed")
