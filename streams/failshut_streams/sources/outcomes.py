"""Moves outcomes of guards from the store into evidence.

Guards use only the store. They append how executions ended to a capped stream of their gate. An entry in a gate's stream
belongs to that gate, whatever the entry says. A service's user of the store can reach only its own gates' streams. A probe's
token is checked here, because the key is here (probe_tokens.py). Evidence names the probe and contains no secret.

The workers share the streams as a consumer group. An entry is written to the topic `internal` first. It is acknowledged and
deleted in the store only when Kafka has it. Another worker takes over unfinished entries after `CLAIM_AFTER_MS`.

A pass reads the streams that are due, and sums their entries into as few records as possible (outcome_sums.py). Only
`ok` and `cancelled` outcomes may wait in the store for more of their kind.

Each guard caps its streams, but the store cannot enforce the cap. So each pass bounds the streams before it reads them
(outcomes.lua). A stream over `ENTRIES_MAX` or `BYTES_MAX` is deleted unread, and its length is reported as lost. A sweep
deletes streams of gates that no policy names.

A store that is down, flushed or restarted empty loses only what it held, and the group is made again. An entry that is no
outcome is counted, logged and deleted. An entry that is longer than any valid one is dropped unread, and no other gate loses
outcomes by it. What was not read leaves a hole in its guard's count, and the gate's condition finds the hole.

Limits: an entry may reach evidence twice if a worker dies between the two acknowledgements. The entries of a stream that was
deleted unread are reported as lost, and may also be found as a hole. Between two passes, streams may fill the store. Before
Redis 7 that delays permits. To avoid that, outcomes may have a store of their own (FAILSHUT_OUTCOMES_STORE).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any, Final

import redis.asyncio as redis
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from failshut.store.answers import TooLong
from failshut.store.names import Names
from failshut_breakers.decisions.probe_tokens import ProbeKey
from failshut_breakers.store.connection import connect
from failshut_streams.logs.episode import Episode
from failshut_streams.sources.background import Background
from failshut_streams.sources.outcome_records import BadOutcome, Entry, encoded, entries_of, lost_record, said_by
from failshut_streams.sources.outcome_sums import Said, put_together

GROUP: Final = "failshut-outcomes"
BATCH_MAX: Final = 500
"""The most entries that a pass reads from one stream."""
ENTRIES_MAX: Final = 50_000
"""The most entries of one stream, five times a guard's own cap. A stream with more is deleted unread."""
BYTES_MAX: Final = 8 * 1024 * 1024
"""The most memory of one stream, as the store measures it. A stream with more is deleted unread."""
PASS_BYTES_MAX: Final = 16 * 1024 * 1024
"""A pass takes no further stream once those that it reads have this much memory."""
STREAMS_AT_ONCE: Final = 1_000
"""The number of streams that the store examines in one step."""
CLAIM_AFTER_MS: Final = 30_000
"""An entry that a worker has not finished after this time is taken over by another."""
FORGET_AFTER_MS: Final = 3_600_000
"""A consumer without pending entries that was idle for this time is removed from the group."""

_POLL_SECONDS = 0.1
_SWEEP_SECONDS = 5.0
_SWEPT_MAX = 10_000
_STORE_SECONDS_MAX = 5.0
_KAFKA_SECONDS_MAX = 30.0
_WAIT_SECONDS = (0.1, 2.0)
_BOUND = files(__package__).joinpath("outcomes.lua").read_text()

logger = logging.getLogger(__name__)


def _ignore(what: str, count: int) -> None:
    """Drop a count that nobody listens for."""


def _at_once(gate: str) -> int:
    """Return a waiting time of 0: nothing waits."""
    return 0


