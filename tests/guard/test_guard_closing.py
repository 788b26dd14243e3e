"""A closing or a lapse reaches executions that run, and leaves everybody else's tasks alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from guard.standin import SHORT_MS, SUBJECT, Monitor, admitted, denied_with, eventually
from patience import patient

from failshut import Cause, Execution, Gate, Guard, Withheld
from failshut.lease import Lease, Moment, Slot


def denial_of(gate: Gate, subject: str = SUBJECT, operation: str | None = None) -> Withheld:
    with pytest.raises(Withheld) as caught, gate.execution(subject, operation):
        pytest.fail("the block of a withheld execution ran")
    return caught.value


def test_a_running_sync_execution_sees_a_closing_at_its_check(monitor: Monitor, gate: Gate) -> None:
    """check() raises with the closing's cause, and goes on raising after the gate is back."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with pytest.raises(Withheld) as caught, gate.execution(SUBJECT) as execution:  # noqa: PT012 - one execution
        execution.check()
        monitor.close(Cause.DRIFT)
        denied_with(gate, Cause.DRIFT)
        with pytest.raises(Withheld):
            execution.check()
        monitor.reopen(ttl_ms=60_000)
        admitted(gate)
        execution.check()
    assert caught.value.cause is Cause.DRIFT


def test_a_running_execution_may_finish_where_the_policy_says_so(monitor: Monitor, gate: Gate) -> None:
    """in_flight: finish. What runs goes on; what would start does not."""
    monitor.issue(in_flight="finish", ttl_ms=SHORT_MS)
    admitted(gate)

    async def run() -> Execution:
        async with gate.execution(SUBJECT) as execution:
            await asyncio.to_thread(denied_with, gate, Cause.LAPSED)
            execution.check()
            monitor.close(Cause.DRIFT, in_flight="finish")
            await asyncio.to_thread(denied_with, gate, Cause.DRIFT)
            await asyncio.sleep(0.05)
            execution.check()
            return execution

    asyncio.run(run())


def test_a_lapse_reaches_a_sync_execution_at_its_check(monitor: Monitor, gate: Gate) -> None:
    """Without renewal check() raises."""
    monitor.issue(ttl_ms=SHORT_MS)
    admitted(gate)
    with pytest.raises(Withheld) as caught, gate.execution(SUBJECT) as execution:  # noqa: PT012 - one execution
        denied_with(gate, Cause.LAPSED)
        execution.check()
    assert caught.value.cause is Cause.LAPSED


def test_a_new_decision_is_asked_whether_it_still_covers_what_runs(monitor: Monitor, gate: Gate) -> None:
    """A later epoch that names other subjects stops those who are no longer named."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with pytest.raises(Withheld) as caught, gate.execution(SUBJECT) as execution:  # noqa: PT012 - one execution
        monitor.reopen(ttl_ms=60_000, subjects=("agent:*",))
        eventually(lambda: admitted(gate).epoch == monitor.epoch)
        execution.check()
        monitor.reopen(ttl_ms=60_000, subjects=("agent:other",))
        denied_with(gate, Cause.IDENTITY)
        execution.check()
    assert caught.value.cause is Cause.IDENTITY


async def _hangs(gate: Gate, started: asyncio.Event) -> None:
    async with gate.execution(SUBJECT):
        started.set()
        await asyncio.Event().wait()


async def _until_denied(gate: Gate, act: Callable[[], object]) -> Withheld:
    started = asyncio.Event()
    task = asyncio.create_task(_hangs(gate, started))
    await started.wait()
    await asyncio.to_thread(act)
    with pytest.raises(Withheld) as caught:
        await asyncio.wait_for(task, patient(20))
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    return caught.value


@pytest.mark.parametrize("push", [True, False])
async def test_a_closing_cancels_a_running_async_execution(monitor: Monitor, gate: Gate, push: bool) -> None:
    """The task is interrupted where it waits, and Withheld comes out of the block, by push and by read."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    denial = await _until_denied(gate, lambda: monitor.close(Cause.HEARTBEAT, push=push))
    assert denial.cause is Cause.HEARTBEAT


async def test_a_lapse_cancels_a_running_async_execution(monitor: Monitor, gate: Gate) -> None:
    """The lease's own end does it; nobody has to say so."""
    monitor.issue(ttl_ms=SHORT_MS)
    admitted(gate)
    assert (await _until_denied(gate, lambda: None)).cause is Cause.LAPSED


