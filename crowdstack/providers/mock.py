"""The mock provider: a crowd without a company behind it, and a pretended wallet. A feature that users run, and the judge of
our own ledger."""

from __future__ import annotations

from crowdstack.providers.books import Books


class MockProvider(Books):
    """ports.Provider of simulated and invited workers."""
