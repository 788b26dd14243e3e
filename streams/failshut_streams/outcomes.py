"""Outcomes of guards, on their way from the store into telemetry.

Guards know the store alone: they append how executions ended to a capped stream there. The workers share that stream as a
consumer group; an entry is written to telemetry first, and acknowledged and deleted in the store only when Kafka has it. What a
worker took and did not finish is taken over by another after `CLAIM_AFTER_MS`.

A store that is down, flushed or restarted empty costs what it held and nothing else: the group is made anew. An entry that
is no outcome is counted, logged and deleted. Limits: an entry may reach telemetry twice (a worker dies between the two
acknowledgements); entries that the cap removed before they were read are gone without a trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import redis.asyncio as redis
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError, ResponseError

from failshut import keys
from failshut_breakers.store_connection import connect
from failshut_streams.background import Background
from failshut_streams.codecs.wire import OutcomeWire

GROUP: Final = "failshut-outcomes"
BATCH_MAX: Final = 500
BLOCK_MS: Final = 500
CLAIM_AFTER_MS: Final = 30_000
"""An entry that its worker has had for so long is taken over."""
FORGET_AFTER_MS: Final = 3_600_000
"""A consumer that has nothing and asked for nothing for so long is struck from the group."""

_STORE_SECONDS_MAX = 5.0
_KAFKA_SECONDS_MAX = 30.0
_WAIT_SECONDS = (0.1, 2.0)

Entry = tuple[bytes, Mapping[bytes, bytes] | None]

log = logging.getLogger(__name__)


class BadOutcome(ValueError):
    """An entry of the stream that is no outcome."""


def telemetry_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return key (the gate) and value (native JSON) of the telemetry record for an entry of the stream.

    Raises:
        BadOutcome: the entry is none, or not one that the decoder of telemetry would take.
    """
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        gate = keys.check_gate(text["gate"])
        outcome: dict[str, object] = {
            "kind": "outcome",
            "gate": gate,
            "epoch": text["epoch"],
            "token": text.get("token", ""),
            "outcome": text["outcome"],
            "count": _count(text["count"]),
            "id": entry_id.decode(),
            "lost": _count(text.get("lost", "0")),
        }
        if instance := text.get("instance", ""):
            outcome["instance"] = instance
        msgspec.convert(outcome, OutcomeWire)
    except KeyError as error:
        raise BadOutcome(f"no {error}") from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadOutcome(str(error)) from error
    return gate.encode(), msgspec.json.encode(outcome)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise BadOutcome(f"not a count: {text[:20]!r}")
    return int(text)


def _ignore(what: str, count: int) -> None:
    """Nobody listens."""


