from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.providers.prolific.service import Service, a_service


@pytest.fixture
def service() -> Iterator[Service]:
    with a_service() as it:
        yield it
