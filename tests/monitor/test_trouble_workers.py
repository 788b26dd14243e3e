"""Workers that are killed, paused and resumed: gates lapse in time, others take over, nothing is judged twice or lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from monitor.harness import Installation, until
from monitor.policies import drift, heartbeat
from monitor.trouble import (
    SHIFTED,
    STEADY,
    assigned,
    back,
    bare_alarm,
    beating,
    closings,
    gate_in,
    one_story,
    outruns_nothing,
    place_of,
    renewed,
    shared,
)

from failshut_breakers.command import Lock
from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.partition import partition_of
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow


async def test_a_killed_worker_costs_time_and_no_reading(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """SIGKILL half way through a drift: the gate lapses until another worker has everything, and trips at the same reading.

    Guards: snapshots with the log behind them, commits at boundaries alone (a commit of what was fetched loses the readings).
    """
    alarm = bare_alarm(STEADY + SHIFTED)
    policies = {"a.yaml": drift("pay"), "b.yaml": heartbeat("beat")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        workers = {name: monitor.worker(name) for name in "ab"}
        sent = await monitor.values("agent/amount", STEADY)
        await monitor.opened("pay")
        await shared(monitor, *workers.values())
        await renewed(monitor, "pay")
        home = partition_of("pay", monitor.counts.evidence)
        first = next(worker for worker in workers.values() if home in assigned(worker, monitor.topics.evidence))
        second = next(worker for worker in workers.values() if worker is not first)
        middle = alarm - 5
        sent += await monitor.values("agent/amount", (STEADY + SHIFTED)[len(STEADY) : middle])
        first.kill()
        await monitor.lapsed("pay")
        sent += await monitor.values("agent/amount", (STEADY + SHIFTED)[middle:])
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm])
        await back(monitor)
        await monitor.opened("beat")
        assert await outruns_nothing(monitor) > 0
        one_story(monitor)
        assert second.stop() == 0


async def test_a_paused_worker_does_not_put_its_old_permit_back(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """A worker with an unwritten permit is paused; another takes over and closes the gate; the first, resumed, changes nothing.

    Guard: the comparison of (epoch, offset) in write.lua.
    """
    policies = {"b.yaml": heartbeat("beat", grace="10m", ttl="60s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor:
        old = monitor.worker("old")
        await monitor.send({"kind": "heartbeat", "service": "agent"})
        await monitor.opened("beat")
        store.pause()  # so that a permit stays unwritten in the worker that is about to be paused
        await until(lambda: old.said("the store does not answer"), "the worker has noticed")
        old.pause()
        store.resume()
        before = monitor.redis.hgetall(monitor.names.fence("beat"))
        new = monitor.worker("new")
        await monitor.operator.send(monitor.command(Lock, gate="beat"))
        closing = await monitor.closed("beat", "lock")
        fence = monitor.redis.hgetall(monitor.names.fence("beat"))
        assert fence[b"epoch"] > before[b"epoch"]
        old.resume()
        generations = old.log.read_text().count("Joined group")
        await until(lambda: old.log.read_text().count("Joined group") > generations, "the first worker is back in its group")
        await shared(monitor, old, new)
        assert not monitor.open("beat")
        assert monitor.redis.hgetall(monitor.names.fence("beat")) == fence
        assert monitor.status("beat") == closing
        one_story(monitor)
        assert (old.stop(), new.stop()) == (0, 0)


async def test_a_stalled_router_and_a_partition_without_an_owner_stop_evidence_time(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """A telemetry partition's router is paused, later killed, while the gate's governor runs: the gate lapses, and returns.

    Guard: evidence time is the oldest partition's newest mark (taking the newest one, no gate lapses here).
    """
    here, there = gate_in(0), gate_in(1)
    policies = {"a.yaml": heartbeat(here, grace="60s"), "b.yaml": heartbeat(there, grace="60s")}
    session: dict[str, Any] = {"session_timeout_ms": 8_000}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies, **session) as monitor, beating(monitor, "agent"):
        workers = {name: monitor.worker(name) for name in "ab"}
        evidence, telemetry = monitor.topics.evidence, monitor.topics.telemetry
        await shared(monitor, *workers.values())
        for gate in (here, there):
            await renewed(monitor, gate)
        live, stalled = workers["a"], workers["b"]
        # The one that goes on governs one of the gates and routes one of the two partitions.
        mine = here if assigned(live, evidence) == {0} else there
        assert len(assigned(live, evidence)) == len(assigned(stalled, telemetry)) == 1

        stalled.pause()
        paused_at = len(monitor.decisions)
        await monitor.lapsed(mine)
        routed = [run for _, _, run in await monitor.evidence() if run.topic == "telemetry" and run.router == "b" and run.mark]
        newest_ms = max(run.mark.time_ms for run in routed if run.mark)
        permits = [decision for decision in monitor.decisions[paused_at:] if decision.exp_ms]
        assert all(permit.evidence_ms <= newest_ms for permit in permits)
        stalled.resume()
        await shared(monitor, live, stalled)
        await renewed(monitor, mine)
        stalled.kill()
        await monitor.lapsed(mine)
        assert len(assigned(live, telemetry)) == 1, "the partition still has no owner"
        await until(lambda: assigned(live, telemetry) == {0, 1}, "the partition has an owner again")
        for gate in (here, there):
            await monitor.opened(gate)
            assert not [cause for cause, _ in closings(monitor, gate) if cause not in ("insufficient", "no_policy")]
        assert await outruns_nothing(monitor) > 0
        one_story(monitor)
        assert live.stop() == 0


async def test_an_added_partition_holds_evidence_time_until_it_is_read(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """A third telemetry partition: no permit is newer than its marks, and a drift that comes in through it trips the gate.

    Guard: the partition count in marks (without it the new partition is not waited for).
    """
    from confluent_kafka.admin import AdminClient, NewPartitions

    alarm = bare_alarm(STEADY + SHIFTED)
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": drift("pay")}) as monitor:
        worker = monitor.worker()
        await monitor.values("agent/amount", STEADY[:100], partition=0)
        await monitor.values("agent/amount", STEADY[100:], partition=1)
        await monitor.opened("pay")
        admin = AdminClient({"bootstrap.servers": monitor.bootstrap})
        telemetry = monitor.topics.telemetry
        await asyncio.to_thread(lambda: admin.create_partitions([NewPartitions(telemetry, 3)])[telemetry].result())
        await until(lambda: 2 in assigned(worker, telemetry), "the worker has the new partition")
        await until(lambda: 2 in (monitor.producer.client.cluster.partitions_for_topic(telemetry) or ()), "so has the test")
        await monitor.opened("pay")
        sent = await monitor.values("agent/amount", SHIFTED, partition=2)
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm - len(STEADY)])
        assert closing.origin is not None
        assert closing.origin.partition == 2
        assert closing.kind is Kind.CLOSE
        await back(monitor, partition=2)
        permits = await outruns_nothing(monitor)
        assert permits > 0
        newest = {run.mark.partitions for _, _, run in await monitor.evidence() if run.topic == "telemetry" and run.mark}
        assert newest == {2, 3}
        assert worker.stop() == 0
