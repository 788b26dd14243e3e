"""Every detector there is, in one monitor on real servers: its gate opens once it is ready, and closes over the same step.

All gates read the same stream: 1,200 normal values, then a step of 20 deviations. The closing must cite the very record at
which the detector speaks when it is fed the same values alone; detectors of vectors are judged at marks.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

import pytest
from monitor.harness import Installation, until

from failshut_breakers.decisions.decision import Breaker, Kind
from failshut_breakers.evidence.records import Place
from failshut_breakers.policy.policy import parse_policy
from failshut_breakers.policy.rule import Rule
from failshut_detectors import registry
from failshut_detectors.contract import Detector, EventDetector, VectorDetector
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow

NORMAL, AFTER, RULE, EVERY_MS = 1_200, 300, "value <= 53", 20
PARAMETERS = {  # where the stream's own noise would be enough for the default
    "ddm": ", threshold: 5.5",
    "eddm": ", ratio: 0.6",
    "ewma": ", arl: 1e+6",
    "kswin": ", alpha: 1e-6",
    "local_seasonal": ", quiet: 2.0",
    "page_hinkley": ", threshold: 100.0",
    "seasonal_record": ", range_share: 1.0, smoothed_share: 1.0, level_ratio: 3.0",
}
CLASSES = registry.OURS


def condition(name: str) -> str:
    """A condition on the stream with this detector."""
    # The readings are claimed to be older than they are, and a busy machine is slow to read them.
    cls, detector = CLASSES[name], f"stale: 10m, detector: {name}{PARAMETERS.get(name, '')}"
    if issubclass(cls, VectorDetector):
        return f"{cls.kind}: {{series: [d/value, d/other], every: {EVERY_MS}ms, {detector}}}"
    if issubclass(cls, EventDetector):
        return f'conformance: {{series: d/value, rule: "{RULE}", over: 0.99, {detector}}}'
    return f"{cls.kind}: {{series: d/value, {detector}}}"


def policy(name: str) -> str:
    return f"gate: {name}\npermit: {{ttl: 3s}}\nconditions:\n  - {condition(name)}\n"


def stream() -> list[float]:
    rng = random.Random(3)
    return [rng.gauss(50.0, 2.0) for _ in range(NORMAL)] + [rng.gauss(90.0, 2.0) for _ in range(AFTER)]


def alone(name: str, values: list[float]) -> int:
    """The record at which the detector first speaks, fed by hand."""
    cls = CLASSES[name]
    fed = [1.0 if Rule(RULE)(value) else 0.0 for value in values] if issubclass(cls, EventDetector) else values
    detector = parse_policy(policy(name)).conditions[0].build_detector()  # type: ignore[union-attr]
    assert isinstance(detector, Detector)
    return detector.feed(fed)[0].index


async def send(monitor: Installation, values: list[float], start_ms: int) -> list[int]:
    """Send a record with both series for each value, in portions between which marks come, and return the offsets."""
    offsets = []
    other = random.Random(4)
    for at in range(0, len(values), 200):
        futures = []
        for number, value in enumerate(values[at : at + 200], at):
            claimed = {"service": "d", "time": start_ms + EVERY_MS * number}
            events = [
                {**claimed, "metric": "value", "value": value},
                {**claimed, "metric": "other", "value": other.gauss(7.0, 1.0)},
            ]
            futures.append(await monitor.producer.send(monitor.topics.telemetry, json.dumps(events).encode(), partition=0))
        offsets += [metadata.offset for metadata in await asyncio.gather(*futures)]
        await asyncio.sleep(0.3)
    return offsets


async def test_every_detector_opens_and_closes_its_gate(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """Each gate opens on quiet evidence and closes at the step, over the cause that its condition names."""
    values = stream()
    policies = {f"{name}.yaml": policy(name) for name in CLASSES}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor:
        monitor.worker()
        start_ms = int(time.time() * 1000) - EVERY_MS * (NORMAL + AFTER)
        before = await send(monitor, values[:NORMAL], start_ms)
        for name in CLASSES:
            # That it was open is enough: several series lapse a minute after the last reading, and there are many gates.
            await until(lambda gate=name: monitor.of(gate, Kind.OPEN), f"{name} opened")
            assert not [one for one in monitor.of(name, Kind.CLOSE) if one.breaker is Breaker.TRIPPED], name
        after = await send(monitor, values[NORMAL:], start_ms + EVERY_MS * NORMAL)
        for name, cls in CLASSES.items():
            await monitor.closed(name, str(cls.kind))
            closing = next(one for one in monitor.of(name, Kind.CLOSE) if one.breaker is Breaker.TRIPPED)
            assert closing.cause == str(cls.kind)
            assert closing.origin is not None
            if not issubclass(cls, VectorDetector):  # which is judged at a mark
                assert closing.origin == Place("telemetry", 0, (before + after)[alone(name, values)], 0), name
