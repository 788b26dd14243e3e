"""A rehearsal: the gates of this process ask a guard whose monitor, store and time are in a test's hands.

    with rehearsal() as stage:
        refunds = stage.gate("payments.refund").open()
        ...                               # call what the service calls
        refunds.close(Cause.DRIFT)

While it lasts, gates that name no guard of their own ask the rehearsal's, as they ask that of `failshut.configure`.
Afterwards they ask the process's own again. No setting and no environment variable begins a rehearsal: only code that imports
this package does.

Limits: one rehearsal at a time in a process, and none in its child processes that are not forks. Code that calls
`failshut.configure` meanwhile takes its gates away, to a real guard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from failshut import guard as process
from failshut.permit import InFlight
from failshut.testing.control import GateControl
from failshut.testing.guard import RehearsedGuard
from failshut.testing.monitor import Terms
from failshut.testing.stage import Stage
from failshut.testing.statements import POLICY, TTL_MS


class MakeGate(Protocol):
    """What the fixture `failshut_gate` is: `Rehearsal.gate`."""

    def __call__(
        self,
        name: str,
        *,
        subjects: Sequence[str] = ("*",),
        operations: Sequence[str] = ("*",),
        context: Mapping[str, str] | None = None,
        policy: str = POLICY,
        in_flight: InFlight = "cancel",
        ttl_ms: int = TTL_MS,
    ) -> GateControl:
        """Return the control of a gate."""


class Rehearsal:
    """Entered once, with `with`.

    Args:
        context: where the guard says that it runs.
    """

    def __init__(self, *, context: Mapping[str, str] | None = None) -> None:
        self._stage = Stage(dict(context or {}))
        self._gates: dict[str, GateControl] = {}
        self._lasts = False

    @property
    def guard(self) -> RehearsedGuard:
        """The guard that gates ask, for code that is given one."""
        return self._stage.guard

    def gate(
        self,
        name: str,
        *,
        subjects: Sequence[str] = ("*",),
        operations: Sequence[str] = ("*",),
        context: Mapping[str, str] | None = None,
        policy: str = POLICY,
        in_flight: InFlight = "cancel",
        ttl_ms: int = TTL_MS,
    ) -> GateControl:
        """Return the control of a gate, which is closed until it is opened. Asked again for a gate, it is the same one.

        The arguments are what the gate's policy says, and so its permits: who may do what, and where. `in_flight` says whether
        a closing cancels what runs, `ttl_ms` how long a permit lives. Without them everybody may do everything.

        Raises:
            ValueError: for what cannot be a gate or its permit, or if the gate was asked for under other terms.
            RuntimeError: outside of the rehearsal.
        """
        if not self._lasts:
            raise RuntimeError("a rehearsal has gates while it lasts: with rehearsal() as stage: stage.gate(...)")
        terms = Terms(
            subjects=_patterns("subjects", subjects),
            operations=_patterns("operations", operations),
            context=dict(context or {}),
            policy=policy,
            in_flight=in_flight,
            ttl_ms=ttl_ms,
        )
        with self._stage.clock.lock:
            control = self._gates.get(name)
            if control is None:
                control = self._gates[name] = GateControl(self._stage, name, terms)
            elif terms not in (control.terms, Terms()):
                raise ValueError(f"{name} was asked for before, under other terms: {control.terms}")
        return control

    def advance(self, seconds: float) -> None:
        """Let time go on. What the monitor renews is renewed, and the rest runs out."""
        with self._stage.change():
            self._stage.advance(seconds)

    def __enter__(self) -> Self:
        if self.guard.closed:
            raise RuntimeError("a rehearsal is entered once: begin another one")
        with process._default_lock:
            former = process._default
            if isinstance(former, RehearsedGuard) and not former.closed:
                raise RuntimeError("there is one rehearsal at a time in a process")
            process._default = self.guard
        self._lasts = True
        if former is not None:
            former.close()  # its gates ask this one
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lasts = False
        with process._default_lock:
            if process._default is self.guard:
                process._default = None
        self.guard.close()
        if exc is None and (owed := self._stage.owed()):
            raise AssertionError("; ".join(owed))


def _patterns(what: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return them as a permit holds them. Raises ValueError for a text, which would be a pattern for each of its letters."""
    if isinstance(given, str):
        raise ValueError(f"{what} is a list of patterns, such as [{given!r}]")
    return tuple(given)


def rehearsal(*, context: Mapping[str, str] | None = None) -> Rehearsal:
    """Return a rehearsal, to be entered with `with`."""
    return Rehearsal(context=context)
