"""assert_guarded with asynchronous paths, inside an event loop and outside of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from unittest.mock import AsyncMock

import pytest

from failshut import Gate, Withheld
from failshut.testing import Effect, Executed, GateControl, assert_guarded, rehearsal

SUBJECT = "agent:refund-7"
refunds = Gate("payments.refund")

AsyncPath = Callable[[Effect], Awaitable[object]]


def checks_in_a_loop(effect: Effect) -> None:
    with refunds.execution(SUBJECT) as execution:
        for _ in range(3):
            execution.check()
            effect()


def executes_whatever_it_hears(effect: Effect) -> None:
    try:
        refunds.check(SUBJECT)
    except Withheld:
        pass
    effect()


async def awaits(effect: Effect) -> None:
    async with refunds.execution(SUBJECT):
        for _ in range(3):
            await effect.awaited("order-7")


async def awaits_a_decorated_function(effect: Effect) -> None:
    pay = AsyncMock(return_value="receipt")

    @refunds.guarded(subject=SUBJECT)
    async def refund() -> list[str]:
        return [await effect.calling(pay)("order-7") for _ in range(3)]

    assert await refund() == ["receipt"] * 3
    assert pay.await_count == 3


async def awaits_in_a_group(effect: Effect) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(awaits(effect))


async def awaits_in_a_thread(effect: Effect) -> None:
    await asyncio.to_thread(checks_in_a_loop, effect)


AWAITED = [awaits, awaits_a_decorated_function, awaits_in_a_group, awaits_in_a_thread, lambda effect: awaits(effect)]


@pytest.mark.parametrize("path", AWAITED)
def test_an_asynchronous_path_is_run_by_the_assertion(control: GateControl, path: AsyncPath) -> None:
    """Outside of an event loop it makes one, and returns when all trials are done."""
    assert_guarded(control, path)
    with pytest.raises(Withheld):
        refunds.check(SUBJECT)


@pytest.mark.parametrize("path", AWAITED)
async def test_an_asynchronous_path_is_awaited_in_an_event_loop(control: GateControl, path: AsyncPath) -> None:
    """Inside of one the assertion is awaited."""
    await assert_guarded(control, path)


async def test_a_plain_path_needs_no_await_in_an_event_loop(control: GateControl) -> None:
    """It has been tried when the assertion returns; to await it does no harm."""
    with pytest.raises(Executed):
        assert_guarded(control, executes_whatever_it_hears)
    await assert_guarded(control, checks_in_a_loop)


def test_the_threads_own_event_loop_is_left_alone(control: GateControl) -> None:
    """Other tests of the thread find the event loop that they set."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert_guarded(control, awaits)
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def awaits_whatever_it_hears(effect: Effect) -> None:
    try:
        refunds.check(SUBJECT)
    except Withheld:
        pass
    await effect.awaited()


async def shields(effect: Effect) -> None:
    async with refunds.execution(SUBJECT):
        for _ in range(2):
            try:
                await effect.awaited()
            except asyncio.CancelledError:
                pass


async def leaves_it_to_a_task(effect: Effect) -> None:
    kept.append(asyncio.create_task(effect.awaited()))
    refunds.check(SUBJECT)


kept: list[asyncio.Task[None]] = []


@pytest.mark.parametrize("path", [awaits_whatever_it_hears, shields, leaves_it_to_a_task])
async def test_an_asynchronous_path_that_executes_on_a_closed_gate_fails(control: GateControl, path: AsyncPath) -> None:
    """Also one that keeps the guard's cancellation to itself, and one that leaves the effect to a task behind it."""
    with pytest.raises(Executed):
        await assert_guarded(control, path)
    await asyncio.gather(*kept, return_exceptions=True)
    kept.clear()


async def test_an_asynchronous_path_that_never_asks_fails(control: GateControl) -> None:
    """As a plain one does."""

    async def path(effect: Effect) -> None:
        await effect.awaited()

    with pytest.raises(AssertionError, match="never asked"):
        await assert_guarded(control, path)


async def test_a_path_that_does_not_end_fails(control: GateControl) -> None:
    """It is cancelled after its time, and the assertion says in which trial."""
    ended = []

    async def path(effect: Effect) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    with pytest.raises(AssertionError, match=r"did not end within 0\.05 s: the gate was open"):
        await assert_guarded(control, path, seconds=0.05)
    await asyncio.sleep(0)
    assert ended == [1]


async def test_a_path_that_cancels_itself_fails(control: GateControl) -> None:
    """A cancellation that is not the guard's is no denial."""

    async def path(effect: Effect) -> None:
        raise asyncio.CancelledError

    with pytest.raises(AssertionError, match="cancelled by somebody else"):
        await assert_guarded(control, path)


async def test_an_assertion_that_is_never_awaited_fails_with_its_rehearsal() -> None:
    """Whoever forgets the await has checked nothing, and is told so."""
    begun: list[Coroutine[Any, Any, None]] = []

    def path(effect: Effect) -> Awaitable[None]:
        begun.append(awaits(effect))
        return begun[-1]

    with pytest.raises(AssertionError, match="never awaited"), rehearsal() as stage:
        assert_guarded(stage.gate("payments.refund"), path)
    (one,) = begun
    one.close()  # or Python says it as well, and fails nothing over it


async def test_an_assertion_that_failed_is_not_owed_as_well() -> None:
    """The rehearsal ends in peace where the test has caught the failure."""
    with rehearsal() as stage, pytest.raises(Executed):
        await assert_guarded(stage.gate("payments.refund"), awaits_whatever_it_hears)
