"""What gates in shadow would have done is told in the log, and summed up over a week."""

from __future__ import annotations

import json

import pytest
from breakers.log import World, policy
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from console.console_support import Failshut
from console.decisions import START_MS, decision, encoded
from patience import patient

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Decision, Kind, encode_decision
from failshut_breakers.gate.step import WOULD_CLOSE, WOULD_OPEN
from failshut_console.monitor.log_entries import Digest
from failshut_console.monitor.shadow_report import Shadow, ShadowReport
from failshut_servers import Kafka

HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS
RULE = 'conformance: {series: s/x, rule: "value < 100", window: 10, over: 0.05, stale: 1d}'


def would(close: bool, after_ms: int, number: int, cause: Cause | None = Cause.DRIFT) -> Decision:
    """Return what is said of a gate that would close, or open, so long after the beginning."""
    return decision(
        Kind.NOTE,
        number,
        evidence_ms=START_MS + after_ms,
        because=(WOULD_CLOSE if close else WOULD_OPEN) + "so",
        cause=cause if close else None,
        breaker=Breaker.TRIPPED if close and cause is Cause.DRIFT else Breaker.ARMED,
    )


WEEK = [
    would(True, 0, 1, Cause.INSUFFICIENT),
    would(False, HOUR_MS, 2),
    would(True, 24 * HOUR_MS, 3),
    would(True, 25 * HOUR_MS, 4),  # a later demand
    would(False, 27 * HOUR_MS, 5),
    would(True, 72 * HOUR_MS, 6, Cause.HEARTBEAT),
    would(False, 73 * HOUR_MS, 7),
]


def report(decisions: list[bytes], end_ms: int) -> list[Shadow]:
    """Return what a report makes of decisions."""
    digest, made = Digest(), ShadowReport()
    for data in decisions:
        entry = digest.take(START_MS, data)
        if entry is not None:
            made.take(entry)
    return made.end(end_ms)


def test_what_a_gate_in_shadow_would_do_is_told() -> None:
    """The log has words of its own for it."""
    digest = Digest()
    entries = [digest.take(START_MS, data) for data in encoded(*WEEK[:2])]
    assert [entry.what for entry in entries if entry is not None] == ["would close", "would open"]


def test_the_report_of_a_week() -> None:
    """Share of open time, closings by cause, trips a week, the longest; a later demand is no other closing."""
    (pay,) = report(encoded(*WEEK), START_MS + WEEK_MS)
    assert (pay.gate, pay.closings, pay.trips) == ("pay", 3, 1)
    assert pay.causes == {"insufficient": 1, "drift": 1, "heartbeat": 1}
    assert pay.closed_ms == (1 + 3 + 1) * HOUR_MS
    assert pay.longest_ms == 3 * HOUR_MS
    assert pay.open_share == pytest.approx(1 - 5 / 168)
    assert pay.trips_a_week == pytest.approx(1.0)


def test_a_gate_that_would_be_closed_at_the_end_counts_up_to_it() -> None:
    """Nobody has said that it would open again."""
    (pay,) = report(encoded(*WEEK[:3]), START_MS + 26 * HOUR_MS)
    assert pay.closed_ms == 3 * HOUR_MS
    assert pay.as_json()["would_open_share"] == pytest.approx(1 - 3 / 26, abs=1e-5)


def test_what_a_governor_says_in_shadow_is_read() -> None:
    """Not by hand: a fault of two minutes, as a governor decides it."""
    world = World(policy(RULE, mode="shadow", reset="{after: 1s, probes: 0}"))
    world.mark()
    for n in range(300):
        world.samples([400.0 if 100 <= n < 120 else 48.0])
        world.mark(1_000)
    (gate,) = report([encode_decision(one) for one in world.said], world.now_ms)
    assert gate.causes["conformance"] == 1
    assert gate.trips == 1
    assert 20_000 <= gate.longest_ms <= 120_000


def test_the_command_reads_what_stands_in_kafka(failshut: Failshut, kafka: Kafka, suffix: str) -> None:
    """On a real broker, for a person and for a machine; a gate that is not in shadow is not in it."""
    prefix = f"shadow-{suffix}."
    name = f"{prefix}decisions"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    topic = NewTopic(name, 2, 1, config={"retention.ms": "-1"})  # its records bear times of long ago
    admin.create_topics([topic])[name].result(patient(30))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for data in encoded(*WEEK, decision(Kind.OPEN, 9, gate="other")):
        producer.produce(name, data, partition=0, timestamp=START_MS)
    assert producer.flush(patient(30)) == 0
    at = ("--broker", kafka.url, "--prefix", prefix, "--since", "2026-02-28T00:00:00Z")
    told = failshut("shadow", "report", *at)
    assert told.status == 0, told.err
    assert told.out.startswith("pay: would have been open for 9")
    assert "would have closed 3 times" in told.out
    assert "other" not in told.out
    (said,) = json.loads(failshut("shadow", "report", *at, "--json").out)
    assert (said["gate"], said["would_close"], said["would_trip"]) == ("pay", 3, 1)
    assert "no gate was in shadow" in failshut("shadow", "report", "another", *at).out
