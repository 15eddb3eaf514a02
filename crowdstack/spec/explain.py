"""Explain: what a spec may say, in words, from schemas/task.v1.json. For `crowdstack explain` and docs/spec.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crowdstack import assets

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}
CHANGES = {"in place": "in place, also while the task runs", "next run": "with the next run", "never": "never"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a spec. `branch`: the `type` (or kind) of the union's branches that have it; None where all have it."""

    path: str
    branch: str | None
    required: bool
    type: str
    meaning: str
    default: str | None
    example: str | None
    change: str
    fixed_by: tuple[str, ...] = ()  # providers with which it waits for the next run, whatever `change` says

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]


def fields() -> list[Field]:
    """All fields, each before those inside it. What several branches of a union have in common is told once."""
    schema = task_schema()
    found: dict[Field, dict[str, None]] = {}  # the field without its branch -> its branches
    kinds: dict[Field, Mapping[str, None]] = {}
    for field, branch, siblings in _below(schema, schema["$defs"], "", None, {}, ()):
        found.setdefault(field, {}).update({} if branch is None else {branch: None})
        kinds[field] = siblings
    return [
        replace(field, branch=None if len(branches) == len(kinds[field]) else ", ".join(branches))
        for field, branches in found.items()
    ]


def task_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((assets.folder("schemas") / "task.v1.json").read_bytes())
    return schema


_Model = Mapping[str, Any]


def _below(
    model: _Model,
    models: Mapping[str, _Model],
    prefix: str,
    branch: str | None,
    siblings: Mapping[str, None],
    above: tuple[_Model, ...],
) -> Iterator[tuple[Field, str | None, Mapping[str, None]]]:
    """Fields, each with the branch it belongs to and all branches of that union."""
    for name, about in model["properties"].items():
        path = prefix + name
        if "const" in about and "description" not in about:  # what chooses a branch is explained by the branch
            about = {"description": model["description"], "x-change": "next run", **about}
        field = Field(
            path=path,
            branch=None,
            required=name in model.get("required", ()),
            type=_type(about, models),
            meaning=about["description"],
            default=_shown(about["default"]) if about.get("default") not in (None, {}, [], "") else None,
            example=_shown(about["examples"][0]) if "examples" in about else None,
            change=CHANGES[about["x-change"]],
            fixed_by=tuple(about.get("x-fixed-by", ())),
        )
        yield field, branch, siblings
        inside = _models(about, models)
        if any(below in (*above, model) for below in inside):  # filters of filters: told once
            continue
        own = {kind: None for below in inside if (kind := _kind(below))}
        for below in inside:
            named, others = (_kind(below), own) if own else (branch, siblings)
            yield from _below(below, models, f"{path}.", named, others, (*above, model))


def _kind(model: _Model) -> str | None:
    """What a branch of a union is called."""
    kind: str | None = model["properties"].get("type", {}).get("const") or model.get("x-branch")
    return kind


def _models(about: _Model, models: Mapping[str, _Model]) -> list[_Model]:
    """The mappings that may stand there, also as entries of a list."""
    parts = [about, *about.get("anyOf", ()), *about.get("oneOf", ())]
    found = [models[part["$ref"].rpartition("/")[2]] for part in parts if "$ref" in part]
    return found + (_models(about["items"], models) if "items" in about else [])


def _type(about: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    parts = [part for part in about.get("anyOf", about.get("oneOf", ())) if part.get("type") != "null"]
    if parts:
        return " or ".join(dict.fromkeys(_type(part, models) for part in parts))
    if "const" in about:
        return f"`{about['const']}`"
    if "enum" in about:
        return " or ".join(f"`{word}`" for word in about["enum"])
    if "x-expected" in about:
        return str(about["x-expected"])
    if about.get("type") == "array":
        return f"list of {_type(about['items'], models).removeprefix('a ')}"
    word = _WORDS[about.get("type", "object")]
    least, most = about.get("minimum"), about.get("maximum")
    if least is None:
        return word
    return f"{word}, {least} to {most:,}" if most is not None else f"{word}, {least} or more"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def explained(path: str) -> list[Field]:
    """The fields at `path` (in each branch of a union that has one) and those right inside; the top ones for ""."""
    return [field for field in fields() if field.path == path or field.parent == path]


def text_of(path: str, found: Sequence[Field]) -> str:
    """What `crowdstack explain PATH` prints."""
    lines: list[str] = []
    for field in found:
        if field.path == path:
            lines += [f"{field.path}{_branch(field)}: {field.type}", f"  {field.meaning}"]
            needed = "required" if field.required else field.default or "nothing"
            lines += [f"  default: {needed}"] + ([f"  example: {field.example}"] if field.example else [])
            fixed = f"; with {' and '.join(field.fixed_by)} with the next run" if field.fixed_by else ""
            lines += [f"  can change: {field.change}{fixed}", ""]
    inside = [field for field in found if field.path != path]
    width = max((len(field.path + _branch(field)) for field in inside), default=0)
    for field in inside:
        star = "*" if field.required else " "
        lines.append(f"{star} {field.path + _branch(field):<{width}}  {field.meaning}")
    if any(field.required for field in inside):
        lines += ["", "* required"]
    return "\n".join(lines).rstrip()


def _branch(field: Field) -> str:
    return f" ({field.branch})" if field.branch else ""


def page() -> str:
    """docs/spec.md."""
    lines = [
        "# Spec reference",
        "",
        "Written by `python -m crowdstack.spec`; do not edit. `crowdstack explain PATH` prints the same.",
        "",
        "A spec is YAML 1.2 (or JSON): `NO` is text, `012` is 12. Tags, duplicate keys and unknown keys are errors. Paths",
        "start at the spec's folder and cannot leave it. `-f overlay.yaml` merges another file over it, mapping by mapping",
        "(a mapping whose `type` changes is replaced); `--set target.repeats=3` sets one field.",
        "",
        "`${NAME}` stands for the environment variable `CROWDSTACK_VAR_NAME`, or for `NAME` if the operator lists it in",
        "`CROWDSTACK_ALLOW_VARS` (`A,B`). It is put in as one scalar; write `$${` for a plain `${`. Names of credentials",
        "(`AWS_…`, `…TOKEN…`, `…SECRET…`, `…PASSWORD…`, `…_KEY`) are always refused.",
        "",
        "Data: items are named by the `id` column, or by a hash of what workers see. A row holds at most 256 KiB. Columns",
        "that `uses` does not name stay on your machine.",
        "",
        "Answers: JSON Schema 2020-12 whose references stay inside it. Patterns are tried on at most 4,096 characters, and",
        "those that could take long are refused: no repeat inside a repeat, and `maxLength` where several repeats follow.",
        "",
        "| field | type | default | meaning | can change |",
        "| --- | --- | --- | --- | --- |",
    ]
    for field in fields():
        default = "**required**" if field.required else f"`{field.default}`" if field.default else ""
        example = f" Like `{field.example}`." if field.example else ""
        branch = f" ({field.branch})" if field.branch else ""
        cells = (
            f"`{field.path}`{branch}",
            field.type,
            default,
            field.meaning + example,
            field.change + (f" ({', '.join(field.fixed_by)}: with the next run)" if field.fixed_by else ""),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
