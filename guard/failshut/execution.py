"""One admitted piece of work: from its admission to its outcome.

`with` runs it in place, and `check()` raises after a closing. `async with` is cancelled: the task gets a
CancelledError at its next await. Leaving the block turns that into Withheld, as `asyncio.timeout` turns its own
into TimeoutError. A cancellation by somebody else stays a cancellation. The policy decides whether a closing or
a lapse cancels executions that already run (`in_flight`). A permit whose key was withdrawn decides nothing: an
execution that it admitted goes on only if another permit covers it.

The order in `__aenter__` makes it safe: first register, then look at the lease. A closing first ends the lease
and then notifies the registered executions. So each execution sees the closing in one of the two ways. Limit:
an execution that never awaits and never calls `check()` cannot be stopped. Pass `epoch` to the resource, so that
it can refuse an old one.

Services pay for an execution at each side effect. So `__enter__` and `__exit__` spell out the most frequent path. There the
present lease has admitted the subject, and the block ends without an exception. This path makes one object and stores only
the lease. Other methods handle everything else. Figures: docs/benchmarks.md.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task, get_running_loop
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from failshut.admission.checks import refuse_names
from failshut.admission.denial import Denial
from failshut.background.attendance import Attendance, attendance_of
from failshut.background.outcomes import CANCELLED, FAILED, INTERRUPTED, OK
from failshut.cause import Cause
from failshut.guard import Guard
from failshut.lease import Lease, Slot
from failshut.permit import Permit
from failshut.withheld import Withheld


class Entrance(Protocol):
    """What an execution needs of its gate."""

    name: str
    _slot: Slot
    _monotonic: Callable[[], float]
    _wall: Callable[[], float]

    def bind(self) -> tuple[Guard, Slot]:
        """Return the present guard and slot of the gate. Raises Withheld."""

    def lease_for(self, key: Key) -> Lease | None:
        """Return the present lease if it has already admitted `key` and is alive. Otherwise return None."""


class NoNames:
    """What a caller passed in place of names. It is no valid key: it equals nothing that was admitted."""

    __slots__ = ("operation", "subject")

    def __init__(self, subject: object, operation: object) -> None:
        self.subject = subject
        self.operation = operation


#: What a lease remembers as admitted: a subject, or a subject and its operation.
Key = str | tuple[str, str] | NoNames


def key_of(subject: object, operation: object) -> Key:
    """Return the key of a subject and an operation. Both must be text: a tuple could equal another call's key."""
    if type(subject) is str:
        if operation is None:
            return subject
        if type(operation) is str:
            return subject, operation
    return NoNames(subject, operation)


