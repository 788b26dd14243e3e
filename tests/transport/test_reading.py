"""What a worker reads, from a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from transport.harness import Broker, Reader


def numbers(count: int) -> list[str]:
    return [str(n) for n in range(count)]


async def test_every_record_arrives_once_in_chunks_that_join(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Chunks hold at most what was set, join, and bring every record once, partition by partition."""
    topic = await broker.topic(partitions=3)
    for partition in range(3):
        await broker.produce(topic, numbers(95), partition)
    worker = reader(topic)
    await worker.until(lambda: sum(len(worker.offsets(p)) for p in range(3)) >= 285)
    assert await worker.terminate() == 0
    for partition in range(3):
        chunks = [chunk for chunk in worker.events() if chunk["partition"] == partition]
        assert worker.offsets(partition) == list(range(95))
        assert max(len(chunk["offsets"]) for chunk in chunks) <= 10
        assert [chunk["start"] for chunk in chunks] == [0] + [chunk["upto"] for chunk in chunks[:-1]]
        assert chunks[0]["previous"] is None


async def test_partitions_take_turns(broker: Broker, reader: Callable[..., Reader]) -> None:
    """A long partition does not keep a short one waiting until it is read to its end."""
    topic = await broker.topic(partitions=2)
    await broker.produce(topic, numbers(2000), 0)
    await broker.produce(topic, numbers(10), 1)
    worker = reader(topic)
    await worker.until(lambda: len(worker.offsets(0)) >= 2000 and len(worker.offsets(1)) >= 10)
    order = [chunk["partition"] for chunk in worker.events()]
    assert order.index(1) < len(order) // 2


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(broker: Broker, reader: Callable[..., Reader], codec: str) -> None:
    """What producers compress with is no reason to stop."""
    topic = await broker.topic()
    values = [f"{n} {'x' * 100}" for n in range(50)]
    await broker.produce(topic, values, compression=codec)
    worker = reader(topic, values=True)
    await worker.until(lambda: len(worker.offsets()) >= 50)
    assert [value for chunk in worker.events() for value in chunk["values"]] == values


