from __future__ import annotations

from pathlib import Path

from crowdstack.cli.main import EXIT_CODES, HOMES
from crowdstack.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_what_the_commands_say() -> None:
    assert reference() == PAGE.read_text(), "run: python -m crowdstack.cli.reference > docs/cli.md"


def test_the_page_tells_every_command_and_exit_code() -> None:
    text = PAGE.read_text()
    assert all(f"## crowdstack {name}" in text for name in HOMES if name != "reconcile")
    assert all(f"| {code} |" in text for code in EXIT_CODES)
