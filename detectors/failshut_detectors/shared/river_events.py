"""What river's detectors of errors share here: which way events come, words, and how much was seen.

river's DDM, EDDM and HDDM watch a learner: 1 is an error. Here 1 is an event that conforms, so they are given the
opposite. Each starts again after an alarm, and is silent until it has learnt again: a watch (watch.py) judges meanwhile.

Limits: they see a fall of the share that conforms. A stream that never conformed has none, and is what the `over`
of a policy's conformance is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from failshut_detectors.contract import Alarm, EventDetector
from failshut_detectors.shared.watch import EventWatch, Watching

RECENT = 100
"""Events that the words speak of."""


class RiverEvents(Watching, EventDetector):
    """A detector of river's that is given 1 for an error; `warm_up` events are seen before its silence counts."""

    version = 2
    _relearns = 1  # times the warm-up, after an alarm

    def __init__(self, river: Any, warm_up: int) -> None:
        if warm_up < 1:
            raise ValueError(f"warm_up is {warm_up}, must be at least 1 event")
        self._river = river
        self._warm_up = warm_up
        self._seen = 0
        self._since, self._misses = 0, 0  # since the last alarm: events, and how many of them do not conform
        self._recent: deque[float] = deque(maxlen=RECENT)

    @property
    def _learnt(self) -> bool:
        """Whether the warm-up was seen."""
        return self._seen >= self._warm_up

    def _progress(self) -> str:
        return _told(self._recent) if self._learnt else f"learning: {self._seen} of {self._warm_up}"

    def _pass_over(self, count: int) -> bool:
        """Take so many conforming events at once, if that leaves exactly what one by one would; else return False."""
        return False

    def _method(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        river, update = self._river, self._river.update
        if min(values, default=0.0) == 1.0 and not river.drift_detected and self._pass_over(len(values)):
            self._since += len(values)
        else:
            begin, misses = -self._since, self._misses
            for index, value in enumerate(values):
                if value:
                    update(0)
                else:
                    update(1)
                    misses += 1
                if river.drift_detected:
                    recent = deque([*self._recent, *values[: index + 1]], RECENT)
                    alarms.append(Alarm(index, _told(recent)))
                    share = share_before(index + 1 - begin, misses, recent)
                    self._learns_again(index, EventWatch(share, self._relearns * self._warm_up))
                    begin, misses = index + 1, 0
            self._since, self._misses = len(values) - begin, misses
        self._seen += len(values)
        self._recent.extend(islice(values, max(0, len(values) - RECENT), None))
        return alarms


def share_before(events: int, misses: int, recent: deque[float]) -> float:
    """Return the share that failed before the last events, of all so many since an alarm; half of it where there are no others.

    >>> round(share_before(1_100, 60, deque([0.0] * 50 + [1.0] * 50)), 3), round(share_before(6, 4, deque([0.0] * 4)), 3)
    (0.01, 0.321)
    """
    older = events - len(recent)
    if older < len(recent):
        return (misses + 0.5) / (events + 1.0) / 2.0
    return (misses - (len(recent) - sum(recent)) + 0.5) / (older + 1.0)


def _told(recent: deque[float]) -> str:
    return f"{len(recent) - int(sum(recent))} of the last {len(recent)} do not conform"


def probability(name: str, value: float) -> float:
    """Return a probability that a logarithm can be taken of.

    Raises:
        ValueError: it is none, or so small that nothing is ever that improbable.
    """
    if not 1e-300 <= value < 1.0:
        raise ValueError(f"{name} is {value}, must be a probability, at least 1e-300 and below 1")
    return value


def one_in(records: float) -> float:
    """Return the probability of a false alarm at one record that makes one in so many.

    Raises:
        ValueError: that cannot be promised.
    """
    if not records > 1.0:
        raise ValueError(f"one false alarm in {records} events cannot be promised")
    return probability("one false alarm", 1.0 / records)
