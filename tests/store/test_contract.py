from __future__ import annotations

from tests.contracts.store import StoreContract


class TestPeeweeStore(StoreContract):
    pass
