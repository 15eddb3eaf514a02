"""The contract of every provider's adapter, as `crowdstack.testing` offers it to other packages."""

from crowdstack.provider_contract import ANN, BOB, KEY, REWARD, ManagedProviderContract, ProviderContract, visit

__all__ = ["ANN", "BOB", "KEY", "REWARD", "ManagedProviderContract", "ProviderContract", "visit"]
