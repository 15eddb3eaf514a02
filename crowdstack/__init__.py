"""crowdstack: collect data from people as infrastructure as code. Importing it does nothing."""

__version__ = "0.1.0"
