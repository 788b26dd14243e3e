"""Fixtures that the tests of the ledger share with those of the command line."""

from console.console_support import failshut

__all__ = ["failshut"]
