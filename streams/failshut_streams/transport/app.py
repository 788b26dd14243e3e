"""The Faust app of a worker: batched topics, their hooks, and the process that runs them."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, NoReturn, TypeVar, cast

import faust
from faust.types import TP

from failshut_streams.transport.chunk import Assignment, Chunk, ChunkGap, Commit, Position
from failshut_streams.transport.consumer import ChunkConsumer, ChunkTransport
from failshut_streams.transport.settings import Settings

StartHook = Callable[[Assignment], Awaitable[Mapping[TP, int]]]
RevokedHook = Callable[[frozenset[TP]], Awaitable[None]]
Gaps = Literal["raise", "deliver"]
HookT = TypeVar("HookT", StartHook, RevokedHook)

logger = logging.getLogger(__name__)

_EXIT_STUCK = 70


class ChunkSchema(faust.Schema[Any, Any]):
    """A schema that passes chunks through unchanged."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Return a decoder for Faust which makes the chunk the event's value."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, message.headers, message)

        return decode


class ChunkApp(faust.App):
    """A Faust app that delivers its batched topics in chunks.

    Args:
        settings: how to read.
        options: further options of `faust.App`. They override the settings.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.settings = settings
        self._batched: set[str] = set()
        self._start_hooks: dict[str, StartHook] = {}
        self._revoked_hooks: dict[str, RevokedHook] = {}
        #: The number of agents in the middle of a chunk. `_idle` is set while it is 0.
        self._inside = 0
        self.assigned = False
        """Whether an assignment has come to its end, were it of no partition."""
        self._idle = asyncio.Event()
        self._idle.set()
        super().__init__(settings.group, **{**settings.faust(), **options})

    # --- topics and hooks ---

    def batched_topic(self, *names: str) -> Any:
        """Return a Faust topic whose events are chunks. Exactly one agent with concurrency 1 may read it.

        Raises:
            ValueError: one of the names is a batched topic already.
        """
        if taken := self._batched.intersection(names):
            raise ValueError(f"a batched topic has one agent, and there is one for {sorted(taken)}")
        self._batched.update(names)
        # Acknowledgements off: Faust then has nothing to commit for them, ever.
        return self.topic(*names, schema=ChunkSchema(), acks=False)

    def batched(self, topic: str) -> bool:
        """Return whether a topic is delivered in chunks."""
        return topic in self._batched

    def on_assigned(self, *topics: str) -> Callable[[StartHook], StartHook]:
        """Register the hook that returns where partitions of these topics start.

        It runs after an assignment, when tables are recovered and before any chunk is delivered. It returns
        positions by partition. A partition that it leaves out starts at its commit, or by the start policy if
        there is no commit. An error in the hook stops the worker. So does a hook that takes longer than
        `hook_seconds_max`.
        """
        return self._register(self._start_hooks, topics)

    def on_revoked(self, *topics: str) -> Callable[[RevokedHook], RevokedHook]:
        """Register the hook that receives the partitions of these topics that are about to be revoked.

        It runs when nothing more is delivered, no agent is in the middle of a chunk, and commits still count.
        It also runs before a clean stop, but not when the worker stops because of an error.
        """
        return self._register(self._revoked_hooks, topics)

    def _register(self, hooks: dict[str, HookT], topics: tuple[str, ...]) -> Callable[[HookT], HookT]:
        def register(hook: HookT) -> HookT:
            for topic in topics:
                if not self.batched(topic):
                    raise ValueError(f"{topic} is not a batched topic")
                if hooks.setdefault(topic, hook) is not hook:
                    raise ValueError(f"{topic} has a hook already")
            return hook

        return register

    async def find_starts(self, assignment: Assignment) -> dict[TP, int]:
        """Ask the hooks where the partitions start, and return their answers. Only the consumer calls this."""
        starts: dict[TP, int] = {}
        for hook in _distinct(self._start_hooks):
            topics = {topic for topic, found in self._start_hooks.items() if found is hook}
            tps = frozenset(tp for tp in assignment.tps if tp.topic in topics)
            if not tps:
                continue
            committed = {tp: at for tp, at in assignment.committed.items() if tp in tps}
            said = await hook(Assignment(assignment.generation, tps, committed))
            if wrong := {tp: at for tp, at in said.items() if tp not in tps or at < 0}:
                raise ValueError(f"the hook {hook!r} names positions that it cannot: {wrong}")
            starts.update(said)
        return starts

    async def tell_revoked(self, tps: frozenset[TP]) -> None:
        """Wait until no agent is in the middle of a chunk. Then pass the revoked partitions to the hooks.

        Only the consumer calls this.
        """
        if self.crashed:
            return
        await self._idle.wait()
        for hook in _distinct(self._revoked_hooks):
            topics = {topic for topic, found in self._revoked_hooks.items() if found is hook}
            if going := frozenset(tp for tp in tps if tp.topic in topics):
                await hook(going)

    # --- for agents ---

    @property
    def _chunks(self) -> ChunkConsumer:
        return cast(ChunkConsumer, self.consumer)

    async def commit_chunks(self, commits: Iterable[Commit]) -> frozenset[TP]:
        """Commit positions, with their metadata.

        Returns:
            The partitions whose commit Kafka has. A missing one was revoked or sought since the chunk was read.
            Nothing is committed for it, and its next reading starts at the older commit.

        Raises:
            CommitBeyondDelivery: an offset is beyond what the agent was given.
            TimeoutError: Kafka did not answer within `commit_seconds_max`. The commit may have been made.
            KafkaError: Kafka refused.
        """
        return await self._chunks.commit_said(commits)

    async def committed(self, tps: Iterable[TP]) -> Mapping[TP, Position]:
        """Return what the group has committed. Partitions without a commit are absent."""
        thread = self._chunks._thread
        return await thread.within(thread.committed(tps))

    def awaited_transactions(self) -> Mapping[TP, int]:
        """Return the batched partitions whose reading has reached an open transaction, with its first offset.

        Nothing from that offset on is delivered before the transaction ends, whoever wrote it.
        """
        return self._chunks._thread.awaited() if self._consumer is not None else {}

    async def seek_chunks(self, positions: Mapping[TP, int]) -> frozenset[TP]:
        """Continue reading at other positions. Drop what was read before and not yet delivered.

        Returns:
            The partitions that were sought. The others are not read here, or not yet.
        """
        return await self._chunks.seek_readings(positions)

    async def chunks(self, stream: Any, *, gaps: Gaps = "raise") -> AsyncIterator[Chunk]:
        """Yield a batched topic's chunks to its agent. When the agent asks for the next chunk, another may be fetched.

        Args:
            stream: the stream that Faust passes to the agent.
            gaps: `raise`, or `deliver` for an agent that checks `Chunk.joins` itself.

        Raises:
            ChunkGap: a chunk does not start where the one before it ended.
        """
        async for chunk in stream:
            reading = self._chunks.reading_of(chunk)
            if reading is None:
                continue
            chunk.previous = reading.delivered
            if gaps == "raise" and chunk.previous is not None and not chunk.joins:
                raise ChunkGap(chunk.tp, chunk.previous, chunk.fetched_from)
            reading.delivered = chunk.upto
            self._inside += 1
            self._idle.clear()
            try:
                yield chunk
            finally:
                self._inside -= 1
                if not self._inside:
                    self._idle.set()
            self._chunks.release(reading)

    # --- Faust's seams ---

    def _new_transport(self) -> Any:
        return ChunkTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return ChunkTransport(self.conf.broker_producer, self)

    def on_rebalance_end(self) -> None:
        """Begin reading. Faust calls this when an assignment's tables are recovered."""
        super().on_rebalance_end()
        self.assigned = True
        self._chunks.on_recovered()

    async def on_stop(self) -> None:
        """Run the hooks while commits still work. Then stop as Faust does."""
        if self._consumer is not None:
            await self._chunks.end()
        await super().on_stop()


