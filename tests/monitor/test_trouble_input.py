"""Bad input: one bad value blinds nothing, and everything that was read is on record with its reason."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from monitor.harness import Installation, until
from monitor.policies import drift, heartbeat
from monitor.trouble import SHIFTED, STEADY, bare_alarm, beating, closings, one_story, outruns_nothing, place_of, renewed

from failshut_breakers.command import Lock
from failshut_breakers.evidence.records import Faults, Place, Samples, Unreadable
from failshut_servers import Kafka, Valkey
from failshut_streams.sources.marks import wall_ms

pytestmark = pytest.mark.slow

TORN = """
gate: torn
permit: {ttl: 2s}
subjects: ["*"]
conditions:
  - heartbeat: {source: agent, every: 500ms, grace: 60s}
  - unreadable: {at_least: 1, window: 2s, action: lapse}
"""

#: What nobody can read: each is one dead letter. The padded one is larger than a dead letter keeps.
UNREADABLE = [
    b"not JSON " + b"x" * 10_000,
    b"",
    b"{",
    b"[1, 2]",
    b"\xff\xfe\x00",
    b'{"service": 5, "metric": "amount", "value": 50}',
    b'{"service": "agent", "metric": "amount"',
    b"[" * 5_000,
    json.dumps({"service": "agent", "metric": "amount", "value": 50, "attributes": {"pad": "x" * 2_000_000}}).encode(),
]

#: A series whose value no detector may see: a fault of that series, not a dead letter.
FAULTY = [
    b'{"service": "agent", "metric": "amount", "value": NaN}',
    b'{"service": "agent", "metric": "amount", "value": Infinity}',
    b'{"service": "agent", "metric": "amount", "value": 1e400}',
    b'{"service": "agent", "metric": "amount", "value": "fifty"}',
    b'{"service": "agent", "metric": "amount", "value": null}',
]


async def _by_aiokafka(monitor: Installation, codec: str, values: list[bytes]) -> list[Any]:
    producer = AIOKafkaProducer(
        bootstrap_servers=monitor.bootstrap, compression_type=codec, max_request_size=8_000_000, linger_ms=20
    )
    await producer.start()
    try:
        sends = [await producer.send(monitor.topics.telemetry, value, partition=0) for value in values]
        return list(await asyncio.gather(*sends))
    finally:
        await producer.stop()


async def _by_confluent(monitor: Installation, codec: str, values: list[bytes]) -> list[Any]:
    def produce() -> list[Any]:
        placed: list[Any] = []
        producer = Producer(
            {
                "bootstrap.servers": monitor.bootstrap,
                "compression.type": codec,
                "linger.ms": 20,
                "message.max.bytes": 8_000_000,
                "enable.idempotence": True,
            }
        )

        def told(error: Any, message: Any) -> None:
            assert error is None, error
            placed.append(Place("telemetry", message.partition(), message.offset(), 0))

        for value in values:
            producer.produce(monitor.topics.telemetry, value, partition=0, on_delivery=told)
        assert producer.flush(30) == 0
        return placed

    return await asyncio.to_thread(produce)


# Long: one story of one running monitor, told in its order.
async def test_bad_records_close_what_they_concern_and_hide_no_good_one(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Between bad records of all kinds and in every codec each good value counts once: the gate trips at the very reading.

    Guards: the lenient decoder (a refused message is read again), cramjam for the codecs, the bound on a record's size.
    """
    good = STEADY[:10] + STEADY + SHIFTED  # a producer that tells ten readings twice has told twenty: each record counts
    alarm = bare_alarm(good)
    as_json = [json.dumps({"service": "agent", "metric": "amount", "value": value}).encode() for value in good]
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": drift("pay"), "t.yaml": TORN}) as monitor:
        worker = monitor.worker()
        await monitor.send({"kind": "heartbeat", "service": "agent"}, partition=0)
        places: list[Place] = []

        async def codec(send: Any, name: str, values: list[bytes]) -> None:
            places.extend(sent if isinstance(sent, Place) else place_of(sent) for sent in await send(monitor, name, values))

        await monitor.opened("torn")
        at = 0
        for name in ("gzip", "snappy", "lz4", "zstd"):
            await codec(_by_aiokafka, name, as_json[at : at + 15])
            await codec(_by_confluent, name, as_json[at + 15 : at + 30])
            at += 30
        bad = []
        for value in UNREADABLE[:-1]:
            bad.append(await monitor.send_raw(value, partition=0))
            await codec(_by_aiokafka, "gzip", as_json[at : at + 2])
            at += 2
        bad += await _by_aiokafka(monitor, "gzip", UNREADABLE[-1:])  # 2 MB, a few kB as it travels
        closing = await monitor.closed("torn", "unreadable")
        assert closing.origin is None or closing.origin.topic == "telemetry"
        faulty = []
        for value in FAULTY:
            faulty.append((await monitor.send_raw(value, partition=0)).offset)
            await codec(_by_confluent, "zstd", as_json[at : at + 1])
            at += 1
        # One record, bad values in the middle: the elements around them count, with their own index.
        inside = b",".join([as_json[at], *FAULTY[:3], as_json[at + 1]])
        mixed = await monitor.send_raw(b"[" + inside + b"]", partition=0)
        places += [Place("telemetry", 0, mixed.offset, 0), Place("telemetry", 0, mixed.offset, 4)]
        at += 2
        await renewed(monitor, "pay")
        await codec(_by_confluent, "none", as_json[at:])
        tripped = await monitor.closed("pay", "drift")
        assert tripped.origin == places[alarm]
        await monitor.opened("torn")  # the window is over

        letters = {letter["origin"]["offset"]: letter for letter in await monitor.dead_letters()}
        assert set(letters) == {sent.offset for sent in bad}
        for sent, value in zip(bad, UNREADABLE, strict=True):
            letter = letters[sent.offset]
            assert letter["reason"]
            assert letter["origin"] == {
                "topic": "telemetry",
                "partition": 0,
                "offset": sent.offset,
                "append_ms": sent.timestamp if sent.timestamp > 0 else letter["origin"]["append_ms"],
            }
            assert base64.b64decode(letter["value"] or b"") == value[:4096]
            assert letter["size"] == len(value)
        rows: dict[type, list[tuple[int, int]]] = {Samples: [], Faults: [], Unreadable: []}
        for _, _, run in await monitor.evidence():
            unreadable = [reading for reading in run.readings.get("torn", []) if isinstance(reading, Unreadable)]
            for reading in [*run.readings.get("pay", []), *unreadable]:  # what nobody can read concerns the gate that asks
                rows[type(reading)] += [(row[0], row[1]) for row in reading.rows]  # type: ignore[union-attr]
        assert sorted(rows[Samples]) == [(place.offset, place.index) for place in places]
        assert sorted(rows[Faults]) == [(offset, 0) for offset in faulty] + [(mixed.offset, at) for at in (1, 2, 3)]
        assert {offset for offset, _ in rows[Unreadable]} == {sent.offset for sent in bad}
        one_story(monitor)
        assert worker.stop() == 0


