"""What every test may use: sizes (reduced, or full with CROWDSTACK_SOAK=1), and skips that say what would bring the tool."""

from __future__ import annotations

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the full-size tests too")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--soak"):
        os.environ["CROWDSTACK_SOAK"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("CROWDSTACK_SOAK") == "1":
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
