"""A worker's line in the store names what holds evidence time back, and a flushed store gets its closings back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import redis as redis_py
from patience import patient
from prometheus_client import generate_latest
from streams.test_effects import NOW_MS, Answers, decision, made

from failshut.store.names import Names
from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.coverage import Coverage
from failshut_breakers.policy.policy import PolicyBook
from failshut_breakers.store.client import Store
from failshut_servers import Valkey
from failshut_streams import health as health_module
from failshut_streams.config import WorkerConfig
from failshut_streams.governor.effects import Effects, wall_ms
from failshut_streams.health import LIFE_MS, Health, Report
from failshut_streams.metrics import Metrics
from failshut_streams.sources.transactions import OpenTransaction

NAMES = Names("i" * 32)


def coverage(marks: dict[tuple[str, int], int], **more: Any) -> Coverage:
    return Coverage(1, marks=marks, counts={"telemetry": 2, "control": 1}, **more)


@pytest.fixture(autouse=True)
def disputed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every governor says that a router disagrees: tests/breakers/test_agreement.py shows when one does."""
    monkeypatch.setattr(health_module, "disputes", lambda _: [("pay", "worker b feeds this gate nothing")])


def health(effects: Effects, url: str, *coverages: Coverage, waits: Any = dict) -> Health:
    config = WorkerConfig(
        broker="kafka://127.0.0.1:1", store=url, signing_key=Path("-"), operators=Path("-"), worker_id="w-1", group="g"
    )
    book = PolicyBook()
    book.apply(0, 1, {"bad.yaml": "gate: bad"}, "")
    term = SimpleNamespace(installation=NAMES.installation)
    control = SimpleNamespace(book=book, term=term)
    router = SimpleNamespace(cutters={0: SimpleNamespace(topic="telemetry", partition=1)}, control=control)
    governors = {
        n: SimpleNamespace(coverages=[at] if at else [], gates={}, sealing=SimpleNamespace(unsealed=n))
        for n, at in enumerate(coverages)
    }
    naming = SimpleNamespace(trouble="the operators file is old")
    governing = SimpleNamespace(governors=governors)
    return Health(config, router, governing, effects, Metrics(), naming, waits)  # type: ignore[arg-type]


async def test_a_report_names_the_partition_that_holds_evidence_back() -> None:
    """The oldest mark over all governors, the gaps, and what nobody has vouched for."""
    effects, _, _ = made()
    one = coverage({("telemetry", 0): 50, ("telemetry", 1): 70, ("control", 0): 90})
    two = coverage({("telemetry", 0): 60, ("control", 0): 95}, gaps={("telemetry", 1): 9})
    report = health(effects, "redis://127.0.0.1:1", one, two).report()
    assert report.evidence == {"control/0": 90, "telemetry/0": 50, "telemetry/1": 70}
    assert report.oldest == "telemetry/0"
    assert report.gaps == ["telemetry/1"]
    assert report.unvouched == ["telemetry/1"]
    assert report.disputes == ["pay: worker b feeds this gate nothing"] * 2
    assert report.operators == "the operators file is old"
    assert [line.partition(":")[0] for line in report.unread] == ["bad"]
    assert (report.evidence_partitions, report.front_door) == ([0, 1], ["telemetry/1"])


async def test_permits_that_no_seal_renews_are_counted() -> None:
    """Those of all partitions: their gates lapse, and nothing else would say why."""
    effects, _, _ = made()
    at = health(effects, "redis://127.0.0.1:1", *[coverage({})] * 4)
    at.report()
    assert b"failshut_unsealed_permits 6.0" in generate_latest(at._metrics.registry)


async def test_a_report_names_the_transaction_that_is_waited_for() -> None:
    """Which partition waits, where the transaction begins and since when; as a metric its age, as long as it is open."""
    effects, _, _ = made()
    waits = {("telemetry", 1): OpenTransaction(7, 1_000)}
    one = health(effects, "redis://127.0.0.1:1", coverage({}), waits=lambda: waits)
    assert one.report().transactions == {"telemetry/1": (7, 1_000)}
    labels = {"topic": "telemetry", "partition": "1"}
    age_s = one._metrics.registry.get_sample_value("failshut_open_transaction_age_seconds", labels)
    assert age_s is not None
    assert age_s > 1_000_000
    waits.clear()
    assert one.report().transactions == {}
    assert one._metrics.registry.get_sample_value("failshut_open_transaction_age_seconds", labels) is None


async def test_what_keeps_gates_closed_is_why_a_worker_is_not_ready() -> None:
    """Old evidence, none at all, a gap, and what the worker itself says; a worker with none of these is ready."""
    effects, _, _ = made()
    now_ms = wall_ms()
    fresh = coverage({}, evidence_ms=now_ms)
    old = coverage({}, evidence_ms=now_ms - 60_500, gaps={("telemetry", 0): 9})
    none = coverage({})
    at = health(effects, "redis://127.0.0.1:1", fresh, old, none)
    at._troubles = lambda: ["the store does not take every write"]
    first, *rest = at.why_not_ready()
    assert first == "the store does not take every write"
    assert [words.split(": ")[0] for words in rest] == ["evidence partition 1", "evidence partition 1", "evidence partition 2"]
    assert "evidence is 60 s old" in rest[0]
    assert "a gap in telemetry/0" in rest[1]
    assert rest[2].endswith("no evidence yet")
    assert health(effects, "redis://127.0.0.1:1", fresh).why_not_ready() == []


