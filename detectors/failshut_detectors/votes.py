"""Votes: several detectors on one stream, and an alarm only where enough of them agree.

Each detector has its own way of being wrong: one has a heavy tail for a shift, another a busy hour. Where `votes` of them
alarm within `within` records of each other, that is more than either; a lone false alarm is outvoted. A vote counts
once, for the detector that cast it, until it is older than that or an alarm has used it up.

Source: k-of-n voting of redundant channels, as in safety instrumented systems (IEC 61508-6, annex B: 2oo3).

Parameters: `votes` (detectors) are needed for an alarm; `within` (records) is how far apart they may be, 1 for the same
record.

Limits: detectors that are misled by the same thing agree on it. The rate of false alarms is not known, so a budget of
false trips cannot be kept by voting.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from failshut_detectors.contract import Alarm, Contract

DETECTORS_MAX = 8
WITHIN_MAX = 1_000_000


class Votes(Contract):
    """Alarm where at least `votes` of two to eight detectors of one kind did within the last `within` records.

    It is ready while `votes` of its detectors are, and each of the others is or has alarmed before: the policy asked for all.
    But many a detector learns anew after its own alarm. If that made all of them unready, it alone would close the gate.

    >>> from failshut_detectors.methods.cusum import Cusum
    >>> from failshut_detectors.methods.ewma import Ewma
    >>> detector = Votes([Cusum(learn=4), Ewma(learn=4)], votes=2, within=10)
    >>> detector.feed([1.0, 3.0, 1.0, 3.0]), detector.ready
    ([], True)
    >>> detector.feed([9.0] * 4)[0].text
    '2 of 2, cusum and ewma: mean up from 2 (deviation 1.155): 9 now'
    """

    name = "votes"
    uses_times = True

    def __init__(self, detectors: Sequence[Contract], votes: int, within: int) -> None:
        if not 2 <= len(detectors) <= DETECTORS_MAX:
            raise ValueError(f"{len(detectors)} detectors: two to {DETECTORS_MAX} of them vote")
        if not 1 <= votes <= len(detectors):
            raise ValueError(f"votes is {votes}, must be 1 to {len(detectors)}, for there are so many detectors")
        if not 1 <= within <= WITHIN_MAX:
            raise ValueError(f"within is {within}, must be 1 to {WITHIN_MAX} records")
        self.kind = detectors[0].kind
        self._detectors = list(detectors)
        self._votes = votes
        self._within = within
        self._seen = 0
        self._voted_at: list[int | None] = [None] * len(detectors)  # the record of each one's standing vote
        self._has_alarmed = [False] * len(detectors)

    @property
    def ready(self) -> bool:
        """Whether all have seen enough, or had when they spoke, and enough of them have now."""
        now = [detector.ready for detector in self._detectors]
        return all(map(max, now, self._has_alarmed)) and sum(now) >= self._votes

    def fit(self, values: Sequence[Any]) -> Sequence[Any]:
        return self._detectors[0].fit(values)

    def _feed(self, values: Sequence[Any], times_ms: Sequence[int] | None) -> list[Alarm]:
        cast = sorted(
            (alarm.index, voter, alarm.text)
            for voter, detector in enumerate(self._detectors)
            for alarm in detector.take(values, times_ms)
        )
        alarms = []
        for index, votes in groupby(cast, lambda vote: vote[0]):
            words = ""
            for _, voter, text in votes:
                self._voted_at[voter], self._has_alarmed[voter], words = self._seen + index, True, text
            standing = self._standing(self._seen + index)
            if len(standing) >= self._votes:
                alarms.append(Alarm(index, f"{len(standing)} of {len(self._detectors)}, {self._names(standing)}: {words}"))
                self._voted_at = [None] * len(self._detectors)
        self._seen += len(values)
        return alarms

    def summary(self) -> str:
        """Return whose votes stand, or how the stream looks to the first, or to the first that is not ready yet."""
        standing = self._standing(self._seen - 1)
        if standing:
            return f"{len(standing)} of {self._votes} votes, {self._names(standing)}"
        behind = [detector for detector in self._detectors if not detector.ready]
        first = behind[0] if behind and not self.ready else self._detectors[0]
        return f"{first.name}: {first.summary()}"

    def _standing(self, at: int) -> list[int]:
        """Return whose votes stand at a record."""
        return [voter for voter, voted_at in enumerate(self._voted_at) if voted_at is not None and at - voted_at < self._within]

    def _names(self, voters: list[int]) -> str:
        *most, last = [self._detectors[voter].name for voter in voters]
        return f"{', '.join(most)} and {last}" if most else last

    def _grade(self) -> float:
        return len(self._standing(self._seen - 1)) / self._votes
