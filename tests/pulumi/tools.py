"""What the tests of the real engine need of this machine: the CLI, and a PATH with the plugins it may find."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VERSION = re.search(r"^require github.com/pulumi/pulumi/pkg/v3 v(\S+)$", (HERE / "cli/go.mod").read_text(), re.M)[1]  # type: ignore[index]


def pulumi_cli() -> Path:
    """The CLI on PATH, else the one that `.ci/pulumi` built; without either the test is skipped."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"crowdstack/pulumi-{VERSION}/pulumi"
    if found := shutil.which("pulumi"):
        return Path(found)
    if cache.exists():
        return cache
    pytest.skip("needs the Pulumi CLI (run .ci/pulumi)")


def path_with(*folders: Path) -> str:
    """A PATH that begins with these, and holds the CLI and what a system has."""
    return os.pathsep.join([*map(str, folders), str(pulumi_cli().parent), "/usr/local/bin", "/usr/bin", "/bin"])


def script(path: Path, code: str) -> Path:
    """An executable in Python that sees crowdstack and its tests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(ROOT)!r}]\n{code}")
    path.chmod(0o755)
    return path
