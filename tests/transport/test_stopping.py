"""How a worker ends, and what is committed when it has."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from transport.harness import Broker, Reader


def numbers(count: int) -> list[str]:
    return [str(n) for n in range(count)]


async def test_only_what_was_said_is_committed(broker: Broker, reader: Callable[..., Reader]) -> None:
    """After SIGTERM the commit is what the agent said, inside a chunk, with its text; not what it was given."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(50))
    worker = reader(topic, group="said", agent="commit inside")
    await worker.until(lambda: len(worker.events("committed")) >= 5)
    assert await worker.terminate() == 0
    assert worker.offsets() == list(range(50))
    assert await broker.committed("said", topic) == (43, "inside")


async def test_nothing_is_committed_unsaid(broker: Broker, reader: Callable[..., Reader]) -> None:
    """An agent that reads and says nothing leaves no commit, neither while it runs nor when it stops."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(50))
    worker = reader(topic, group="unsaid", agent="read")
    await worker.until(lambda: len(worker.offsets()) >= 50)
    time.sleep(1)  # Faust's own commits come every 0.2 s here
    assert await worker.terminate() == 0
    assert await broker.committed("unsaid", topic) is None


async def test_the_revoked_hook_may_commit_before_a_clean_stop(broker: Broker, reader: Callable[..., Reader]) -> None:
    """At SIGTERM the hook is told what goes, and what it commits counts."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    worker = reader(topic, group="farewell", agent="read", commit_at_revocation=True)
    await worker.until(lambda: len(worker.offsets()) >= 20)
    assert await worker.terminate() == 0
    assert worker.events("revoked") == [{"event": "revoked", "partitions": [0]}]
    assert await broker.committed("farewell", topic) == (20, "at revocation")


async def test_hooks_find_no_agent_in_the_middle_of_a_chunk(broker: Broker, reader: Callable[..., Reader]) -> None:
    """When a partition is let go its agent is through with its chunk, and gets no other."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(500))
    worker = reader(topic, agent="slow")
    await worker.until(lambda: len(worker.events()) > len(worker.events("through")) >= 2)
    assert await worker.terminate() == 0
    order = [json.loads(line)["event"] for line in worker.out.read_text().splitlines()]
    assert order.count("revoked") == 1
    assert order[-1] == "revoked"
    assert order.count("chunk") == order.count("through") < 20


async def test_an_agent_that_raises_ends_the_worker(broker: Broker, reader: Callable[..., Reader]) -> None:
    """The process ends with an error, the commit stays where it was, and no hook speaks for broken state."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    worker = reader(topic, group="raises", agent="raise", commit_at_revocation=True)
    assert await worker.exit_status() not in (0, 70)
    assert "an agent that raises" in worker.tail()
    assert len(worker.events()) == 1
    assert worker.events("revoked") == []
    assert await broker.committed("raises", topic) is None


async def test_an_error_ends_a_worker_whose_threads_stay(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Whoever waits for its end to start another waits for no thread of it: nothing has to be cut off."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    worker = reader(topic, group="stays", agent="raise beside a thread that stays")
    assert await worker.exit_status() == 1
    assert "an agent that raises" in worker.tail()


async def test_a_commit_beyond_delivery_ends_the_worker(broker: Broker, reader: Callable[..., Reader]) -> None:
    """A position that no chunk has brought cannot be committed."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    worker = reader(topic, group="beyond", agent="commit beyond")
    assert await worker.exit_status() not in (0, 70)
    assert "CommitBeyondDelivery" in worker.tail()
    assert await broker.committed("beyond", topic) is None


async def test_records_that_cannot_be_unpacked_end_the_worker(broker: Broker, reader: Callable[..., Reader]) -> None:
    """A batch that cannot be read is an error with the place in it, not a silence."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    worker = reader(topic, break_codec=True)
    assert await worker.exit_status() not in (0, 70)
    assert worker.events() == []


async def test_a_dead_fetcher_ends_the_worker(broker: Broker, reader: Callable[..., Reader]) -> None:
    """When aiokafka's fetch task dies, the worker does too."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    worker = reader(topic, break_fetcher=True)
    assert await worker.exit_status() not in (0, 70)
    assert "ReadFault" in worker.tail()


async def test_no_position_and_no_policy_ends_the_worker(broker: Broker, reader: Callable[..., Reader]) -> None:
    """With start `none` a partition without a commit is an error."""
    topic = await broker.topic()
    worker = reader(topic, settings={"start": "none"})
    assert await worker.exit_status() not in (0, 70)
    assert "NoOffsetForPartition" in worker.tail()


async def test_a_hook_that_raises_ends_the_worker(broker: Broker, reader: Callable[..., Reader]) -> None:
    """A start that cannot be found is not replaced by another."""
    topic = await broker.topic()
    worker = reader(topic, start_at=-1)
    assert await worker.exit_status() not in (0, 70)
    assert worker.events() == []