async def test_claimed_times_are_bounded_and_the_unknown_is_a_dead_letter(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """A beat from the future counts as of its arrival, an old one as old; what names an unknown gate is buried, no more.

    Guards: `bounded` in the codecs (a future beat would keep the gate open for an hour); the check of gates in the cutters.
    """
    policies = {"b.yaml": heartbeat("beat", grace="1s"), "c.yaml": heartbeat("clock", "other", grace="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "other"):
        worker = monitor.worker()
        hour_ms = 3_600_000
        ahead = await monitor.send({"kind": "heartbeat", "service": "agent", "time": wall_ms() + hour_ms})
        assert ahead.timestamp_type == 1
        closing = await monitor.closed("beat", "heartbeat")
        assert closing.evidence_ms < ahead.timestamp + hour_ms
        await monitor.send({"kind": "heartbeat", "service": "agent", "time": "2001-01-02T00:00:00Z"})
        last = await monitor.send({"kind": "heartbeat", "service": "agent", "time": 1_000_000_000})

        await until(lambda: monitor.proven_ms("clock") > last.timestamp, "evidence time has passed the old beats")
        assert [cause for cause, _ in closings(monitor, "beat")][-1] == "heartbeat"
        assert not monitor.open("beat")
        # Out of order: the newer beat counts, whatever comes behind it.
        await monitor.send(
            {"kind": "heartbeat", "service": "agent"}, {"kind": "heartbeat", "service": "agent", "time": 1_000_000_000}
        )
        await until(lambda: any(d.gate == "beat" and d.kind == "open" for d in monitor.decisions), "it has opened")

        outcome = {"kind": "outcome", "gate": "nobody", "epoch": "0" * 16, "outcome": "ok", "count": 1, "id": "1"}
        unknown = await monitor.send_raw(json.dumps(outcome).encode(), monitor.topics.internal)
        commanded = await monitor.operator.send(monitor.command(Lock, gate="nobody"))

        async def buried() -> list[dict[str, Any]]:
            letters = await monitor.dead_letters()
            return letters if len(letters) >= 2 else []

        found = await until(buried, "both are dead letters")
        letters = {letter["origin"]["topic"]: letter for letter in found}
        assert len(letters) == len(found) == 2, found
        assert letters["internal"]["origin"]["offset"] == unknown.offset
        assert letters["control"]["origin"]["offset"] == commanded
        assert all("nobody" in letter["reason"] for letter in letters.values())
        await renewed(monitor, "clock")
        assert await outruns_nothing(monitor) > 0
        assert worker.stop() == 0
