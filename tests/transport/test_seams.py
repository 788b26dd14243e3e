"""The private places of Faust and aiokafka that the transport stands on.

Each test names the seam that it holds. One that fails after an upgrade says where to read before the pin is
moved; none of them is worked around by changing the test alone.
"""

import inspect
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer import subscription_state
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as c_default_records
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.agents import agent as faust_agent
from faust.app.base import App
from faust.tables import recovery
from faust.transport import conductor, consumer
from faust.transport.drivers import aiokafka as driver
from mode.supervisors import CrashingSupervisor
from mode.threads import ServiceThread

from failshut_streams.kafka import unpacking
from failshut_streams.transport import ChunkApp, Record, Settings
from failshut_streams.transport.consumer import ChunkConsumer, ChunkTransport, _ReadOffsets
from failshut_streams.transport.fetch import ChunkThread, light_record

TP = TopicPartition("t", 0)


def source(thing: Any) -> str:
    return "".join(inspect.getsource(thing).split())


def test_the_versions_are_the_ones_that_were_read() -> None:
    """An upgrade begins with reading the new source, not with this line."""
    assert faust.__version__ == "0.15.3", "seam: all of faust"
    assert aiokafka.__version__ == "0.14.0", "seam: all of aiokafka"


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (driver.Consumer, "_new_consumer_thread", ["self"]),
        (driver.Consumer, "_to_message", ["self", "tp", "record"]),
        (driver.Consumer, "verify_event_path", ["self", "now", "tp"]),
        (consumer.Consumer, "on_buffer_full", ["self", "tp"]),
        (consumer.Consumer, "on_partitions_assigned", ["self", "assigned", "generation_id"]),
        (consumer.Consumer, "on_partitions_revoked", ["self", "revoked"]),
        (driver.AIOKafkaConsumerThread, "__post_init__", ["self"]),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (driver.AIOKafkaConsumerThread, "_ensure_consumer", ["self"]),
        (driver.AIOKafkaConsumerThread, "seek_to_committed", ["self"]),
        (driver.AIOKafkaConsumerThread, "getmany", ["self", "active_partitions", "timeout"]),
        (App, "_new_transport", ["self"]),
        (App, "_new_producer_transport", ["self"]),
        (App, "on_rebalance_end", ["self"]),
        (aiokafka_fetcher.Fetcher, "_notify", ["self", "future"]),
        (aiokafka_fetcher.Fetcher, "_create_fetch_waiter", ["self"]),
        (aiokafka_fetcher.FetchResult, "getall", ["self", "max_records"]),
        (aiokafka_fetcher.FetchResult, "has_more", ["self"]),
        (aiokafka_fetcher.FetchError, "check_raise", ["self"]),
        (aiokafka_fetcher.PartitionRecords, "_consumer_record", ["self", "tp", "record"]),
        (aiokafka_fetcher.PartitionRecords, "_unpack_records", ["self"]),
        (subscription_state.SubscriptionState, "fetch_context", ["self"]),
        (subscription_state.SubscriptionState, "is_assigned", ["self", "tp"]),
        (GroupCoordinator, "check_errors", ["self"]),
        (GroupCoordinator, "fetch_committed_offsets", ["self", "partitions"]),
    ],
)
def test_a_private_method_is_where_it_was(owner: type, name: str, parameters: list[str]) -> None:
    """What is overridden or called exists, with the parameters that it is given."""
    seam = f"seam: {owner.__module__}.{owner.__name__}.{name}"
    assert name in vars(owner) or any(name in vars(base) for base in owner.__mro__), seam
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters, seam


def test_our_overrides_are_really_used() -> None:
    """Faust makes the consumer, its thread and the transport through the methods that are overridden."""
    app = ChunkApp(Settings(group="seams", broker="kafka://127.0.0.1:1"))
    app.finalize()
    assert isinstance(app._new_transport(), ChunkTransport), "seam: faust.App._new_transport"
    assert "returnself.transport.create_consumer(" in source(App._new_consumer), "seam: App._new_consumer"
    assert "self._thread=self._new_consumer_thread()" in source(consumer.ThreadDelegateConsumer.__init__), (
        "seam: faust ThreadDelegateConsumer makes its thread by _new_consumer_thread"
    )
    assert "returnawaitself._thread.getmany(" in source(consumer.ThreadDelegateConsumer._getmany), (
        "seam: faust ThreadDelegateConsumer._getmany asks the thread"
    )
    assert ChunkTransport.Consumer is ChunkConsumer
    assert issubclass(ChunkThread, ServiceThread)
    assert "thread_loop" in source(ServiceThread.__init__), "seam: mode.ServiceThread.thread_loop"


