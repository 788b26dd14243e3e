"""What the gateway answers to one question: admitted under a permit, or withheld, why, and which of the five checks failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from failshut.cause import Cause, Check
from failshut.permit import Permit


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer. It admits only if it has a permit."""

    permit: Permit | None
    cause: Cause | None = None
    because: str = ""

    @property
    def admits(self) -> bool:
        """Whether an execution may start."""
        return self.permit is not None

    @property
    def epoch(self) -> str:
        """The fencing token of what is admitted; empty otherwise."""
        return "" if self.permit is None else self.permit.epoch

    def context(self) -> dict[str, Any]:
        """Return the answer in words, for a caller who may know it."""
        if self.permit is not None:
            return {
                "epoch": self.permit.epoch,
                "permit": self.permit.jti,
                "policy": self.permit.policy,
                "mode": self.permit.mode,
            }
        cause = self.cause or Cause.FAULT
        return {"cause": cause.value, "because": self.because or cause.meaning, "failed": Check.of(cause).value}


def withheld(cause: Cause, because: str = "") -> Verdict:
    """Return an answer that denies."""
    return Verdict(None, cause, because or cause.meaning)
