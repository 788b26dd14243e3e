"""The coverages of one evidence partition: one for each routing version that a gate still counts on, and forks of them.

A gate names its coverage by a lane, which is a routing version and a fork. Where some router's runs do not count for some gates
alone, these go on with a fork. A fork ends when it was told again all that it had not counted. A coverage ends when the next
one has caught up with it, or when no gate counts on it. What holds several of them up is decided in governor.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from failshut_breakers.evidence.coverage import Coverage
from failshut_breakers.evidence.records import Activation, Term

Lane = tuple[int, int]

FORKS_MAX = 64
"""Forks of coverages at once. Beyond it a disputed run counts for no gate of its coverage."""


class Lanes:
    """Coverages, the oldest version first, and forks."""

    def __init__(self) -> None:
        self.coverages: list[Coverage] = []
        self.forks: list[Coverage] = []
        self._forked = 0

    def __iter__(self) -> Iterator[Coverage]:
        return iter((*self.coverages, *self.forks))

    def begin(self, term: Term, routing: int) -> None:
        """Begin anew, as a term says."""
        self.coverages, self.forks = [Coverage.of_term(term, routing)], []

    def of(self, lane: Lane) -> Coverage:
        """Return the coverage of a lane."""
        return next(coverage for coverage in self if coverage.lane == lane)

    def fork(self, coverage: Coverage) -> Coverage | None:
        """Return a new fork of a coverage, or None at the bound."""
        if len(self.forks) >= FORKS_MAX:
            return None
        self._forked += 1
        self.forks.append(coverage.forked(self._forked))
        return self.forks[-1]

    def succeed(self, activation: Activation) -> None:
        """Add the coverage of a newer routing version."""
        self.coverages.append(self.coverages[-1].succeeded_by(activation.offset, activation.time_ms))

    def succeed_fork(self, lane: Lane, activation: Activation) -> int:
        """Let a fork go on under a newer version; return the number of the fork that follows it."""
        fork = self.of(lane)
        self._forked += 1
        after = fork.succeeded_by(activation.offset, activation.time_ms)
        after.fork, after.refused = self._forked, dict(fork.refused)
        self.forks.append(after)
        return after.fork

    def merge(self, used: set[Lane]) -> dict[Lane, Lane]:
        """Let go of what has ended. Return where the gates of a former lane go on. `used` are the lanes of all gates."""
        moves = self._rejoin(used)
        versions = {version for version, fork in used if fork == 0} | {version for version, _ in moves.values()}
        kept: list[Coverage] = []
        for coverage in reversed(self.coverages):
            newer = kept[0] if kept else None
            if newer is not None and coverage.version not in versions:
                continue
            if newer is not None and coverage.same_reach(newer):
                moves = {lane: newer.lane if to == coverage.lane else to for lane, to in moves.items()}
                moves[coverage.lane] = newer.lane
                continue
            kept.insert(0, coverage)
        self.coverages = kept
        return moves

    def _rejoin(self, used: set[Lane]) -> dict[Lane, Lane]:
        """Let go of forks that were told again all that they had not counted."""
        kept: list[Coverage] = []
        moves: dict[Lane, Lane] = {}
        for fork in self.forks:
            if fork.lane not in used:
                continue
            same = next((one for one in self.coverages if one.version >= fork.version and one.same_reach(fork)), None)
            if same is None:
                kept.append(fork)
            else:
                moves[fork.lane] = same.lane
        self.forks = kept
        return moves
