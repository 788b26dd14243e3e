"""Snapshots that are missing, stale or forged; an evidence log that was cut or replaced: rebuilt and never fresh, or LOCKED."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from monitor.harness import Installation, WorkerProcess, until
from monitor.policies import drift, heartbeat
from monitor.trouble import (
    SHIFTED,
    STEADY,
    back,
    bare_alarm,
    beating,
    closings,
    one_story,
    outruns_nothing,
    place_of,
    renewed,
    reset,
)

from failshut_breakers.command import AcceptGap
from failshut_servers import Kafka, Valkey
from failshut_streams.kafka import topics as topic_setup

pytestmark = pytest.mark.slow


def _changelog(monitor: Installation) -> str:
    return f"{monitor.prefix}failshut-snapshots-changelog"


Entries = dict[tuple[int, bytes], bytes]
"""What a table of snapshots holds: a head for each partition, and the pieces that it names, by partition and key."""


async def _entries(monitor: Installation) -> Entries:
    """Return what the table of snapshots holds now."""
    found: Entries = {}
    consumer = AIOKafkaConsumer(bootstrap_servers=monitor.bootstrap, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [TopicPartition(_changelog(monitor), partition) for partition in range(monitor.counts.evidence)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, 0)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, batch in (await consumer.getmany(timeout_ms=200)).items():
                for record in batch:
                    if record.value is None:
                        found.pop((place.partition, record.key), None)
                    else:
                        found[place.partition, record.key] = record.value
    finally:
        await consumer.stop()
    return found


async def _put(monitor: Installation, wanted: Entries) -> None:
    """Make the table of snapshots hold just this."""
    for partition, key in (await _entries(monitor)).keys() | wanted.keys():
        value = wanted.get((partition, key))
        await monitor.producer.send_and_wait(_changelog(monitor), value, key=key, partition=partition)


def _heads(entries: Entries) -> Entries:
    return {place: value for place, value in entries.items() if b"/" not in place[1]}


async def test_a_missing_stale_or_forged_snapshot_changes_no_decision(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """However a snapshot is spoilt between two runs, the worker decides as if nothing had happened: same bytes, same reading.

    Guards: the HMAC (a forged snapshot is replayed over); reading starts behind the snapshot and not at Kafka's commit.
    """
    values = STEADY + SHIFTED
    alarm = bare_alarm(values)
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": drift("pay")}) as monitor:
        worker = monitor.worker("whole")
        sent = await monitor.values("agent/amount", values[:60])
        await monitor.opened("pay")
        stale = await until(lambda: _taken(monitor), "there is a snapshot of each partition")
        assert worker.stop() == 0

        async def spoilt(name: str, entries: Entries, upto: int) -> WorkerProcess:
            await _put(monitor, entries)
            after = monitor.worker(name)
            sent.extend(await monitor.values("agent/amount", values[len(sent) : upto]))
            await renewed(monitor, "pay")
            one_story(monitor)
            return after

        worker = await spoilt("missing", {}, 100)
        assert worker.stop() == 0
        worker = await spoilt("stale", stale, 150)
        assert worker.stop() == 0
        assert not worker.said("is refused")
        newest = await _entries(monitor)
        forged = {place: value[:-1] + bytes([value[-1] ^ 1]) for place, value in _heads(newest).items()}
        worker = await spoilt("forged", newest | forged, alarm - 2)
        assert worker.said("is refused: it is not authentic")
        sent += await monitor.values("agent/amount", values[alarm - 2 :])
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm])
        await back(monitor)
        assert [cause for cause, _ in closings(monitor, "pay")] == ["insufficient", "drift"]
        await outruns_nothing(monitor)
        one_story(monitor)
        assert worker.stop() == 0


async def _taken(monitor: Installation) -> Entries | None:
    entries = await _entries(monitor)
    return entries if len(_heads(entries)) == monitor.counts.evidence else None


async def _admin(monitor: Installation, work: Any) -> Any:
    admin = AIOKafkaAdminClient(bootstrap_servers=monitor.bootstrap)
    await admin.start()
    try:
        return await work(admin)
    finally:
        await admin.close()


async def test_a_cut_evidence_log_locks_its_gates_until_an_operator_trusts_it(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Records never judged are gone: the worker lives, its gates are LOCKED over the term; signed for, they come back.

    Guard: a governor that has not read the log from its beginning is not `whole` (said in two places; else gates are ARMED).
    """
    policy = {"b.yaml": heartbeat("beat", grace="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policy) as monitor, beating(monitor, "agent"):
        worker = monitor.worker("before")
        await monitor.opened("beat")
        stale = await until(lambda: _taken(monitor), "there is a snapshot of each partition")
        await renewed(monitor, "beat")
        assert worker.stop() == 0
        await _put(monitor, dict(stale))
        runs = await monitor.evidence()
        ends = {partition: max(offset for at, offset, _ in runs if at == partition) for partition in range(2)}
        cut = {
            TopicPartition(monitor.topics.evidence, partition): RecordsToDelete(before_offset=end)
            for partition, end in ends.items()
        }
        await _admin(monitor, lambda admin: admin.delete_records(cut))

        worker = monitor.worker("after")
        closing = await monitor.closed("beat", "term")
        assert closing.breaker == "LOCKED"
        assert worker.said("Its gates start LOCKED")
        assert worker.exit_status is None

        # The readings are gone for good: an operator signs for that, then for the gate.
        routed: dict[tuple[str, int], int] = {}
        for _, _, run in await monitor.evidence():
            routed[run.topic, run.partition] = max(routed.get((run.topic, run.partition), 0), run.upto)
        for (topic, partition), upto in routed.items():
            if topic != "control":
                # A little ahead: routers have gone on, and what they write from here on must join where covering begins.
                ahead = monitor.command(AcceptGap, topic=topic, partition=partition, upto=upto + 40)
                await monitor.operator.send(ahead)
        await reset(monitor, "beat")
        assert worker.stop() == 0


@pytest.mark.parametrize("role", ["evidence", "otlp_metrics"])
async def test_a_replaced_topic_is_refused_until_a_new_term(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, role: str
) -> None:
    """Another topic under the same name: the worker ends and says why; a new term starts gates LOCKED.

    Guards: the topics' ids in the term (`WrongLog`); no later term arms gates; routers begin at the term's starts.
    """
    policy = {"b.yaml": heartbeat("beat", grace="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policy) as monitor, beating(monitor, "agent"):
        worker = monitor.worker("before")
        await monitor.opened("beat")
        before = monitor.status("beat")
        assert before is not None
        assert worker.stop() == 0
        await _admin(monitor, lambda admin: admin.delete_topics([monitor.topics.physical(role)]))

        async def again() -> Any:
            try:
                return await topic_setup.ensure(monitor.config["broker"], monitor.topics, monitor.counts)
            except topic_setup.BrokerUnreachable:
                return None  # the topic is still being deleted

        found = await until(again, "the topic is there again")
        assert found.found[role].topic_id != monitor.found.found[role].topic_id
        refused = monitor.worker("refused")
        await until(lambda: refused.exit_status is not None, "the worker refuses")
        assert refused.exit_status != 0
        why = {
            "evidence": f"term 1 is of evidence topic {monitor.found.evidence_id}",
            "otlp_metrics": f"topic {monitor.topics.otlp_metrics} is not the one that term 1 began with",
        }
        assert refused.said(why[role])
        await monitor.lapsed("beat")

        term, _, opened = await monitor.operator.open_term(found, "the topic was replaced", renew=True)
        assert (term.term, opened) == (2, True)
        worker = monitor.worker("after")
        closing = await monitor.closed("beat", "term")
        assert closing.breaker == "LOCKED"
        assert closing.epoch > before.epoch  # offsets start again, the epoch does not
        await reset(monitor, "beat")
        assert worker.stop() == 0
