"""An agent that pays refunds: it proposes amounts, reports them to the monitor, and pays only what its gate admits.

Its trouble: the amounts that it proposes double, as if somebody had found a way to talk it into more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from failshut import telemetry
from failshut_console.demo.names import REFUND
from failshut_console.demo.services.base import Service

NAME = "refund-agent"
PER_SECOND = 50.0
NORMAL_EUR, TROUBLE_EUR, SPREAD_EUR = 48.0, 97.0, 8.0
FEE_CAP_EUR = 60.0


class RefundAgent(Service):
    """Proposes refunds of about 48 EUR; in trouble of about 97 EUR."""

    def __init__(self) -> None:
        super().__init__(NAME, REFUND, "agent:refund-7", PER_SECOND / 2)
        self._random = random.Random(20260101)

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        return [lambda: self.every(0.5, self.beat), lambda: self.every(1 / PER_SECOND, self._propose)]

    async def _propose(self) -> None:
        amount = self._random.gauss(TROUBLE_EUR if self.trouble else NORMAL_EUR, SPREAD_EUR)
        fee = self._random.gauss(1.0 + 0.02 * min(amount, FEE_CAP_EUR), 0.05)
        samples = [("amount_eur", round(max(1.0, amount), 2)), ("fee_eur", round(fee, 3))]
        message = telemetry.joined(telemetry.sample(NAME, metric, value) for metric, value in samples)
        await self.send(message, telemetry.key(NAME, "amount_eur"))

    async def execute(self) -> None:
        await asyncio.sleep(0.003)  # pay


if __name__ == "__main__":
    RefundAgent().main()
