"""A rehearsal: real gates, opened and closed by a test, with time in its hands."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from patience import patient

from failshut import Cause, Check, Gate, Withheld
from failshut.testing import GateControl, Rehearsal, rehearsal

SUBJECT = "agent:refund-7"
#: Where the cause that an execution finds at its entry is another than the one that the gate was closed for.
FOUND_OTHERWISE = {Cause.FORKED: Cause.NO_PERMIT, Cause.PROBE_REQUIRED: Cause.PROBES_SPENT}

#: As a service has it: made when its module is imported, and bound to no guard.
refunds = Gate("payments.refund")


def entered(gate: Gate = refunds, subject: str = SUBJECT, operation: str | None = None) -> Withheld | None:
    """How an execution was denied; None where it was admitted."""
    try:
        with gate.execution(subject, operation) as execution:
            execution.check()
    except Withheld as denial:
        return denial
    return None


def closed_inside(control: GateControl, cause: Cause) -> Cause | None:
    """What an execution finds whose gate closes while it runs."""
    try:
        with refunds.execution(SUBJECT) as execution:
            execution.check()
            control.close(cause)
            execution.check()
    except Withheld as denial:
        return denial.cause
    return None


def cause_of(denial: Withheld | None) -> Cause | None:
    return denial.cause if denial is not None else None


# --- Open and closed ---


def test_a_gate_is_closed_until_it_is_opened(stage: Rehearsal) -> None:
    """Absence denies in a test as well: a gate that nobody opened, named or not, has no permit."""
    assert cause_of(entered()) is Cause.NO_PERMIT
    control = stage.gate("payments.refund")
    assert cause_of(entered()) is Cause.NO_PERMIT
    assert cause_of(entered(Gate("payments.other"))) is Cause.NO_PERMIT
    control.open()
    assert entered() is None
    assert entered(control.gate) is None
    assert cause_of(entered(Gate("payments.other"))) is Cause.NO_PERMIT


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("bound", [True, False], ids=["a gate that was asked before", "a gate that was not"])
def test_a_gate_can_be_closed_for_each_cause(stage: Rehearsal, cause: Cause, bound: bool) -> None:
    """Withheld says the cause and which check failed, whether the gate was open before or not, and it opens again."""
    control = stage.gate("payments.refund")
    gate = Gate("payments.refund")
    if bound:
        control.open()
        assert entered(gate) is None
    for _ in range(2):
        control.close(cause)
        denial = entered(gate)
        assert denial is not None
        assert denial.cause is FOUND_OTHERWISE.get(cause, cause)
        assert denial.failed is Check.of(denial.cause)
        with pytest.raises(Withheld) as checked:
            gate.check(SUBJECT)
        assert checked.value.cause in (cause, denial.cause, Cause.PROBE_REQUIRED)
    control.open()
    assert entered(gate) is None


@pytest.mark.parametrize("cause", [Cause.PROBE_REQUIRED, Cause.PROBES_SPENT])
def test_check_says_that_a_probe_is_required(control: GateControl, cause: Cause) -> None:
    """Where an execution finds that the tokens are spent, `check` finds that one is needed."""
    control.close(cause)
    with pytest.raises(Withheld) as denied:
        refunds.check(SUBJECT)
    assert denied.value.cause is Cause.PROBE_REQUIRED


def test_what_a_monitor_says_is_in_the_denial(control: GateControl) -> None:
    """`because` reaches the service, and the value of a cause will do for the cause."""
    control.close(Cause("drift"), "mean 48 to 97")
    denial = entered()
    assert denial is not None
    assert denial.because == "mean 48 to 97"
    with pytest.raises(ValueError, match="nonsense"):
        control.close("nonsense")  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause not in (Cause.NO_PERMIT, Cause.FORKED)])
def test_a_gate_stays_closed_for_its_cause_as_time_goes_on(control: GateControl, cause: Cause) -> None:
    """A minute later the cause is the same; a permit that is gone becomes a lapse, as in production."""
    control.open()
    assert entered() is None
    control.close(cause)
    control.advance(60)
    assert cause_of(entered()) is FOUND_OTHERWISE.get(cause, cause)


def test_the_terms_are_what_the_permit_says(stage: Rehearsal) -> None:
    """Subjects, operations, context and policy decide as a policy's do."""
    digest = "sha256:" + "7" * 64
    stage.gate("a", subjects=["agent:refund-*"], operations=["create"], context={"region": "eu"}, policy=digest).open()
    gate = Gate("a", context={"region": "eu"}, policy=digest)
    assert entered(gate, SUBJECT, "create") is None
    assert cause_of(entered(gate, "agent:payout-1", "create")) is Cause.IDENTITY
    assert cause_of(entered(gate, SUBJECT, "delete")) is Cause.OPERATION
    assert cause_of(entered(Gate("a", policy=digest), SUBJECT, "create")) is Cause.ENVIRONMENT
    other = Gate("a", context={"region": "eu"}, policy="sha256:" + "8" * 64)
    assert cause_of(entered(other, SUBJECT, "create")) is Cause.POLICY


