"""A store that services have filled with outcomes is emptied by the monitor's passes, whatever stands in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio as redis
from redis.exceptions import OutOfMemoryError
from streams.entries import GATE, INSTALLATION, NAMES, OTHER, PROBES, decoded, fields

from failshut_servers import Valkey
from failshut_streams.codecs import Outcome
from failshut_streams.sources import outcomes
from failshut_streams.sources.outcomes import BYTES_MAX, OutcomeMover


class Topic:
    """Stands in for Kafka: it notes what is written and acknowledges it."""

    def __init__(self) -> None:
        self.written: list[Outcome] = []

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[None]:
        """Note a record."""
        self.written.append(decoded(key, value))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def send_and_wait(self, topic: str, value: bytes, key: bytes) -> None:
        """Note a record."""
        await self.send(topic, value, key)


@pytest.fixture
async def full(store: Valkey) -> AsyncIterator[redis.Redis]:
    """A store without room for anything: one gate's stream is below every bound, and was never read."""
    client: redis.Redis = redis.Redis.from_url(store.url)
    for _ in range(20):
        await client.xadd(NAMES.outcomes(GATE), {**fields(), b"instance": b"x" * 20_000})
    assert (await client.memory_usage(NAMES.outcomes(GATE)) or BYTES_MAX) < BYTES_MAX
    await client.config_set("maxmemory", "1")
    yield client
    await client.config_set("maxmemory", "0")
    await client.aclose()


async def test_a_full_store_whose_streams_nobody_has_read_is_emptied(full: redis.Redis, store: Valkey) -> None:
    """A group needs memory. Where there is none for it the stream goes unread, and its gate is told how much was lost."""
    topic: Any = Topic()
    mover = OutcomeMover(store.url, topic, "internal", "w", INSTALLATION, lambda: [GATE, OTHER], PROBES)
    try:
        with pytest.raises(OutOfMemoryError):
            await full.xadd(NAMES.outcomes(OTHER), {"a": "b"})
        await mover.move_once()
        assert await full.exists(NAMES.outcomes(GATE)) == 0
        assert [(one.gate, one.count, one.lost) for one in topic.written] == [(GATE, 0, 20)]
        await full.config_set("maxmemory", "0")
        await full.xadd(NAMES.outcomes(GATE), fields())
        assert await mover.move_once() == 1
    finally:
        await mover.stop()


async def test_a_full_store_whose_streams_were_read_before_loses_nothing(store: Valkey) -> None:
    """Reading, acknowledging and deleting need none."""
    client: redis.Redis = redis.Redis.from_url(store.url)
    topic: Any = Topic()
    mover = OutcomeMover(store.url, topic, "internal", "w", INSTALLATION, lambda: [GATE], PROBES)
    try:
        await client.xadd(NAMES.outcomes(GATE), fields())
        assert await mover.move_once() == 1
        await client.xadd(NAMES.outcomes(GATE), fields())
        await client.config_set("maxmemory", "1")
        assert await mover.move_once() == 1
        assert await client.xlen(NAMES.outcomes(GATE)) == 0
    finally:
        await client.config_set("maxmemory", "0")
        await mover.stop()
        await client.aclose()


async def test_entries_that_are_none_do_not_fill_the_log(
    store: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write a stream writes thousands: each counts, and the log is told once between two sweeps."""
    monkeypatch.setattr(outcomes, "_SWEEP_SECONDS", 3_600.0)
    client: redis.Redis = redis.Redis.from_url(store.url)
    mover = OutcomeMover(store.url, Topic(), "internal", "w", INSTALLATION, lambda: [GATE, OTHER], PROBES)
    try:
        await mover.move_once()
        for gate in (GATE, OTHER):
            for _ in range(700):
                await client.xadd(NAMES.outcomes(gate), {"junk": "x"})
        while mover.malformed < 1_400:
            await mover.move_once()
        said = sorted(record.getMessage().split(" is none")[0] for record in caplog.records)
        assert said == [f"an entry of the outcomes of {gate}" for gate in sorted((GATE, OTHER))]
    finally:
        await mover.stop()
        await client.aclose()
