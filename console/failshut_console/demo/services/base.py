"""What the three services have in common: telemetry out, a guard before each execution, and a line to the conductor.

A service asks its gate many times a second and reports every answer with its time. So the demonstration can say when
the gate closed, as this process saw it, and whether anything was admitted after the bound. Times are CLOCK_MONOTONIC,
which processes of one machine share. If the conductor goes away the service ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer

from failshut import Gate, Withheld, configure, telemetry
from failshut_console.demo.names import CONTEXT, TELEMETRY

REPORT_SECONDS = 0.1
REPORT_MAX = 2_000
"""Answers of the guard that wait for the next report; more are not dropped but end the service: a report must be whole."""


class Service:
    """One service: a producer of telemetry, and a loop that executes behind a gate.

    Args:
        name: as telemetry and the conductor know it.
        gate: the gate's name.
        subject: who executes.
        per_second: how many executions it tries.
    """

    def __init__(self, name: str, gate: str, subject: str, per_second: float) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its broker is away at the end of every demonstration
        self.name = name
        self.subject = subject
        self.options = _options(name)
        self.per_second = per_second
        self.trouble = False
        configure(store_url=self.options.store, jwks=self.options.jwks, context=CONTEXT)
        self.gate = Gate(gate)
        self._admitted: deque[tuple[float, str, int]] = deque()
        self._denied: deque[tuple[float, str]] = deque()
        self._because = ""
        self._producer: AIOKafkaProducer | None = None

    @property
    def bootstrap(self) -> str:
        """Kafka's host:port."""
        return str(self.options.broker).removeprefix("kafka://")

    async def execute(self) -> None:
        """Do what the gate guards: a few milliseconds of pretended work. Subclasses say what it is."""
        await asyncio.sleep(0.002)

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what runs beside the executions."""
        return []

    async def on_trouble(self, on: bool) -> None:
        """Begin or end this service's own trouble."""
        self.trouble = on

    # --- telemetry ---

    async def send(self, message: bytes, key: bytes | None = None, topic: str = "") -> None:
        """Put one telemetry message on its topic; wait until the broker has it."""
        if self._producer is None:
            raise RuntimeError("the service has not started")
        await self._producer.send_and_wait(topic or str(self.options.prefix) + TELEMETRY, message, key=key)

    async def beat(self) -> None:
        """Send one sign of life."""
        await self.send(telemetry.heartbeat(self.name), telemetry.key(self.name, "heartbeat"))

    async def every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        """Act again and again, at a steady rate."""
        due = time.monotonic()
        while True:
            await act()
            due = max(due + seconds, time.monotonic() - seconds)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    # --- running ---

    def main(self) -> None:
        """Run until the conductor goes away or the process is told to end."""
        try:
            asyncio.run(self._run())
        except (KeyboardInterrupt, ConnectionError):
            return

    async def _run(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.options.conductor))
        self._producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=2)
        await self._producer.start()
        work = [
            self._listen(reader, writer),
            self._report(writer),
            self.every(1 / self.per_second, self._attempt),
            *(task() for task in self.tasks()),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for task in work:
                    group.create_task(_whole(task))
        except* ConnectionError:
            pass  # the conductor has gone: so does this service
        finally:
            await self._producer.stop()
            writer.close()

    async def _attempt(self) -> None:
        """Start one execution, if the guard admits it."""
        try:
            async with self.gate.execution(subject=self.subject) as execution:
                self._admitted.append((time.monotonic(), execution.permit.mode, execution.evidence_ms))
                await self.execute()
        except Withheld as withheld:
            self._denied.append((time.monotonic(), withheld.cause.value))
            self._because = withheld.because
        if len(self._admitted) + len(self._denied) > REPORT_MAX:
            raise RuntimeError("the conductor does not read")

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            order = json.loads(line)
            await self.on_trouble(bool(order["on"]))
            self._write(writer, {"did": order["id"], "at": time.monotonic()})
        raise ConnectionResetError("the conductor has gone")

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        while True:
            # Denials after admissions: one cut through both, taken without an await in between.
            admitted, denied = list(self._admitted), list(self._denied)
            self._admitted.clear()
            self._denied.clear()
            self._write(
                writer,
                {"service": self.name, "gate": self.gate.name, "a": admitted, "d": denied, "because": self._because},
            )
            await writer.drain()
            await asyncio.sleep(REPORT_SECONDS)

    @staticmethod
    def _write(writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
        writer.write(json.dumps(said).encode() + b"\n")


async def _whole(work: Awaitable[None]) -> None:
    await work


def _options(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=name, description=f"The demonstration's {name}.")
    for option in ("broker", "store", "jwks", "conductor"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--prefix", default="")
    return parser.parse_args()
