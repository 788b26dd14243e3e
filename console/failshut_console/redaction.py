"""What the command line says of arguments that it could not read, without the login that may be in one.

Click quotes what it does not understand: an address that was given as a gate's name, or behind a mistyped option.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from typer.core import TyperGroup


class RedactingGroup(TyperGroup):
    """A group of commands whose usage errors quote no login."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read this group's own arguments."""
        try:
            return super().make_context(*arguments, **options)
        except Exception as error:
            _clean(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Read a command's arguments, and run it."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            _clean(error)
            raise


def _clean(error: Exception) -> None:
    """Take logins out of a usage error's text; other errors are not Click's."""
    message = getattr(error, "message", None)
    said = [value for name, value in os.environ.items() if name.startswith("FAILSHUT_")]
    words = [*(part for word in sys.argv[1:] for part in (word, word.partition("=")[2]) if part), *said]
    if words and isinstance(message, str) and hasattr(error, "exit_code"):
        from failshut.network.address import hide  # costs half a second, and a command that is understood has nothing to hide

        error.message = hide(message, words)  # type: ignore[attr-defined]
