"""Trouble inside the guard's own process: its clocks, its threads, errors that nobody foresaw."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from guard.standin import SUBJECT, FakeClocks, Monitor, admitted, denied_with, eventually, withheld

from failshut import Cause, Gate, Guard, Withheld
from failshut.admission.denial import Denial
from failshut.lease import Lease
from failshut_servers import Valkey


def test_a_wall_clock_stepped_back_denies_and_prolongs_nothing(
    monitor: Monitor, make_guard: Callable[..., Guard], clocks: FakeClocks
) -> None:
    """Ten minutes back: no lease gets longer by it, and permits are from the future until the clock is right."""
    gate = Gate(monitor.gate, guard=make_guard(clocks=clocks.clocks()))
    monitor.issue(ttl_ms=3000)
    admitted(gate)
    clocks.wall_offset = -600.0
    denied_with(gate, Cause.CLOCK)
    monitor.keep_renewing()
    for _ in range(20):
        assert withheld(gate) is not None
        time.sleep(0.02)
    clocks.wall_offset = 0.0
    admitted(gate)


def test_a_small_step_back_does_not_outlive_the_monotonic_end(
    monitor: Monitor, make_guard: Callable[..., Guard], clocks: FakeClocks
) -> None:
    """Within the tolerance a step back is forgiven, and the lease still ends when it was going to, unread."""
    guard = make_guard(clocks=clocks.clocks())
    gate = Gate(monitor.gate, guard=guard)
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    assert guard._watcher is not None
    guard._watcher.stop(10)  # nobody reads: the check alone must notice
    clocks.wall_offset = -0.4
    gate.check(SUBJECT)
    clocks.monotonic_offset = 60.0  # its life passes on the clock that nobody can step
    denial = withheld(gate)
    assert denial is not None
    assert denial.cause is Cause.LAPSED


def test_a_wall_clock_stepped_forward_denies_at_once(
    monitor: Monitor, make_guard: Callable[..., Guard], clocks: FakeClocks
) -> None:
    """A host that believes it is later than the permit's end does not act on it, from the very next check on."""
    guard = make_guard(clocks=clocks.clocks())
    gate = Gate(monitor.gate, guard=guard)
    monitor.ttl_ms = 60_000
    monitor.issue()
    admitted(gate)
    assert guard._watcher is not None
    guard._watcher.stop(10)  # nobody reads: the check alone must notice
    clocks.wall_offset = 600.0
    denial = withheld(gate)
    assert denial is not None
    assert denial.cause is Cause.LAPSED
    clocks.wall_offset = 0.0
    monitor.issue()  # on a slow machine a check has read the permit under the wrong clock, and its end never grows
    admitted(gate)


def _enter(gate: Gate) -> None:
    with gate.execution(SUBJECT):
        pass


def _enter_async(gate: Gate) -> None:
    async def enter() -> None:
        async with gate.execution(SUBJECT):
            pass

    asyncio.run(enter())


def _check(gate: Gate) -> None:
    gate.check(SUBJECT)


def _call(gate: Gate) -> None:
    gate.guarded(subject=SUBJECT)(lambda: None)()


def _call_async(gate: Gate) -> None:
    @gate.guarded(subject=SUBJECT)
    async def nothing() -> None:
        pass

    asyncio.run(nothing())


@pytest.mark.parametrize("way", [_check, _enter, _enter_async, _call, _call_async])
@pytest.mark.parametrize("clock", ["wall", "monotonic"])
def test_no_way_in_admits_after_the_lease_ended_by_either_clock(
    monitor: Monitor,
    make_guard: Callable[..., Guard],
    clocks: FakeClocks,
    store: Valkey,
    way: Callable[[Gate], None],
    clock: str,
) -> None:
    """Who was admitted under a lease is denied after its end and stays so, with the store dead and nobody to say so."""
    guard = make_guard(clocks=clocks.clocks())
    gate = Gate(monitor.gate, guard=guard)
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    way(gate)
    store.kill()
    way(gate)  # the lease stands without the store
    if clock == "wall":
        clocks.wall_offset = 60.0
    else:
        clocks.monotonic_offset = 60.0
    for _ in range(30):
        with pytest.raises(Withheld) as caught:
            way(gate)
        assert caught.value.cause in (Cause.LAPSED, Cause.STORE_UNREACHABLE, Cause.DEADLINE)
        time.sleep(0.005)