async def test_a_batch_that_unpacks_to_more_than_it_may_is_read_past(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Brokers take a few kilobytes that unpack to 40 MiB. One record stands in for it, and what follows is read."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(5))
    await broker.produce(topic, ["x" * (40 * 1024 * 1024)], compression="zstd")
    await broker.produce(topic, numbers(5))
    worker = reader(topic, values=True)
    await worker.until(lambda: len(worker.offsets()) >= 11)
    assert worker.offsets() == list(range(11))
    assert [len(value) for chunk in worker.events() for value in chunk["values"]] == [1] * 5 + [0] + [1] * 5
    assert all(chunk["joins"] for chunk in worker.events())


async def test_holes_are_read_past(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Transaction markers have offsets and no records: chunks join over them, and the commit passes them."""
    topic = await broker.topic()
    await broker.transactions(topic, [3, 12, 1])
    worker = reader(topic, group="holes")
    await worker.until(lambda: any(chunk["upto"] == 19 for chunk in worker.events()))
    await worker.until(lambda: len(worker.events("committed")) == len(worker.events()))
    chunks = worker.events()
    assert [chunk["start"] for chunk in chunks] == [0] + [chunk["upto"] for chunk in chunks[:-1]]
    assert worker.offsets() == [0, 1, 2, *range(4, 16), 17]
    assert await broker.committed("holes", topic) == (19, "upto 19")


async def test_what_a_transaction_took_back_is_not_delivered(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Records of aborted transactions are holes, at the end, in the middle and at the beginning; chunks join over them."""
    topic = await broker.topic()
    await broker.transactions(topic, [-4, 3, -12, 1, -2])
    worker = reader(topic, group="aborted")
    await worker.until(lambda: any(chunk["upto"] == 27 for chunk in worker.events()))
    await worker.until(lambda: len(worker.events("committed")) == len(worker.events()))
    chunks = worker.events()
    assert [chunk["start"] for chunk in chunks] == [0] + [chunk["upto"] for chunk in chunks[:-1]]
    assert worker.offsets() == [5, 6, 7, 22]
    assert await broker.committed("aborted", topic) == (27, "upto 27")
    inside = reader(topic, start_at=10)  # as a router that goes back to a mark between a transaction's records
    await inside.until(lambda: any(chunk["upto"] == 27 for chunk in inside.events()))
    assert (inside.events()[0]["start"], inside.offsets()) == (10, [22])


async def test_an_open_transaction_holds_back_what_stands_behind_it(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Nothing behind an open transaction is delivered before it ends, whoever wrote it, and the app says where that is."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(5))
    async with broker.open_transaction(topic, 2) as producer:
        await broker.produce(topic, numbers(3))
        worker = reader(topic, tell_awaited=True)
        await worker.until(lambda: {"event": "awaited", "at": {"0": 5}} in worker.events("awaited"))
        assert worker.offsets() == [0, 1, 2, 3, 4]
        await producer.commit_transaction()
        await worker.until(lambda: len(worker.offsets()) == 10)
        assert worker.offsets() == list(range(10))
        await worker.until(lambda: worker.events("awaited")[-1]["at"] == {})


async def test_a_slow_agent_bounds_what_is_read_ahead(broker: Broker, reader: Callable[..., Reader]) -> None:
    """No more chunks of a partition are in flight than was set."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(500))
    worker = reader(topic, agent="slow", settings={"chunks_in_flight_max": 2})
    await worker.until(lambda: len(worker.events()) >= 10)
    assert max(chunk["in_flight"] for chunk in worker.events()) == 2


async def test_ordinary_topics_live_beside_batched_ones(broker: Broker, reader: Callable[..., Reader]) -> None:
    """An ordinary agent in the same app gets its messages one by one, and Faust commits them."""
    topic, ordinary = await broker.topic(), await broker.topic()
    await broker.produce(topic, numbers(30))
    await broker.produce(ordinary, ["a", "b", "c"])
    worker = reader(topic, ordinary=ordinary, group="beside")
    await worker.until(lambda: len(worker.offsets()) >= 30 and len(worker.events("ordinary")) >= 3)
    assert [event["value"] for event in worker.events("ordinary")] == ["a", "b", "c"]
    assert await worker.terminate() == 0
    assert (await broker.committed("beside", ordinary) or (0, ""))[0] == 3


async def test_retention_shows_as_a_gap_in_the_data(broker: Broker, reader: Callable[..., Reader]) -> None:
    """An agent that takes gaps as data sees where reading ended and where it went on."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    first = reader(topic, group="retention")
    await first.until(lambda: len(first.events("committed")) >= 2)
    assert await first.terminate() == 0
    await broker.produce(topic, numbers(30))
    await broker.delete_before(topic, 35)
    second = reader(topic, group="retention", gaps="deliver")
    await second.until(lambda: second.events())
    chunk = second.events()[0]
    assert (chunk["previous"], chunk["start"], chunk["joins"]) == (20, 35, False)
    assert chunk["offsets"][0] == 35


async def test_a_gap_stops_the_worker(broker: Broker, reader: Callable[..., Reader]) -> None:
    """By default a chunk that does not join ends the process, and nothing is committed past the gap."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(20))
    first = reader(topic, group="gap")
    await first.until(lambda: len(first.events("committed")) >= 2)
    assert await first.terminate() == 0
    await broker.produce(topic, numbers(30))
    await broker.delete_before(topic, 35)
    second = reader(topic, group="gap")
    assert await second.exit_status() not in (0, 70)
    assert "reading ended at 20 and went on at 35" in second.tail()
    assert second.events() == []
    assert await broker.committed("gap", topic) == (20, "upto 20")


async def test_a_seek_is_no_gap_and_drops_what_was_on_its_way(broker: Broker, reader: Callable[..., Reader]) -> None:
    """After a seek back reading goes on there, with a new number; the old chunk's commit is refused."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(100))
    worker = reader(topic, agent="go back once")
    await worker.until(lambda: worker.events("sought") and worker.offsets()[-1] == 99)
    chunks = worker.events()
    back = next(index for index, chunk in enumerate(chunks) if chunk["reading"] != chunks[0]["reading"])
    assert (chunks[back]["start"], chunks[back]["previous"]) == (10, 10)
    assert chunks[back - 1]["upto"] == 40
    assert worker.offsets() == [*range(40), *range(10, 100)]
    assert worker.events("stale commit")[0]["partitions"] == []


async def test_the_hook_says_where_reading_starts(broker: Broker, reader: Callable[..., Reader]) -> None:
    """Nothing is delivered before the hook has answered, and then from where it says; it sees the commit."""
    topic = await broker.topic()
    await broker.produce(topic, numbers(50))
    first = reader(topic, group="hook", agent="commit inside")
    await first.until(lambda: len(first.events("committed")) >= 5)
    assert await first.terminate() == 0
    second = reader(topic, group="hook", start_at=25)
    await second.until(lambda: second.offsets()[-1:] == [49])
    said = [event["event"] for event in map(json.loads, second.out.read_text().splitlines())]
    assert said.index("assigned") < said.index("chunk")
    assert second.events("assigned")[0]["committed"] == {"0": [43, "inside"]}
    assert second.offsets() == list(range(25, 50))
    assert second.events()[0]["previous"] == 25


async def test_a_hole_alone_is_a_chunk_without_records(broker: Broker, reader: Callable[..., Reader]) -> None:
    """When a full chunk ends right before a marker, the marker's place still arrives, and can be committed."""
    topic = await broker.topic()
    await broker.transactions(topic, [10])
    worker = reader(topic, group="hole")
    await worker.until(lambda: len(worker.events("committed")) == 2)
    assert [(c["start"], c["upto"], len(c["offsets"])) for c in worker.events()] == [(0, 10, 10), (10, 11, 0)]
    assert await broker.committed("hole", topic) == (11, "upto 11")
