"""Finds the data folders: schemas/, stacks/, task_apps/, examples/.

In a checkout they lie beside the package, in a wheel inside it (`_data`). An editable install goes by the checkout: a
`_data` that an earlier build left behind is never read.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str, package: Path = _PACKAGE) -> Path:
    """The folder `name` ("schemas", "stacks", "task_apps", "examples") that belongs to this copy of the package."""
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "schemas").is_dir():
        return checkout / name
    return package / "_data" / name
