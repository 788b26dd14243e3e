"""Fixtures of the command line's tests."""

from console.console_support import failshut

__all__ = ["failshut"]
