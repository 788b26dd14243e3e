"""One worker: every agent of the monitor in one process.

It first prepares keys, topics and the evidence topic's id. Then it runs a Faust app with two agents on batched
topics: the router on the front door and the governor on evidence. Beside them run marks, control, commits, the
store, outcomes and lag, which make time and carry out decisions. If any of these fails for good, the worker
ends with a status that is not zero. Its partitions move to another worker, and its gates lapse if there is
none.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from failshut.signing import SigningKey
from failshut_breakers.decisions.probe_tokens import ProbeKey
from failshut_breakers.evidence import partition
from failshut_breakers.store.client import Store
from failshut_detectors.ours import OURS
from failshut_streams.config import WorkerConfig
from failshut_streams.control.cutter import ControlCutter
from failshut_streams.control.operators import OperatorsFile, OperatorsInForce
from failshut_streams.control.operators_file import OperatorNaming
from failshut_streams.control.retelling import Retelling
from failshut_streams.endpoint import NOT_YET
from failshut_streams.governor.agent import GovernorAgent
from failshut_streams.governor.effects import Effects
from failshut_streams.governor.snapshots import snapshot_key
from failshut_streams.health import Health
from failshut_streams.kafka import segments
from failshut_streams.kafka import topics as topic_setup
from failshut_streams.kafka.address import Broker
from failshut_streams.kafka.topics import FRONT_DOOR, Counts, Topics, TopicsFound
from failshut_streams.logs import beginning
from failshut_streams.metrics import Metrics
from failshut_streams.router.agent import Router
from failshut_streams.router.evidence_writer import REQUEST_BYTES_MAX, make_producer
from failshut_streams.sources.lag import LagSampler
from failshut_streams.sources.marks import MarkWriter, mark_producer
from failshut_streams.sources.outcome_sums import Waits
from failshut_streams.sources.outcomes import OutcomeMover
from failshut_streams.sources.transactions import OpenTransaction, TransactionWatch
from failshut_streams.transport import ChunkApp, Settings
from failshut_streams.transport import run as run_app

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""The interpreter's switch interval: how long the fetching and the deciding thread wait for each other.

Python's default is 5 ms, which would be most of a trip's time.
"""

SNAPSHOTS = "snapshots"
"""The table of governors' snapshots."""

STOP_SECONDS_MAX = 3.0
"""How long each part may take to stop."""


class LoopEnded(Exception):
    """A loop that lives as long as the worker has ended: the worker must, too."""


