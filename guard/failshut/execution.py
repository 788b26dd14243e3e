"""One admitted piece of work: from its admission to its outcome.

`with` runs it in place; it learns of a closing when it calls `check()`. `async with` is cancelled: the task
gets a CancelledError at its next await. Leaving the block turns that into Withheld, as `asyncio.timeout` turns
its own into TimeoutError. A cancellation by somebody else stays a cancellation. Whether a closing or a lapse
reaches what already runs is the policy's to say (`in_flight`). A permit whose key was withdrawn says nothing:
what it admitted goes on only where a permit that counts covers it.

The order in `__aenter__` is what makes it safe: first register, then look at the lease. A closing first ends
the lease and then notifies the registered executions, so each sees it in one of the two ways. Limit: an
execution that never awaits and never calls `check()` cannot be stopped. Give `epoch` to the resource, so that
it can refuse an old one.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol

from failshut.admission.checks import refuse_names
from failshut.background.outcomes import CANCELLED, FAILED, INTERRUPTED, OK
from failshut.cause import Cause
from failshut.guard import Guard
from failshut.lease import Denial, Lease, Slot, Withdrawal
from failshut.permit import Permit
from failshut.withheld import Withheld


class Entrance(Protocol):
    """What an execution needs of its gate."""

    name: str

    def bind(self) -> tuple[Guard, Slot]:
        """The guard and the slot of the gate as of now. Raises Withheld."""


class Execution:
    """One execution of a gate; made by `Gate.execution`, entered once.

    Attributes:
        subject, operation, parent: as given.
        permit: what admitted it; only inside the block.
        token: the probe token that it took, or an empty text.
    """

    __slots__ = (
        "_birth",
        "_cancelling",
        "_entered",
        "_gate",
        "_guard",
        "_inside",
        "_interruption",
        "_kid",
        "_loop",
        "_permit",
        "_slot",
        "_task",
        "_timer",
        "_withdrawal",
        "operation",
        "parent",
        "subject",
        "token",
    )

    def __init__(self, gate: Entrance, subject: str, operation: str | None, parent: object) -> None:
        self._gate = gate
        self.subject = subject
        self.operation = operation
        self.parent = parent
        self.token = ""
        self._kid = ""
        self._entered = False
        self._inside = False
        self._permit: Permit | None = None
        self._task: asyncio.Task[object] | None = None
        self._interruption: Withheld | None = None

    @property
    def permit(self) -> Permit:
        """The permit that admitted this execution. Raises RuntimeError before it was admitted."""
        if self._permit is None:
            raise RuntimeError("not admitted: use it as `with gate.execution(...) as execution`")
        return self._permit

    @property
    def epoch(self) -> str:
        """The fencing token: 16 digits; a later epoch is greater, as text and as a number."""
        return self.permit.epoch

    @property
    def fencing_token(self) -> int:
        """The epoch as a number below 2**53, for resources that compare numbers."""
        return int(self.permit.epoch)

    def check(self) -> None:
        """Raise Withheld if this execution may not go on: after a closing or a lapse that cancels what runs.

        Never waits. Raises RuntimeError before it was admitted.
        """
        _ = self.permit
        withheld = self._why_not()
        if withheld is not None:
            raise withheld

    def __bool__(self) -> bool:
        """True inside the block. Raises RuntimeError elsewhere: `if gate.execution(...):` would admit everybody."""
        if not self._inside:
            raise RuntimeError("an execution is no answer: use it as `with gate.execution(...) as execution`")
        return True

    # with ----------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Execution:
        guard, slot = self._start()
        lease = self._already_admitted()
        if lease is None:
            end = guard.deadline()
            lease = self._admitted(guard.obtain(slot, end))
            if lease.permit.mode == "proving":
                self._take_token(guard.probe(slot, lease.permit, end), lease.permit)
        self._permit, self._kid, self._inside = lease.permit, lease.kid, True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._report(exc, interrupted=False)

    # async with ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Execution:
        guard, slot = self._start()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an execution is entered inside a task")
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = task.cancelling()
        slot.running.add(self)
        try:
            lease = self._already_admitted()
            if lease is None:
                end = guard.deadline()
                lease = self._admitted(await guard.obtain_async(slot, end))
                if lease.permit.mode == "proving":
                    self._take_token(await guard.probe_async(slot, lease.permit, end), lease.permit)
        except BaseException:
            slot.running.discard(self)
            raise
        self._permit, self._kid, self._inside, self._task = lease.permit, lease.kid, True, task
        self._look()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._slot.running.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        interruption = None
        if self._interruption is not None and task is not None:
            remaining = task.uncancel()
            if isinstance(exc, asyncio.CancelledError) and remaining <= self._cancelling:
                interruption = self._interruption  # and nobody else's cancellation beside it
        self._report(exc, interrupted=interruption is not None)
        if interruption is not None:
            raise interruption from exc

    def look_soon(self) -> None:
        """Have the execution look, in its own event loop; called from the guard's threads."""
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            pass  # its loop is closed: nothing of it runs any more

    def _look(self) -> None:
        """In the event loop: go on and look again when the lease ends, or cancel the task."""
        if self._task is None or self._interruption is not None:
            return
        withheld = self._why_not()
        if withheld is not None:
            self._interruption = withheld
            self._task.cancel(str(withheld))
            return
        state = self._slot.state
        if isinstance(state, Lease) and self.permit.in_flight == "cancel":
            if self._timer is not None:
                self._timer.cancel()
            now = self._guard.moment()
            seconds = min(state.mono_end - now.mono, state.wall_end - now.wall)
            self._timer = self._loop.call_later(max(0.001, seconds), self._look)

    # Both ----------------------------------------------------------------------------------------------------------

    def _start(self) -> tuple[Guard, Slot]:
        """What must be remembered before the lease is looked at. Raises Withheld, RuntimeError."""
        if self._entered:
            raise RuntimeError("an execution is entered once: ask the gate for another one")
        self._entered = True
        if refused := refuse_names(self.subject, self.operation):
            raise self._withheld(refused)
        self._guard, self._slot = self._gate.bind()
        self._withdrawal: Withdrawal | None = self._slot.withdrawal
        self._birth = self._slot.birth
        return self._guard, self._slot

    def _already_admitted(self) -> Lease | None:
        """The hot path of `Gate.check`, names already checked; None where all five checks must be made. Never while proving."""
        lease, clocks = self._slot.state, self._guard.configuration.clocks
        if (
            isinstance(lease, Lease)
            and (self.subject if self.operation is None else (self.subject, self.operation)) in lease.admitted
            and clocks.monotonic() < lease.mono_end
            and clocks.wall() < lease.wall_end
        ):
            return lease
        return None

    def _admitted(self, state: Lease | Denial) -> Lease:
        """All five checks on what the guard found; a probe token is still to be taken. Raises Withheld."""
        found = self._guard.admit(self._slot, state, self.subject, self.operation, probing=True)
        if isinstance(found, Denial):
            raise self._withheld(found)
        return found

    def _withheld(self, denial: Denial) -> Withheld:
        return Withheld(self._gate.name, denial.cause, denial.because)

    def _take_token(self, answer: str | Denial, permit: Permit) -> None:
        if isinstance(answer, Denial):
            raise self._withheld(answer)
        slot, state = self._slot, self._slot.state
        if not (slot.alive(self._guard.moment()) and isinstance(state, Lease) and state.permit.epoch == permit.epoch):
            self._guard.outcomes.put((self._gate.name, permit.epoch, answer, CANCELLED))
            raise self._withheld(slot.denial(self._guard.moment()))
        self.token = answer

    def _why_not(self) -> Withheld | None:
        """Why this execution may not go on; None if it may."""
        name, slot, permit = self._gate.name, self._slot, self.permit
        if slot.birth is not self._birth:
            return Withheld(name, Cause.FORKED)
        if not self._guard.counts(self._kid):  # its permit counts for nothing, `in_flight` included
            withheld = self._covered()
            if withheld is not None:
                return withheld
        withdrawal = slot.withdrawal
        if withdrawal is not None and withdrawal is not self._withdrawal:
            if withdrawal.in_flight == "cancel":
                return Withheld(name, withdrawal.cause, withdrawal.because)
            return None  # may finish, and whatever follows a closing is not for what ran before it
        if permit.in_flight == "finish":
            return None
        state = self._guard.current(slot)
        if isinstance(state, Lease) and state.permit.epoch == permit.epoch:
            return None
        return self._covered()  # another decision: does it still cover this execution?

    def _covered(self) -> Withheld | None:
        """Why the gate's present lease does not cover this execution; None if it does."""
        present = self._guard.current(self._slot)
        found = self._guard.admit(self._slot, present, self.subject, self.operation, probing=bool(self.token))
        return self._withheld(found) if isinstance(found, Denial) else None

    def _report(self, exc: BaseException | None, interrupted: bool) -> None:
        """Queue the outcome; `interrupted` says that the guard's own interruption ended the block."""
        self._inside = False
        if self._permit is None or self._slot.birth is not self._birth:
            return  # a forked child leaves the block as well: its parent reports
        outcome = CANCELLED if interrupted else _outcome_of(exc)
        self._guard.outcomes.put((self._gate.name, self._permit.epoch, self.token, outcome))


def _outcome_of(exc: BaseException | None) -> str:
    """How a block ended that the guard did not interrupt."""
    if exc is None:
        return OK
    if _is_withheld(exc):
        return CANCELLED
    return FAILED if isinstance(exc, Exception) else INTERRUPTED


def _is_withheld(exc: BaseException) -> bool:
    """Whether this is a denial, or a group of nothing else."""
    if isinstance(exc, BaseExceptionGroup):
        return all(_is_withheld(one) for one in exc.exceptions)
    return isinstance(exc, Withheld)
