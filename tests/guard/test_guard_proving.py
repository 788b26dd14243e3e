"""While a gate is proving, executions take tokens; what becomes of every execution is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from guard.standin import SUBJECT, FakeClocks, Monitor, admitted, denied_with, eventually, withheld

from failshut import Cause, Gate, Guard, Withheld
from failshut.background.outcomes import OutcomeQueue
from failshut.background.watcher import ProbeRequest
from failshut.epoch import ZERO
from failshut.store.client import Outcomes, Store, Unreachable
from failshut.store.names import Names


def denial_of(gate: Gate, subject: str = SUBJECT, operation: str | None = None) -> Withheld:
    with pytest.raises(Withheld) as caught, gate.execution(subject, operation):
        pytest.fail("the block of a withheld execution ran")
    return caught.value


# --- Proving ---


def test_proving_admits_as_many_executions_as_there_are_tokens(monitor: Monitor, gate: Gate) -> None:
    """One token, one execution, over all; check() alone never takes one."""
    permit = monitor.prove(2, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    tokens = []
    for _ in range(2):
        with gate.execution(SUBJECT) as execution:
            tokens.append(execution.token)
            execution.check()
    assert sorted(tokens) == [monitor.probe_token(number, permit.epoch) for number in range(2)]
    assert denial_of(gate).cause is Cause.PROBES_SPENT
    denied_with(gate, Cause.PROBE_REQUIRED)


async def test_proving_admits_async_executions_by_token(monitor: Monitor, gate: Gate) -> None:
    """The same, awaited."""
    monitor.prove(1, ttl_ms=60_000)
    await asyncio.to_thread(denied_with, gate, Cause.PROBE_REQUIRED)
    async with gate.execution(SUBJECT) as execution:
        assert execution.token
        await asyncio.sleep(0.01)
    with pytest.raises(Withheld) as caught:
        async with gate.execution(SUBJECT):
            pytest.fail("ran without a token")
    assert caught.value.cause is Cause.PROBES_SPENT


def test_a_token_of_another_proving_admits_nobody(monitor: Monitor, gate: Gate) -> None:
    """A token left over from before is refused, whatever the permit says."""
    monitor.client.lpush(monitor.names.probes(monitor.gate), monitor.probe_token(0, "0" * 16), b"\xff")
    monitor.prove(0, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    assert {denial_of(gate).cause for _ in range(2)} == {Cause.STALE}


def test_a_stranger_takes_no_token(monitor: Monitor, gate: Gate) -> None:
    """Identity is checked before a token is spent."""
    monitor.prove(1, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    assert denial_of(gate, "stranger").cause is Cause.IDENTITY
    assert monitor.client.llen(monitor.names.probes(monitor.gate)) == 1


def test_a_token_that_comes_too_late_is_reported(
    monitor: Monitor, make_guard: Callable[..., Guard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller was denied at its deadline; the token that was popped for it is not lost without a word."""
    monitor.prove(1, ttl_ms=60_000)
    guard = make_guard(deadline_ms=100, store_timeout_ms=20_000)
    gate = Gate(monitor.gate, guard=guard)
    denied_with(gate, Cause.PROBE_REQUIRED)
    watcher = guard._watcher
    assert watcher is not None
    monkeypatch.setattr(watcher, "_due", lambda *_: False)  # so that the pop is what waits for the store
    eventually(lambda: not watcher.asking_since)

    def reported() -> list[dict[str, str]]:
        """Ask again where the watcher came to the request only after the caller had left: then it takes no token."""
        if monitor.client.llen(monitor.names.probes(monitor.gate)):
            monitor.client.execute_command("CLIENT", "PAUSE", 1000, "ALL")
            assert denial_of(gate).cause is Cause.DEADLINE
        return monitor.outcomes()

    entry = eventually(reported)[0]
    assert (entry["outcome"], entry["token"]) == ("cancelled", monitor.probe_token(0))


def _closes(monitor: Monitor, gate: Gate, clocks: FakeClocks) -> None:
    monitor.close(Cause.DRIFT)
    denied_with(gate, Cause.DRIFT)


