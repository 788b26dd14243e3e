"""What a worker says of itself: metrics of evidence, and a line in the store for screens.

None of this decides anything. It names the cause of a lapse: how old evidence time is, and which front-door partition,
gap or open transaction holds it back. It also names the partitions of this worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from failshut.store.names import Names
from failshut_breakers.evidence.coverage import Coverage
from failshut_breakers.held_back import disputes
from failshut_breakers.policy.policy import Entry
from failshut_breakers.store.connection import connect
from failshut_streams.config import WorkerConfig
from failshut_streams.control.operators_file import OperatorNaming
from failshut_streams.governor.agent import GovernorAgent
from failshut_streams.governor.effects import TAIL_CHARS, Effects, wall_ms
from failshut_streams.metrics import Metrics
from failshut_streams.router.agent import Router
from failshut_streams.sources.transactions import OpenTransaction

logger = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
LIFE_MS = 5_000
"""How long a worker's line stays when it says nothing more."""

READY_AGE_MS = 10_000
"""A worker whose evidence is older than this renews no permit: it is not ready."""

REFUSED_MAX = 20

LOOKED_MAX = 1_000
"""Records of so many gates are looked at in a second."""

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
    disputes: list[str] = []
    """Gates whose evidence is held back because some worker reads their policies differently, and which: at most 20."""
    unread: list[str] = []
    """Gates whose policies this worker cannot use, and why: at most 20."""
    operators: str = ""
    """Where this worker's operators file and control differ; empty if they do not."""
    transactions: dict[str, tuple[int, int]] = {}
    """Partitions that wait for an open transaction: the offset at which it begins, and when that was appended."""
    refused: dict[str, str] = {}  # by gate, at most REFUSED_MAX of them: why the store takes nothing for it
    gap_places: dict[str, tuple[int, int]] = {}  # by place: up to where evidence is covered, and where a run began beyond


SAID_MAX = 20
"""So many gates are named in a report; the rest are counted."""


class Health:
    """Reports once a second for as long as the worker lives."""

    def __init__(
        self,
        config: WorkerConfig,
        router: Router,
        governing: GovernorAgent,
        effects: Effects,
        metrics: Metrics,
        naming: OperatorNaming,
        transactions: Callable[[], Mapping[Place, OpenTransaction]] = dict,
        troubles: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._troubles = troubles
        self._naming, self._transactions = naming, transactions
        self._config, self._router, self._governing, self._effects = config, router, governing, effects
        self._metrics = metrics
        self._started_ms = wall_ms()
        self._told = False  # whether its line is in the store, as far as it knows
        self._looked = ""  # the last gate whose record was looked at
        self._redis = connect(config.store, 1.0, connections_max=2)

    async def report_regularly(self) -> None:
        """Report, and have what the store has lost written again."""
        while True:
            began = time.monotonic()
            report = self.report()
            self._metrics.vitals.say(self.why_not_ready())
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
        transactions = self._transactions()
        self._metrics.open_transactions({place: now_ms - at.since_ms for place, at in transactions.items()})
        self._metrics.false_trips(
            (gate.name, condition, tally)
            for governor in self._governing.governors.values()
            for gate in governor.gates.values()
            for condition, tally in gate.tallies.items()
        )
        self._metrics.gates(
            now_ms,
            (
                (gate.said, governor.ends_ms(gate))
                for governor in self._governing.governors.values()
                for gate in governor.gates.values()
                if gate.said is not None
            ),
        )
        self._metrics.unsealed(sum(governor.sealing.unsealed for governor in self._governing.governors.values()))
        owned = {"telemetry": 0, "otlp_metrics": 0, "internal": 0, "evidence": len(self._governing.governors)}
        for topic, _ in front_door:
            owned[topic] = owned.get(topic, 0) + 1
        self._metrics.owned(owned)
        disputed = [one for governor in self._governing.governors.values() for one in disputes(governor)]
        unread = [(gate, entry.fault) for gate, entry in sorted(self._router.control.book.entries.items()) if _unread(entry)]
        self._metrics.readings_of_control((gate for gate, _ in disputed), len(unread), bool(self._naming.trouble))
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
            disputes=_said(disputed),
            unread=_said(unread),
            operators=self._naming.trouble,
            transactions={_text(place): (at.offset, at.since_ms) for place, at in sorted(transactions.items())},
            refused=dict(list(self._effects.refusals.words.items())[:REFUSED_MAX]),
            gap_places={_text(place): _gap(place, coverages.values()) for place in gaps},
        )

    def why_not_ready(self) -> list[str]:
        """Return what keeps gates of this worker closed, beyond what their policies say; nothing where they can open."""
        why, now_ms = list(self._troubles()), wall_ms()
        for partition, governor in sorted(self._governing.governors.items()):
            coverage = governor.coverages[-1] if governor.coverages else None
            if coverage is None or not coverage.evidence_ms:
                why.append(f"evidence partition {partition}: no evidence yet")
            elif now_ms - coverage.evidence_ms > READY_AGE_MS:
                why.append(f"evidence partition {partition}: evidence is {(now_ms - coverage.evidence_ms) // 1000} s old")
            if coverage is not None and coverage.gaps:
                why.append(f"evidence partition {partition}: a gap in {_text(min(coverage.gaps))} (failshut gap list)")
        return why

    async def _tell(self, report: Report) -> None:
        term = self._router.control.term
        if term is None:
            return
        names, gates = Names(term.installation), self._looked_at()
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.exists(names.worker(report.id))
            pipe.set(names.worker(report.id), msgspec.json.encode(report), px=LIFE_MS)
            for gate in gates:
                pipe.exists(names.fence(gate))
                pipe.getrange(names.record(gate), -TAIL_CHARS, -1)
            stood, told, *answers = await pipe.execute(raise_on_error=False)
        fences, tails = answers[::2], answers[1::2]
        for answer in (stood, told, *answers):
            if isinstance(answer, Exception) and not _is_about_one_key(answer):
                raise answer  # a full store takes no line, and says all the same what it has lost
        # A store that was flushed has lost the closings too, and nothing else would say a permit again that lives by seals,
        # once somebody wrote over it. A guard withholds all the same meanwhile.
        self._effects.write_again(
            gate
            for gate, fence, tail in zip(gates, fences, tails, strict=True)
            if fence != 1 or isinstance(tail, Exception) or not self._effects.wrote(gate, tail)
        )
        if self._told and stood != 1:  # its own line is gone: the store was flushed, or has not answered for long
            self._effects.write_again(list(self._effects.last))
        self._told = not isinstance(told, Exception)
        self._effects.write_again(self._effects.refusals.gates)  # nothing else would say again what is refused

    def _looked_at(self) -> list[str]:
        """Return the gates whose records are looked at now, in turns where there are many."""
        gates = sorted(self._effects.last)
        begin = bisect_right(gates, self._looked) if len(gates) > LOOKED_MAX else 0
        now = (gates[begin:] + gates[:begin])[:LOOKED_MAX]
        self._looked = now[-1] if now else ""
        return now

    async def stop(self) -> None:
        """Disconnect."""
        await self._redis.aclose()


def _is_about_one_key(error: Exception) -> bool:
    return isinstance(error, OutOfMemoryError) or (isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE"))


def _unread(entry: Entry) -> bool:
    return entry.policy is None and bool(entry.digest)


def _said(words: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each gate, and how many more there are."""
    lines = [f"{gate}: {why}" for gate, why in words[:SAID_MAX]]
    return lines if len(words) <= SAID_MAX else [*lines, f"and {len(words) - SAID_MAX} more"]


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