@pytest.mark.parametrize("clock", ["wall", "monotonic"])
def test_no_second_execution_in_a_loop_starts_after_the_lease_ended(
    monitor: Monitor, make_guard: Callable[..., Guard], clocks: FakeClocks, store: Valkey, clock: str
) -> None:
    """A loop that has had an execution of the gate looks at both clocks before the next one."""
    gate = Gate(monitor.gate, guard=make_guard(clocks=clocks.clocks()))
    monitor.issue(ttl_ms=60_000)
    admitted(gate)

    async def twice() -> None:
        for _ in range(2):
            async with gate.execution(SUBJECT):
                pass
        store.kill()
        if clock == "wall":
            clocks.wall_offset = 60.0
        else:
            clocks.monotonic_offset = 60.0
        for _ in range(3):
            with pytest.raises(Withheld):
                async with gate.execution(SUBJECT):
                    pytest.fail("admitted after the lease's end")

    asyncio.run(twice())


@pytest.mark.parametrize("clock", ["wall", "monotonic"])
def test_a_wait_that_ends_after_the_lease_did_gives_no_lease(
    monitor: Monitor, make_guard: Callable[..., Guard], clocks: FakeClocks, clock: str
) -> None:
    """What is settled at the end of a wait is judged by both clocks at that moment."""
    guard = make_guard(clocks=clocks.clocks())
    gate = Gate(monitor.gate, guard=guard)
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    assert guard._watcher is not None
    guard._watcher.stop(10)
    assert isinstance(guard.current(gate._slot), Lease)
    if clock == "wall":
        clocks.wall_offset = 60.0
    else:
        clocks.monotonic_offset = 60.0
    answer = guard.current(gate._slot)
    assert isinstance(answer, Denial)
    assert answer.cause is Cause.LAPSED


def test_an_error_that_nobody_foresaw_lets_the_lease_run_out_and_the_watcher_goes_on(
    monitor: Monitor, gate: Gate, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in the background closes the gate by lapse, is counted, and ends with its cause."""
    monitor.keep_renewing(ttl_ms=1000)
    admitted(gate)
    watcher = guard._watcher
    assert watcher is not None

    def broken(_: Any) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(watcher, "_read", broken)
    eventually(lambda: guard.faults > 0)  # a machine that stalls may let the lease run out before the next read
    denied_with(gate, Cause.LAPSED, Cause.DEADLINE)
    assert "a bug" in guard.last_fault
    monkeypatch.undo()
    admitted(gate)


def test_a_record_that_breaks_the_judging_closes_its_own_gate_alone(
    monitor: Monitor, gate: Gate, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault while one gate is judged denies that gate and leaves the others as they are."""
    other = Gate(f"{monitor.gate}.other", guard=guard)
    monitor.ttl_ms = 60_000
    for name in (monitor.gate, other.name):
        monitor.write(monitor.permit(gate=name), gate=name)
    admitted(gate)
    admitted(other)
    good = guard.slots._keys.verified

    def broken(token: bytes, name: str) -> Any:
        if name == monitor.gate:
            raise RecursionError("a bug")
        return good(token, name)

    monkeypatch.setattr(guard.slots._keys, "verified", broken)
    for name in (monitor.gate, other.name):
        monitor.write(monitor.permit(gate=name), gate=name)
    denied_with(gate, Cause.UNVERIFIED)
    assert withheld(other) is None
    monkeypatch.undo()
    admitted(gate)


def test_a_watcher_thread_that_died_is_started_anew(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """Even the death of the background threads closes only until the next check."""
    monitor.keep_renewing(ttl_ms=1000)
    admitted(gate)
    former = guard._watcher
    assert former is not None
    former.stop(10)
    admitted(gate)
    eventually(lambda: (withheld(gate), guard._watcher is not former)[1])
    admitted(gate)


def test_threads_are_not_to_be_had(monitor: Monitor, make_guard: Callable[..., Guard], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, as at the interpreter's end, the guard denies."""
    gate = Gate(monitor.gate, guard=make_guard())

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    denial = withheld(gate)
    assert denial is not None
    assert denial.cause is Cause.STORE_UNREACHABLE
