"""Rules of the transport that need no broker."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from failshut_streams.transport import Assignment, Chunk, ChunkApp, Commit, Position, Settings
from failshut_streams.transport.chunk import Reading
from failshut_streams.transport.consumer import ChunkConsumer
from failshut_streams.transport.fetch import ChunkThread

A, B = TP("a", 0), TP("b", 0)


def settings(**fields: Any) -> Settings:
    return Settings(group="g", broker="kafka://127.0.0.1:1", **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"chunk_records_max": 0},
        {"chunks_in_flight_max": 0},
        {"fetch_max_wait_ms": -1},
        {"start": "anywhere"},
        {"session_timeout_ms": 3000, "heartbeat_interval_ms": 1001},
        {"session_timeout_ms": 50_000},
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    """A bound below one, a start that is none, or timeouts that contradict each other do not start a worker."""
    with pytest.raises(ValueError, match=r"must"):
        settings(**fields)


def test_settings_become_fausts() -> None:
    """What is set in milliseconds reaches Faust in seconds, and an option given to the app wins."""
    app = ChunkApp(settings(session_timeout_ms=4500, group_instance_id="one"), producer_acks=1)
    app.finalize()
    assert app.conf.broker_session_timeout == 4.5
    assert app.conf.consumer_group_instance_id == "one"
    assert app.conf.producer_acks == 1


def test_a_batched_topic_has_one_agent() -> None:
    """A second topic object of the same name is refused: two readers would each see half of the positions."""
    app = ChunkApp(settings())
    app.batched_topic("a")
    with pytest.raises(ValueError, match="a"):
        app.batched_topic("b", "a")


def test_a_topic_has_one_hook() -> None:
    """A second hook, or one for a topic that is not batched, is refused."""
    app = ChunkApp(settings())
    app.batched_topic("a")

    async def hook(_: Any) -> Any:
        return {}

    app.on_assigned("a")(hook)
    with pytest.raises(ValueError, match="has a hook"):
        app.on_assigned("a")(lambda _: hook(_))
    with pytest.raises(ValueError, match="not a batched topic"):
        app.on_revoked("b")(hook)


async def test_a_hook_sees_its_own_topics_alone() -> None:
    """Each hook is asked for its partitions, with their commits, and may name no others."""
    app = ChunkApp(settings())
    app.batched_topic("a")
    app.batched_topic("b")
    seen: list[Assignment] = []

    @app.on_assigned("a")
    async def start(assignment: Assignment) -> dict[TP, int]:
        seen.append(assignment)
        return {A: 5}

    assignment = Assignment(3, frozenset({A, B}), {A: Position(4, "m"), B: Position(9)})
    assert await app.find_starts(assignment) == {A: 5}
    assert seen == [Assignment(3, frozenset({A}), {A: Position(4, "m")})]

    @app.on_assigned("b")
    async def wrong(_: Assignment) -> dict[TP, int]:
        return {A: 1}

    with pytest.raises(ValueError, match="cannot"):
        await app.find_starts(assignment)


def test_a_chunk_says_whether_it_joins() -> None:
    """It joins when it starts where the last one ended, or when nobody had said where to start."""
    chunk = Chunk("a", 0, 10, 20, [], 1)
    assert chunk.joins
    chunk.previous = 10
    assert chunk.joins
    chunk.previous = 9
    assert not chunk.joins
    assert chunk.done(12, "m") == Commit(A, 1, 12, "m")
    assert chunk.done() == Commit(A, 1, 20)


def test_a_reading_has_room_until_its_bound() -> None:
    """What was taken and not released counts against the bound."""
    reading = Reading(A, 1, None, 2)
    reading.taken = 2
    assert reading.room == 0
    reading.released = 1
    assert reading.room == 1


class FakeConsumer:
    """aiokafka's consumer, as far as a reading begins."""

    def __init__(self) -> None:
        self.sought: list[Any] = []

    def assignment(self) -> set[TP]:
        return {A}

    def seek(self, tp: TP, offset: int) -> None:
        self.sought.append((tuple(tp), offset))


def bare_thread() -> tuple[ChunkThread, FakeConsumer]:
    import threading

    thread = object.__new__(ChunkThread)
    fake = FakeConsumer()
    thread.readings, thread.era, thread._era_lock, thread._waiter = {}, 0, threading.Lock(), None
    thread._ensure_consumer = lambda: fake  # type: ignore[method-assign]
    return thread, fake


async def test_a_reading_from_before_a_revocation_does_not_begin_after_it() -> None:
    """Work carries its era: one that was asked for before partitions went begins nothing afterwards."""
    thread, fake = bare_thread()
    era = thread.era
    thread.hold()
    assert await thread.begin(era, [Reading(A, 1, 5, 2)]) == frozenset()
    assert (thread.readings, fake.sought) == ({}, [])
    assert await thread.begin(thread.era, [Reading(A, 2, 5, 2), Reading(B, 3, 5, 2)]) == {A}
    assert fake.sought == [(("a", 0), 5)]


def bare_consumer(generation: int, *, signalled: bool) -> ChunkConsumer:
    consumer = object.__new__(ChunkConsumer)
    event = asyncio.Event()
    if signalled:
        event.set()
    recovery = SimpleNamespace(signal_recovery_start=event, _generation_id=generation)
    consumer.app = SimpleNamespace(tables=SimpleNamespace(recovery=recovery))  # type: ignore[assignment]
    consumer._waiting = (7, frozenset({A}))
    consumer._beginning = None
    return consumer


@pytest.mark.parametrize(("generation", "signalled", "begins"), [(7, False, True), (6, False, False), (7, True, False)])
async def test_reading_waits_for_the_recovery_of_its_own_assignment(generation: int, signalled: bool, begins: bool) -> None:
    """The end of an older assignment's recovery, or one that must start again, begins nothing."""
    consumer = bare_consumer(generation, signalled=signalled)
    started: list[Any] = []

    def add_future(work: Any) -> Any:
        work.close()
        started.append(work)
        return asyncio.get_running_loop().create_future()

    consumer.add_future = add_future  # type: ignore[method-assign,assignment]
    consumer.on_recovered()
    assert bool(started) is begins