async def test_a_lapse_cancels_although_the_background_is_stuck(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """Not even the guard's own threads are needed for a running execution to end with its lease."""
    monitor.issue(ttl_ms=SHORT_MS)
    admitted(gate)
    watcher = guard._watcher
    assert watcher is not None
    denial = await _until_denied(gate, lambda: watcher.stop(10))
    assert denial.cause is Cause.LAPSED


async def test_a_flushed_store_cancels_a_running_async_execution(monitor: Monitor, gate: Gate) -> None:
    """Losing the permit is losing the right to go on."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    assert (await _until_denied(gate, monitor.client.flushall)).cause is Cause.NO_PERMIT


async def test_renewals_keep_a_running_execution_going(monitor: Monitor, gate: Gate) -> None:
    """An execution longer than many permits is not interrupted while they are renewed."""
    monitor.keep_renewing(ttl_ms=1500)
    admitted(gate)
    async with gate.execution(SUBJECT) as execution:
        first = execution.permit.exp_ms
        for _ in range(40):
            await asyncio.sleep(0.1)
            execution.check()
        assert admitted(gate).exp_ms > first + 1500


async def test_somebody_elses_cancellation_stays_one(monitor: Monitor, gate: Gate) -> None:
    """The guard swallows no foreign cancellation, not even one that comes together with its own."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    started = asyncio.Event()
    task = asyncio.create_task(_hangs(gate, started))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()

    both = asyncio.Event()
    execution: list[Execution] = []

    async def run() -> None:
        async with gate.execution(SUBJECT) as mine:
            execution.append(mine)
            both.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await both.wait()
    monitor.close(Cause.DRIFT)
    denied_with(gate, Cause.DRIFT)  # holds up this loop, so that both cancellations come between two steps
    execution[0].look()
    assert execution[0]._interruption is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_was_withheld_can_await_again(monitor: Monitor, gate: Gate) -> None:
    """After Withheld the task is not left in a state of being cancelled."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    closer = threading.Timer(0.1, monitor.close)
    closer.start()
    with pytest.raises(Withheld):
        async with gate.execution(SUBJECT):
            await asyncio.sleep(30)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    async with asyncio.timeout(patient(20)):
        await asyncio.sleep(0.01)
    closer.join()


async def test_an_error_of_the_block_is_not_replaced(monitor: Monitor, gate: Gate) -> None:
    """What a block raises while it is being interrupted comes out as it is."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    closer = threading.Timer(0.1, monitor.close)
    closer.start()
    with pytest.raises(KeyError):  # noqa: PT012 - one execution
        async with gate.execution(SUBJECT):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise KeyError("clean-up failed") from None
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    closer.join()


async def test_a_timeout_around_and_inside_keeps_its_meaning(monitor: Monitor, gate: Gate) -> None:
    """asyncio.timeout and an execution do not take each other's cancellation."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), gate.execution(SUBJECT):
            await asyncio.sleep(30)
    with pytest.raises(TimeoutError):
        async with gate.execution(SUBJECT), asyncio.timeout(0.05):
            await asyncio.sleep(30)
    closer = threading.Timer(0.1, monitor.close)
    closer.start()
    with pytest.raises(Withheld):
        async with asyncio.timeout(patient(30)), gate.execution(SUBJECT), asyncio.timeout(patient(30)):
            await asyncio.sleep(30)
    closer.join()


async def test_who_ends_an_execution_decides_its_outcome(monitor: Monitor, gate: Gate) -> None:
    """A timeout or a cancellation from outside is `interrupted`; the guard's own interruption is `cancelled`."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), gate.execution(SUBJECT):
            await asyncio.Event().wait()
    assert (await asyncio.to_thread(eventually, monitor.outcomes))[-1]["outcome"] == "interrupted"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_hangs(gate, asyncio.Event()), 0.05)
    with pytest.raises(TimeoutError):
        async with gate.execution(SUBJECT), asyncio.timeout(0.05):
            await asyncio.Event().wait()
    await _until_denied(gate, lambda: monitor.close(Cause.HEARTBEAT))

    def told() -> list[str]:
        return [entry["outcome"] for entry in monitor.outcomes() for _ in range(int(entry["count"]))]

    await asyncio.to_thread(eventually, lambda: len(told()) == 4)
    assert sorted(told()) == ["cancelled", "failed", "interrupted", "interrupted"]