class Execution:
    """One execution of a gate. `Gate.execution` makes it, and it is entered once.

    Attributes:
        subject, operation, parent: as the caller passed them.
        permit: the permit that admitted it. It exists only after admission.
        token: the probe token that it took, or an empty text.
    """

    # Gate.execution sets _gate, _key, _inside and parent: an __init__ would cost more than it does.
    # _inside: None before it is entered; False while the guard is asked, and afterwards; True inside, or a probe's token.
    # _lease is set at admission, _token if it is a probe; _attendance, _cancelling, _interruption, _task by `async with` alone.
    __slots__ = (
        "_attendance",
        "_cancelling",
        "_gate",
        "_inside",
        "_interruption",
        "_key",
        "_lease",
        "_task",
        "_token",
        "parent",
    )

    _attendance: Attendance
    _cancelling: int
    _gate: Entrance
    _inside: bool | str | None
    _interruption: Withheld | None
    _key: Key
    _lease: Lease
    _task: asyncio.Task[object] | None
    _token: str
    parent: object

    @property
    def subject(self) -> str:
        """Who executes, as the caller passed it."""
        key = self._key
        if isinstance(key, NoNames):
            return key.subject  # type: ignore[return-value] # as given: it is refused when it is entered
        return key if isinstance(key, str) else key[0]

    @property
    def operation(self) -> str | None:
        """What is done, as the caller passed it."""
        key = self._key
        if isinstance(key, NoNames):
            return key.operation  # type: ignore[return-value] # as above
        return None if isinstance(key, str) else key[1]

    @property
    def token(self) -> str:
        """The probe token that it took; empty if it is no probe."""
        return getattr(self, "_token", "")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why its gate would be closed, if the policy enforced what it warns of. Raises RuntimeError before it was admitted."""
        return self.permit.warnings

    @property
    def permit(self) -> Permit:
        """The permit that admitted this execution. Raises RuntimeError before it was admitted."""
        try:
            return self._lease.permit
        except AttributeError:
            raise RuntimeError("not admitted: use it as `with gate.execution(...) as execution`") from None

    @property
    def evidence_ms(self) -> int:
        """Up to which evidence time its gate was proven, in ms since 1970, as this process knows by now."""
        _ = self.permit
        return self._lease.evidence_ms

    @property
    def epoch(self) -> str:
        """The fencing token: 16 digits. A later epoch is greater, as text and as a number."""
        return self.permit.epoch

    @property
    def fencing_token(self) -> int:
        """The epoch as a number below 2**53, for resources that compare numbers."""
        return int(self.permit.epoch)

    def check(self) -> None:
        """Raise Withheld if this execution may not go on, because a closing or a lapse cancels running executions.

        Never waits. Raises RuntimeError before the execution was admitted.
        """
        _ = self.permit
        withheld = self._why_not()
        if withheld is not None:
            raise withheld

    def __bool__(self) -> bool:
        """Return True inside the block. Raises RuntimeError elsewhere: `if gate.execution(...):` would admit everybody."""
        if not self._inside:
            raise RuntimeError("an execution is no answer: use it as `with gate.execution(...) as execution`")
        _ = self.permit
        return True

    # --- with ---

    def __enter__(self) -> Execution:
        if self._inside is not None:
            raise RuntimeError("an execution is entered once: ask the gate for another one")
        self._inside = True  # before anything else: nobody enters it beside us
        gate = self._gate
        lease = gate._slot.state
        if self._key in lease.admitted:
            monotonic = gate._monotonic  # in two steps: a call of what a slot holds is a slow one
            if monotonic() < lease.mono_end:
                wall = gate._wall
                if wall() < lease.wall_end:
                    self._lease = lease  # type: ignore[assignment] # a Denial admits nobody
                    return self
        self._ask()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None and self._inside is True:
            self._inside = False
            next(self._lease.ok)
        else:
            self._report(outcome_of(exc))

    # --- async with ---

    async def __aenter__(self) -> Execution:
        if self._inside is not None:
            raise RuntimeError("an execution is entered once: ask the gate for another one")
        self._inside = True
        gate = self._gate
        slot = gate._slot
        loop = get_running_loop()
        task = self._task = current_task(loop)
        attendance = slot.attendances.get(loop)
        if attendance is None or task is None:
            return await self._ask_async(loop)
        self._attendance = attendance
        attendance.running.add(self)  # before the lease is looked at
        lease = slot.state
        if self._key in lease.admitted:
            monotonic, wall = gate._monotonic, gate._wall
            if monotonic() < lease.mono_end and wall() < lease.wall_end:
                self._lease = lease  # type: ignore[assignment] # a Denial admits nobody
                self._interruption = None
                self._cancelling = task.cancelling()
                if attendance.lease is not lease:
                    attendance.watch(lease, slot.guard.moment())
                return self
        attendance.running.discard(self)
        return await self._ask_async(loop)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._attendance.running.discard(self)
        if exc is None and self._inside is True and self._interruption is None:
            self._inside = False
            next(self._lease.ok)
        else:
            self._leave(exc)

    def look(self) -> bool:
        """Go on, or cancel the task. Return whether to look again when the present lease ends. Only in the event loop."""
        if not self._inside or self._interruption is not None or self._task is None:
            return False  # not admitted yet, or cancelled already
        withheld: Withheld | None
        try:
            withheld = self._why_not()
        except Exception as error:  # noqa: BLE001 - an execution that cannot be judged is cancelled; the others still look
            self._lease.slot.guard.slots.note_fault(error)
            withheld = Withheld(self._gate.name, Cause.UNVERIFIED, f"it cannot be judged: {type(error).__name__}")
        if withheld is None:
            return self._lease.permit.in_flight == "cancel"
        self._interruption = withheld
        self._task.cancel(str(withheld))
        return False

    async def _ask_async(self, loop: asyncio.AbstractEventLoop) -> Execution:
        """Ask the guard about an execution that the present lease does not admit at once. Raises Withheld."""
        self._inside = False
        guard, slot = self._bind()
        task = self._task
        if task is None:
            raise RuntimeError("an execution is entered inside a task")
        self._interruption, self._cancelling = None, task.cancelling()
        attendance = self._attendance = attendance_of(slot, loop)
        attendance.running.add(self)
        try:
            end = guard.deadline()
            lease, token = self._admitted(guard, slot, await guard.obtain_async(slot, end)), ""
            if lease.permit.mode == "proving":
                token = self._taken(guard, slot, await guard.probe_async(slot, lease.permit, end), lease.permit)
        except BaseException:
            attendance.running.discard(self)
            raise
        self._begin(lease, token)
        present = slot.state
        if self.look() and isinstance(present, Lease):  # cancels if a closing came meanwhile; otherwise watches the lease
            attendance.watch(present, guard.moment())
        return self

    def _leave(self, exc: BaseException | None) -> None:
        """Leave an `async with` block that was interrupted, raised or was a probe. Raises Withheld after an interruption."""
        task, self._task = self._task, None
        interruption = None
        if self._interruption is not None and task is not None:
            remaining = task.uncancel()
            if isinstance(exc, asyncio.CancelledError) and remaining <= self._cancelling:
                interruption = self._interruption  # and nobody else's cancellation beside it
        self._report(outcome_of(exc) if interruption is None else CANCELLED)
        if interruption is not None:
            raise interruption from exc

    # --- both ---

    def _ask(self) -> None:
        """Ask the guard about an execution that the present lease does not admit at once. Raises Withheld."""
        self._inside = False
        guard, slot = self._bind()
        end = guard.deadline()
        lease, token = self._admitted(guard, slot, guard.obtain(slot, end)), ""
        if lease.permit.mode == "proving":
            token = self._taken(guard, slot, guard.probe(slot, lease.permit, end), lease.permit)
        self._begin(lease, token)

    def _bind(self) -> tuple[Guard, Slot]:
        """Return the guard and the slot to ask. Raises Withheld, also if subject or operation is no valid name."""
        if refused := refuse_names(self.subject, self.operation):
            raise self._withheld(refused)
        return self._gate.bind()

    def _begin(self, lease: Lease, token: str) -> None:
        self._lease = lease
        if token:
            self._token = token
        self._inside = token or True

    def _admitted(self, guard: Guard, slot: Slot, state: Lease | Denial) -> Lease:
        """Run all five checks on what the guard found. A probe must still take its token. Raises Withheld."""
        found = guard.admit(slot, state, self.subject, self.operation, probing=True)
        if isinstance(found, Denial):
            raise self._withheld(found)
        return found

    def _withheld(self, denial: Denial) -> Withheld:
        return Withheld(self._gate.name, denial.cause, denial.because)

    def _taken(self, guard: Guard, slot: Slot, answer: str | Denial, permit: Permit) -> str:
        """Return the probe token if the lease that it was taken under is still alive. Raises Withheld otherwise."""
        if isinstance(answer, Denial):
            raise self._withheld(answer)
        state = slot.state
        if not (slot.alive(guard.moment()) and isinstance(state, Lease) and state.permit.epoch == permit.epoch):
            guard.outcomes.put((slot.gate, permit.epoch, answer, CANCELLED))
            raise self._withheld(slot.denial(guard.moment()))
        return answer

    def _why_not(self) -> Withheld | None:
        """Return why this execution may not go on, or None if it may."""
        lease = self._lease
        name, slot, permit = self._gate.name, lease.slot, lease.permit
        if slot.birth is not lease.birth:
            return Withheld(name, Cause.FORKED)
        if not slot.guard.counts(lease.kid):  # its permit counts for nothing, `in_flight` included
            withheld = self._covered()
            if withheld is not None:
                return withheld
        withdrawal = slot.withdrawal
        if withdrawal is not None and withdrawal is not lease.withdrawal:
            if withdrawal.in_flight == "cancel":
                return Withheld(name, withdrawal.cause, withdrawal.because)
            return None  # may finish: later decisions do not concern executions from before the closing
        if permit.in_flight == "finish":
            return None
        state = slot.guard.current(slot)
        if isinstance(state, Lease) and state.permit.epoch == permit.epoch:
            return None
        return self._covered()  # another decision: does it still cover this execution?

    def _covered(self) -> Withheld | None:
        """Return why the gate's present lease does not cover this execution, or None if it does."""
        slot = self._lease.slot
        guard: Guard = slot.guard
        found = guard.admit(slot, guard.current(slot), self.subject, self.operation, probing=bool(self.token))
        return self._withheld(found) if isinstance(found, Denial) else None

    def _report(self, outcome: str) -> None:
        """Count the outcome in the tally. Queue a probe's outcome by itself, with its token."""
        inside, self._inside = self._inside, False
        if not inside:
            return  # it was never admitted, or has reported already
        lease = self._lease
        if not self.token:
            lease.tally.add(outcome)
        elif lease.slot.birth is lease.birth:  # a forked child leaves the block as well: its parent reports
            lease.slot.guard.outcomes.put((lease.slot.gate, lease.permit.epoch, self.token, outcome))


def outcome_of(exc: BaseException | None) -> str:
    """Return the outcome of a block that the guard did not interrupt."""
    if exc is None:
        return OK
    if _is_withheld(exc):
        return CANCELLED
    return FAILED if isinstance(exc, Exception) else INTERRUPTED


def _is_withheld(exc: BaseException) -> bool:
    """Return whether this is a Withheld, or a group that contains nothing else."""
    if isinstance(exc, BaseExceptionGroup):
        return all(_is_withheld(one) for one in exc.exceptions)
    return isinstance(exc, Withheld)
