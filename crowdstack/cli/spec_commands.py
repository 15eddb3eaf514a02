"""Commands about a spec alone: new, validate, schema, explain. Nothing is started, nothing leaves the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crowdstack import assets
from crowdstack.cli.session import out, output_option, spec_options
from crowdstack.errors import NotFound, Problem, SpecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crowdstack.spec import Spec


@click.command()
@click.argument("name")
@click.option(
    "--template", type=click.Choice(["html"]), default="html", show_default=True, help="The kind of task app."
)
def new(name: str, template: str) -> None:
    """Write a small working task into the new folder NAME.

    \b
    Example:
      crowdstack new bird-photos
      crowdstack up bird-photos/task.yaml
    """
    folder = Path(name)
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", folder.name):
        raise UsageError(
            f"{folder.name!r} is not a task name", hint="use small letters, digits and hyphens, like bird-photos"
        )
    app = assets.folder("task_apps") / template
    files = {path.name: path.read_bytes() for path in sorted((app / "new").iterdir()) if path.is_file()}
    files["page.html"] = (app / "page.html").read_bytes()
    files["task.yaml"] = files["task.yaml"].replace(b"name: my-task", b"name: " + folder.name.encode())
    files["task.schema.json"] = (assets.folder("schemas") / "task.v1.json").read_bytes()
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{folder} is already there, and is left as it is", hint="choose another name") from None
    for file, content in files.items():
        (folder / file).write_bytes(content)
    out(f"wrote {folder}: {', '.join(sorted(files))}\nnext: crowdstack up {folder / 'task.yaml'}")


@click.command()
@spec_options
@output_option("text", "json")
def validate(spec: Path, overlays: Sequence[Path], sets: Sequence[str], form: str) -> int:
    """Check SPEC (default: task.yaml) and every file it names.

    \b
    Example:
      crowdstack validate task.yaml -f production.yaml --set target.repeats=5
    """
    try:
        found, items = _checked(spec, overlays, sets)
    except SpecError as fault:
        if form == "text":
            raise
        out(json.dumps({"valid": False, "problems": [_fields(problem) for problem in fault.problems]}, indent=2))
        return fault.exit_code
    units = items * found.target.repeats
    if form == "json":
        out(json.dumps({"valid": True, "task": found.name, "items": items, "units": units}, indent=2))
    else:
        out(f"{spec} is valid: task {found.name}, {items:,} items, {units:,} units")
    return 0


def _fields(problem: Problem) -> dict[str, str | None]:
    return {"where": problem.where, "path": problem.path, "message": problem.message, "hint": problem.hint}


def _checked(file: Path, overlays: Sequence[Path], sets: Sequence[str]) -> tuple[Spec, int]:
    """The spec and its number of items. SpecError with the faults of all the files together."""
    from crowdstack.spec import answers_schema, build_bundle, load_items, load_spec

    found = load_spec(file, overlays=overlays, sets=sets)
    problems: list[Problem] = []
    items = 0

    def count(spec: Spec) -> None:
        nonlocal items
        items = len(load_items(spec))

    checks: tuple[Callable[[Spec], object], ...] = (build_bundle, count, answers_schema)
    for check in checks:
        try:
            check(found)
        except SpecError as fault:
            problems += fault.problems
    if problems:
        raise SpecError(problems)
    return found, items


@click.command()
@click.option("-o", "--output", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
def schema(file: Path | None) -> None:
    """Print the JSON Schema of a spec, for editors.

    \b
    Example:
      crowdstack schema -o task.schema.json
      # then, in the first line of task.yaml:
      # yaml-language-server: $schema=task.schema.json
    """
    text = (assets.folder("schemas") / "task.v1.json").read_text(encoding="utf-8")
    if file is None:
        out(text.rstrip("\n"))
    else:
        file.write_text(text, encoding="utf-8")


@click.command()
@click.argument("path", required=False, default="")
@output_option("text", "json")
def explain(path: str, form: str) -> None:
    """Say what a field of a spec means, its default, and whether it can change later.

    \b
    Example:
      crowdstack explain task.reward
    """
    from dataclasses import asdict

    from crowdstack.spec.explain import explained, fields, text_of
    from crowdstack.spec.text import nearest

    found = explained(path)
    if not found:
        hint = nearest(path, {field.path for field in fields()})
        raise NotFound(f"a spec has no field {path}", hint=hint or "crowdstack explain")
    out(
        json.dumps([asdict(field) for field in found], indent=2, ensure_ascii=False)
        if form == "json"
        else text_of(path, found)
    )


COMMANDS = [new, validate, schema, explain]
