"""The router agent: front-door chunks in, runs of evidence out, positions committed behind them.

One lock is held while a chunk or a batch of control records is cut and handed over. So a run is never written
before the activation under which it was cut. To apply an activation, a router writes it to every evidence
partition and waits until that is acknowledged. Then it goes back in every front-door partition to the last mark
before the oldest activation that it had not applied.

An operator who signs for a gap names a position from which covering goes on. Routers go back there as well, so
that their next run begins at it: it joins, however far they had read meanwhile.

A position is committed only at a boundary whose runs are acknowledged. The commit says in which term, under which
routing version and with which accepted gap it was reached. If a partition's commit names an older routing version,
reading starts at the last mark before the activations since. If it does not know an accepted gap, reading starts where
the gap ends. If it names another term, reading starts where this term begins. A group without a commit starts where
evidence says that others have got (reached.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from aiokafka import AIOKafkaProducer, TopicPartition
from faust.types import TP

from failshut_breakers.command import OpenTerm
from failshut_breakers.evidence.boundaries import look_before
from failshut_breakers.evidence.coverage import BROKER_SKEW_MS, CONTROL
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Run, Term
from failshut_streams.codecs import InternalDecoder, NativeDecoder, Origin, OtlpDecoder, encode_dead_letter
from failshut_streams.config import WorkerConfig
from failshut_streams.control.cutter import ControlCut, ControlCutter
from failshut_streams.control.operators_file import OperatorNaming
from failshut_streams.control.reader import ControlReader
from failshut_streams.kafka.topics import INTERNAL, OTLP_METRICS, TELEMETRY, Topics
from failshut_streams.metrics import Metrics
from failshut_streams.router.cutter import Cutter, Decoder, RunHead, UnknownPartitions
from failshut_streams.router.evidence_writer import EvidenceWriter
from failshut_streams.router.history import HistoryTeller
from failshut_streams.router.mark_search import last_boundary_before
from failshut_streams.router.reached import Place, metadata_of, reached_in, read_metadata
from failshut_streams.sources.marks import wall_ms
from failshut_streams.transport import Assignment, Chunk, ChunkApp, Commit, Position
from failshut_streams.transport.front_door import DeadRecord, PartitionOf

logger = logging.getLogger(__name__)

DEAD_KEY_BYTES_KEPT = 1024
"""What a dead letter keeps of its record's key: whole, it could be more than the dead-letter topic takes."""

NOTHING_BEFORE = 1 << 62
"""The routing of a partition that is read from where the term began: there is nothing to go back to."""


class NoTerm(Exception):
    """No operator has opened a term of the evidence log: nothing can be vouched for."""

    told_without_traceback = True


class TermOpened(Exception):
    """Another term was opened while this worker ran. It stops; one that starts begins where that term says."""


class WrongLog(Exception):
    """The term speaks of another evidence topic than the one that the broker has."""