def test_aiokafka_unpacks_where_it_is_told_to() -> None:
    """Its batches call the codecs by their modules' names, and its fetcher makes PartitionRecords by its own."""
    unpacking.install()
    for module in (default_records, c_default_records):
        for name in ("gzip_decode", "snappy_decode", "lz4_decode", "zstd_decode"):
            assert getattr(module, name).__module__ == unpacking.__name__, f"seam: {module.__name__}.{name}"
    assert "partition_records=PartitionRecords(tp,records," in source(aiokafka_fetcher.Fetcher), "seam: Fetcher"
    unpack = source(aiokafka_fetcher.PartitionRecords.__mro__[0]._unpack_records)
    for step in ("whilerecords.has_next():", "next_batch=records.next_batch()", "forrecordinnext_batch:"):
        assert step in unpack, f"seam: aiokafka PartitionRecords._unpack_records: {step}"


def test_faust_hands_over_whatever_the_thread_returns() -> None:
    """getmany gives each value of each partition's list to _to_message, in turns; chunks pass as records."""
    getmany = source(consumer.Consumer.getmany)
    for step in (
        "records_it=self.scheduler.iterate(records)",
        "fortp,recordinrecords_it:",
        "to_message=self._to_message",
    ):
        assert step in getmany, f"seam: faust Consumer.getmany: {step}"


def test_faust_notes_offsets_by_item_alone() -> None:
    """_drain_messages reads and writes `_read_offset` by item, so a mapping of ours decides what is noted."""
    drain = source(consumer.Consumer._drain_messages)
    for step in (
        "get_read_offset=self._read_offset.__getitem__",
        "set_read_offset=self._read_offset.__setitem__",
        "ifr_offsetisNoneoroffset>=r_offset:",
    ):
        assert step in drain, f"seam: faust Consumer._drain_messages: {step}"
    notes = _ReadOffsets(lambda topic: topic == "batched")
    notes[faust.types.TP("batched", 0)] = 7
    notes[faust.types.TP("plain", 0)] = 7
    assert notes[faust.types.TP("batched", 0)] is None
    assert notes[faust.types.TP("plain", 0)] == 7


def test_faust_seeks_by_the_threads_method_alone() -> None:
    """perform_seek, the one place where Faust moves stream partitions, goes through seek_to_committed."""
    assert "awaitself.seek_to_committed()" in source(consumer.Consumer.perform_seek), "seam: faust Consumer.perform_seek"
    assert "returnawaitself._thread.seek_to_committed()" in source(consumer.ThreadDelegateConsumer.seek_to_committed), (
        "seam: faust ThreadDelegateConsumer.seek_to_committed"
    )


def test_recovery_ends_with_on_rebalance_end() -> None:
    """Both ends of a recovery call App.on_rebalance_end after the tables are ready, and nothing else does."""
    for end in (recovery.Recovery.on_recovery_completed, recovery.Recovery._resume_streams):
        text = source(end)
        seam = f"seam: faust {end.__qualname__}"
        assert text.index("self.completed.set()") < text.index("app.on_rebalance_end()"), seam
        assert text.count("on_rebalance_end()") == 1, seam
    assert source(recovery).count("on_rebalance_end()") == 2, "seam: faust.tables.recovery.on_rebalance_end"
    assert "_set_recovery_ended()" in source(recovery.Recovery.on_recovery_completed)


def test_recovery_says_which_generation_it_is_of() -> None:
    """The start signal and `_generation_id` change together, and a recovery clears the signal first."""
    assert source(recovery.Recovery.on_rebalance).endswith(
        "self.signal_recovery_start.set()self._generation_id=generation_id"
    ), "seam: faust Recovery.on_rebalance, signal_recovery_start, _generation_id"
    restart = source(recovery.Recovery._restart_recovery.fun)
    assert restart.index("self.signal_recovery_start.clear()generation_id=self._generation_id") < restart.index(
        "_resume_streams"
    ), "seam: faust Recovery._restart_recovery"


def test_topics_without_acknowledgements_are_never_committed() -> None:
    """Faust's bookkeeping of acknowledged offsets asks acks_enabled_for, which knows acking topics alone."""
    app = ChunkApp(Settings(group="seams", broker="kafka://127.0.0.1:1"))
    assert app.batched_topic("batched").acks is False, "seam: faust.Topic(acks=False)"
    assert "ifchannel.acks:" in source(conductor.Conductor._update_indices), "seam: Conductor._update_indices"
    assert "ifself.app.topics.acks_enabled_for(message.topic):" in source(consumer.Consumer.ack), "seam: faust Consumer.ack"


