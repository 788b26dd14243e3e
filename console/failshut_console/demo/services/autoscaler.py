"""An autoscaler: it shows that it lives, and scales what its gate admits.

Its trouble: its heartbeat stops while it goes on scaling, as when a supervising thread has died.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from failshut_console.demo.names import SCALE
from failshut_console.demo.services.base import Service

NAME = "autoscaler"


class Autoscaler(Service):
    """Scales a fleet, many times a second."""

    def __init__(self) -> None:
        super().__init__(NAME, SCALE, "service:autoscaler", 25.0)

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        return [lambda: self.every(0.25, self._beat_if_well)]

    async def _beat_if_well(self) -> None:
        if not self.trouble:
            await self.beat()


if __name__ == "__main__":
    Autoscaler().main()
