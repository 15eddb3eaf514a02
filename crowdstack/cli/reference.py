"""docs/cli.md from the commands themselves: `python -m crowdstack.cli.reference > docs/cli.md`. A test holds the two equal."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from crowdstack.cli.main import ALIASES, EXIT_CODES, cli


def reference() -> str:
    """The whole page."""
    ctx = click.Context(cli, info_name="crowdstack")
    lines = [
        "# Command line",
        "",
        "Written by `python -m crowdstack.cli.reference`; do not edit.",
        "",
        "Results go to stdout, progress and questions to stderr. Colour only on a terminal, and not with `NO_COLOR`. Nothing is",
        "asked without a terminal: then commands that change things need `--yes`. Text that others wrote is printed without",
        "control characters. Without SPEC, commands that read what is wanted (`validate`, `preview`, `up`) take task.yaml of this",
        "folder; the others act, without SPEC and `-s`, on the folder's only live stack.",
        "",
        "Ctrl-C once finishes the step and lets go: the run goes on by itself, and the message says how to come back.",
        "Ctrl-C twice cancels; the state stays loadable, and the same command again goes on.",
        "",
        "## Global options",
        "",
        *_options(cli, ctx),
    ]
    for name in cli.list_commands(ctx):
        command = cli.get_command(ctx, name)
        assert command is not None
        if not command.hidden:
            lines += _section(command, ctx)
    lines += ["## Exit codes", "", "A stable contract.", "", "| code | meaning |", "| --- | --- |"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    lines += ["", "With `preview --detailed-exitcode`: 0 no changes, 1 any error, 2 changes."]
    return "\n".join(lines) + "\n"


def _section(command: click.Command, parent: click.Context) -> list[str]:
    """A command, its text, example and options; a group is followed by its own commands."""
    ctx = click.Context(command, info_name=command.name, parent=parent)
    aliases = [alias for alias, name in ALIASES.items() if name == command.name]
    text, _, example = inspect.cleandoc(command.help or "").partition("\b")
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    lines = [f"## {ctx.command_path}" + "".join(f" ({alias})" for alias in aliases), "", f"    {usage}", ""]
    lines += [text.strip(), ""]
    if example:
        body = inspect.cleandoc(example.partition(":")[2].lstrip("\n"))
        lines += ["```sh", *(line.strip() for line in body.splitlines()), "```", ""]
    lines += _options(command, ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            lines += _section(command.commands[name], ctx)
    return lines


def _options(command: click.Command, ctx: click.Context) -> list[str]:
    rows = list(_rows(command, ctx))
    return ["| option | |", "| --- | --- |", *rows, ""] if rows else []


def _rows(command: click.Command, ctx: click.Context) -> Iterator[str]:
    for parameter in command.params:
        record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
        if record is not None:
            names, meaning = record
            yield f"| `{names.replace('|', '/')}` | {meaning.replace('|', '/')} |"


if __name__ == "__main__":
    print(reference(), end="")