def test_the_guards_context_is_the_rehearsals() -> None:
    """A rehearsal says where its guard runs, and no environment variable does."""
    with rehearsal(context={"environment": "production"}) as stage:
        stage.gate("a", context={"environment": "production"}).open()
        assert entered(Gate("a")) is None
        stage.gate("b", context={"environment": "test"}).open()
        assert cause_of(entered(Gate("b"))) is Cause.ENVIRONMENT


def test_terms_that_no_permit_can_have_are_refused_at_once(stage: Rehearsal) -> None:
    """A text is no list of patterns, a policy is a digest, and a gate has one set of terms."""
    with pytest.raises(ValueError, match="list of patterns"):
        stage.gate("a", subjects="agent:*")
    with pytest.raises(ValueError, match="digest"):
        stage.gate("a", policy="mine")
    with pytest.raises(ValueError, match="not a gate's name"):
        stage.gate("a/b")
    known = stage.gate("a", subjects=["agent:*"])
    assert stage.gate("a") is known
    assert stage.gate("a", subjects=["agent:*"]) is known
    with pytest.raises(ValueError, match="other terms"):
        stage.gate("a", subjects=["*", "b"])


def test_each_decision_has_a_later_epoch(control: GateControl) -> None:
    """What an execution hands on as its fencing token grows with each opening."""
    seen = []
    for _ in range(3):
        control.open()
        with refunds.execution(SUBJECT) as execution:
            assert execution.epoch == control.epoch
            seen.append(execution.fencing_token)
        control.close()
    assert seen == sorted(set(seen))


def test_outcomes_are_those_of_the_executions(control: GateControl) -> None:
    """ok, failed and cancelled are counted as a monitor would be told."""
    control.open()
    assert entered() is None
    with pytest.raises(ZeroDivisionError), refunds.execution(SUBJECT):
        _ = 1 / 0
    assert closed_inside(control, Cause.DRIFT) is Cause.DRIFT
    assert control.outcomes() == {"ok": 1, "failed": 1, "cancelled": 1}
    assert control.outcomes() == {"ok": 1, "failed": 1, "cancelled": 1}


# --- Time ---


def test_an_open_gate_stays_open_however_far_time_goes(control: GateControl) -> None:
    """The monitor renews: a running execution and the next one go on after a day."""
    control.open()
    with refunds.execution(SUBJECT) as execution:
        for seconds in (0, 0.1, 2.9, 86_400):
            control.advance(seconds)
            execution.check()
            assert entered() is None


def test_time_stands_still_unless_the_test_moves_it(control: GateControl) -> None:
    """A permit of a millisecond's life is good for as long as the test takes; and the tolerance is kept."""
    short = control.stage.clock
    before = short.monotonic(), short.wall()
    control.open().stop_renewing()
    for _ in range(1000):
        assert entered() is None
    assert (short.monotonic(), short.wall()) == before


