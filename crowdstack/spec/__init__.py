"""The spec: one YAML file -> values, items and the task app's bundle. Every fault with file, line and column."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from crowdstack.spec.answers import answers_schema
from crowdstack.spec.bundle import Bundle, build_bundle
from crowdstack.spec.change import Edits, held, kept
from crowdstack.spec.check import checked
from crowdstack.spec.data import load_items
from crowdstack.spec.load import Variables, load
from crowdstack.spec.models import Spec
from crowdstack.spec.panels import notes_of

__all__ = [
    "Bundle",
    "Edits",
    "Spec",
    "answers_schema",
    "build_bundle",
    "held",
    "kept",
    "load_items",
    "load_spec",
    "notes_of",
]


def load_spec(
    path: Path, *, overlays: Sequence[Path] = (), sets: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Spec:
    """The spec at `path`, with overlays merged over it and `a.b=value` settings laid on top.

    SpecError holds every fault found; NotFound when there is no such file. The files it names are looked at by
    `load_items`, `answers_schema` and `build_bundle`.
    """
    return checked(load(path, overlays, sets, Variables(environ)))
