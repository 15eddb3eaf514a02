from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdstack.store.store import PeeweeStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PeeweeStore]:
    opened = PeeweeStore(tmp_path / "state" / "store.db")
    yield opened
    opened.close()
