from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.engine.conformance.suite")

from tests.engine.conformance.real import Site  # noqa: E402


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("pulumi"))
