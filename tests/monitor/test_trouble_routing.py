"""Routers that lose a batch, that still have an old policy, or whose clocks are wrong; marks that nobody should believe."""

from __future__ import annotations

from pathlib import Path

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
    one_story,
    outruns_nothing,
    place_of,
    renewed,
    reset,
    shared,
)

from failshut_breakers.command import Lock
from failshut_servers import Kafka, Valkey
from failshut_streams.sources.marks import MARK_KEY, encode_mark, wall_ms

pytestmark = pytest.mark.slow


async def test_a_lost_batch_is_never_passed_over(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """A batch that fails ends its worker; one that is lost before a later one stops evidence time until it is told again.

    Guards: the error of a batch ends the worker; a run that starts beyond what is covered is refused (`Admission.GAP`); the
    worker that lost it goes back as its governor asks (`Retelling`), and nothing that stood in it is passed over.
    """
    values = STEADY + SHIFTED
    alarm = bare_alarm(values)
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": drift("pay")}) as monitor:
        fails = monitor.worker("fails", fault="fails_a_batch")
        sent = await monitor.values("agent/amount", values[:100])
        await monitor.opened("pay")
        fails.trigger.touch()
        sent += await monitor.values("agent/amount", values[100:150])
        await until(lambda: fails.exit_status is not None, "the worker has ended")
        assert fails.exit_status != 0
        await monitor.lapsed("pay")

        loses = monitor.worker("loses", fault="loses_a_batch")
        await monitor.opened("pay")
        loses.trigger.touch()
        sent += await monitor.values("agent/amount", values[150 : alarm - 2])
        await until(lambda: not loses.trigger.exists(), "the batch is lost")
        sent += await monitor.values("agent/amount", values[alarm - 2 :])
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm])
        assert loses.said("once more, as a governor asks")
        assert [str(decision.cause) for decision in monitor.of("pay") if decision.cause][:2] == ["insufficient", "drift"]
        await back(monitor)
        await outruns_nothing(monitor)
        one_story(monitor)
        assert loses.stop() == 0


