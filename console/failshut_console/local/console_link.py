"""A link into the console that signs in once, printed when a local gateway answers, and again whenever it has started anew.

A key for one sign-in counts only at a gateway that ran when the key was made. So it is made once the gateway answers.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

from failshut_console.exits import Trouble
from failshut_console.local.stack import Child
from failshut_console.local.state import State, who

HOURS = 8


def gateway_installed() -> bool:
    """Return whether what a gateway needs is installed (the extra `gateway`)."""
    return all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn"))


class NoLink:
    """What stands in its place where no gateway runs."""

    def look(self) -> None:
        """Look at nothing."""


class ConsoleLink(NoLink):
    """Says the link, one `look` at a time; it waits for an answer of this machine, a second at most.

    Args:
        gateway: the process that serves the console.
        port: where it listens, on 127.0.0.1.
        state: the folder with the access keys.
        say: told the link, for a person.
    """

    def __init__(self, gateway: Child, port: int, state: State, say: Callable[[str], None]) -> None:
        self._gateway, self._port, self._state, self._say = gateway, port, state, say
        self._told_of = 0  # the process that the last link was for

    def look(self) -> None:
        """Print a link if the gateway has begun to answer. What fails is said, and changes no gate."""
        try:
            pid = self._gateway.pid
        except RuntimeError:
            return  # it does not run: whoever looks after it says so
        if pid == self._told_of or not self._gateway.ready():
            return
        self._told_of = pid
        try:
            self._say(f"console: {self.link()}   (signs in once, as an operator, for {HOURS} hours)")
        except (OSError, ValueError) as error:
            why = Trouble(
                f"no key for the console could be made: {error}",
                "gates decide as before",
                f"failshut access create --once --role operator --gates '*' --expires {HOURS}h --state {self._state.folder}",
            )
            self._say("\n".join(why.lines()))

    def link(self) -> str:
        """Make a key for one sign-in, and return the link with it. Raises OSError or ValueError: no file of keys."""
        from failshut_gateway.access import access_file

        now_ms = int(time.time() * 1000)
        ends_ms = now_ms + HOURS * 3_600_000
        path = self._state.folder / "access.json"
        _, key = access_file.create(
            path, now_ms, role="operator", subjects=[], gates=["*"], expires_ms=ends_ms, note=who(), once=True
        )
        return f"http://127.0.0.1:{self._port}/console/once/{key}"
