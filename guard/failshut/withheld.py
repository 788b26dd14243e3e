"""The one exception that a guard raises when an execution may not start or may not go on."""

from __future__ import annotations

import os
from itertools import count
from typing import Final

from failshut.cause import Cause, Check

PAIRS_MAX: Final = 4_096
"""Gates and causes that are counted apart. More are counted as the gate `other`."""


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
        pair = (gate, str(cause))
        if pair not in _denials and len(_denials) >= PAIRS_MAX:
            pair = ("other", str(cause))
        next(_denials.setdefault(pair, count(1)))

    def __str__(self) -> str:
        return f"{self.gate} is closed ({self.cause}): {self.because}"


def denials() -> dict[tuple[str, str], int]:
    """Return how often this process withheld, by gate and cause."""
    # A step of a count is one call of the interpreter: no thread loses another's. `repr` looks at it without taking one.
    return {pair: int(repr(steps)[6:-1]) - 1 for pair, steps in list(_denials.items())}


_denials: dict[tuple[str, str], count[int]] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_denials.clear)