def run(app: ChunkApp, *, stop_seconds_max: float = 20.0) -> NoReturn:
    """Run a worker process until a signal (SIGTERM, SIGINT) or an error stops it.

    The process exits with 0 after a stop that was asked for, also in the middle of its start, and with 1 after an error.
    If a stop takes longer than `stop_seconds_max`, it prints every thread's stack to standard error and exits with 70.
    Logging is the caller's to set up.
    """
    worker = _Worker(app, stop_seconds_max=stop_seconds_max)
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        if worker.told_while_well:  # what broke because a start was cut short is no error
            raise SystemExit(0) from None
        if ended.code:
            _end(ended.code if isinstance(ended.code, int) else 1)
        raise
    except BaseException as error:
        logger.critical("the worker ends over an error", exc_info=error)
        _end(1)
    raise AssertionError("a Faust worker exits by itself")


class _Worker(faust.Worker):
    def __init__(self, app: ChunkApp, *, stop_seconds_max: float, **options: Any) -> None:
        self._stop_seconds_max = stop_seconds_max
        self._watchdog: threading.Timer | None = None
        self.told_while_well = False
        super().__init__(app, redirect_stdouts=False, override_logging=False, **options)
        self.spinner = None  # with one, Faust has every library make its debug records, at any level above INFO

    async def _stop_on_signal(self, signal: Any) -> None:
        self.told_while_well = not self.crashed and not self.app.crashed
        await super()._stop_on_signal(signal)

    async def stop(self) -> None:
        if self._watchdog is None:
            self._watchdog = threading.Timer(self._stop_seconds_max, _cut_off)
            self._watchdog.daemon = True
            self._watchdog.start()
        await super().stop()


def _cut_off() -> None:
    faulthandler.dump_traceback(all_threads=True)
    _end(_EXIT_STUCK)


def _end(status: int) -> NoReturn:
    """End the process now. An interpreter that waits for threads may hang, and a worker that does not end is not replaced."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)


def _distinct(hooks: Mapping[str, HookT]) -> list[HookT]:
    return list(dict.fromkeys(hooks.values()))
