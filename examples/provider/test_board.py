"""The board holds to what every provider must."""

from pathlib import Path

import pytest
from crowdstack_board import PLUGIN

from crowdstack.ports import Provider
from crowdstack.testing import ProviderContract, opening


class TestBoard(ProviderContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> Provider:
        return PLUGIN.open(opening(tmp_path, {"room": "B12"}))
