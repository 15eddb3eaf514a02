"""A copy of the package with one line broken on purpose: what a story must notice.

The place is found by its exact text, so a mutation that no longer applies is an error, never a pass.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def mutated(to: Path, file: str, old: str, new: str) -> Path:
    """A checkout under `to` in which `old` (once in `file`) reads `new`; give it to `Stage(code=...)`."""
    for name in ("crowdstack", "schemas", "stacks", "task_apps", "examples"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".crowdstack", "node_modules"))
    shutil.copy(ROOT / "pyproject.toml", to / "pyproject.toml")
    path = to / file
    text = path.read_text()
    assert text.count(old) == 1, f"{file} holds the line to break {text.count(old)} times: mend the mutation"
    path.write_text(text.replace(old, new))
    return to
