"""Asks routers to tell again what did not count.

While a router read a policy differently, its runs did not count for that gate, and nobody else wrote them. When a
router that agrees has taken over, its first run for the gate does not join: the evidence between is owed. A governor
cannot reach the router, which may run anywhere, so its worker writes to control where the router should go back to.
Routers read control whole; the one that has the partition goes back. Evidence that is written twice counts once.

Bounds: a place is requested after it has been owed for a while, then less and less often, and not for ever. Evidence
that the front door no longer holds cannot be written again, and an operator signs for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer

from failshut.signing import KeySet, SigningKey, TokenError, read_token
from failshut_streams.sources.marks import wall_ms
from failshut_streams.transport import Record

logger = logging.getLogger(__name__)

TYP_RETELL: Final = "failshut-retell+jwt"
KEY_PREFIX: Final = b"retell/"
"""One key for each front-door partition below this: compaction keeps the newest alone."""

BYTES_MAX: Final = 4_096
FIRST_SECONDS: Final = 2.0
AGAIN_SECONDS: Final = (5.0, 300.0)
ASKED_MAX: Final = 8
EVERY_SECONDS: Final = 1.0
VALID_MS: Final = 60_000
"""So far may a request's time and its place in the log be apart."""

Place = tuple[str, int]


class Retell(NamedTuple):
    """A front-door partition, by role, and the offset from which it should be told again."""

    topic: str
    partition: int
    position: int


def is_retell(record: Record) -> bool:
    """Return whether a record of control has the key of a request to tell again."""
    return record.key is not None and record.key.startswith(KEY_PREFIX)


def encode_retell(signing_key: SigningKey, retell: Retell, evidence_id: str, asked_ms: int) -> tuple[bytes, bytes]:
    """Return key and value of a request, for one evidence topic and no other."""
    key = KEY_PREFIX + f"{retell.topic}/{retell.partition}".encode()
    claims = {"evidence_id": evidence_id, **retell._asdict(), "asked_ms": asked_ms}
    return key, signing_key.sign(claims, TYP_RETELL).encode()


class Asked:
    """Requests as one router meets them: each counts once, and soon after it was asked, so that a copy moves nobody."""

    def __init__(self, evidence_id: str) -> None:
        self._evidence_id = evidence_id
        self._newest_ms: dict[Place, int] = {}  # by partitions that exist: only the monitor's key names any

    def take(self, record: Record, monitor: KeySet | None) -> list[Retell]:
        """Return the request in a record that counts, or nothing: what the monitor's key has not signed asks for nothing."""
        if monitor is None:
            return []
        try:
            _, claims = read_token(record.value or b"", monitor, TYP_RETELL, bytes_max=BYTES_MAX)
        except TokenError:
            return []
        topic, partition, position = (claims.get(name) for name in Retell._fields)
        asked_ms = claims.get("asked_ms")
        if claims.get("evidence_id") != self._evidence_id or not isinstance(topic, str) or type(asked_ms) is not int:
            return []
        if type(partition) is not int or type(position) is not int or position < 0:
            return []
        place = (topic, partition)
        if asked_ms <= self._newest_ms.get(place, 0) or abs(record.timestamp_ms - asked_ms) > VALID_MS:
            return []
        self._newest_ms[place] = asked_ms
        return [Retell(topic, partition, position)]


@dataclass
class _Owed:
    position: int
    next_s: float
    wait_s: float = AGAIN_SECONDS[0]
    asked: int = 0


class Retelling:
    """Asks for what the governors of one worker are owed."""

    def __init__(self, signing_key: SigningKey, topic: str, evidence_id: str, owed: Callable[[], Mapping[Place, int]]) -> None:
        self._signing_key = signing_key
        self._topic = topic
        self._evidence_id = evidence_id
        self._read_owed = owed
        self._owed: dict[Place, _Owed] = {}

    async def ask_regularly(self, producer: AIOKafkaProducer) -> None:
        """Ask for as long as the worker lives."""
        while True:
            for retell in self.due(time.monotonic()):
                key, value = encode_retell(self._signing_key, retell, self._evidence_id, wall_ms())
                await producer.send_and_wait(self._topic, value, key, partition=0)
            await asyncio.sleep(EVERY_SECONDS)

    def due(self, now_s: float) -> list[Retell]:
        """Return what to ask for now."""
        owed = self._read_owed()
        self._owed = {place: known for place, known in self._owed.items() if owed.get(place) == known.position}
        due: list[Retell] = []
        for place, position in sorted(owed.items()):
            known = self._owed.setdefault(place, _Owed(position, now_s + FIRST_SECONDS))
            if now_s < known.next_s or known.asked > ASKED_MAX:
                continue
            known.asked += 1
            known.next_s, known.wait_s = now_s + known.wait_s, min(2 * known.wait_s, AGAIN_SECONDS[1])
            words: tuple[Any, ...] = (*place, position)
            if known.asked > ASKED_MAX:
                logger.error("%s/%d is owed from offset %d on and is told by nobody: an operator must sign for it", *words)
                continue
            logger.warning("asking for %s/%d from offset %d on once more: it did not count for some gate", *words)
            due.append(Retell(*place, position))
        return due