class WorkerApp(ChunkApp):
    """The Faust app of a worker, with the parts that live as long as it does."""

    def __init__(self, config: WorkerConfig, found: TopicsFound, signing_key: SigningKey, operators: OperatorsFile) -> None:
        timeout_ms = config.session_timeout_ms
        broker = Broker.parse(config.broker)
        super().__init__(
            Settings(
                group=f"{config.prefix}{config.group}",
                broker=broker.faust_url(),
                chunk_records_max=config.chunk_records_max,
                fetch_max_wait_ms=config.fetch_max_wait_ms,
                session_timeout_ms=timeout_ms,
                heartbeat_interval_ms=max(100, timeout_ms // 4),
                request_timeout_ms=max(config.request_timeout_ms, timeout_ms + 1_000),
                group_instance_id=config.group_instance_id,
            ),
            broker_credentials=broker.faust_credentials(),
            producer_max_request_size=REQUEST_BYTES_MAX,
            topic_replication_factor=found.copies,  # of the snapshots' changelog: with one copy a lost node would take them
            datadir=tempfile.gettempdir(),  # nothing is kept there: tables live in memory, and in Kafka
        )
        self.failshut = config
        self.metrics = Metrics()
        topics = found.topics
        log = found.log
        partition_of = lru_cache(maxsize=100_000)(lambda gate: partition.partition_of(gate, log.partitions))
        self.naming = OperatorNaming(operators, signing_key, config.worker_id, topics.control, log.id)
        in_force = OperatorsInForce(None, self.naming.monitor, log.id)
        control = ControlCutter(in_force, log, config.worker_id, partition_of, config.mark_every_ms * 3 // 4)
        topic_ids = {role: found.found[role].topic_id for role in FRONT_DOOR}
        self.routing = Router(self, config, topics, control, log, partition_of, self.metrics, topic_ids, self.naming)
        table = self.Table(
            SNAPSHOTS,
            partitions=log.partitions,
            key_type=str,
            value_type=bytes,
            extra_topic_configs={
                "max.message.bytes": str(REQUEST_BYTES_MAX),
                "min.insync.replicas": str(max(1, found.copies - 1)),
                **segments.CHANGELOG,
            },
        )
        key = snapshot_key(signing_key)
        self.governing = GovernorAgent(self, config, table, log, key, partition_of, self.routing.tell_again, self.metrics)
        self.retelling = Retelling(signing_key, topics.control, log.id, self.governing.owed)
        self._topics = topics
        self._signing_key = signing_key
        self._parts: list[Any] = []
        self._loops: list[asyncio.Future[Any]] = []
        self._wire()

    def _wire(self) -> None:
        routed = (self._topics.telemetry, self._topics.otlp_metrics, self._topics.internal)
        front_door = self.batched_topic(*routed)
        evidence = self.batched_topic(self._topics.evidence)
        self.on_assigned(*routed)(self.routing.find_starts)
        self.on_revoked(*routed)(self.routing.let_go)
        self.on_assigned(self._topics.evidence)(self.governing.find_starts)
        self.on_revoked(self._topics.evidence)(self.governing.let_go)
        self.agent(front_door, name="router")(self.routing.run)
        self.agent(evidence, name="governor")(self.governing.run)

    async def on_start(self) -> None:
        """Start what agents rely on, before the first assignment."""
        await super().on_start()
        config = self.failshut
        producer, deciding = (
            make_producer(config.broker, config.request_timeout_ms, config.worker_id, config.compression) for _ in range(2)
        )
        marking = mark_producer(config.broker, config.mark_every_ms)
        for part in (producer, deciding, marking):
            await part.start()
            self._parts.append(part)
        store = Store(config.store, config.store_timeout_ms / 1000)
        effects = Effects(store, self._signing_key, deciding, self._topics.decisions, self.metrics)
        self.governing.effects = effects
        watch = TransactionWatch(config.broker, self.routing.awaited_transactions)
        open_now = lambda: self._by_role(watch.open)  # noqa: E731
        marks = MarkWriter(marking, self._topics, config.mark_every_ms, on_result=self.metrics.mark)
        troubles = lambda: self._troubles(effects, marks)  # noqa: E731
        health = Health(config, self.routing, self.governing, effects, self.metrics, self.naming, open_now, troubles)
        self._parts += [store, health]
        if config.metrics_port is not None:
            self.metrics.serve(config.metrics_port, config.metrics_address)
        await self._begin(
            watch,
            marks,
            LagSampler(
                config.broker,
                deciding,
                self._topics.internal,
                self.routing.watched_groups,
                config.lag_every_ms,
                on_result=self.metrics.lag_sample,
            ),
        )
        await self.routing.start(producer)
        self._parts.append(self.routing)
        await self._begin(self._mover(deciding))
        # What fails in one of these ends the worker.
        self._loops = [
            self.add_future(self._for_ever(loop))
            for loop in (
                self.routing.follow_control(),
                self.routing.commit_regularly(),
                self.routing.follow_operators(),
                self.routing.history.follow(),
                self.retelling.ask_regularly(deciding),
                effects.write_regularly(),
                health.report_regularly(),
            )
        ]

    def _troubles(self, effects: Effects, marks: MarkWriter) -> list[str]:
        """Return what keeps every gate of this worker closed, whatever evidence says."""
        found = [] if self.routing.ready and self.assigned else [NOT_YET]
        if not effects.reachable:
            found.append("the store does not take every write")
        if not marks.well:
            found.append("time marks are not written: evidence time stands still")
        return found

    def _by_role(self, found: dict[TopicPartition, OpenTransaction]) -> dict[tuple[str, int], OpenTransaction]:
        return {(self._topics.role(place.topic), place.partition): at for place, at in found.items()}

    async def on_stop(self) -> None:
        """Let go of everything."""
        await super().on_stop()
        while running := [loop for loop in self._loops if not loop.done()]:
            for loop in running:
                loop.cancel()
            await asyncio.wait(running, timeout=0.5)  # a driver may swallow one cancellation
        self.metrics.close()
        # Producers go last, and all of a kind at once: what cannot stop, because its server is gone, must not add up.
        producers = [part for part in self._parts if isinstance(part, AIOKafkaProducer)]
        others = [part for part in self._parts if not isinstance(part, AIOKafkaProducer)]
        for parts in (others, producers):
            await asyncio.gather(*(self._end(part) for part in parts))

    @staticmethod
    async def _end(part: Any) -> None:
        stop = getattr(part, "stop", None) or part.close
        try:
            await asyncio.wait_for(stop(), STOP_SECONDS_MAX)
        except Exception as error:  # noqa: BLE001 - a part that cannot stop must not keep the others from it
            logger.warning("%s did not stop: %s", type(part).__name__, error)

    async def _for_ever(self, loop: Coroutine[Any, Any, None]) -> None:
        """Run what must not end while the worker lives; mode would take a cancellation from within for an end in order.

        Raises:
            LoopEnded: it ended, without an error of its own.
        """
        try:
            await loop
        except asyncio.CancelledError as error:
            if self.should_stop:
                raise
            raise LoopEnded(f"{loop!r} was cancelled") from error
        if not self.should_stop:
            raise LoopEnded(f"{loop!r} came to an end")

    async def _begin(self, *parts: Any) -> None:
        """Start parts that live as long as the worker does."""
        for part in parts:
            await part.start()
            self._parts.append(part)

    def _mover(self, telling: AIOKafkaProducer) -> OutcomeMover:
        """Return what turns outcomes into evidence. Control has been read: it says whose they are."""
        config, control = self.failshut, self.routing.control
        return OutcomeMover(
            config.outcomes_store or config.store,
            telling,
            self._topics.internal,
            config.worker_id,
            control.belonging.installation,
            lambda: control.book.entries,
            ProbeKey(self._signing_key),
            waits_ms=Waits(lambda: control.book.entries),
            on_count=self.metrics.outcomes,
        )


async def _prepare(config: WorkerConfig) -> TopicsFound:
    for address in filter(None, (config.store, config.outcomes_store)):
        async with Store(address, config.store_timeout_ms / 1000) as store:
            await store.check()
    counts = Counts(
        telemetry=config.telemetry_partitions,
        otlp_metrics=config.otlp_partitions,
        evidence=config.evidence_partitions,
    )
    found = await topic_setup.ensure(config.broker, Topics(config.prefix), counts, changelog=_changelog(config))
    for remark in found.remarks:
        logger.warning("%s", remark)
    return found


def _changelog(config: WorkerConfig) -> str:
    """Return what Faust calls the topic of this group's snapshots."""
    return f"{config.prefix}{config.group}-{SNAPSHOTS}-changelog"


def _collect_rarely() -> None:
    """Have Python look for garbage in cycles less often, and never among what was imported.

    Records, rows and runs come by the hundred thousand and hold no cycles; looking at them every 700 objects took a third
    of a worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def run(config: WorkerConfig) -> int:
    """Run a worker until it is told to stop or must stop; return the exit status.

    Raises:
        TopicsUnfit, BrokerUnreachable, StoreUnfit: nothing was started.
        OSError, ValueError: a key cannot be read.
        ImportError: what a detector needs is not installed.
    """
    logger.info("worker %s of group %s prepares", config.worker_id, config.group)
    OURS.load()  # now, and not when a policy asks for one: every gate would wait, with its permit running out
    _collect_rarely()
    sys.setswitchinterval(SWITCH_SECONDS)
    signing_key = SigningKey.load(config.signing_key)
    operators = OperatorsFile(config.operators)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # the one that Faust goes on with
    found = loop.run_until_complete(_prepare(config))
    config = config.model_copy(update={"evidence_partitions": found.evidence_partitions})
    began = time.monotonic()
    try:
        run_app(WorkerApp(config, found, signing_key, operators))
    except SystemExit as end:
        beginning.end()
        logger.info("the worker ends after %.0f s", time.monotonic() - began)
        return end.code if isinstance(end.code, int) else 1
    return 0


def main() -> None:
    """Run a worker from its configuration as JSON, the one argument."""
    config = WorkerConfig.model_validate_json(sys.argv[1])
    beginning.begin(config.log_format, config.log_level)
    sys.exit(run(config))


if __name__ == "__main__":
    main()
