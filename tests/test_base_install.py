"""The base install is Python and a few light packages: nothing else is imported, nothing heavy is declared."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {
    "crowdstack/testing.py": {"pytest"},
    "crowdstack/provider_contract.py": {"pytest"},
}  # modules that only an author's own tests import


def declared(root: Path) -> set[str]:
    """Names of the base dependencies in pyproject.toml."""
    text = (root / "pyproject.toml").read_text()
    block = text[text.index("\ndependencies = [") : text.index("]\n", text.index("\ndependencies = ["))]
    return {re.match(r"[A-Za-z0-9_-]+", line)[0].lower() for line in re.findall(r'"([^"]+)"', block)}  # type: ignore[index]


def undeclared(root: Path) -> set[str]:
    """Top-level modules that the package imports and the base install would not have."""
    brings = packages_distributions()
    named = {module: {name.lower().replace("_", "-") for name in names} for module, names in brings.items()}
    known = {module for module, names in named.items() if names & declared(root)}
    # What these bring along and we use by name: protobuf and grpc are Pulumi's wire, the others belong to their parents.
    known |= {"google", "grpc", "referencing", "pydantic_core"}
    found = set()
    for path in [*(root / "crowdstack").rglob("*.py"), *(root / "stacks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            allowed = EXTRAS.get(str(path.relative_to(root)), set())
            found |= {name.partition(".")[0] for name in names} - allowed
    return found - known - set(sys.stdlib_module_names) - {"crowdstack"}


def test_the_package_imports_only_what_the_base_install_brings() -> None:
    assert undeclared(ROOT) == set()


def test_direct_base_dependencies_are_few() -> None:
    assert len(declared(ROOT)) <= 14
