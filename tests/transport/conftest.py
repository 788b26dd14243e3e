"""One real broker for the folder's tests, topics of their own for each, and workers as processes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transport.harness import Broker, Reader

from failshut_servers import Kafka


@pytest.fixture(scope="session")
def transport_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """An Apache Kafka of this folder's own."""
    kafka = Kafka(tmp_path_factory.mktemp("kafka"))
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.stop()


@pytest.fixture
def broker(transport_kafka: Kafka) -> Broker:
    """The broker, for tests."""
    return Broker(transport_kafka.bootstrap)


@pytest.fixture
async def reader(broker: Broker, tmp_path: Path) -> AsyncIterator[Callable[..., Reader]]:
    """Start a worker that reads `topic`; settings that wait little, unless told otherwise."""
    started: list[Reader] = []

    def start(topic: str, *, group: str | None = None, settings: dict[str, Any] | None = None, **spec: Any) -> Reader:
        full = {
            "group": group or f"g{uuid.uuid4().hex[:8]}",
            "broker": f"kafka://{broker.bootstrap}",
            "topic": topic,
            "folder": str(tmp_path),
            "out": str(tmp_path / f"reader{len(started)}.jsonl"),
            "settings": {
                "session_timeout_ms": 3000,
                "heartbeat_interval_ms": 500,
                "chunk_records_max": 10,
                **(settings or {}),
            },
            **spec,
        }
        one = Reader(full)
        started.append(one)
        return one

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