class OutcomeMover(Background):
    """Moves outcomes until it is stopped. Each worker has one. `worker` is its name in the group, unique to each worker.

    Each pass calls `gates` for the gates whose outcomes it moves. `waits_ms` returns how long (ms) a gate's `ok` outcomes may
    wait in the store. `moved` and `malformed` count entries. `dropped` counts entries of streams that were deleted unread.
    `on_count` receives these counts under the same names, and as "lost" the outcomes that guards report as lost. It also
    receives the errors "store_unreachable", "broker_unreachable" and "unexpected".
    """

    NAME = "outcomes"

    def __init__(
        self,
        store_url: str,
        producer: AIOKafkaProducer,
        topic: str,
        worker: str,
        installation: str,
        gates: Callable[[], Iterable[str]],
        probes: ProbeKey,
        *,
        waits_ms: Callable[[str], int] = _at_once,
        claim_after_ms: int = CLAIM_AFTER_MS,
        on_count: Callable[[str, int], None] = _ignore,
    ) -> None:
        super().__init__()
        self._redis: redis.Redis = connect(store_url, _STORE_SECONDS_MAX, connections_max=4)
        self._bound = self._redis.register_script(_BOUND)
        self._producer, self._topic, self._worker = producer, topic, worker
        self._names, self._gates, self._probes = Names(installation), gates, probes
        self._waits_ms = waits_ms
        self._claim_after_ms = claim_after_ms
        self._on_count = on_count
        self._grouped: set[str] = set()  # gates whose stream has the group, as far as is known
        self._unfinished: set[str] = set()  # gates of which this worker's name may still have pending entries in the group
        self._known: frozenset[str] = frozenset()
        self._claim_at_s = self._sweep_at_s = 0.0
        self._batch = BATCH_MAX
        self._episode, self._passes = Episode(logger, "outcomes", "outcomes are moved again"), 0
        self._complained: set[str] = set()  # gates whose bad entries were logged since the last sweep
        self.moved = self.malformed = self.dropped = 0

    async def _release(self) -> None:
        await self._redis.aclose()

    async def _run(self) -> None:
        wait_s = _WAIT_SECONDS[0]
        while not self._stopping:
            try:
                moved = await self.move_once()
            except (RedisError, OSError) as error:
                self._trouble("store_unreachable", error)
            except (KafkaError, TimeoutError) as error:
                self._trouble("broker_unreachable", error)
            except Exception as error:  # noqa: BLE001  # a mover that ended in silence would hide failures from every gate
                self._trouble("unexpected", error)
            else:
                wait_s = _WAIT_SECONDS[0]
                self._episode.end()
                if moved < BATCH_MAX:  # wait, so that one pass takes what came meanwhile and what comes now
                    await asyncio.sleep(_POLL_SECONDS)
                continue
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _WAIT_SECONDS[1])

    async def move_once(self) -> int:
        """Make one pass. Return how many entries were handled.

        Raises:
            RedisError, OSError: the store did not answer in time, or answered with an error.
            KafkaError, TimeoutError: Kafka did not take all records. The entries stay in the store.
        """
        self._follow(frozenset(self._gates()))
        gates = sorted(self._known)
        turn = self._passes % max(1, len(gates))  # each pass begins with another gate, so that none delays the others
        self._passes += 1
        filled = await self._bounded(gates[turn:] + gates[:turn])
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._sweep_at_s:
            await self._sweep()
            self._sweep_at_s = now_s + _SWEEP_SECONDS
        try:
            entries = await self._next(filled, now_s)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self._grouped.clear()  # flushed, or restarted empty
            return 0
        except TooLong:
            return await self._drop_too_long(filled)
        self._batch = BATCH_MAX
        if not entries:
            return 0
        self._unfinished |= {entry.gate for entry in entries}
        await self._move(entries)
        by_gate: dict[str, list[bytes]] = {}
        for entry in entries:
            by_gate.setdefault(entry.gate, []).append(entry.id)
        async with self._redis.pipeline(transaction=False) as pipe:
            for gate, ids in by_gate.items():
                pipe.xack(self._names.outcomes(gate), GROUP, *ids)
                pipe.xdel(self._names.outcomes(gate), *ids)
            await pipe.execute()
        return len(entries)

    # --- bounds ---

    def _follow(self, gates: frozenset[str]) -> None:
        """Store the gates that policies name now. Of new gates, unfinished entries of an earlier run are read first."""
        self._unfinished = (self._unfinished | (gates - self._known)) & gates
        self._grouped &= gates
        self._known = gates

    async def _bounded(self, gates: list[str]) -> list[str]:
        """Delete streams that are over their bound. Return the gates whose streams are due, enough for one pass."""
        filled, load = [], 0
        for start in range(0, len(gates), STREAMS_AT_ONCE):
            some = gates[start : start + STREAMS_AT_ONCE]
            waits_ms = [self._waits_ms(gate) for gate in some]
            answer: Any = await self._bound(
                keys=[self._names.outcomes(gate) for gate in some], args=[ENTRIES_MAX, BYTES_MAX, *waits_ms]
            )
            for index, entries, size, due in answer:
                if size < 0:
                    await self._say_lost(some[index - 1], entries)
                elif due and load < PASS_BYTES_MAX:
                    filled.append(some[index - 1])
                    load += size
        return filled

    async def _say_lost(self, gate: str, entries: int, what: str = "over their bound") -> None:
        self._grouped.discard(gate)
        self.dropped += entries
        self._on_count("dropped", entries)
        logger.warning("the outcomes of %s were %s: %d entries were deleted unread", gate, what, entries)
        async with asyncio.timeout(_KAFKA_SECONDS_MAX):
            key, value = lost_record(gate, entries)
            await self._producer.send_and_wait(self._topic, value, key)

    async def _sweep(self) -> None:
        """Delete streams of gates that no policy names. Nobody reads them, and nobody else would bound them."""
        self._complained.clear()
        wanted, found = {self._names.outcomes(gate) for gate in self._known}, 0
        async for name in self._redis.scan_iter(match=self._names.outcomes("*"), count=500):
            found += 1
            if name.decode("utf-8", "replace") not in wanted:
                await self._redis.unlink(name)
            if found >= _SWEPT_MAX:
                return

    # --- entries ---

    async def _next(self, filled: list[str], now_s: float) -> list[Entry]:
        """Return the entries that this worker has not finished. Without any, return another worker's, or else new ones."""
        filled = await self._make_groups(filled)
        begun = [gate for gate in filled if gate in self._unfinished]
        if begun:
            entries = await self._read(begun, "0")
            self._unfinished -= {*begun} - {entry.gate for entry in entries}
            if entries:
                return entries
        if now_s >= self._claim_at_s:
            self._claim_at_s = now_s + self._claim_after_ms / 2000
            if claimed := await self._claim(filled):
                return claimed
        return await self._read(filled, ">")

    async def _make_groups(self, gates: list[str]) -> list[str]:
        for gate in gates:
            if gate in self._grouped:
                continue
            stream = self._names.outcomes(gate)
            try:
                await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except OutOfMemoryError:  # without a group nobody can read the stream, and it helps to fill the store
                await self._say_lost(gate, await self._redis.xlen(stream), "in a store that is full")
                await self._redis.unlink(stream)
                continue
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
            self._grouped.add(gate)
        return [gate for gate in gates if gate in self._grouped]  # these can be read

    async def _read(self, gates: list[str], after: str) -> list[Entry]:
        if not gates:
            return []
        by_stream = {self._names.outcomes(gate).encode(): gate for gate in gates}
        streams: dict[Any, Any] = dict.fromkeys(by_stream, after)
        answer: Any = await self._redis.xreadgroup(GROUP, self._worker, streams, count=self._batch)
        parts = answer.items() if isinstance(answer, dict) else answer or []
        return [entry for stream, part in parts for entry in entries_of(by_stream[stream], [part])]

    async def _drop_too_long(self, gates: list[str]) -> int:
        """Find and drop the entries that are too long to be read. Return their number.

        Read smaller batches until a pass succeeds.
        """
        self._unfinished |= {*gates}
        self._batch = max(1, self._batch // 8)
        dropped = 0
        for gate in gates:
            try:
                await self._read([gate], "0")
            except TooLong:
                dropped += await self._dropentries_of(gate)
        self.malformed += dropped
        self._on_count("malformed", dropped)
        return dropped

    async def _dropentries_of(self, gate: str) -> int:
        """Drop this worker's pending entries of a gate that are longer than any valid one. Return their number."""
        stream, dropped = self._names.outcomes(gate), 0
        for waiting in await self._redis.xpending_range(stream, GROUP, "-", "+", BATCH_MAX, self._worker):
            entry_id: Any = waiting["message_id"]
            try:
                await self._redis.xrange(stream, entry_id, entry_id)
            except TooLong as error:
                self._complain(gate, error)
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.xack(stream, GROUP, entry_id)
                    pipe.xdel(stream, entry_id)
                    await pipe.execute()
                dropped += 1
        return dropped

    async def _claim(self, gates: list[str]) -> list[Entry]:
        """Take over entries that other workers have not finished for too long. Remove workers that are gone."""
        claimed: list[Entry] = []
        for gate in gates:
            stream = self._names.outcomes(gate)
            answer: Any = await self._redis.xautoclaim(
                stream, GROUP, self._worker, self._claim_after_ms, start_id="0-0", count=self._batch
            )
            claimed += entries_of(gate, [answer[1]])
            for consumer in await self._redis.xinfo_consumers(stream, GROUP):
                if consumer["pending"] == 0 and consumer["idle"] > FORGET_AFTER_MS:
                    await self._redis.xgroup_delconsumer(stream, GROUP, consumer["name"])
        return claimed

    async def _move(self, entries: list[Entry]) -> None:
        """Write a batch to Kafka, and wait for its acknowledgements."""
        by_gate: dict[str, list[Said]] = {}
        moved = malformed = lost = 0
        for entry in entries:
            if entry.fields is None:
                continue  # removed by the cap while it was pending
            try:
                said = said_by(entry, self._names.installation, self._probes)
            except BadOutcome as error:
                malformed += 1
                self._complain(entry.gate, error)
                continue
            moved += 1
            lost += said["lost"]
            by_gate.setdefault(entry.gate, []).append(said)
        async with asyncio.timeout(_KAFKA_SECONDS_MAX):
            sent = [
                await self._producer.send(self._topic, value, key)
                for outcomes in by_gate.values()
                for key, value in map(encoded, put_together(outcomes))
            ]
            await asyncio.gather(*sent)
        self.moved += moved
        self.malformed += malformed
        self._on_count("moved", moved)
        self._on_count("malformed", malformed)
        if lost:
            self._on_count("lost", lost)

    def _complain(self, gate: str, error: Exception) -> None:
        """Log a bad entry, once per gate between two sweeps. Whoever writes one writes thousands, and would fill the log."""
        if gate not in self._complained:
            self._complained.add(gate)
            logger.warning("an entry of the outcomes of %s is none: %.200s", gate, error)

    def _trouble(self, what: str, error: Exception) -> None:
        self._on_count(what, 1)
        self._episode.begin("outcomes wait in the store: %s: %.200s", type(error).__name__, error)