async def test_a_cancellation_from_outside_beside_the_guards_own_is_interrupted(monitor: Monitor, gate: Gate) -> None:
    """A dependency that hung until its timeout does not pass for a gate that closed."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    entered = asyncio.Event()
    execution = gate.execution(SUBJECT)

    async def run() -> None:
        async with execution:
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await entered.wait()
    monitor.close(Cause.DRIFT)
    denied_with(gate, Cause.DRIFT)  # holds up this loop, so that both cancellations come between two steps
    execution.look()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.to_thread(eventually, monitor.outcomes))[0]["outcome"] == "interrupted"


def test_many_event_loops_share_a_gate(monitor: Monitor, gate: Gate) -> None:
    """Each loop's executions are interrupted in their own loop."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    running = threading.Barrier(5)
    causes: list[Cause] = []

    async def run() -> None:
        async with gate.execution(SUBJECT):
            await asyncio.to_thread(running.wait, 20)
            await asyncio.Event().wait()

    def loop() -> None:
        try:
            asyncio.run(run())
        except Withheld as denial:
            causes.append(denial.cause)

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    running.wait(patient(20))
    monitor.close(Cause.LAG)
    for thread in threads:
        thread.join(patient(20))
    assert causes == [Cause.LAG] * 4


def test_an_event_loop_that_is_gone_harms_nobody(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """A loop closed with an execution left running inside does not stop a closing from reaching the others."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    loop = asyncio.new_event_loop()
    started = asyncio.Event()
    task = loop.create_task(_hangs(gate, started))
    loop.run_until_complete(started.wait())
    loop.close()
    assert not task.done()
    asyncio.run(_expect_denial(gate, monitor))
    assert guard.faults == 0
    task._log_destroy_pending = False  # type: ignore[attr-defined]


async def _expect_denial(gate: Gate, monitor: Monitor) -> None:
    assert (await _until_denied(gate, lambda: monitor.close(Cause.LAG))).cause is Cause.LAG


def test_many_threads_at_a_cold_gate(monitor: Monitor, gate: Gate) -> None:
    """All threads that come first together are admitted, through one watcher."""
    monitor.issue(ttl_ms=60_000)
    admitted_count: list[str] = []

    def run() -> None:
        with gate.execution(SUBJECT) as execution:
            admitted_count.append(execution.epoch)

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(20))
    assert len(admitted_count) == 16
    assert sum(thread.name == "failshut-watcher" for thread in threading.enumerate()) <= 2


def test_a_lease_that_is_renewed_while_it_is_looked_at_admits(
    monitor: Monitor, make_guard: Callable[..., Guard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread's read ends the lease in hand and puts its successor there: whoever asks meanwhile is not denied."""
    monitor.issue(ttl_ms=60_000)
    guard = make_guard()
    gate = Gate(monitor.gate, guard=guard)
    admitted(gate)
    _, slot = gate.bind()
    alive, renewals = Lease.alive, 3

    def renewed_meanwhile(lease: Lease, now: Moment) -> bool:
        nonlocal renewals
        if renewals:
            renewals -= 1
            slot._replace(Lease(slot, lease.permit, now.mono + 60, now.wall + 60, set(), lease.kid))
        return alive(lease, now)

    monkeypatch.setattr(Lease, "alive", renewed_meanwhile)
    assert isinstance(guard._settle(slot), Lease)
    assert not renewals


def test_an_answer_that_comes_while_a_cold_gate_is_looked_at_admits(
    monitor: Monitor, make_guard: Callable[..., Guard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot was cold when a thread looked, and the watcher gave it a lease before that thread asked for a read."""
    guard = make_guard()
    gate = Gate(monitor.gate, guard=guard)
    denied_with(gate, Cause.NO_PERMIT)
    monitor.issue(ttl_ms=60_000)
    _, slot = gate.bind()
    alive, looks = type(slot).alive, 0

    def cold_at_first(looked_at: Slot, now: Moment) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            admitted(gate)
            return False
        return alive(looked_at, now)

    monkeypatch.setattr(type(slot), "alive", cold_at_first)
    assert isinstance(guard.obtain(slot, guard.deadline()), Lease)


async def test_a_cold_gate_does_not_hold_up_the_event_loop(monitor: Monitor, make_guard: Callable[..., Guard]) -> None:
    """While an async execution waits for the store, other tasks run."""
    monitor.issue(ttl_ms=60_000)
    gate = Gate(monitor.gate, guard=make_guard(deadline_ms=10_000, store_timeout_ms=20_000))
    monitor.client.execute_command("CLIENT", "PAUSE", 500, "ALL")
    turns = 0

    async def enter() -> None:
        async with gate.execution(SUBJECT):
            pass

    task = asyncio.create_task(enter())
    while not task.done():
        turns += 1
        await asyncio.sleep(0.005)
    await task
    assert turns > 5
