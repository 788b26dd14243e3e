"""The breaker of a gate: a state machine that latches.

ARMED lets the conditions decide. A demand trips it. TRIPPED lasts until a reset, by an operator or by the
policy after its cooldown. The reset leads to PROVING, in which a bounded number of probe executions must
succeed. HELD is an operator's word, or a fault inside the gate's own step, and only an operator leads out of
it.

`Breaker.move` is the one function that changes the state, and `LEGAL` the one list of what may follow what.
Times are newest marks: a cooldown that counted from evidence time would pass while a lagging partition
catches up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from failshut.cause import Cause
from failshut_breakers.decision import Breaker as State
from failshut_breakers.decision import epoch_text
from failshut_breakers.evidence import Place

LEGAL: frozenset[tuple[State, State]] = frozenset(
    {
        (State.ARMED, State.TRIPPED),
        (State.ARMED, State.HELD),
        (State.TRIPPED, State.TRIPPED),  # a later demand: the closing is renewed
        (State.TRIPPED, State.PROVING),
        (State.TRIPPED, State.ARMED),  # a policy without probes
        (State.TRIPPED, State.HELD),
        (State.PROVING, State.ARMED),
        (State.PROVING, State.TRIPPED),
        (State.PROVING, State.HELD),
        (State.HELD, State.HELD),
        (State.HELD, State.PROVING),
        (State.HELD, State.ARMED),
    }
)


class IllegalMove(Exception):
    """A transition that is not in LEGAL: a fault in this code, which makes the gate HELD."""


@dataclass(slots=True)
class Closing:
    """Why a breaker does not let the gate open: what a reset must answer."""

    cause: Cause
    because: str
    origin: Place | None
    conditions: frozenset[str] = frozenset()
    at_ms: int = 0  # the newest mark in any partition at that moment


@dataclass(slots=True)
class Proving:
    """A bounded number of probe executions, whose outcomes decide."""

    epoch: int
    probes: int
    deadline_ms: int
    passed: set[str] = field(default_factory=set)
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


@dataclass(slots=True)
class Breaker:
    """State and what belongs to it."""

    state: State = State.ARMED
    closing: Closing | None = None
    proving: Proving | None = None

    def move(self, to: State, closing: Closing | None = None, proving: Proving | None = None) -> None:
        """Change the state.

        Raises:
            IllegalMove: `to` may not follow the state.
        """
        if (self.state, to) not in LEGAL:
            raise IllegalMove(f"{self.state} to {to}")
        if to in (State.TRIPPED, State.HELD) and closing is None:
            raise IllegalMove(f"{to} without a closing")
        if (to is State.PROVING) != (proving is not None):
            raise IllegalMove(f"{to} and probes do not go together")
        self.state = to
        # A closing stays known through PROVING: falling back names what it falls back to.
        self.closing = None if to is State.ARMED else closing or self.closing
        self.proving = proving
