"""What tests of trouble share: signs of life, values that drift, and what must be true of every log whatever happened."""

from __future__ import annotations

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from monitor.harness import Installation, WorkerProcess, until

from failshut.epoch import term_of
from failshut_breakers.command import Reset
from failshut_breakers.decisions.decision import Decision, Kind
from failshut_breakers.evidence.partition import partition_of
from failshut_breakers.evidence.records import Place
from failshut_detectors import Adwin
from failshut_streams.kafka.topics import FRONT_DOOR
from failshut_streams.sources.marks import wall_ms

_rng = random.Random(7)
STEADY = [_rng.gauss(50, 5) for _ in range(200)]
SHIFTED = [_rng.gauss(90, 5) for _ in range(100)]


def bare_alarm(values: Iterable[float]) -> int:
    """Return the index at which a bare detector first speaks."""
    return Adwin().feed(list(values))[0].index


def place_of(sent: object) -> Place:
    """Return where an acknowledged telemetry record stands."""
    return Place("telemetry", sent.partition, sent.offset, 0)  # type: ignore[attr-defined]


def gate_in(evidence_partition: int, partitions: int = 2, stem: str = "gate") -> str:
    """Return a gate's name whose evidence lies in that partition."""
    return next(f"{stem}{n}" for n in range(1000) if partition_of(f"{stem}{n}", partitions) == evidence_partition)


@asynccontextmanager
async def beating(monitor: Installation, *sources: str, every_s: float = 0.2) -> AsyncIterator[None]:
    """Send signs of life of these sources all the time."""

    async def beat() -> None:
        while True:
            sent = [monitor.send({"kind": "heartbeat", "service": source}, key=source) for source in sources]
            # A broker that is down is the test's business; the next beat comes by itself.
            await asyncio.gather(*sent, return_exceptions=True)
            await asyncio.sleep(every_s)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def assigned(worker: WorkerProcess, topic: str) -> set[int]:
    """Return the partitions of a topic that the worker was last given, as its log shows them."""
    *_, last = worker.log.read_text(errors="replace").split("Setting newly assigned partitions ")
    given = last.partition("\n")[0] if _ else ""
    return {int(number) for number in re.findall(rf"topic='{re.escape(topic)}', partition=(\d+)", given)}


async def shared(monitor: Installation, *workers: WorkerProcess) -> None:
    """Wait until each of the workers has a share of the partitions and has routed since it got it."""
    topics = (monitor.topics.evidence, monitor.topics.telemetry)

    async def claim() -> bool:
        for topic in topics:
            given = [assigned(worker, topic) for worker in workers]
            if not all(given) or len(set[int]().union(*given)) < sum(map(len, given)):
                return False  # one has none, or what another had before a rebalance
        newest = {(run.topic, run.partition): run.router for _, _, run in await monitor.evidence() if run.mark}
        return {worker.config["worker_id"] for worker in workers} <= {
            router for (topic, _), router in newest.items() if topic == "telemetry"
        }

    await until(claim, "every worker has a share")


async def renewed(monitor: Installation, gate: str) -> None:
    """Wait until a permit or a seal was written after this call began that lets the gate be open for longer."""
    before_ms = monitor.proven_ms(gate) or wall_ms()
    await until(
        lambda: monitor.proven_ms(gate) > before_ms,
        lambda: f"{gate} is renewed after {before_ms}; status {monitor.status(gate)}",
    )
    await monitor.opened(gate)


async def reset(monitor: Installation, gate: str) -> None:
    """Reset the gate, again where evidence time has not come far enough yet, until its breaker is PROVING with a permit."""

    async def claim() -> bool:
        status = monitor.status(gate)
        if status is not None and status.mode == "proving":
            return True
        if status is not None and status.kind == "close":
            await monitor.operator.send(monitor.command(Reset, gate=gate, epoch=int(status.epoch)))
            await asyncio.sleep(0.5)
        return False

    await until(claim, lambda: f"{gate} is proving: {[said.because for said in monitor.of(gate)][-5:]}")


async def back(monitor: Installation, series: str = "agent/amount", partition: int | None = None) -> None:
    """Let a series of `pay` be steady again, so that its demand ends and the policy resets the breaker."""
    await monitor.values(series, STEADY, partition)
    await monitor.opened("pay")


async def outruns_nothing(monitor: Installation, term: int = 1) -> int:
    """Check every permit and seal of a term that was seen against the evidence before it; return how many there were.

    Read from the logs alone, by a rule that is simpler than the governor's: no permit is for a time at which some front-door
    partition had not been vouched for, none lives longer than its ttl, and no mark is later than the broker's clock.
    """
    newest: dict[int, dict[tuple[str, int], int]] = defaultdict(dict)
    counts: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(FRONT_DOOR, 1))
    bound: dict[tuple[int, int], int] = {}
    for partition, offset, run in await monitor.evidence():
        marks = newest[partition]
        if run.mark is not None and run.term == term:
            assert run.mark.time_ms <= run.append_ms, "a mark from the future was believed"
            key = (run.topic, run.partition)
            marks[key] = max(marks.get(key, 0), run.mark.time_ms)
            counts[partition][run.topic] = max(counts[partition][run.topic], run.mark.partitions)
        needed = [(topic, number) for topic in FRONT_DOOR for number in range(counts[partition][topic])]
        bound[partition, offset] = min(marks.get(key, 0) for key in needed)
    permits = [decision for decision in monitor.decisions if decision.exp_ms and term_of(decision.epoch) == term]
    for permit in permits:
        limit_ms = bound.get((permit.partition, permit.offset))
        assert limit_ms is None or permit.evidence_ms <= limit_ms, f"a permit runs ahead of its evidence: {permit}"
        assert permit.exp_ms <= permit.evidence_ms + permit.ttl_ms
    seals = [seal for seal in monitor.seals.values() if seal.term == term and seal.open]
    for seal in seals:
        limit_ms = bound.get((seal.partition, seal.offset))
        assert limit_ms is None or seal.open[-1][0] <= limit_ms, f"a seal runs ahead of its evidence: {seal.position}"
    return len(permits) + len(seals)


def one_story(monitor: Installation) -> None:
    """Check that nobody decided differently: for one gate, offset and kind there is one decision, however often written."""
    told: dict[tuple[str, int, str, str], set[bytes]] = defaultdict(set)
    for data, decision in zip(monitor.decision_bytes, monitor.decisions, strict=True):
        # A record may bring more than one note, and two commands of one may be refused in the same words.
        why = f"{decision.because} {decision.origin}" if decision.kind is Kind.NOTE else ""
        told[decision.gate, decision.offset, decision.kind.value, why].add(data)
    for key, versions in told.items():
        assert len(versions) == 1, f"two decisions for {key}: {versions}"


def closings(monitor: Installation, gate: str) -> list[tuple[str, Place | None]]:
    """Return cause and origin of each closing of a gate so far, in the order of the log."""
    return [(str(decision.cause), decision.origin) for decision in ordered(monitor, gate) if decision.kind is Kind.CLOSE]


def ordered(monitor: Installation, gate: str) -> list[Decision]:
    """Return the decisions about a gate, each once, by offset."""
    return sorted(monitor.of(gate), key=lambda decision: decision.offset)
