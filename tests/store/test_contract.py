from __future__ import annotations

from tests.contracts.listing import ListingContract
from tests.contracts.store import StoreContract


class TestPeeweeStore(StoreContract):
    pass


class TestPeeweeStoreListing(ListingContract):
    pass
