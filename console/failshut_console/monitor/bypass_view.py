"""The bypass under which a gate is as it is: who keeps it open, why, over which conditions, and until when.

A permit says only that there is one. Its name stands in the status beside it, which no signature covers: it is shown, and
nothing is decided by it. Limits: a status of another epoch than the permit or closing is of another moment, and names nobody.
A bypass whose end has passed, by this machine's clock, is not in force, whatever the status says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failshut_breakers.words import printable
from failshut_console.terminal.times import short, utc


@dataclass(frozen=True, slots=True)
class BypassView:
    """A bypass in force, for a screen. `by` is a name with the beginning of the key that signed."""

    by: str
    why: str
    conditions: tuple[str, ...]
    until_ms: int

    def lines(self, gate: str, now_ms: int) -> list[str]:
        """Return it for a person, and how to end it."""
        return [
            f"bypassed by {self.by}: {self.why}",
            f"  it overrides {', '.join(self.conditions)}",
            f"  it ends {utc(self.until_ms)}, in {short(self.until_ms - now_ms)}"
            f" (earlier: failshut bypass --end {gate} --why REASON)",
        ]


def bypass_of(status: Mapping[str, Any], epoch: str, now_ms: int) -> BypassView | None:
    """Return the bypass that a gate's status names, if it is of this epoch and in force; else None, or if it cannot be read."""
    said = status.get("bypass")
    if not isinstance(said, Mapping) or not epoch or status.get("epoch") != epoch:
        return None
    conditions, until_ms = said.get("conditions"), said.get("until_ms")
    if not isinstance(conditions, list) or not isinstance(until_ms, int) or until_ms <= now_ms:
        return None
    names = tuple(printable(str(name)) for name in conditions)
    return BypassView(printable(str(said.get("by", ""))), printable(str(said.get("why", ""))), names, until_ms)


def nameless_lines(gate: str) -> list[str]:
    """Return what is said of a bypass that the permit states, and whose name the store does not hold."""
    return [f"bypassed by an operator whose name is not in the store: look at failshut log {gate}"]
