"""Telemetry from before an activation, which routers read again so that new conditions learn from it.

Such runs are on the evidence log like any other, under a topic of their own: `history:telemetry` is what `telemetry` held. They
vouch for nothing that is live, and a governor of an older version takes them for a topic that it does not know. They are joined
as live runs are: one that begins beyond what was reached does not count, one that was reached counts once. So whoever reads
the log learns the same, whichever routers wrote it, and in whatever order. docs/model/history.pml shows what each rule is for.

History is whole where, in every partition, it has reached the place at which live reading of the new version begins. Only the
governor knows that place. What never gets so far is waited for `WAITS_MS` of evidence time, and then forgotten.

Limits: one history for each activation. A partition that is added later has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from failshut_breakers.evidence.coverage import CONTROL, Coverage, Key
from failshut_breakers.evidence.records import Run

PREFIX: Final = "history:"
"""Before the name of a front-door topic, in runs of its history."""

WAITS_MS: Final = 600_000
"""Evidence time after an activation for which its history is waited for."""

HISTORIES_MAX: Final = 4
"""Activations whose history is waited for at once. The oldest is given up."""


def history_of(topic: str) -> str:
    """Return the topic of a front-door topic's history."""
    return PREFIX + topic


def is_history(run: Run) -> bool:
    """Return whether a run tells history."""
    return run.topic.startswith(PREFIX)


@dataclass
class History:
    """How far the history of one activation was told. `ends` holds where live reading begins, by front-door partition."""

    until_ms: int
    ends: dict[Key, int]
    gates: set[str] = field(default_factory=set)  # that learn from it
    reached: dict[Key, int] = field(default_factory=dict)

    @classmethod
    def before(cls, coverage: Coverage, activated_ms: int) -> History:
        """Return that of an activation whose own coverage has just begun."""
        parts = [(topic, number) for topic, count in coverage.counts.items() if topic != CONTROL for number in range(count)]
        return cls(activated_ms + WAITS_MS, {key: coverage.covered.get(key, 0) for key in sorted(parts)})

    def take(self, run: Run) -> tuple[int, int] | None:
        """Take note of a run; return the offsets from and below which its readings count, or None if none do."""
        key = run.topic.removeprefix(PREFIX), run.partition
        if key not in self.ends:
            return None
        lo = self.reached.setdefault(key, run.previous)
        if run.previous > lo:
            return None
        self.reached[key] = max(lo, run.upto)
        return (lo, self.ends[key]) if run.upto > lo else None

    @property
    def whole(self) -> bool:
        """Whether it has reached the place where live reading begins, in every partition."""
        return all(self.reached.get(key, -1) >= end for key, end in self.ends.items())
