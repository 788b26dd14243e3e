"""One gate in a test's hands: the test says when it opens, closes, lapses and proves itself, and lets time go on.

Each of these comes about as in production: by a signed permit or closing, an epoch that grows, a lease that runs out.
Asynchronous executions that run are then cancelled, and others see it at `execution.check()`, unless the terms say
`in_flight: finish`.

Limits: there is no evidence and no breaker. Probes that succeed do not open the gate; the test does, when it has seen enough.
"""

from __future__ import annotations

from typing import Self

from failshut.cause import Cause
from failshut.gate import Gate
from failshut.testing import scenes
from failshut.testing.monitor import PlayedMonitor, Terms
from failshut.testing.stage import Stage


class GateControl:
    """A gate as its monitor has it. Made by a rehearsal; closed (`no_permit`) until it is opened. Any thread may use it."""

    def __init__(self, stage: Stage, name: str, terms: Terms) -> None:
        self._stage = stage
        self._gate = Gate(name, guard=stage.guard)
        self._monitor = PlayedMonitor(stage, name, terms)
        self._monitor.permit()  # terms of which there is no permit are refused now, and not when it is opened

    @property
    def name(self) -> str:
        """The gate's name."""
        return self._gate.name

    @property
    def terms(self) -> Terms:
        """What its permits say."""
        return self._monitor.terms

    @property
    def stage(self) -> Stage:
        """What it shares with the other gates of the rehearsal."""
        return self._stage

    @property
    def gate(self) -> Gate:
        """A gate of this name that asks the rehearsal's guard, for code that is given one."""
        return self._gate

    @property
    def epoch(self) -> str:
        """The epoch of the newest decision: the fencing token of an execution that is admitted under it."""
        return self._monitor.says.epoch

    @property
    def probes_left(self) -> int:
        """How many probe tokens nobody has taken."""
        with self._stage.clock.lock:
            return len(self._stage.store.of(self.name).probes)

    def open(self) -> Self:
        """Open the gate under a new epoch, and keep it open as time goes on."""
        with self._stage.change():
            self._monitor.open()
        return self

    def close(self, cause: Cause = Cause.DRIFT, because: str = "") -> Self:
        """Close the gate, for any cause: scenes.py says how each comes about.

        `lapsed`, `store_unreachable` and `deadline` let time go on for as long as a permit lives: a lease ends no earlier.

        Args:
            cause: what `Withheld` will say.
            because: the same for a person, where a monitor says it.
        """
        with self._stage.change():
            scenes.close(self._monitor, Cause(cause), because)
        return self

    def prove(self, probes: int) -> Self:
        """Have the gate prove itself: so many executions are admitted, each with a probe token, and no others.

        Raises ValueError for less than none.
        """
        if probes < 0:
            raise ValueError(f"a gate proves itself with 0 probes or more, and not with {probes}")
        with self._stage.change():
            self._monitor.prove(probes)
        return self

    def lapse(self) -> Self:
        """Have the permit run out, because nobody renews it: time goes on for as long as it lives. Opens the gate before."""
        return self.close(Cause.LAPSED)

    def stop_renewing(self) -> Self:
        """Have the monitor say nothing more. The gate stays as it is until its lease runs out: see `advance`."""
        with self._stage.change():
            self._monitor.fall_silent()
        return self

    def advance(self, seconds: float) -> Self:
        """Let time go on, for every gate of the rehearsal. What the monitor renews is renewed, and the rest runs out."""
        with self._stage.change():
            self._stage.advance(seconds)
        return self

    def outcomes(self) -> dict[str, int]:
        """Return how many executions ended in each way so far: `ok`, `failed`, `cancelled`, `interrupted`."""
        return dict(self._stage.outcomes(self.name))

    def __repr__(self) -> str:
        return f"GateControl({self.name!r})"
