"""Executions: who is admitted, and how a function is guarded."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from guard.standin import POLICY, SUBJECT, Monitor, admitted, denied_with, eventually, withheld
from patience import patient

from failshut import Cause, Check, Execution, Gate, Guard, Withheld


def denial_of(gate: Gate, subject: str = SUBJECT, operation: str | None = None) -> Withheld:
    with pytest.raises(Withheld) as caught, gate.execution(subject, operation):
        pytest.fail("the block of a withheld execution ran")
    return caught.value


# --- Admission ---


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
    monkeypatch.setattr("failshut.guard.ADMITTED_MAX", 10)
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


# --- The decorator ---


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
        await asyncio.wait_for(pay(), patient(20))


def test_generators_are_not_decorated(gate: Gate) -> None:
    """Their bodies run after the execution has ended, so they are refused when they are written."""

    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(TypeError, match="generator"):
            gate.guarded(subject=SUBJECT)(function)