async def test_a_router_with_the_old_policy_vouches_for_nothing_new(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """One of two routers has not taken up the activation: the gate stays closed, and no reading that it passed over is lost.

    Guards: runs under an older routing are not counted (`Admission.OLDER`), nor runs that do not join (`GAP`): without
    both it fails, each alone is enough here; docs/model/routing.pml needs the first. The successor goes back.
    """
    values = STEADY + SHIFTED
    alarm = bare_alarm(values)
    before, after = drift("pay"), drift("pay", "agent/other")
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": before}) as monitor:
        deaf = monitor.worker("deaf", fault="deaf_to_control")
        new = monitor.worker("new")
        await monitor.values("agent/amount", STEADY)
        await shared(monitor, deaf, new)
        await renewed(monitor, "pay")
        (partition,) = assigned(deaf, monitor.topics.telemetry)
        deaf.trigger.touch()
        _, activated = await monitor.operator.activate({"a.yaml": after})
        await monitor.closed("pay", "insufficient")
        sent = await monitor.values("agent/other", values, partition=partition)

        async def passed_over() -> bool:
            """The deaf router has routed the new series' records, without their readings, with a mark behind them."""
            runs = [run for _, _, run in await monitor.evidence() if run.mark and run.topic == "telemetry"]
            passing = [run for run in runs if run.partition == partition and run.upto > sent[-1].offset]
            assert all(run.routing < activated for run in passing)
            return bool(passing)

        await until(passed_over, "the old router has passed them over")
        assert not monitor.open("pay")
        deaf.kill()
        closing = await monitor.closed("pay", "drift")
        assert closing.origin == place_of(sent[alarm])
        await back(monitor, "agent/other", partition)
        await outruns_nothing(monitor)
        assert new.stop() == 0


async def test_clocks_that_are_wrong_cannot_prolong_a_permit(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """Marks from a fast clock are bounded by append time, slow ones close; a governor behind its evidence does not sign.

    Guards: min(mark, append time) in the cutters; evidence time never goes back; FutureEvidence in `statement_of`.
    """
    policy = {"b.yaml": heartbeat("beat", grace="5s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policy) as monitor, beating(monitor, "agent"):
        trigger = tmp_path / "worker-fast.fault"
        trigger.touch()
        fast = monitor.worker("fast", fault="fast_marks")
        await monitor.opened("beat")
        await renewed(monitor, "beat")
        assert await outruns_nothing(monitor) > 0  # no mark is later than the broker's clock
        assert all(decision.evidence_ms <= wall_ms() for decision in monitor.decisions)
        assert fast.stop() == 0

        slow = monitor.worker("slow", fault="slow_marks")
        await renewed(monitor, "beat")
        slow.trigger.touch()

        async def marked() -> bool:
            return any(
                run.mark and run.router == "slow" and run.mark.time_ms < run.append_ms - 3_000_000
                for _, _, run in await monitor.evidence()
            )

        await until(marked, "marks of long ago are on the log")
        await monitor.lapsed("beat")
        slow.trigger.unlink()
        await monitor.opened("beat")
        assert slow.stop() == 0

        behind = monitor.worker("behind", fault="slow_governor")
        await renewed(monitor, "beat")
        behind.trigger.touch()
        await until(lambda: behind.said("not sealed: evidence is"), "it does not sign")  # permits were signed before
        await monitor.lapsed("beat")
        await monitor.operator.send(monitor.command(Lock, gate="beat"))
        closing = await monitor.closed("beat", "lock")  # a closing needs no clock
        behind.trigger.unlink()
        assert closing.breaker == "LOCKED"
        await reset(monitor, "beat")
        assert await outruns_nothing(monitor) > 0
        assert behind.stop() == 0


async def test_forged_marks_open_nothing_and_a_new_term_begins_where_it_says(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Marks from the future change nothing, impossible ones are dead letters; a new term ends its workers and starts LOCKED.

    Guards: min(mark, append time), the bounds on a mark's partitions; the term in commits (else no run joins).
    """
    policy = {"b.yaml": heartbeat("beat", grace="5s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policy) as monitor, beating(monitor, "agent"):
        worker = monitor.worker()
        await monitor.opened("beat")
        key = MARK_KEY.decode()
        for _ in range(20):
            for partition in (0, 1):
                await monitor.send_raw(encode_mark(wall_ms() + 3_600_000, 2), key=key, partition=partition)
        await renewed(monitor, "beat")
        assert await outruns_nothing(monitor) > 0
        huge = await monitor.send_raw(encode_mark(wall_ms(), 1_000_000_000), key=key, partition=0)
        lie = await monitor.send_raw(encode_mark(wall_ms(), 9), key=key, partition=0)  # evidence time would wait for ever
        junk = await monitor.send_raw(b"\xff" * 100, key=key, partition=0)
        await until(lambda: _buried(monitor, {huge.offset, lie.offset, junk.offset}), "all are dead letters")
        await renewed(monitor, "beat")

        await monitor.operator.open_term(monitor.found, "a restored broker", renew=True)
        await until(lambda: worker.exit_status is not None, "the worker has ended")
        assert worker.exit_status != 0
        assert worker.said("term 2 was opened")
        again = monitor.worker("again")  # it starts where the term does: the commits are another term's
        closing = await monitor.closed("beat", "term")
        assert closing.breaker == "LOCKED"
        assert int(closing.epoch) >> 40 == 2
        await reset(monitor, "beat")
        await renewed(monitor, "beat")
        assert await outruns_nothing(monitor, term=2) > 0
        one_story(monitor)
        assert again.stop() == 0


async def _buried(monitor: Installation, offsets: set[int]) -> bool:
    return offsets <= {letter["origin"]["offset"] for letter in await monitor.dead_letters()}