class Router:
    """Routes one worker's share of the front door, and all of control."""

    def __init__(
        self,
        app: ChunkApp,
        config: WorkerConfig,
        topics: Topics,
        control: ControlCutter,
        log: EvidenceLog,
        partition_of: PartitionOf,
        metrics: Metrics,
        topic_ids: Mapping[str, str],
        naming: OperatorNaming | None = None,
    ) -> None:
        self.app, self.config, self.topics, self.control = app, config, topics, control
        self.log = log
        self._metrics = metrics
        self._topic_ids = topic_ids
        self._naming = naming
        self.cutters: dict[TP, Cutter] = {}
        self._partition_of = partition_of
        self._forward_every_ms = config.mark_every_ms * 3 // 4
        self._decoders: dict[str, Decoder] = {
            topics.telemetry: NativeDecoder(),
            topics.otlp_metrics: OtlpDecoder(),
            topics.internal: InternalDecoder(),
        }
        self._roles = {topics.telemetry: TELEMETRY, topics.otlp_metrics: OTLP_METRICS, topics.internal: INTERNAL}
        self._lock = asyncio.Lock()
        self._ready = asyncio.Event()
        self._newest: dict[TP, int] = {}  # the newest reading of a partition that was seen
        self._void: dict[TP, int] = {}  # readings up to this one were given up by going back
        self._started_under: dict[TP, int] = {}  # the routing that was known when a start was found
        self._started_at_gap: dict[TP, int] = {}  # likewise, the newest gap that was signed for
        self._reached: dict[TP, Commit] = {}
        self._term = 0  # that runs are cut in
        self._reader = ControlReader(config.broker, topics.control)
        self.history = HistoryTeller(
            config.broker,
            self._head,
            partition_of,
            self._decoders,
            lambda: {tp: self._roles[tp.topic] for tp in self.cutters},
            lambda: self.control.histories,
            self._write_history,
        )
        self._writer: EvidenceWriter
        self._producer: AIOKafkaProducer

    # --- control ---

    async def start(self, producer: AIOKafkaProducer) -> None:
        """Read control to its end and tell every evidence partition. Nothing is routed before.

        Raises:
            NoTerm, WrongLog: nothing can be vouched for.
        """
        self._producer = producer
        for topic in self._roles:
            producer.client.add_topic(topic)
        await producer.client.force_metadata_update()
        self._writer = EvidenceWriter(producer, self.topics.evidence)
        await self._reader.start()
        records = await self._reader.all_of_it()
        if self._naming is not None and await self._naming.begin(records, producer):
            records += await self._reader.all_of_it()
        await asyncio.to_thread(self.control.prepare, records)
        cut = self.control.everything(records, self._reader.position)
        self._check_term()
        self._term = self._term_number()
        await self._hand_over_control(cut)
        self._ready.set()

    def _check_term(self) -> None:
        term = self.control.term
        belonging = self.control.belonging
        if term is None and belonging.elsewhere is not None:
            self._refuse_log(belonging.elsewhere)
        if term is None and belonging.nameless:
            raise NoTerm(
                "the terms in control name no installation: they are of an older version of Failshut. Open a new one with "
                "`failshut term open --renew` and activate the policies again; until then every gate stays closed"
            )
        if term is None:
            raise NoTerm("no term is open: open one with `failshut term open`; until then every gate stays closed")
        if term.log != self.log:
            self._refuse_log(term)
        replaced = [role for role, topic_id in sorted(term.topic_ids.items()) if self._topic_ids.get(role) != topic_id]
        if replaced:
            raise WrongLog(
                f"topic {self.topics.physical(replaced[0])} is not the one that term {term.term} began with: it was deleted "
                f"and made again. What it holds was vouched for by nobody; every gate stays closed until an operator opens a "
                f"new term"
            )

    def _refuse_log(self, term: Term | OpenTerm) -> NoReturn:
        raise WrongLog(
            f"term {term.term} is of evidence {term.log}; the broker has {self.log}. Every gate stays closed until an operator "
            f"opens a new term"
        )

    @property
    def ready(self) -> bool:
        """Whether control was read, and a term is open."""
        return self._ready.is_set()

    async def follow_control(self) -> None:
        """Follow the control topic for as long as the worker lives."""
        while True:
            records = await self._reader.next_batch(timeout_ms=1_000)
            if records:
                await asyncio.to_thread(self.control.prepare, records)
                async with self._lock:
                    await self._hand_over_control(self.control.cut(records, self._reader.position))

    async def follow_operators(self) -> None:
        """Follow this worker's operators file for as long as the worker lives."""
        if self._naming is not None:
            await self._ready.wait()
            await self._naming.follow(self._lock, lambda: self.control.operators, self._producer)

    async def tell_again(self, evidence_partition: int) -> None:
        """Tell an evidence partition all of control once more: its governor has lost what came before."""
        await self._ready.wait()
        # Under the lock: what is told in between would begin behind what is told here, and never join.
        async with self._lock:
            await self._tell_control(frozenset([evidence_partition]))

    async def _tell_control(self, evidence_partitions: frozenset[int]) -> None:
        again = ControlReader(self.config.broker, self.topics.control)
        await again.start()
        try:
            cut = self.control.again().everything(await again.all_of_it(), again.position)
        finally:
            await again.stop()
        await self._writer.write([(at, run) for at, run in cut.runs if at in evidence_partitions])
        await self._writer.flush()

    async def _hand_over_control(self, cut: ControlCut) -> None:
        for refusal in cut.refused:
            logger.warning("%s", refusal)
        if self._ready.is_set() and self._term_number() != self._term:
            raise TermOpened(f"term {self._term_number()} was opened: this worker must begin anew in it")
        await self._bury(CONTROL, 0, cut.dead)
        await self._writer.write(cut.runs)
        for key, token in cut.restore:
            logger.warning("control: the key %s was used for something else; what stands under it is written again", key)
            await self._producer.send_and_wait(self.topics.control, token, key=key, partition=0)
        if not self._ready.is_set() or not (cut.applied or cut.gaps or cut.retells):
            return
        await self._writer.flush()
        positions = await self._boundaries(self.cutters, _look_before(cut.applied[0][1])) if cut.applied else {}
        for gap in cut.gaps:
            self._also(positions, gap.topic, gap.partition, gap.upto)
        if any(retell.topic == CONTROL for retell in cut.retells):
            await self._tell_control(frozenset(range(self.log.partitions)))
        for retell in cut.retells:
            for cutter in self.cutters.values():
                if (cutter.topic, cutter.partition) == retell[:2] and (cutter.reach or 0) > retell.position:
                    logger.warning("telling %s/%d from offset %d on once more, as a governor asks", *retell)
                    self._also(positions, *retell)
        await self._go_back(self.cutters, positions)
        self.history.look()

    async def _write_history(self, runs: Iterable[tuple[int, Run]]) -> None:
        async with self._lock:
            await self._writer.write(runs)

    def _head(self) -> RunHead:
        return RunHead(self.log, self._term_number(), self.config.worker_id)

    def _also(self, positions: dict[TP, int], topic: str, partition: int, position: int) -> None:
        """Go back in one more partition, if this worker has it."""
        for tp, cutter in self.cutters.items():
            if (cutter.topic, cutter.partition) == (topic, partition):
                positions[tp] = min(position, positions.get(tp, position))

    async def _boundaries(self, cutters: Mapping[TP, Cutter], append_ms: int) -> dict[TP, int]:
        """Return the last boundary of each partition before a time."""
        found = {tp: cutter.last_boundary_before(append_ms) for tp, cutter in cutters.items()}
        return {tp: await self._search(tp, append_ms) if at is None else at for tp, at in found.items()}

    async def _go_back(self, cutters: Mapping[TP, Cutter], wanted: Mapping[TP, int]) -> None:
        """Go back to these positions, and never forward: runs begin there."""
        positions: dict[TP, int] = {}
        for tp, position in wanted.items():
            reach = cutters[tp].reach
            positions[tp] = position if reach is None else min(position, reach)
        sought = await self.app.seek_chunks(positions) if positions else frozenset()
        for tp in sought:
            self._void[tp] = self._newest[tp]
            self._reached.pop(tp, None)
            cutters[tp].back_to(positions[tp])

    async def _search(self, tp: TP, append_ms: int) -> int:
        begin = self._begin(tp)
        return await last_boundary_before(self.config.broker, TopicPartition(tp.topic, tp.partition), append_ms, begin)

    def _term_number(self) -> int:
        return self.control.term.term if self.control.term else 0

    def _begin(self, tp: TP) -> int:
        term = self.control.term
        return term.starts.get(self._roles[tp.topic], {}).get(tp.partition, 0) if term else 0

    # --- the front door ---

    async def find_starts(self, assignment: Assignment) -> Mapping[TP, int]:
        """Say where each partition starts: at its commit, or before whatever the commit's routing did not know."""
        await self._ready.wait()
        starts: dict[TP, int] = {}
        routing_now = self.control.routes.routing
        elsewhere = await self._reached_elsewhere() if assignment.tps - assignment.committed.keys() else {}
        for tp in assignment.tps:
            at = assignment.committed.get(tp) or elsewhere.get((self._roles[tp.topic], tp.partition))
            self._started_under[tp], self._started_at_gap[tp] = routing_now, self.control.newest_gap
            term, routing, gap = (-1, -1, -1) if at is None else read_metadata(at.metadata)
            if at is None or term != self._term_number():
                starts[tp], self._started_under[tp] = self._begin(tp), NOTHING_BEFORE
                continue
            starts[tp] = at.offset
            since_ms = self.control.applied_since(routing)
            if since_ms is not None:
                starts[tp] = min(at.offset, await self._search(tp, _look_before(since_ms)))
            signed = self.control.gap_since(gap, self._roles[tp.topic], tp.partition)
            if signed is not None:
                starts[tp] = min(starts[tp], signed)
        return starts

    async def _reached_elsewhere(self) -> Mapping[Place, Position]:
        return await reached_in(self.config.broker, self.topics.evidence, self.log, self._term_number())

    async def let_go(self, tps: frozenset[TP]) -> None:
        """Forget partitions that go to another worker, after committing what is acknowledged."""
        await self.commit()
        async with self._lock:
            for tp in tps:
                self.cutters.pop(tp, None)
                self._newest.pop(tp, None)
                self._void.pop(tp, None)
                self._reached.pop(tp, None)
            self.history.forget(tps)

    async def run(self, stream: Any) -> None:
        """Route chunks for as long as the worker lives."""
        async for chunk in self.app.chunks(stream, gaps="deliver"):
            self._newest[chunk.tp] = chunk.reading
            async with self._lock:
                if chunk.reading > self._void.get(chunk.tp, -1):
                    await self._route(chunk)

    async def _route(self, chunk: Chunk) -> None:
        cutter = self.cutters.get(chunk.tp)
        if cutter is None:
            since_ms = self.control.applied_since(self._started_under.pop(chunk.tp, -1))
            cutter = self.cutters[chunk.tp] = self._new_cutter(chunk)
            cutter.back_to(chunk.fetched_from)
            self.history.look()
            # What came between finding the start and the first chunk.
            here, signed = (
                {chunk.tp: cutter},
                self.control.gap_since(self._started_at_gap.pop(chunk.tp, -1), cutter.topic, cutter.partition),
            )
            wanted = await self._boundaries(here, _look_before(since_ms)) if since_ms is not None else {}
            if signed is not None and signed < chunk.fetched_from:
                wanted[chunk.tp] = min(signed, wanted.get(chunk.tp, signed))
            if wanted:
                await self._go_back(here, wanted)
                return
        routes = self.control.routes
        began = time.perf_counter()
        try:
            cut = cutter.cut(chunk, routes)
        except UnknownPartitions:
            await self._producer.client.force_metadata_update()
            cut = cutter.cut(chunk, routes, asked=True)
        await self._bury(self._roles[chunk.topic], chunk.partition, cut.dead)
        await self._writer.write(cut.runs)
        self._metrics.read(cutter.topic, len(chunk.records), cut.readings, len(cut.dead))
        self._metrics.runs_written(len(cut.runs))
        self._metrics.router_chunk(time.perf_counter() - began)
        if cut.boundary is not None:
            gap = self.control.newest_gap if self.control.gaps else None
            self._reached[chunk.tp] = chunk.done(cut.boundary, metadata_of(cutter.head.term, routes.routing, gap))

    def _new_cutter(self, chunk: Chunk) -> Cutter:
        topic = chunk.topic
        return Cutter(
            self._roles[topic],
            chunk.partition,
            self._head(),
            self._partition_of,
            self._decoders[topic],
            lambda: self._partitions(topic),
        )

    def _partitions(self, topic: str) -> int:
        """Return how many partitions a topic has, as the broker said not much more than a second ago."""
        return len(self._producer.client.cluster.partitions_for_topic(topic) or ())

    def watched_groups(self) -> Iterable[tuple[str, str]]:
        """Return the groups that this worker samples: all that policies watch, if it has the first partition of `internal`."""
        first = TP(self.topics.internal, 0)
        return self.control.routes.lags if first in self.cutters else ()

    async def _bury(self, role: str, partition: int, dead: list[DeadRecord]) -> None:
        """Send records to the dead-letter topic, with their reason. The stream goes on when they are acknowledged."""
        sends = []
        for record, reason, kind in dead:
            self._metrics.dead_letter(role, kind)
            origin = Origin(role, partition, record.offset, record.timestamp_ms)
            letter = encode_dead_letter(reason, origin, record.key, record.value)
            key = None if record.key is None else record.key[:DEAD_KEY_BYTES_KEPT]
            sends.append(await self._producer.send(self.topics.dead_letter, letter, key=key))
        if sends:
            await asyncio.gather(*sends)

    # --- commits ---

    async def commit(self) -> None:
        """Commit the boundaries whose runs are acknowledged.

        Raises:
            KafkaError: runs were not acknowledged: the worker must stop, its successor writes them again.
        """
        async with self._lock:  # what is reached now was handed over before now; chunks need not wait for the answer
            reached, self._reached = self._reached, {}
        await self._writer.flush()
        if reached:
            await self.app.commit_chunks(reached.values())

    async def commit_regularly(self) -> None:
        """Commit every `commit_every_ms` for as long as the worker lives."""
        while True:
            await asyncio.sleep(self.config.commit_every_ms / 1000)
            await self.commit()

    def awaited_transactions(self) -> dict[TopicPartition, int]:
        """Return the partitions whose reading waits for an open transaction to end, and where each of those begins."""
        waits = {TopicPartition(*tp): at for tp, at in self.app.awaited_transactions().items()}
        at = self._reader.awaited() if self._ready.is_set() else None
        return waits if at is None else {**waits, TopicPartition(self.topics.control, 0): at}

    async def stop(self) -> None:
        """Stop reading control."""
        await self._reader.stop()


def _look_before(activated_ms: int) -> int:
    """Return the time before which the boundary lies that an activation sends routers back to."""
    return look_before(activated_ms - BROKER_SKEW_MS, wall_ms())
