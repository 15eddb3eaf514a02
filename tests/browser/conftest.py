"""Real Chromium in front of a real task server: a process of its own, so that a test may kill it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.running import Running

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")  # while it is there, Playwright's own loop runs in this thread, and no other may
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium (Debian package chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install 'crowdstack[browser]')")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    """One worker's browser: what it keeps is gone afterwards. A page may have no fault that nobody caught."""
    faults: list[str] = []
    context = chromium.new_context()
    context.set_default_timeout(10_000)
    context.on("weberror", lambda fault: faults.append(str(fault.error)))
    context.on("dialog", lambda dialog: dialog.accept())  # "leave the page?" while an answer is under way
    yield context
    context.close()
    assert faults == []


@pytest.fixture
def page(context: Any) -> Any:
    return context.new_page()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts task servers: `running(page, rows, **settings)`."""
    started: list[Running] = []

    def start(page: str | Path, rows: list[dict[str, Any]], **settings: Any) -> Running:
        one = Running(tmp_path / f"server-{len(started)}", page, rows, **settings)
        started.append(one)
        return one

    yield start
    for one in started:
        one.close()