def test_a_lease_runs_out_when_the_test_lets_it(control: GateControl) -> None:
    """Unrenewed, it ends the clock tolerance before its permit does, and not earlier."""
    for asked_before in (True, False):
        gate = refunds if asked_before else Gate(refunds.name, context={"another": "slot"})
        control.open().stop_renewing()
        if asked_before:
            assert entered(gate) is None
        control.advance(2.4)
        assert entered(gate) is None
        control.advance(0.2)
        assert cause_of(entered(gate)) is Cause.LAPSED


def test_a_permit_that_has_expired_is_gone_from_the_store(control: GateControl) -> None:
    """A read finds the permit with what is left of its life, and after that nothing, as in a store that expires its keys."""
    control.open().stop_renewing()
    store = control.stage.store
    control.advance(2.999)
    assert store.read(control.name).pttl_ms == 1
    control.advance(0.001)
    assert store.read(control.name)[:2] == (None, -2)


def test_a_lapse_concerns_one_gate(stage: Rehearsal) -> None:
    """Time goes on for all gates of a rehearsal, and the others are renewed."""
    first, second = stage.gate("a").open(), stage.gate("b").open()
    assert entered(Gate("a")) is None
    first.lapse()
    assert cause_of(entered(Gate("a"))) is Cause.LAPSED
    assert entered(Gate("b")) is None
    stage.advance(10)
    assert entered(second.gate) is None


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_goes_forward(stage: Rehearsal, seconds: float) -> None:
    """No test moves a clock back, or to nowhere."""
    with pytest.raises(ValueError, match="time goes on"):
        stage.advance(seconds)


# --- In the middle ---


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause not in (Cause.PROBE_REQUIRED, Cause.PROBES_SPENT)])
def test_a_running_execution_learns_of_its_gate(control: GateControl, cause: Cause) -> None:
    """`check` raises once the gate is closed, for each cause, the fork included; what runs out says that it lapsed."""
    control.open()
    waits = {Cause.DEADLINE: Cause.LAPSED}  # what already runs does not wait for the store
    assert closed_inside(control, cause) is waits.get(cause, cause)


@pytest.mark.parametrize("ends", [GateControl.close, GateControl.lapse])
def test_what_may_finish_finishes(stage: Rehearsal, ends: object) -> None:
    """in_flight: finish: neither a closing nor a lapse reaches what runs, and both reach what follows."""
    control = stage.gate("payments.refund", in_flight="finish").open()
    with refunds.execution(SUBJECT) as execution:
        ends(control)  # type: ignore[operator]
        execution.check()
    assert entered() is not None


def test_another_threads_execution_is_reached(control: GateControl) -> None:
    """A worker that checks between two steps is stopped by what the test does meanwhile."""
    control.open()
    began, closed = threading.Event(), threading.Event()
    ended: list[Cause] = []

    def work() -> None:
        try:
            with refunds.execution(SUBJECT) as execution:
                began.set()
                assert closed.wait(patient(20))
                execution.check()
        except Withheld as denial:
            ended.append(denial.cause)

    worker = threading.Thread(target=work)
    worker.start()
    assert began.wait(patient(20))
    control.close(Cause.LOCK)
    closed.set()
    worker.join(patient(20))
    assert ended == [Cause.LOCK]


def in_two_threads(meanwhile: Callable[[], None]) -> list[Withheld | None]:
    """What two threads found that execute all the time while something happens."""
    stop, started = threading.Event(), threading.Barrier(3)
    found: list[Withheld | None] = []

    def work() -> None:
        started.wait()
        while not stop.is_set():
            found.append(entered())

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    started.wait()
    meanwhile()
    stop.set()
    for worker in workers:
        worker.join(patient(20))
    return found


