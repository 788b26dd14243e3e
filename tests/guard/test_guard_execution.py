"""Executions: who is admitted, what reaches those that run, and what they leave behind."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from monitor import POLICY, SUBJECT, Monitor, admitted, denied_with, eventually, withheld

from failshut import Cause, Check, Execution, Gate, Guard, Withheld, keys
from failshut.outcomes import OutcomeQueue
from failshut.store import Outcomes, Store, Unreachable
from failshut.watcher import ProbeRequest

pytestmark = pytest.mark.store


def denial_of(gate: Gate, subject: str = SUBJECT, operation: str | None = None) -> Withheld:
    with pytest.raises(Withheld) as caught, gate.execution(subject, operation):
        pytest.fail("the block of a withheld execution ran")
    return caught.value


# Admission --------------------------------------------------------------------------------------------------------


def test_an_execution_knows_what_admitted_it(monitor: Monitor, gate: Gate) -> None:
    """Inside the block: permit, fencing token, parent."""
    permit = monitor.issue()
    admitted(gate)
    with gate.execution(SUBJECT, parent="trace-1") as execution:
        assert execution.permit == permit
        assert execution.epoch == monitor.epoch
        assert execution.fencing_token == int(monitor.epoch)
        assert (execution.parent, execution.subject, execution.token) == ("trace-1", SUBJECT, "")
        execution.check()
    with pytest.raises(RuntimeError, match="not admitted"):
        _ = gate.execution(SUBJECT).epoch


@pytest.mark.parametrize("subject", ["agent:payout-7", "", "AGENT:REFUND-7", None, 7])
def test_a_subject_that_is_not_named_is_denied(monitor: Monitor, gate: Gate, subject: str) -> None:
    """Identity: the patterns are matched whole, with case, and nothing else is a subject."""
    monitor.issue()
    admitted(gate)
    denial = withheld(gate, subject)
    assert denial is not None
    assert (denial.cause, denial.failed) == (Cause.IDENTITY, Check.IDENTITY)
    assert denial_of(gate, subject).cause is Cause.IDENTITY


def test_a_permit_for_nobody_admits_nobody(monitor: Monitor, gate: Gate) -> None:
    """An empty list of subjects is not a missing one."""
    monitor.issue(subjects=())
    denied_with(gate, Cause.IDENTITY)


def test_an_operation_that_is_not_permitted_is_denied(monitor: Monitor, gate: Gate) -> None:
    """Operation: named ones only, and a caller that names none is covered by a permit for all alone."""
    monitor.issue(operations=("refund.create", "refund.read*"))
    eventually(lambda: withheld(gate, SUBJECT, "refund.create") is None)
    assert withheld(gate, SUBJECT, "refund.read.one") is None
    for operation in ("refund.delete", None, ""):
        denial = withheld(gate, SUBJECT, operation)
        assert denial is not None
        assert (denial.cause, denial.failed) == (Cause.OPERATION, Check.OPERATION)
    assert denial_of(gate, SUBJECT, "refund.delete").cause is Cause.OPERATION


def test_a_guard_elsewhere_is_denied(monitor: Monitor, make_guard: Callable[..., Guard]) -> None:
    """Environment: every entry of the permit's context must be the guard's own, or the gate's."""
    monitor.issue(context={"environment": "production", "region": "eu"})
    guard = make_guard(context={"environment": "production", "region": "us"})
    for context, admits in (({}, False), ({"region": "eu"}, True), ({"environment": "test", "region": "eu"}, False)):
        gate = Gate(monitor.gate, guard=guard, context=context)
        if admits:
            admitted(gate)
        else:
            assert denied_with(gate, Cause.ENVIRONMENT).failed is Check.ENVIRONMENT
    assert denied_with(Gate(monitor.gate, guard=make_guard()), Cause.ENVIRONMENT).failed is Check.ENVIRONMENT


def test_a_gate_that_expects_one_policy_accepts_no_other(monitor: Monitor, guard: Guard) -> None:
    """Policy: a pinned digest is compared."""
    monitor.issue()
    admitted(Gate(monitor.gate, guard=guard, policy=POLICY))
    other = Gate(monitor.gate, guard=guard, policy="sha256:" + "1" * 64)
    assert denied_with(other, Cause.POLICY).failed is Check.POLICY