class OutcomeMover(Background):
    """Moves outcomes until it is stopped. One per worker; `worker` is its name in the group, another for each worker.

    `moved` and `malformed` count entries. `on_count` is told of them as "moved", "malformed", "store_unreachable",
    "broker_unreachable" and "unexpected".
    """

    NAME = "outcomes"

    def __init__(
        self,
        store_url: str,
        producer: AIOKafkaProducer,
        topic: str,
        worker: str,
        *,
        claim_after_ms: int = CLAIM_AFTER_MS,
        on_count: Callable[[str, int], None] = _ignore,
    ) -> None:
        super().__init__()
        self._redis: redis.Redis = connect(store_url, _STORE_SECONDS_MAX, connections_max=4)
        self._producer = producer
        self._topic = topic
        self._worker = worker
        self._claim_after_ms = claim_after_ms
        self._on_count = on_count
        self._grouped = False
        self._unfinished = True  # what this worker's name still has in the group is read first
        self._claim_at_s = 0.0
        self._well = True
        self.moved = 0
        self.malformed = 0

    async def _release(self) -> None:
        await self._redis.aclose()

    async def _run(self) -> None:
        wait_s = _WAIT_SECONDS[0]
        while not self._stopping:
            try:
                await self.move_once()
            except (RedisError, OSError) as error:
                self._trouble("store_unreachable", error)
            except (KafkaError, TimeoutError) as error:
                self._trouble("broker_unreachable", error)
            except Exception as error:  # noqa: BLE001  # a mover that ended in silence would hide failures from every gate
                self._trouble("unexpected", error)
            else:
                wait_s = _WAIT_SECONDS[0]
                if not self._well:
                    self._well = True
                    log.info("outcomes are moved again")
                continue
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _WAIT_SECONDS[1])

    async def move_once(self) -> int:
        """Move one batch at most; return how many entries were dealt with.

        Raises:
            RedisError, OSError: the store did not answer in time or not in order.
            KafkaError, TimeoutError: Kafka did not take all of it. The entries stay in the store.
        """
        try:
            if not self._grouped:
                await self._make_group()
            entries = await self._next()
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._grouped = False  # flushed, or restarted empty
            return 0
        if not entries:
            return 0
        self._unfinished = True
        await self._move(entries)
        ids = [entry_id for entry_id, _ in entries]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(keys.OUTCOMES, GROUP, *ids)
            pipe.xdel(keys.OUTCOMES, *ids)
            await pipe.execute()
        self._unfinished = False
        return len(entries)

    async def _make_group(self) -> None:
        try:
            await self._redis.xgroup_create(keys.OUTCOMES, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._grouped = True

    async def _next(self) -> list[Entry]:
        """Return what this worker has not finished, or what another has not, or what is new."""
        if self._unfinished:
            entries = await self._read("0", None)
            if entries:
                return entries
            self._unfinished = False
        loop_s = asyncio.get_running_loop().time()
        if loop_s >= self._claim_at_s:
            claimed = await self._claim()
            if len(claimed) < BATCH_MAX:
                self._claim_at_s = loop_s + self._claim_after_ms / 2000
            if claimed:
                return claimed
        return await self._read(">", BLOCK_MS)

    async def _read(self, after: str, block_ms: int | None) -> list[Entry]:
        streams: dict[Any, Any] = {keys.OUTCOMES: after}
        answer: Any = await self._redis.xreadgroup(GROUP, self._worker, streams, count=BATCH_MAX, block=block_ms)
        parts = list(answer.values()) if isinstance(answer, dict) else [part[1] for part in answer or []]
        return _flat(parts)

    async def _claim(self) -> list[Entry]:
        """Take over what other workers have had for too long, and forget workers that are gone."""
        answer: Any = await self._redis.xautoclaim(
            keys.OUTCOMES, GROUP, self._worker, self._claim_after_ms, start_id="0-0", count=BATCH_MAX
        )
        for consumer in await self._redis.xinfo_consumers(keys.OUTCOMES, GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > FORGET_AFTER_MS:
                await self._redis.xgroup_delconsumer(keys.OUTCOMES, GROUP, consumer["name"])
        return _flat([answer[1]])

    async def _move(self, entries: list[Entry]) -> None:
        """Write a batch to telemetry and wait for Kafka's acknowledgements."""
        sent, malformed = [], 0
        async with asyncio.timeout(_KAFKA_SECONDS_MAX):
            for entry_id, fields in entries:
                if fields is None:
                    continue  # removed by the cap while it was pending
                try:
                    key, value = telemetry_of(entry_id, fields)
                except BadOutcome as error:
                    malformed += 1
                    log.warning("entry %s of %s is no outcome: %.200s", entry_id.decode(), keys.OUTCOMES, error)
                    continue
                sent.append(await self._producer.send(self._topic, value, key))
            await asyncio.gather(*sent)
        self.moved += len(sent)
        self.malformed += malformed
        self._on_count("moved", len(sent))
        self._on_count("malformed", malformed)

    def _trouble(self, what: str, error: Exception) -> None:
        self._on_count(what, 1)
        if self._well:
            self._well = False
            log.warning("outcomes wait in the store: %s: %.200s", type(error).__name__, error)


def _flat(parts: list[Any]) -> list[Entry]:
    """Return the entries in an answer, whichever nesting the client gives it."""
    entries: list[Entry] = []
    for part in parts:
        for item in part or []:
            if isinstance(item, list):
                entries.extend((entry[0], entry[1]) for entry in item)
            else:
                entries.append((item[0], item[1]))
    return entries