def test_no_thread_is_denied_where_time_goes_on_and_permits_are_renewed(control: GateControl) -> None:
    """A step of an hour and the renewal that it needs are one: nobody sees the lease over in between."""
    control.open()

    def meanwhile() -> None:
        for _ in range(100):
            control.advance(3600)

    assert {cause_of(found) for found in in_two_threads(meanwhile)} == {None}


@pytest.mark.slow
def test_no_thread_is_admitted_between_two_closings(control: GateControl) -> None:
    """A cause that needs a permit before it, such as a lapse, opens the gate to nobody."""
    control.close()

    def meanwhile() -> None:
        for _ in range(20):
            for cause in Cause:
                control.close(cause)

    assert None not in in_two_threads(meanwhile)


# --- Proving ---


def test_a_proving_gate_admits_as_many_as_it_has_tokens(control: GateControl) -> None:
    """Each probe takes one token, and the next execution finds that they are spent; then the test opens the gate."""
    control.prove(probes=2)
    tokens = set()
    for left in (1, 0):
        with refunds.execution(SUBJECT) as execution:
            tokens.add(execution.token)
            assert execution.permit.mode == "proving"
        assert control.probes_left == left
    assert len(tokens) == 2
    assert all(token.startswith(control.epoch) for token in tokens)
    assert cause_of(entered()) is Cause.PROBES_SPENT
    control.advance(60)
    assert cause_of(entered()) is Cause.PROBES_SPENT
    assert control.outcomes() == {"ok": 2}
    control.open()
    assert entered() is None
    with pytest.raises(ValueError, match="probes"):
        control.prove(-1)


def test_tokens_go_with_their_proving(control: GateControl) -> None:
    """Tokens that were left over are worth nothing after a closing, nor under the next proving."""
    control.prove(probes=5)
    control.close(Cause.PROVING_FAILED)
    assert control.probes_left == 0
    assert cause_of(entered()) is Cause.PROVING_FAILED
    control.prove(probes=0)
    assert cause_of(entered()) is Cause.PROBES_SPENT


# --- The rehearsal itself ---


def test_gates_go_back_to_their_own_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rehearsal a service's gate asks what the environment names, and nothing is left of it for the next one."""
    monkeypatch.delenv("FAILSHUT_STORE", raising=False)
    with rehearsal() as stage:
        stage.gate("payments.refund").open()
        assert entered() is None
    denial = entered()
    assert denial is not None
    assert denial.cause is Cause.STORE_UNREACHABLE
    with rehearsal():
        assert cause_of(entered()) is Cause.NO_PERMIT


def test_an_execution_that_outlives_its_rehearsal_is_over(stage: Rehearsal) -> None:
    """What still runs when a test ends may not go on."""
    with rehearsal_of_its_own(stage) as second:
        second.gate("payments.refund").open()
        execution = refunds.execution(SUBJECT)
        execution.__enter__()
    with pytest.raises(Withheld, match="shut down"):
        execution.check()


def rehearsal_of_its_own(stage: Rehearsal) -> Rehearsal:
    """Another one, after the fixture's has ended."""
    stage.__exit__(None, None, None)
    return rehearsal()


def test_a_control_that_outlives_its_rehearsal_opens_nothing() -> None:
    """What a test kept of another one opens no gate, and the denial says why."""
    with rehearsal() as stage:
        control = stage.gate("payments.refund")
    control.open()
    denial = entered(control.gate)
    assert denial is not None
    assert denial.because == "the rehearsal is over"


def test_a_rehearsal_is_entered_once_and_alone(stage: Rehearsal) -> None:
    """A second one meanwhile, or the same one again, is refused; gates are asked for while it lasts."""
    with pytest.raises(RuntimeError, match="one rehearsal at a time"), rehearsal():
        pytest.fail("entered")
    with pytest.raises(RuntimeError, match="while it lasts"):
        rehearsal().gate("a")
    stage.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="entered once"), stage:
        pytest.fail("entered")
    with pytest.raises(RuntimeError, match="while it lasts"):
        stage.gate("a")