async def test_a_worker_without_evidence_reports_too() -> None:
    """Before a term, and before the first assignment, there is nothing to say, and that is said."""
    effects, _, _ = made()
    report = health(effects, "redis://127.0.0.1:1").report()
    assert (report.evidence, report.oldest, report.gaps) == ({}, "", [])


async def test_a_line_stays_for_a_while_and_a_flushed_closing_returns(store: Valkey) -> None:
    """The line expires by itself; a gate whose fence is gone has its last decision written again, the others do not."""
    there = Store(store.url)
    effects, _, _ = made(there)
    at = health(effects, store.url)
    await effects.take([decision(Kind.CLOSE)])
    await effects.write_pending()
    with redis_py.Redis.from_url(store.url) as client:
        await at._tell(at.report())
        assert msgspec.json.decode(client.get(NAMES.worker("w-1")), type=Report).group == "g"
        assert 0 < client.pttl(NAMES.worker("w-1")) <= LIFE_MS
        assert not effects.waits(["pay"])
        client.flushall()
        await at._tell(at.report())
        assert effects.waits(["pay"])
        await effects.write_pending()
        assert client.pttl(NAMES.record("pay")) == -1
    await at.stop()
    await there.close()


async def test_of_many_gates_some_are_looked_at_in_turn_and_a_flush_is_noticed_at_once(
    store: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is gone is noticed when its turn comes; where the worker's own line is gone, so is everything."""
    monkeypatch.setattr(health_module, "LOOKED_MAX", 2)
    there = Store(store.url)
    effects, _, _ = made(there)
    at = health(effects, store.url)
    gates = [f"gate{number}" for number in range(5)]
    await effects.take([decision(Kind.CLOSE, gate=gate) for gate in gates])
    await effects.write_pending()
    with redis_py.Redis.from_url(store.url) as client:
        await at._tell(at.report())
        client.delete(NAMES.fence("gate4"))
        seen = []
        for _ in range(2):
            seen.append(effects.waits(["gate4"]))
            await at._tell(at.report())
        assert (seen, effects.waits(["gate4"]), effects.waits(gates[:4])) == ([False, False], True, False)
        await effects.write_pending()
        client.flushall()
        await at._tell(at.report())
        assert all(effects.waits([gate]) for gate in gates)
    await at.stop()
    await there.close()


@pytest.mark.parametrize("written", [b"\x00garbage", b"x" * 600, ["a", "list"]])
async def test_what_is_written_over_a_record_does_not_stay(store: Valkey, written: bytes | list[str]) -> None:
    """A permit that lives by seals is not signed again for minutes: a record that is not this worker's is written again."""
    there = Store(store.url)
    now_ms = wall_ms()
    effects, _, _ = made(there, now_ms)
    at = health(effects, store.url)
    await effects.take([decision(Kind.OPEN, evidence_ms=now_ms, exp_ms=now_ms + 60_000, ttl_ms=60_000)])
    await effects.write_pending()
    with redis_py.Redis.from_url(store.url) as client:
        token = client.get(NAMES.record("pay"))
        assert token
        await at._tell(at.report())
        assert not effects.waits(["pay"])
        client.delete(NAMES.record("pay"))
        if isinstance(written, list):
            client.rpush(NAMES.record("pay"), *written)
        else:
            client.set(NAMES.record("pay"), written)
        await at._tell(at.report())
        assert effects.waits(["pay"])
        await effects.write_pending()
        assert client.get(NAMES.record("pay")) == token
        await at._tell(at.report())
        assert not effects.waits(["pay"])
    await at.stop()
    await there.close()


async def test_a_full_store_that_lost_a_closing_gets_it_back(store: Valkey) -> None:
    """It takes no worker's line then; what it has lost is looked for all the same."""
    there = Store(store.url)
    effects, _, _ = made(there)
    at = health(effects, store.url)
    await effects.take([decision(Kind.CLOSE)])
    await effects.write_pending()
    with redis_py.Redis.from_url(store.url) as client:
        client.flushall()
        client.config_set("maxmemory", "1")
        try:
            await at._tell(at.report())
            assert effects.waits(["pay"])
            await effects.write_pending()
            assert client.pttl(NAMES.record("pay")) == -1
        finally:
            client.config_set("maxmemory", "0")
    await at.stop()
    await there.close()


async def test_reporting_outlives_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch, free_port: Any) -> None:
    """A report that finds no store is not a reason to stop a worker."""
    monkeypatch.setattr(health_module, "EVERY_SECONDS", 0.01)
    effects, _, _ = made(Answers(), NOW_MS)
    at = health(effects, f"redis://127.0.0.1:{free_port()}")
    reports: list[Report] = []
    report = at.report
    monkeypatch.setattr(at, "report", lambda: reports.append(report()) or reports[-1])  # type: ignore[func-returns-value]
    loop = asyncio.create_task(at.report_regularly())
    try:
        async with asyncio.timeout(patient(30)):
            while len(reports) < 3:
                await asyncio.sleep(0.01)
        assert not loop.done()
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await at.stop()