def test_an_agents_error_reaches_the_worker() -> None:
    """Faust tells the actor of the error, and the crashing supervisor does not restart it."""
    app = ChunkApp(Settings(group="seams", broker="kafka://127.0.0.1:1"))
    app.finalize()
    assert app.conf.agent_supervisor is CrashingSupervisor, "seam: faust setting agent_supervisor"  # type: ignore[comparison-overlap]  # Faust's types do not know its own settings
    assert "awaitaref.crash(exc)" in source(faust_agent.Agent._execute_actor), "seam: faust Agent._execute_actor"
    assert "restart" not in source(CrashingSupervisor.wakeup), "seam: mode CrashingSupervisor.wakeup"


async def test_aiokafkas_consumer_has_the_fields() -> None:
    """Fields that are read or set between construction and start."""
    made = AIOKafkaConsumer(fetch_max_wait_ms=77, max_poll_records=5)
    try:
        assert made._fetch_max_wait_ms == 77, "seam: AIOKafkaConsumer._fetch_max_wait_ms"
        assert made._max_poll_records == 5, "seam: AIOKafkaConsumer._max_poll_records"
        assert made._isolation_level == "read_uncommitted", "seam: AIOKafkaConsumer._isolation_level"
        assert made._closed is False, "seam: AIOKafkaConsumer._closed"
        assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in source(AIOKafkaConsumer.start), (
            "seam: AIOKafkaConsumer.start hands _fetch_max_wait_ms to its fetcher"
        )
        assert "isolation_level=self._isolation_level" in source(AIOKafkaConsumer.start), (
            "seam: AIOKafkaConsumer.start hands _isolation_level to its fetcher"
        )
        for name in ("_fetcher", "_coordinator", "_subscription"):
            assert hasattr(made, name), f"seam: AIOKafkaConsumer.{name}"
    finally:
        await made.stop()


def test_aiokafkas_fetcher_has_the_fields() -> None:
    """Fields that are read of the fetcher, and what it does with them."""
    init = source(aiokafka_fetcher.Fetcher.__init__)
    for name in ("_records", "_wait_consume_future", "_subscriptions", "_closed", "_fetch_task"):
        assert f"self.{name}" in init, f"seam: aiokafka Fetcher.{name}"
    assert "returnself._fetch_task" in source(aiokafka_fetcher.Fetcher.error_future.fget), "seam: aiokafka Fetcher.error_future"
    routine = source(aiokafka_fetcher.Fetcher._fetch_requests_routine)
    assert 'raiseErrors.KafkaError("Unexpectederrorduringdataretrieval")' in routine, (
        "seam: aiokafka Fetcher's task ends when a fetch fails unexpectedly"
    )
    seek = source(aiokafka_fetcher.Fetcher.seek_to)
    assert "delself._records[tp]" in seek, "seam: aiokafka Fetcher.seek_to drops what was fetched"
    response = source(aiokafka_fetcher.Fetcher._proc_fetch_request)
    assert "tp_state.position!=fetch_offset" in response, (
        "seam: aiokafka Fetcher drops a response to a fetch from another position"
    )
    assert "tp_state.highwater=highwatertp_state.lso=lso" in response, (
        "seam: aiokafka keeps high watermark and last stable offset of each response, with the position"
    )
    assert "_reassignment_in_progress=True" in source(subscription_state.Subscription._begin_reassignment), (
        "seam: aiokafka Subscription._reassignment_in_progress"
    )
    assert hasattr(subscription_state.SubscriptionState, "reassignment_in_progress"), (
        "seam: aiokafka SubscriptionState.reassignment_in_progress"
    )


async def test_positions_move_when_records_are_taken() -> None:
    """getall reads from `position` and moves it behind what it returned, with our records in the list."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000,
    )
    for offset in range(5):
        builder.append(offset, 1000 + offset, b"k", b"v", [("h", b"x")])
    records = aiokafka_fetcher.PartitionRecords(
        TP, MemoryRecords(bytes(builder.build())), [], 0, None, None, True, aiokafka_fetcher.READ_UNCOMMITTED
    )
    assignment = subscription_state.Assignment([TP])
    state = assignment.state_value(TP)
    state.seek(0)
    entry = aiokafka_fetcher.FetchResult(TP, assignment=assignment, partition_records=records, backoff=0)
    assert entry._partition_records is records, "seam: aiokafka FetchResult._partition_records"
    assert entry._assignment is assignment, "seam: aiokafka FetchResult._assignment"
    records._consumer_record = light_record
    first = entry.getall(2)
    seam = "seam: aiokafka FetchResult.getall and PartitionRecords._consumer_record"
    assert first[0] == Record(0, 1000, 0, b"k", b"v", (("h", b"x"),)), seam
    assert state.has_valid_position, "seam: aiokafka TopicPartitionState.has_valid_position"
    assert (len(first), state.position, entry.has_more()) == (2, 2, True), seam
    assert (len(entry.getall(9)), state.position, entry.has_more()) == (3, 5, False), seam
