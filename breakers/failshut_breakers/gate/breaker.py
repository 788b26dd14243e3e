"""The breaker of a gate: a state machine that latches.

ARMED lets the conditions decide. A demand trips it. TRIPPED lasts until a reset, by an operator or by the
policy after its cooldown. The reset leads to PROVING, in which a bounded number of probe executions must
succeed. LOCKED is an operator's word, or a fault inside the gate's own step, and only an operator leads out of
it.

`Breaker.move` is the one function that changes the state, and `LEGAL` the one list of what may follow what.
`Breaker.amend` is the one that changes what is known of a closing or of PROVING while the state stays. Nothing else writes a
breaker: its parts are read-only, and closings and PROVINGs are values.
Times are newest marks: a cooldown that counted from evidence time would pass while a lagging partition
catches up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import epoch_text
from failshut_breakers.evidence.records import Place

LEGAL: frozenset[tuple[State, State]] = frozenset(
    {
        (State.ARMED, State.TRIPPED),
        (State.ARMED, State.LOCKED),
        (State.TRIPPED, State.TRIPPED),  # a later demand: the closing is renewed
        (State.TRIPPED, State.PROVING),
        (State.TRIPPED, State.ARMED),  # a policy without probes
        (State.TRIPPED, State.LOCKED),
        (State.PROVING, State.ARMED),
        (State.PROVING, State.TRIPPED),
        (State.PROVING, State.LOCKED),
        (State.LOCKED, State.LOCKED),
        (State.LOCKED, State.PROVING),
        (State.LOCKED, State.ARMED),
    }
)


class IllegalMove(Exception):
    """A transition that is not in LEGAL: a fault in this code, which makes the gate LOCKED."""


@dataclass(frozen=True, slots=True)
class Closing:
    """Why a breaker does not let the gate open: what a reset must answer."""

    cause: Cause
    because: str
    origin: Place | None
    conditions: frozenset[str] = frozenset()  # what demanded then, and what nothing has answered since
    at_ms: int = 0  # the newest mark in any partition at that moment


@dataclass(frozen=True, slots=True)
class Proving:
    """A bounded number of probe executions, whose outcomes decide."""

    epoch: int
    probes: int
    deadline_ms: int
    passed: frozenset[str] = frozenset()
    announced: bool = False  # its tokens were handed out

    def knows(self, token: str) -> bool:
        """Return whether this is an unused token of this PROVING."""
        prefix, _, number = token.partition(":")
        if prefix != epoch_text(self.epoch) or token in self.passed:
            return False
        # As it was handed out, digit by digit: "07" is not another token than "7".
        return (
            len(number) <= 9
            and number.isascii()
            and number.isdigit()
            and str(int(number)) == number
            and int(number) < self.probes
        )

    def passed_by(self, token: str) -> Proving:
        """Return it with one more token whose probe succeeded."""
        return replace(self, passed=self.passed | {token})

    def handed_out(self, epoch: int) -> Proving:
        """Return it with its tokens handed out, under the epoch of the permit that brings them."""
        return replace(self, epoch=epoch, announced=True)


class Breaker:
    """State and what belongs to it. Read it as you like; change it through `move` and `amend`."""

    __slots__ = ("_closing", "_proving", "_state")

    def __init__(self, state: State = State.ARMED, closing: Closing | None = None, proving: Proving | None = None) -> None:
        self._state, self._closing, self._proving = state, closing, proving

    def __repr__(self) -> str:
        return f"Breaker({self._state!r}, {self._closing!r}, {self._proving!r})"

    @property
    def state(self) -> State:
        """ARMED, TRIPPED, PROVING or LOCKED."""
        return self._state

    @property
    def closing(self) -> Closing | None:
        """Why the gate was closed, until the breaker is ARMED again."""
        return self._closing

    @property
    def proving(self) -> Proving | None:
        """The probes, while PROVING."""
        return self._proving

    def move(self, to: State, closing: Closing | None = None, proving: Proving | None = None) -> None:
        """Change the state.

        Raises:
            IllegalMove: `to` may not follow the state.
        """
        if (self._state, to) not in LEGAL:
            raise IllegalMove(f"{self._state} to {to}")
        if to in (State.TRIPPED, State.LOCKED) and closing is None:
            raise IllegalMove(f"{to} without a closing")
        if (to is State.PROVING) != (proving is not None):
            raise IllegalMove(f"{to} and probes do not go together")
        # A closing stays known through PROVING: falling back names what it falls back to.
        self._state, self._closing, self._proving = to, None if to is State.ARMED else closing or self._closing, proving

    def amend(self, *, closing: Closing | None = None, proving: Proving | None = None) -> None:
        """Replace what is known of the closing, or of PROVING, and leave the state as it is.

        Raises:
            IllegalMove: there is none to replace.
        """
        if (closing is not None and self._closing is None) or (proving is not None and self._proving is None):
            raise IllegalMove(f"{self._state} has nothing of this kind to amend")
        self._closing, self._proving = closing or self._closing, proving or self._proving
