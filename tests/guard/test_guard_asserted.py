"""assert_guarded passes for paths that are guarded, and fails for every other path that we could think of."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from failshut import Cause, Gate, Withheld
from failshut.testing import Effect, Executed, GateControl, Rehearsal, assert_guarded, rehearsal

SUBJECT = "agent:refund-7"
refunds = Gate("payments.refund")
payouts = Gate("payments.payout")

Path = Callable[[Effect], object]


# --- Paths that are guarded ---


def by_execution(effect: Effect) -> None:
    with refunds.execution(SUBJECT):
        effect("order-7", 12.5)


def by_decorator(effect: Effect) -> None:
    @refunds.guarded(subject=SUBJECT)
    def pay() -> int:
        effect()
        return 7

    assert pay() == 7


def by_check(effect: Effect) -> None:
    refunds.check(SUBJECT)
    effect()


def by_checks_in_a_loop(effect: Effect) -> None:
    with refunds.execution(SUBJECT) as execution:
        for _ in range(3):
            execution.check()
            effect()


def by_an_execution_each(effect: Effect) -> None:
    for _ in range(3):
        with refunds.execution(SUBJECT):
            effect()


def by_a_thread(effect: Effect) -> None:
    worker = threading.Thread(target=swallowing, args=(effect,))
    worker.start()
    worker.join()


def swallowing(effect: Effect) -> str:
    try:
        by_execution(effect)
    except Withheld:
        return "later"
    return "done"


def translating(effect: Effect) -> None:
    try:
        by_execution(effect)
    except Withheld as denial:
        raise ConnectionError("come again") from denial


def by_a_nested_function_that_returns(effect: Effect) -> None:
    with refunds.execution(SUBJECT):
        assert effect.calling(lambda order: f"receipt of {order}")("order-7") == "receipt of order-7"


@pytest.mark.parametrize(
    "path",
    [
        by_execution,
        by_decorator,
        by_check,
        by_checks_in_a_loop,
        by_an_execution_each,
        by_a_thread,
        swallowing,
        translating,
        by_a_nested_function_that_returns,
    ],
)
def test_a_guarded_path_passes(control: GateControl, path: Path) -> None:
    """However it asks, whatever it makes of a denial, and the gate is closed afterwards."""
    assert_guarded(control, path)
    with pytest.raises(Withheld):
        refunds.check(SUBJECT)


def test_it_tries_every_cause_and_what_happens_in_the_middle(control: GateControl) -> None:
    """A path is denied for each cause, and closed and lapsed once each while it runs."""
    found: list[Cause] = []

    def path(effect: Effect) -> None:
        try:
            by_checks_in_a_loop(effect)
        except Withheld as denial:
            found.append(denial.cause)

    assert_guarded(control, path)
    before, middle = found[:-2], found[-2:]
    entries = set(Cause) - {Cause.FORKED, Cause.PROBE_REQUIRED}  # an execution finds others at its entry (scenes.py)
    assert set(before) == entries
    assert len(before) == len(Cause)
    assert middle == [Cause.DRIFT, Cause.LAPSED]


def test_the_terms_admit_the_path(stage: Rehearsal) -> None:
    """Subjects, operations and the policy that the gate is pinned to are those of the service."""
    digest = "sha256:" + "7" * 64
    gate = Gate("a", policy=digest)

    def path(effect: Effect) -> None:
        with gate.execution(SUBJECT, "create"):
            effect()

    assert_guarded(stage.gate("a", subjects=["agent:*"], operations=["create"], policy=digest), path)


def test_what_may_finish_may_go_on_in_the_middle(stage: Rehearsal) -> None:
    """in_flight: finish: more than one effect of an execution that was admitted is as the policy has it."""
    gate = Gate("a")

    def path(effect: Effect) -> None:
        with gate.execution(SUBJECT):
            effect()
            effect()

    assert_guarded(stage.gate("a", in_flight="finish"), path)
    with pytest.raises(Executed, match="while the path ran"):
        assert_guarded(stage.gate("b"), lambda effect: twice(Gate("b"), effect))


def twice(gate: Gate, effect: Effect) -> None:
    with gate.execution(SUBJECT):
        effect()
        effect()


# --- Paths that execute on a closed gate ---


def before_it_asks(effect: Effect) -> None:
    effect()
    refunds.check(SUBJECT)


def whatever_it_hears(effect: Effect) -> None:
    try:
        refunds.check(SUBJECT)
    except Withheld:
        pass
    effect()


def unless_it_knows_the_cause(effect: Effect) -> None:
    try:
        refunds.check(SUBJECT)
    except Withheld as denial:
        if denial.cause is not Cause.STORE_UNREACHABLE:
            raise
    effect()


def hiding_it(effect: Effect) -> None:
    try:
        refunds.check(SUBJECT)
    except Withheld:
        try:
            effect()
        except BaseException:
            return
    effect()


def in_its_own_thread(effect: Effect) -> None:
    def work() -> None:
        try:
            whatever_it_hears(effect)
        except AssertionError:
            pass

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()


class Later:
    """Does what it was admitted for when it is called again."""

    def __init__(self) -> None:
        self.left: list[Effect] = []

    def __call__(self, effect: Effect) -> None:
        for former in self.left:
            former()
        by_execution(effect)
        self.left.append(effect)


class OnceAdmitted:
    """Asks once, and then knows better."""

    def __init__(self) -> None:
        self.admitted = False

    def __call__(self, effect: Effect) -> None:
        if not self.admitted:
            refunds.check(SUBJECT)
            self.admitted = True
        effect()


@pytest.mark.parametrize(
    ("path", "when"),
    [
        (before_it_asks, "before the path began"),
        (whatever_it_hears, "before the path began"),
        (unless_it_knows_the_cause, "store_unreachable"),
        (hiding_it, "before the path began"),
        (in_its_own_thread, "before the path began"),
        (lambda effect: twice(refunds, effect), "drift"),
        (OnceAdmitted(), "before the path began"),
        (Later(), "later than it was admitted for: the gate was open"),
    ],
)
def test_a_path_that_executes_on_a_closed_gate_fails(control: GateControl, path: Path, when: str) -> None:
    """The assertion says when, even if the path hides it."""
    with pytest.raises(Executed, match=when):
        assert_guarded(control, path)


def test_a_path_that_only_minds_closings_fails_over_a_lapse(control: GateControl) -> None:
    """A lapse in the middle is tried as well: who asks for the cause of a closing alone goes on too long."""

    def path(effect: Effect) -> None:
        with refunds.execution(SUBJECT) as execution:
            for _ in range(2):
                try:
                    execution.check()
                except Withheld as denial:
                    if denial.cause is Cause.DRIFT:
                        raise
                effect()

    with pytest.raises(Executed, match="lapsed while the path ran"):
        assert_guarded(control, path)


def test_a_path_that_asks_another_gate_fails(stage: Rehearsal, control: GateControl) -> None:
    """It executes although this gate is closed."""
    stage.gate("payments.payout").open()

    def path(effect: Effect) -> None:
        with payouts.execution(SUBJECT):
            effect()

    with pytest.raises(AssertionError, match=r"never asked the gate payments\.refund"):
        assert_guarded(control, path)


# --- Checks that would be vacuous ---


def test_a_path_that_never_asks_fails_while_the_gate_is_open(control: GateControl) -> None:
    """It is found at the first call, whatever it does on a closed gate."""
    calls = []

    def path(effect: Effect) -> None:
        calls.append(effect)
        effect()

    with pytest.raises(AssertionError, match=r"never asked the gate payments\.refund \(the gate was open\)"):
        assert_guarded(control, path)
    assert len(calls) == 1


def test_a_path_without_an_effect_fails(control: GateControl) -> None:
    """Asking alone shows nothing: the effect was not put where the real one is."""
    with pytest.raises(AssertionError, match="had no effect while the gate was open"):
        assert_guarded(control, lambda effect: refunds.check(SUBJECT))


def test_a_path_that_does_its_work_once_fails(control: GateControl) -> None:
    """An order that was refunded is not refunded again: on the closed gate nothing was tried."""
    done: list[int] = []

    def path(effect: Effect) -> None:
        if done:
            return
        with refunds.execution(SUBJECT):
            effect()
            done.append(1)

    with pytest.raises(AssertionError, match="never asked the gate"):
        assert_guarded(control, path)


@pytest.mark.parametrize("subjects", [["agent:payout-*"], []])
def test_a_path_that_is_denied_while_the_gate_is_open_fails(stage: Rehearsal, subjects: list[str]) -> None:
    """A gate that never admits the subject proves nothing; the assertion says why it was denied."""
    with pytest.raises(AssertionError, match=r"denied although the gate was open: .* is not among the permitted subjects"):
        assert_guarded(stage.gate("payments.refund", subjects=subjects), by_execution)


def test_a_path_that_hides_a_denial_on_the_open_gate_fails(stage: Rehearsal) -> None:
    """It had no effect."""
    with pytest.raises(AssertionError, match="had no effect"):
        assert_guarded(stage.gate("payments.refund", subjects=["agent:payout-*"]), swallowing)


def test_an_error_of_the_paths_own_is_no_denial(control: GateControl) -> None:
    """A handler that fails for one cause is not taken for one that denies, and the error says when it was."""

    def path(effect: Effect) -> None:
        try:
            by_execution(effect)
        except Withheld as denial:
            if denial.cause is Cause.LOCK:
                raise KeyError("nobody thought of a lock") from None
            raise

    with pytest.raises(KeyError) as raised:
        assert_guarded(control, path)
    assert any("closed before the path began (lock)" in note for note in raised.value.__notes__)
    assert_guarded(control, path, denial=KeyError)


def test_a_rehearsal_that_is_over_shows_nothing() -> None:
    """A control that outlives its rehearsal opens nothing, so the assertion fails."""
    with rehearsal() as stage:
        control = stage.gate("payments.refund")
        gate = control.gate

    def path(effect: Effect) -> None:
        with gate.execution(SUBJECT):
            effect()

    with pytest.raises(AssertionError, match="denied although the gate was open"):
        assert_guarded(control, path)
