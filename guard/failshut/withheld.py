"""The one exception that a guard raises when an execution may not start or may not go on."""

from __future__ import annotations

from failshut.cause import Cause, Check


class Withheld(Exception):
    """The gate is closed to this execution. Never a driver's exception, and never silent.

    Attributes:
        gate: the gate's name.
        cause: why, one of a fixed list.
        because: the same for a person, with the particulars.
        failed: which of the five checks of admission refused.
    """

    def __init__(self, gate: str, cause: Cause, because: str = "", failed: Check | None = None) -> None:
        super().__init__(gate, cause, because, failed)
        self.gate = gate
        self.cause = cause
        self.because = because or cause.meaning
        self.failed = Check.of(cause) if failed is None else failed

    def __str__(self) -> str:
        return f"{self.gate} is closed ({self.cause}): {self.because}"
