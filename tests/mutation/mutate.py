"""A copy of the package with a line broken on purpose: what a story must notice.

The place is found by its exact text, so a mutation that no longer applies is an error, never a pass.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Put into each copy as crowdstack/_fault.py: dies once, at the worst moment, as SIGKILL would have it.
_FAULT = '''
import os, pathlib, signal, time
_calls = {}

def die(name, at):
    """SIGKILL this process at the `at`-th call, once in the life of the folder it runs in."""
    _calls[name] = _calls.get(name, 0) + 1
    died = pathlib.Path(f"died-{name}")
    if _calls[name] == at and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)

def slowly(act, name, at, counts):
    """`act`, as on a slow disk, when the process dies under it at the `at`-th call that counts."""
    if counts:
        if _calls.get(name, 0) + 1 == at and not pathlib.Path(f"died-{name}").exists():
            time.sleep(0.3)
        die(name, at)
    return act()
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    file: str
    old: str
    new: str


def mutated(to: Path, *mutations: Mutation) -> Path:
    """A checkout under `to` in which each `old` (once in its file) reads `new`; give it to `Stage(code=...)`."""
    for name in ("crowdstack", "schemas", "stacks", "task_apps", "examples"):
        ignored = shutil.ignore_patterns("__pycache__", ".crowdstack", "node_modules")
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", to / "pyproject.toml")
    (to / "crowdstack" / "_fault.py").write_text(_FAULT)
    for mutation in mutations:
        path = to / mutation.file
        text = path.read_text()
        found = text.count(mutation.old)
        assert found == 1, f"{mutation.file} holds the line to break {found} times: mend the mutation"
        path.write_text(text.replace(mutation.old, mutation.new))
    return to
