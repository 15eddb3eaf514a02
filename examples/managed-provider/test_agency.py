"""The agency holds to what every provider must, and to what those must that tell who came."""

from collections.abc import Iterator
from pathlib import Path

import agency
import pytest
from crowdstack_agency import PLUGIN, Agency

from crowdstack.model import VisitId, WorkerId, visit_of
from crowdstack.provider_contract import KEY
from crowdstack.testing import ManagedProviderContract, opening


class TestAgency(ManagedProviderContract):
    @pytest.fixture
    def provider(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agency]:
        with agency.played(agency.Agency(), "t0ken") as address:
            monkeypatch.setenv("AGENCY_URL", address)
            monkeypatch.setenv("AGENCY_TOKEN", "t0ken")
            adapter = PLUGIN.open(opening(tmp_path, {}))
            yield adapter
            adapter.close()

    def came(self, provider: Agency, number: int, worker: WorkerId) -> tuple[VisitId, str | None]:
        """A person takes a seat, works and hands in."""
        shift = provider._ask("POST", f"/jobs/{provider._known(KEY)['id']}/shifts", person=worker)["id"]
        provider._ask("POST", f"/shifts/{shift}/end", code="SHIFT-DONE")
        return visit_of(KEY, worker, shift), shift
