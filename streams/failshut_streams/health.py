"""What a worker says of itself: metrics of evidence, and a line in the store for screens.

None of this decides anything. It names the cause of a lapse: how old evidence time is, which front-door
partition holds it back, where a gap is, and which partitions this worker has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

import msgspec
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from failshut import keys
from failshut_breakers.coverage import Coverage
from failshut_streams.config import WorkerConfig
from failshut_streams.effects import Effects, wall_ms
from failshut_streams.governing import Governing
from failshut_streams.metrics import Metrics
from failshut_streams.router import Router

logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
LIFE_MS = 5_000
"""How long a worker's line stays when it says nothing more."""

REFUSED_MAX = 20

Place = tuple[str, int]


class Report(msgspec.Struct, frozen=True):
    """A worker's line. Places are written `topic/partition`; times are whole milliseconds."""

    id: str
    group: str
    started_ms: int
    now_ms: int
    evidence: dict[str, int]
    oldest: str
    gaps: list[str]
    unvouched: list[str]
    evidence_partitions: list[int]
    front_door: list[str]
    store_reachable: bool
    refused: dict[str, str] = {}  # by gate, at most REFUSED_MAX of them: why the store takes nothing for it
    gap_places: dict[str, tuple[int, int]] = {}  # by place: up to where evidence is covered, and where a run began beyond


def worker_key(worker_id: str) -> str:
    """Return where a worker's line stands."""
    return f"failshut:workers:{worker_id}"


class Health:
    """Reports once a second for as long as the worker lives."""

    def __init__(self, config: WorkerConfig, router: Router, governing: Governing, effects: Effects, metrics: Metrics) -> None:
        self._config, self._router, self._governing, self._effects = config, router, governing, effects
        self._metrics = metrics
        self._started_ms = wall_ms()
        self._redis = redis.Redis.from_url(
            config.store, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0), max_connections=2
        )

    async def report_regularly(self) -> None:
        """Report, and have what the store has lost written again."""
        while True:
            began = time.monotonic()
            report = self.report()
            try:
                await self._tell(report)
            except (RedisError, OSError, TimeoutError) as error:
                logger.debug("no report: %s", error)
            await asyncio.sleep(max(0.05, EVERY_SECONDS - (time.monotonic() - began)))

    def report(self) -> Report:
        """Return what this worker knows now, and set it as metrics."""
        coverages = {
            partition: governor.coverages[-1] for partition, governor in self._governing.governors.items() if governor.coverages
        }
        newest = _oldest_views(coverages.values())
        gaps = sorted({place for coverage in coverages.values() for place in coverage.gaps})
        unvouched = sorted({place for coverage in coverages.values() for place in coverage.missing()})
        front_door = sorted((cutter.topic, cutter.partition) for cutter in self._router.cutters.values())
        now_ms = wall_ms()
        self._metrics.evidence(
            now_ms, {partition: coverage.evidence_ms for partition, coverage in coverages.items()}, newest, gaps, unvouched
        )
        self._metrics.false_trips(
            (gate.name, condition, tally)
            for governor in self._governing.governors.values()
            for gate in governor.gates.values()
            for condition, tally in gate.tallies.items()
        )
        owned = {"telemetry": 0, "otlp_metrics": 0, "evidence": len(self._governing.governors)}
        for topic, _ in front_door:
            owned[topic] = owned.get(topic, 0) + 1
        self._metrics.owned(owned)
        return Report(
            id=self._config.worker_id,
            group=self._config.group,
            started_ms=self._started_ms,
            now_ms=now_ms,
            evidence={_text(place): at for place, at in sorted(newest.items())},
            oldest=_text(min(newest, key=lambda place: (newest[place], place))) if newest else "",
            gaps=[_text(place) for place in gaps],
            unvouched=[_text(place) for place in unvouched],
            evidence_partitions=sorted(self._governing.governors),
            front_door=[_text(place) for place in front_door],
            store_reachable=self._effects.reachable,
            refused=dict(list(self._effects.refusals.words.items())[:REFUSED_MAX]),
            gap_places={_text(place): _gap(place, coverages.values()) for place in gaps},
        )

    async def _tell(self, report: Report) -> None:
        gates = sorted(self._effects.last)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(worker_key(report.id), msgspec.json.encode(report), px=LIFE_MS)
            for gate in gates:
                pipe.exists(keys.fence(gate))
            answers = await pipe.execute()
        # A store that was flushed has lost the closings too. They are said again: a guard that finds nothing withholds all
        # the same, but cannot say why.
        self._effects.write_again(gate for gate, there in zip(gates, answers[1:], strict=True) if not there)

    async def stop(self) -> None:
        """Disconnect."""
        await self._redis.aclose()


def _oldest_views(coverages: Iterable[Coverage]) -> dict[Place, int]:
    """Return the newest mark of each front-door partition, the oldest where governors differ."""
    newest: dict[Place, int] = {}
    for coverage in coverages:
        for place, at in coverage.marks.items():
            newest[place] = min(at, newest.get(place, at))
    return newest


def _gap(place: Place, coverages: Iterable[Coverage]) -> tuple[int, int]:
    """Return the lowest position that is covered before a gap, and where the run that did not join began."""
    broken = [coverage for coverage in coverages if place in coverage.gaps]
    return min(coverage.covered.get(place, 0) for coverage in broken), max(coverage.gaps[place] for coverage in broken)


def _text(place: Place) -> str:
    return f"{place[0]}/{place[1]}"