def test_a_block_never_runs_before_all_five_checks(monitor: Monitor, gate: Gate) -> None:
    """Withheld comes before the first line of the block, sync and async."""
    monitor.issue(subjects=("somebody",))
    denied_with(gate, Cause.IDENTITY)
    assert denial_of(gate).cause is Cause.IDENTITY

    async def run() -> None:
        async with gate.execution(SUBJECT):
            pytest.fail("the block of a withheld execution ran")

    with pytest.raises(Withheld):
        asyncio.run(run())


def test_those_admitted_are_bounded_and_still_judged(monitor: Monitor, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of subjects is forgotten at the bound, not collected."""
    monkeypatch.setattr("failshut.gate.ADMITTED_MAX", 10)
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    for number in range(100):
        gate.check(f"agent:refund-{number}")
        assert len(gate._slot.state.admitted) <= 10
    assert withheld(gate, "agent:other-1") is not None


def test_a_withheld_survives_pickling() -> None:
    """A denial crosses processes, as exceptions of worker pools do."""
    denial = Withheld("g", Cause.DRIFT, "mean 48 to 97")
    copy = pickle.loads(pickle.dumps(denial))
    assert (copy.gate, copy.cause, copy.because, copy.failed) == ("g", Cause.DRIFT, "mean 48 to 97", Check.PROOF)
    assert str(copy) == "g is closed (drift): mean 48 to 97"


def test_an_execution_is_entered_once(monitor: Monitor, gate: Gate) -> None:
    """One object is one piece of work."""
    monitor.issue()
    admitted(gate)
    execution = gate.execution(SUBJECT)
    with execution:
        pass
    with pytest.raises(RuntimeError, match="once"), execution:
        pass


# A closing while it runs ------------------------------------------------------------------------------------------


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
    monitor.issue(in_flight="finish", ttl_ms=1000)
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
    monitor.issue(ttl_ms=1000)
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
        await asyncio.wait_for(task, 20)
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
    monitor.issue(ttl_ms=1000)
    admitted(gate)
    assert (await _until_denied(gate, lambda: None)).cause is Cause.LAPSED


async def test_a_lapse_cancels_although_the_background_is_stuck(monitor: Monitor, gate: Gate, guard: Guard) -> None:
    """Not even the guard's own threads are needed for a running execution to end with its lease."""
    monitor.issue(ttl_ms=1000)
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
    execution[0]._look()
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
    async with asyncio.timeout(20):
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
        async with asyncio.timeout(30), gate.execution(SUBJECT), asyncio.timeout(30):
            await asyncio.sleep(30)
    closer.join()


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
    running.wait(20)
    monitor.close(Cause.LAG)
    for thread in threads:
        thread.join(20)
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
        thread.join(20)
    assert len(admitted_count) == 16
    assert sum(thread.name == "failshut-watcher" for thread in threading.enumerate()) <= 2


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


# The decorator ----------------------------------------------------------------------------------------------------


def test_a_decorated_function_runs_only_with_a_permit(monitor: Monitor, gate: Gate) -> None:
    """Subject and operation may come from the arguments; the execution too, if asked for."""
    ran: list[str] = []

    @gate.guarded(subject=lambda who, **_: who, operation="pay", execution_argument="execution")
    def pay(who: str, *, execution: Execution | None = None) -> str:
        """Pays."""
        assert execution is not None
        execution.check()
        ran.append(who)
        return execution.epoch

    with pytest.raises(Withheld):
        pay(SUBJECT)
    monitor.issue()
    admitted(gate)
    assert pay(SUBJECT) == monitor.epoch
    with pytest.raises(Withheld):
        pay("stranger")
    assert ran == [SUBJECT]
    assert pay.__doc__ == "Pays."


async def test_a_decorated_coroutine_is_cancelled_by_a_closing(monitor: Monitor, gate: Gate) -> None:
    """async def stays async def, and is interrupted."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)

    @gate.guarded(subject=SUBJECT)
    async def pay() -> None:
        monitor.close(Cause.DRIFT)
        await asyncio.Event().wait()

    assert asyncio.iscoroutinefunction(pay)
    with pytest.raises(Withheld):
        await asyncio.wait_for(pay(), 20)


def test_generators_are_not_decorated(gate: Gate) -> None:
    """Their bodies run after the execution has ended, so they are refused when they are written."""

    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(TypeError, match="generator"):
            gate.guarded(subject=SUBJECT)(function)  # type: ignore[type-var]


# Proving ----------------------------------------------------------------------------------------------------------


def test_proving_admits_as_many_executions_as_there_are_tokens(monitor: Monitor, gate: Gate) -> None:
    """One token, one execution, over all; check() alone never takes one."""
    permit = monitor.prove(2, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    tokens = []
    for _ in range(2):
        with gate.execution(SUBJECT) as execution:
            tokens.append(execution.token)
            execution.check()
    assert sorted(tokens) == [keys.probe_token(permit.epoch, number) for number in range(2)]
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
    monitor.client.lpush(keys.probes(monitor.gate), keys.probe_token("0" * 16, 0), b"\xff")
    monitor.prove(0, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    assert {denial_of(gate).cause for _ in range(2)} == {Cause.STALE}


def test_a_stranger_takes_no_token(monitor: Monitor, gate: Gate) -> None:
    """Identity is checked before a token is spent."""
    monitor.prove(1, ttl_ms=60_000)
    denied_with(gate, Cause.PROBE_REQUIRED)
    assert denial_of(gate, "stranger").cause is Cause.IDENTITY
    assert monitor.client.llen(keys.probes(monitor.gate)) == 1


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
    monitor.client.execute_command("CLIENT", "PAUSE", 1000, "ALL")
    assert denial_of(gate).cause is Cause.DEADLINE
    entry = eventually(monitor.outcomes)[0]
    assert (entry["outcome"], entry["token"]) == ("cancelled", keys.probe_token(monitor.epoch, 0))


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
        assert execution.token == keys.probe_token(monitor.epoch, 0)


# Outcomes ---------------------------------------------------------------------------------------------------------


def test_outcomes_reach_the_store(monitor: Monitor, gate: Gate) -> None:
    """ok, failed and cancelled are counted per epoch and appended to the stream."""
    monitor.issue(ttl_ms=60_000)
    admitted(gate)
    for _ in range(3):
        with gate.execution(SUBJECT):
            pass
    with pytest.raises(KeyError), gate.execution(SUBJECT):
        raise KeyError
    for error in (KeyboardInterrupt, asyncio.CancelledError):
        with pytest.raises(error), gate.execution(SUBJECT):
            raise error
    with pytest.raises(Withheld), gate.execution(SUBJECT):
        raise Withheld("another.gate", Cause.DRIFT)

    def counts() -> dict[str, int]:
        found = {"ok": 0, "failed": 0, "cancelled": 0}
        for entry in monitor.outcomes():
            assert (entry["gate"], entry["epoch"], entry["token"]) == (monitor.gate, monitor.epoch, "")
            assert entry["instance"]
            found[entry["outcome"]] += int(entry["count"])
        return found

    eventually(lambda: counts() == {"ok": 3, "failed": 1, "cancelled": 3})


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
    assert queue.take() == [Outcomes("g", "e", "", "ok", 2, 3)]
    assert queue.lost("g") == 0
    assert queue.take() == []


class _Writes(Store):
    """A store whose writes fail as told: before they are applied, or after."""

    def __init__(self, url: str) -> None:
        super().__init__(url, 5000)
        self.fail_before = self.fail_after = 0

    def append(self, outcomes: object, instance: str) -> None:
        if self.fail_before:
            self.fail_before -= 1
            raise Unreachable("refused", maybe_applied=False)
        super().append(outcomes, instance)  # type: ignore[arg-type]
        if self.fail_after:
            self.fail_after -= 1
            raise Unreachable("no answer", maybe_applied=True)


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
    watcher._store = store
    with gate.execution(SUBJECT):
        pass
    eventually(lambda: monitor.outcomes() and not store.fail_before and not store.fail_after)
    eventually(lambda: guard.outcomes.lost(monitor.gate) == after)
    with gate.execution(SUBJECT):
        pass
    eventually(lambda: sum(int(entry["count"]) for entry in monitor.outcomes()) == counted)
    assert sum(int(entry["lost"]) for entry in monitor.outcomes()) == after