def _lapses(monitor: Monitor, gate: Gate, clocks: FakeClocks) -> None:
    clocks.monotonic_offset = 600.0


def _is_decided_anew(monitor: Monitor, gate: Gate, clocks: FakeClocks) -> None:
    former = monitor.epoch
    monitor.reopen(mode="proving", ttl_ms=60_000)
    eventually(lambda: gate._slot.state.permit.epoch > former)  # type: ignore[union-attr]


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("meanwhile", [_closes, _lapses, _is_decided_anew])
def test_a_token_is_no_admission_where_the_lease_has_gone_meanwhile(
    monitor: Monitor,
    make_guard: Callable[..., Guard],
    clocks: FakeClocks,
    meanwhile: Callable[[Monitor, Gate, FakeClocks], None],
    awaited: bool,
) -> None:
    """While the token is fetched the gate closes, lapses or is decided anew: nothing runs, and the token is reported."""
    guard = make_guard(clocks=clocks.clocks())
    gate = Gate(monitor.gate, guard=guard)
    permit = monitor.prove(1, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    fetch, fetch_async = guard.probe, guard.probe_async

    def slow(*given: Any) -> Any:
        answer = fetch(*given)
        meanwhile(monitor, gate, clocks)
        return answer

    async def slow_async(*given: Any) -> Any:
        answer = await fetch_async(*given)
        await asyncio.to_thread(meanwhile, monitor, gate, clocks)
        return answer

    async def enter() -> None:
        if awaited:
            async with gate.execution(SUBJECT):
                pytest.fail("ran on a token without a lease")
        with gate.execution(SUBJECT):
            pytest.fail("ran on a token without a lease")

    guard.probe, guard.probe_async = slow, slow_async  # type: ignore[method-assign,assignment]
    with pytest.raises(Withheld):
        asyncio.run(enter())
    told = eventually(monitor.outcomes)[0]
    assert (told["outcome"], told["token"]) == ("cancelled", monitor.probe_token(0, permit.epoch))


def test_a_caller_that_left_costs_no_token(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """A request whose caller stopped waiting before its turn leaves the token where it is."""
    monitor.prove(1, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    request = ProbeRequest(gate._slot, monitor.epoch)
    assert request.leave()
    watcher = guard._watcher
    assert watcher is not None
    watcher.ask(request)
    with gate.execution(SUBJECT) as execution:  # the next in the queue gets it
        assert execution.token == monitor.probe_token(0)


# --- Outcomes ---


def test_outcomes_reach_the_store(monitor: Monitor, gate: Gate) -> None:
    """ok, failed, interrupted and cancelled are counted per epoch and appended to the stream."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    for _ in range(3):
        with gate.execution(SUBJECT):
            pass
    with pytest.raises(KeyError), gate.execution(SUBJECT):
        raise KeyError
    for error in (KeyboardInterrupt, asyncio.CancelledError, SystemExit, GeneratorExit):
        with pytest.raises(error), gate.execution(SUBJECT):
            raise error
    denial = Withheld("another.gate", Cause.DRIFT)
    for withheld_by in (denial, ExceptionGroup("", [denial, denial])):
        with pytest.raises(type(withheld_by)), gate.execution(SUBJECT):
            raise withheld_by
    with pytest.raises(ExceptionGroup), gate.execution(SUBJECT):
        raise ExceptionGroup("", [denial, KeyError()])

    def counts() -> dict[str, int]:
        found = {"ok": 0, "failed": 0, "interrupted": 0, "cancelled": 0}
        for entry in monitor.outcomes():
            assert (entry["epoch"], entry["token"]) == (monitor.epoch, "")
            assert entry["instance"]
            found[entry["outcome"]] += int(entry["count"])
        return found

    eventually(lambda: counts() == {"ok": 3, "failed": 2, "interrupted": 4, "cancelled": 2})


def test_a_guard_that_ends_writes_what_waits(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """close() leaves no outcome behind, and closes the gate."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    with gate.execution(SUBJECT):
        pass
    guard.close()
    assert [entry["outcome"] for entry in monitor.outcomes()] == ["ok"]
    assert withheld(gate) is not None


def test_outcomes_beyond_the_bound_are_counted_as_lost() -> None:
    """A full queue drops, counts per gate, and the next entry of that gate says how many."""
    queue = OutcomeQueue(2)
    for _ in range(5):
        queue.put(("g", "e", "", "ok"))
    queue.put(("h", "e", "", "ok"))
    assert (len(queue), queue.lost("g"), queue.lost("h")) == (2, 3, 1)
    assert queue.take() == [Outcomes("g", "e", "", "ok", 2, 3, 2), Outcomes("h", ZERO, "", "cancelled", 0, 1, 0)]
    assert (queue.lost("g"), queue.lost("h"), queue.waits) == (0, 0, False)
    assert queue.take() == []


def test_each_entry_says_how_many_were_sent_in_all() -> None:
    """The total goes on from entry to entry, each gate has its own, and what may not have arrived is lost instead."""
    queue = OutcomeQueue(100)
    for gate, outcome in (("g", "ok"), ("g", "ok"), ("g", "failed"), ("h", "ok")):
        queue.put((gate, "e", "", outcome))
    first = queue.take()
    assert [(entry.gate, entry.count, entry.total) for entry in first] == [("g", 2, 2), ("g", 1, 3), ("h", 1, 1)]
    queue.put(("g", "e", "", "ok"))
    second = queue.take()
    assert [(entry.count, entry.total, entry.lost) for entry in second] == [(1, 4, 0)]
    queue.dropped(second)
    queue.put(("g", "e", "", "ok"))
    assert [(entry.count, entry.total, entry.lost) for entry in queue.take()] == [(1, 4, 1)]
    assert OutcomeQueue(1).name != queue.name


def test_what_the_store_refused_is_told_once() -> None:
    """Where it took a later entry of the gate the numbers say what is missing; else the next entry says it is lost."""
    queue = OutcomeQueue(100)
    for outcome in ("ok", "ok", "failed", "cancelled"):
        queue.put(("g", "e", "", outcome))
    batch = queue.take()
    queue.refused(batch, [batch[0], batch[2]])
    queue.put(("g", "e", "", "ok"))
    (after,) = queue.take()
    assert [(entry.count, entry.total) for entry in batch] == [(2, 2), (1, 3), (1, 4)]
    assert (after.count, after.total, after.lost) == (1, 4, 1)  # 1 and 2 are the hole, 3 came, the former 4 is lost


class _Writes(Store):
    """A store whose writes fail as told: before they are applied, or after."""

    def __init__(self, url: str) -> None:
        super().__init__(url, 5000)
        self.fail_before = self.fail_after = 0

    def append(self, names: Names, outcomes: Sequence[Outcomes], instance: str, guard: str = "") -> list[Outcomes]:
        if self.fail_before:
            self.fail_before -= 1
            raise Unreachable("refused", maybe_applied=False)
        refused = super().append(names, outcomes, instance, guard)
        if self.fail_after:
            self.fail_after -= 1
            raise Unreachable("no answer", maybe_applied=True)
        return refused


@pytest.mark.parametrize(("before", "after", "counted"), [(0, 0, 2), (2, 0, 2), (0, 1, 2)])
def test_an_outcome_is_written_at_most_once(
    monitor: Monitor, gate: Gate, guard: Guard, before: int, after: int, counted: int
) -> None:
    """Applied; failed and tried again; failed but applied: never twice, and the doubt is reported as lost."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    watcher = guard._watcher
    assert watcher is not None
    store = _Writes(monitor.url)
    store.fail_before, store.fail_after = before, after
    watcher._reporter._store = store
    with gate.execution(SUBJECT):
        pass
    eventually(lambda: monitor.outcomes() and not store.fail_before and not store.fail_after)
    eventually(lambda: sum(int(entry["lost"]) for entry in monitor.outcomes()) == after)
    with gate.execution(SUBJECT):
        pass
    eventually(lambda: sum(int(entry["count"]) for entry in monitor.outcomes()) == counted)
    assert sum(int(entry["lost"]) for entry in monitor.outcomes()) == after
    assert {entry["guard"] for entry in monitor.outcomes()} == {guard.outcomes.name}
