"""A rehearsal in an event loop: what runs is cancelled as in production, and nothing is waited for."""

from __future__ import annotations

import asyncio
import os

import pytest
from patience import patient

from failshut import Cause, Gate, Withheld
from failshut.testing import GateControl, Rehearsal

SUBJECT = "agent:refund-7"
refunds = Gate("payments.refund")


@pytest.fixture
def control(stage: Rehearsal) -> GateControl:
    return stage.gate("payments.refund").open()


async def started(work: asyncio.Task[None]) -> None:
    """Let a task reach what it waits for."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not work.done()


async def forever() -> None:
    async with refunds.execution(SUBJECT):
        await asyncio.Event().wait()


async def cause_of(work: asyncio.Task[None]) -> Cause:
    with pytest.raises(Withheld) as denied:
        await asyncio.wait_for(work, patient(20))
    return denied.value.cause


FOUND_OTHERWISE = {Cause.DEADLINE: Cause.LAPSED}


@pytest.mark.parametrize(
    "cause", [cause for cause in Cause if cause not in (Cause.FORKED, Cause.PROBE_REQUIRED, Cause.PROBES_SPENT)]
)
async def test_what_runs_is_cancelled_for_each_cause(control: GateControl, cause: Cause) -> None:
    """A task that waits inside its execution gets Withheld as the test closes the gate; nobody has to call `check`."""
    work = asyncio.create_task(forever())
    await started(work)
    control.close(cause)
    assert await cause_of(work) is FOUND_OTHERWISE.get(cause, cause)
    assert control.outcomes() == {"cancelled": 1}


async def test_what_runs_is_cancelled_as_its_lease_runs_out(control: GateControl) -> None:
    """Time goes on without a renewal: the execution lives as long as the lease, and no longer."""
    work = asyncio.create_task(forever())
    await started(work)
    control.stop_renewing().advance(2.4)
    await started(work)
    control.advance(0.2)
    assert await cause_of(work) is Cause.LAPSED


@pytest.mark.parametrize("cause", [Cause.LAPSED, Cause.STORE_UNREACHABLE, Cause.IDENTITY])
async def test_what_runs_is_told_as_the_test_acts(stage: Rehearsal, cause: Cause) -> None:
    """Its timer counts real time, and would fire in an hour: time that a test moves needs no waiting."""
    control = stage.gate(refunds.name, ttl_ms=3_600_000).open()
    work = asyncio.create_task(forever())
    await started(work)
    control.close(cause)
    assert await cause_of(work) is cause


async def test_what_is_renewed_runs_on(control: GateControl) -> None:
    """An hour later the monitor has renewed, and the execution goes on."""
    work = asyncio.create_task(forever())
    await started(work)
    control.advance(3600)
    await started(work)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_what_may_finish_is_not_cancelled(stage: Rehearsal) -> None:
    """in_flight: finish: the test's closing is for what comes after."""
    control = stage.gate("a", in_flight="finish").open()
    go_on = asyncio.Event()

    async def finish() -> None:
        async with Gate("a").execution(SUBJECT):
            await go_on.wait()

    work = asyncio.create_task(finish())
    await started(work)
    control.close()
    await started(work)
    go_on.set()
    await work
    assert control.outcomes() == {"ok": 1}


async def test_probes_are_taken_in_an_event_loop(control: GateControl) -> None:
    """Each task takes one token, at once, and the third finds none."""
    control.prove(probes=2)

    async def probe() -> str:
        async with refunds.execution(SUBJECT) as execution:
            return execution.token

    found = await asyncio.gather(*(probe() for _ in range(3)), return_exceptions=True)
    assert len({token for token in found if isinstance(token, str)}) == 2
    assert [denial.cause for denial in found if isinstance(denial, Withheld)] == [Cause.PROBES_SPENT]


async def test_a_closing_from_another_thread_reaches_the_loop(control: GateControl) -> None:
    """The test's own code may be in a worker thread, as that of a test client is."""
    work = asyncio.create_task(forever())
    await started(work)
    await asyncio.to_thread(control.close, Cause.LOCK)
    assert await cause_of(work) is Cause.LOCK


async def test_two_loops_are_reached(control: GateControl) -> None:
    """An execution in another thread's loop is cancelled as well."""
    running = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def elsewhere() -> None:
        async with refunds.execution(SUBJECT):
            loop.call_soon_threadsafe(running.set)
            await asyncio.Event().wait()

    ended = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    await asyncio.wait_for(running.wait(), patient(20))
    control.close(Cause.LOCK)
    assert await cause_of(ended) is Cause.LOCK


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_the_rehearsal_as_well(control: GateControl) -> None:
    """The child drops its lease, reads the store that was copied, and what was admitted before the fork is over in it."""
    with refunds.execution(SUBJECT) as execution:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with pytest.raises(Withheld, match="before the fork"):
                    execution.check()
                refunds.check(SUBJECT)
                control.close(Cause.LOCK)
                with pytest.raises(Withheld, match="lock"):
                    refunds.check(SUBJECT)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        execution.check()
    assert control.outcomes() == {"ok": 1}
