"""A gate: the named point of execution where a service asks before each side effect.

The hot path is one set look-up and two comparisons. A caller who was admitted under the current lease is
admitted until the lease ends by either clock. The hot path touches no socket, no signature and no lock. All
other calls take the slow path, for example a first call, a lapsed lease or a new subject. The slow path waits
for the guard's background threads, at most until the deadline.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar, cast

from failshut.admission.checks import refuse_names
from failshut.admission.denial import Denial
from failshut.admission.unfinished import DONE, generates, refuse_later, runs_async
from failshut.cause import Cause
from failshut.execution import Execution, Key, key_of, outcome_of
from failshut.guard import Guard, default_guard
from failshut.lease import Lease, Slot
from failshut.permit import Permit
from failshut.store.names import check_gate
from failshut.withheld import Withheld

P = ParamSpec("P")
R = TypeVar("R")
#: A text, or a function that makes one from the guarded function's arguments.
Naming = str | Callable[..., str]

_NOWHERE: Final = Slot("nowhere", 0)


class Gate:
    """A named point of execution. It is cheap to make. Threads, event loops and forked processes may share it.

    Args:
        name: the gate's name, for example `payments.refund`.
        context: where this code runs. It is added to the guard's own context.
        policy: if given, the one policy digest (`sha256:...`) that this gate accepts.
        guard: the guard to ask. The default is the process's own guard (see `failshut.configure`).
    """

    __slots__ = ("_context", "_given", "_guard", "_monotonic", "_policy", "_slot", "_wall", "name")

    def __init__(
        self,
        name: str,
        *,
        context: Mapping[str, str] | None = None,
        policy: str = "",
        guard: Guard | None = None,
    ) -> None:
        self.name = check_gate(name)
        self._given = guard
        self._policy = policy
        self._context: dict[str, str] = dict(context or {})
        self._guard: Guard | None = None
        self._slot = _NOWHERE
        self._monotonic = time.monotonic
        self._wall = time.time

    def check(self, subject: str, operation: str | None = None) -> Permit:
        """Return the permit under which `subject` may execute `operation` now.

        Both are text: see `failshut.admission.subjects`.

        Raises:
            Withheld: execution is denied. It carries the cause, and is raised within the guard's deadline. While the gate is
                PROVING it is always raised (probe_required), because only `execution` takes a probe token.
        """
        lease = self._slot.state
        if (
            type(subject) is str  # a tuple may equal another call's subject and operation
            and (operation is None or type(operation) is str)
            and (subject if operation is None else (subject, operation)) in lease.admitted
            and self._monotonic() < lease.mono_end
            and self._wall() < lease.wall_end
        ):
            return lease.permit  # type: ignore[union-attr] # a Denial admits nobody
        if refused := refuse_names(subject, operation):
            raise Withheld(self.name, refused.cause, refused.because)
        guard, slot = self.bind()
        found = guard.admit(slot, guard.obtain(slot, guard.deadline()), subject, operation, probing=False)
        if isinstance(found, Denial):
            raise Withheld(self.name, found.cause, found.because)
        return found.permit

    def execution(self, subject: str, operation: str | None = None, parent: object = None) -> Execution:
        """Return one piece of work, to be run inside `with` or `async with`. Entering it raises Withheld if it is denied."""
        execution = Execution()
        execution._gate = self
        if operation is None and type(subject) is str:
            execution._key = subject
        else:
            execution._key = key_of(subject, operation)
        execution._inside = None
        execution.parent = parent
        return execution

    def lease_for(self, key: Key) -> Lease | None:
        """Return the present lease if it has already admitted `key` and is alive. Otherwise return None: ask the guard."""
        lease = self._slot.state
        if key in lease.admitted:
            monotonic = self._monotonic
            if monotonic() < lease.mono_end:
                wall = self._wall
                if wall() < lease.wall_end:
                    return lease  # type: ignore[return-value] # a Denial admits nobody
        return None

    def prepare(self, seconds: float = 1.0) -> bool:
        """Begin to watch the gate, so that the first check finds a lease. Return whether there is one within `seconds`.

        Never raises. Call it when a service starts, and do not use its answer to decide.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                guard, slot = self.bind()
            except Withheld:
                return False
            if isinstance(guard.obtain(slot, guard.deadline()), Lease):
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.005)

    def guarded(
        self, *, subject: Naming, operation: Naming | None = None, execution_argument: str = ""
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function, `def` or `async def`, so that each call is one execution.

        Args:
            subject: who executes: a text, or a function that returns it from the call's arguments.
            operation: what is done: a text or a function, as for `subject`.
            execution_argument: if given, the function receives the execution as this keyword argument.

        Raises TypeError for generator functions, whose body would run after the execution has ended. Other functions may
        also return work that runs later, for example a coroutine or a lazy iterator. Then the call stops that work and raises
        RunsLater.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if generates(function):
                raise TypeError("a generator runs after it was called: guard what it does inside it")

            if isinstance(subject, str) and (operation is None or isinstance(operation, str)) and not execution_argument:
                return _guarded_by_texts(self, function, subject, operation)

            def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Execution:
                execution = self.execution(
                    _named(subject, args, kwargs),
                    None if operation is None else _named(operation, args, kwargs),
                )
                if execution_argument:
                    kwargs[execution_argument] = execution
                return execution

            if runs_async(function):

                @functools.wraps(function)
                async def run_async(*args: Any, **kwargs: Any) -> Any:
                    async with begin(args, kwargs):
                        result = await cast(Any, function(*args, **kwargs))
                        refuse_later(result)
                        return result

                return cast(Callable[P, R], run_async)

            @functools.wraps(function)
            def run(*args: Any, **kwargs: Any) -> Any:
                with begin(args, kwargs):
                    result = function(*args, **kwargs)
                    refuse_later(result)
                    return result

            return cast(Callable[P, R], run)

        return decorate

    def bind(self) -> tuple[Guard, Slot]:
        """Return this gate's guard and slot. After `configure` they are those of the new guard.

        Raises Withheld if no guard can be made, or if the guard has no room for another slot.
        """
        guard = self._guard
        if guard is None or (guard.closed and self._given is None):
            try:
                guard = self._given or default_guard()
                slot = guard.slot(self.name, {**guard.configuration.context, **self._context}, self._policy)
            except ValueError as error:
                raise Withheld(self.name, Cause.STORE_UNREACHABLE, f"the guard is not configured: {error}") from None
            clocks = guard.configuration.clocks
            self._monotonic, self._wall = clocks.monotonic, clocks.wall
            self._slot, self._guard = slot, guard
        return guard, self._slot

    def __repr__(self) -> str:
        return f"Gate({self.name!r})"


def _guarded_by_texts(gate: Gate, function: Callable[P, R], subject: str, operation: str | None) -> Callable[P, R]:
    """Return a guarded function whose subject and operation are fixed texts. Most of its calls need no execution object."""
    if runs_async(function):

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            async with gate.execution(subject, operation):
                result = await cast(Any, function(*args, **kwargs))
                if type(result) not in DONE:
                    refuse_later(result)
                return result

        return cast(Callable[P, R], run_async)
    key = key_of(subject, operation)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        lease = gate.lease_for(key)
        if lease is None:
            with gate.execution(subject, operation):
                result = function(*args, **kwargs)
                refuse_later(result)
                return result
        try:
            result = function(*args, **kwargs)
            if type(result) not in DONE:
                refuse_later(result)
        except BaseException as error:
            lease.tally.add(outcome_of(error))
            raise
        next(lease.ok)
        return result

    return run


def _named(naming: Naming, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return naming if isinstance(naming, str) else naming(*args, **kwargs)
