"""A broker that goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from transport.harness import Broker, Reader

from failshut_servers import Kafka

pytestmark = pytest.mark.slow


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker that a test may stop."""
    kafka = Kafka(tmp_path / "own")
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.stop()


async def test_reading_goes_on_after_a_broker_restart(own_kafka: Kafka, broker: Broker, reader: Callable[..., Reader]) -> None:
    """A worker outlives a restart of its broker, and every record arrives, in chunks that join."""
    broker.bootstrap = own_kafka.bootstrap
    topic = await broker.topic()
    await broker.produce(topic, [str(n) for n in range(30)])
    worker = reader(topic, group="restart")
    await worker.until(lambda: len(worker.offsets()) >= 30)
    own_kafka.stop()
    own_kafka.start()
    assert own_kafka.bootstrap == broker.bootstrap
    await broker.produce(topic, [str(n) for n in range(30)])
    await worker.until(lambda: worker.offsets()[-1] == 59)
    assert set(worker.offsets()) == set(range(60))
    assert all(chunk["joins"] for chunk in worker.events())
    assert await worker.terminate() == 0


async def test_a_stop_without_a_broker_is_bounded(own_kafka: Kafka, broker: Broker, reader: Callable[..., Reader]) -> None:
    """SIGTERM ends a worker within its bound when the broker is gone; a stop that was cut off says so."""
    broker.bootstrap = own_kafka.bootstrap
    topic = await broker.topic()
    await broker.produce(topic, ["1"])
    worker = reader(topic, stop_seconds_max=5)
    await worker.until(worker.events)
    own_kafka.stop()
    assert await worker.terminate() in (0, 1, 70)
