"""A small task on disk, valid unless a test changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from crowdstack.errors import SpecError
from crowdstack.spec import Spec, load_spec

TASK = """\
apiVersion: crowdstack/v1
kind: Task
metadata: {name: birds}
task:
  title: Which bird is it?
  app: {html: page.html, uses: [text]}
  data: {file: items.csv, id: id}
provider: {type: mock}
"""
PAGE = '<script src="/client.js"></script>'


def task(folder: Path, *changes: tuple[str, str], **files: str | bytes) -> Path:
    """Write the task into `folder`; `changes` replace text of its spec, `files` (a__b for a.b) lie beside it."""
    text = TASK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    for name, content in {"page__html": PAGE, "items__csv": "id,text\n1,A robin.\n2,A wren.\n", **files}.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(raw)
    (folder / "task.yaml").write_text(text)
    return folder / "task.yaml"


def spec(
    folder: Path,
    *changes: tuple[str, str],
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    **files: str | bytes,
) -> Spec:
    return load_spec(task(folder, *changes, **files), sets=sets, environ=environ or {})


def problems(raised: pytest.ExceptionInfo[SpecError]) -> list[str]:
    """What was told, the folder left out."""
    return [f"{problem.where.rpartition('/')[2]} {problem.message}" for problem in raised.value.problems]
