"""Executions of one event loop share a timer: each is told in time, and loops that are gone are forgotten."""

from __future__ import annotations

import asyncio

import pytest
from guard.standin import SUBJECT, Monitor, admitted, eventually
from patience import patient

from failshut import Cause, Execution, Gate, Guard, Withheld
from failshut.background.attendance import Attendance


async def hangs(gate: Gate, started: asyncio.Event) -> None:
    async with gate.execution(SUBJECT):
        started.set()
        await asyncio.Event().wait()


async def begun(gate: Gate) -> asyncio.Task[None]:
    """A task whose execution runs."""
    started = asyncio.Event()
    task = asyncio.create_task(hangs(gate, started))
    await asyncio.wait_for(started.wait(), patient(20))
    return task


def attendance_of(gate: Gate) -> Attendance:
    found = gate._slot.attendances[asyncio.get_running_loop()]
    assert isinstance(found, Attendance)
    return found


async def cause_of(task: asyncio.Task[None]) -> Cause:
    with pytest.raises(Withheld) as caught:
        await asyncio.wait_for(task, patient(20))
    return caught.value.cause


async def test_a_lapse_reaches_all_executions_of_a_loop(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """Many executions, one timer, nobody left out, and nothing of the background is needed."""
    monitor.issue(ttl_ms=2000)
    admitted(gate)
    tasks = [await begun(gate) for _ in range(20)]
    assert len(attendance_of(gate).running) == 20
    assert guard._watcher is not None
    await asyncio.to_thread(guard._watcher.stop, 10)
    assert [await cause_of(task) for task in tasks] == [Cause.LAPSED] * 20
    assert not attendance_of(gate).running


async def test_a_closing_reaches_all_executions_of_a_loop(monitor: Monitor, gate: Gate) -> None:
    """One call into the loop tells them all."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    tasks = [await begun(gate) for _ in range(20)]
    monitor.close(Cause.DRIFT)
    assert [await cause_of(task) for task in tasks] == [Cause.DRIFT] * 20


async def test_what_begins_under_a_shorter_permit_ends_with_it(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """A timer that was set for a later end is set anew for the lease that ends sooner."""
    monitor.issue(ttl_ms=600_000)
    admitted(gate)
    first = await begun(gate)
    monitor.reopen(ttl_ms=3000)
    await asyncio.to_thread(eventually, lambda: admitted(gate).epoch == monitor.epoch)
    second = await begun(gate)
    assert guard._watcher is not None
    await asyncio.to_thread(guard._watcher.stop, 10)
    assert [await cause_of(first), await cause_of(second)] == [Cause.LAPSED] * 2


async def test_a_renewal_moves_the_timer(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """What runs goes on past the end of the lease that it began under, and ends with the last renewal."""
    monitor.issue(ttl_ms=1500)
    admitted(gate)
    task = await begun(gate)
    monitor.keep_renewing(every=0.05, ttl_ms=1500)
    await asyncio.sleep(2.5)
    assert not task.done()
    monitor.stop_renewing()
    assert await cause_of(task) is Cause.LAPSED


async def test_after_the_last_execution_no_timer_is_set_again(monitor: Monitor, gate: Gate) -> None:
    """A loop that has nothing of a gate left is not woken for it for ever."""
    monitor.keep_renewing(ttl_ms=1500)
    admitted(gate)
    for _ in range(2):
        async with gate.execution(SUBJECT):
            assert attendance_of(gate).lease is not None
    async with asyncio.timeout(patient(20)):
        while attendance_of(gate).lease is not None:
            await asyncio.sleep(0.05)
    assert attendance_of(gate)._timer is None


def test_a_loop_that_is_closed_is_forgotten(monitor: Monitor, gate: Gate) -> None:
    """A service that runs one loop after another keeps the last one alone."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)

    async def run() -> None:
        async with gate.execution(SUBJECT):
            pass

    for _ in range(10):
        asyncio.run(run())
    assert len(gate._slot.attendances) == 1


async def test_an_execution_that_cannot_be_judged_ends_and_the_others_are_told_all_the_same(
    monitor: Monitor, gate: Gate, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a timer, and a fault in judging one of them leaves none of them running."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    tasks = [await begun(gate) for _ in range(5)]
    real, faulty = Execution._why_not, next(iter(attendance_of(gate).running))

    def why_not(execution: Execution) -> Withheld | None:
        if execution is faulty:
            raise ZeroDivisionError("boom")
        return real(execution)

    monkeypatch.setattr(Execution, "_why_not", why_not)
    monitor.close(Cause.DRIFT)
    assert sorted([await cause_of(task) for task in tasks]) == [Cause.DRIFT] * 4 + [Cause.UNVERIFIED]
    assert guard.faults
    assert "boom" in guard.last_fault
