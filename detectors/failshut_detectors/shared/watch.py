"""What a detector does while it learns again: it goes on judging by what it knew before its alarm.

The problem: many methods begin anew after an alarm, because what follows may be another stream. Until they have learnt it
they hear nothing. A total outage that follows a small incident falls into that time.

The idea: beside the method that learns stands a watch, for as many records as the method needs. It knows level and spread
from before the alarm, and where the stream was at the alarm. It speaks of three things: a stream that was back and departs
again, one that departs to the other side, and one that is twice as far out as at the last alarm. A fault that stays as it is
was spoken of already. The watch says that it lasts (its score is near 1), and raises no alarm for it. When the method has
learnt, the watch ends.

Source: two CUSUM sums (E. S. Page, Biometrika 41, 1954) of values cut off at four spreads, and for events the sum of
likelihood ratios of a Bernoulli variable. Both are bounded by their threshold, so that a return is seen within a few records.

Limits: the level is that of one moment. Where hours move a stream by many spreads within the time that a method learns, the
watch speaks of that. A second fault of the same size, while the first one lasts, is no news.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import log
from typing import Any, Protocol

from failshut_detectors.contract import Alarm, Contract, number

_CUT = 6.0  # spreads: what one value can say
_TOLERATED = 1.0  # spreads
_FULL = 15.0  # the sum that is an alarm
_FAR = 1e6
_QUICK = 0.5  # of the newest value, in the average by which "further out" is judged
_FURTHER, _FURTHER_BY = 2.0, 2.0
_ROUNDING, _TINY = 1e-9, 1e-290  # relative to the level: of a stream that never moved, any move counts as `_CUT`
_EVENTS_FULL = log(1000.0)
_EVENTS_QUICK, _EVENTS_FURTHER = 0.1, 0.75


class Beside(Protocol):
    """What judges while a method learns again."""

    left: int
    """Records that it will still judge."""

    def take(self, values: Sequence[float]) -> list[tuple[int, str]]:
        """Judge values, `left` at most of them, and return index and text of each alarm."""

    @property
    def grade(self) -> float:
        """How near the last value was to an alarm; 1 or more while a fault lasts."""


class Watch:
    """Judge values by a level and a spread from before an alarm at `value`, for so many records.

    >>> watch = Watch(50.0, 2.0, 60.0, 100)
    >>> watch.take([60.0] * 20), watch.take([50.0] * 9), watch.take([60.0] * 3)
    ([], [], [(2, 'again up: 60 where 50 was usual')])
    >>> watch.take([20.0] * 3), watch.left
    ([(2, 'again down: 20 where 50 was usual')], 65)
    """

    def __init__(self, centre: float, spread: float, value: float, records: int) -> None:
        self.left = records
        self._centre = centre
        self._spread = spread if spread > max(abs(centre) * _ROUNDING, _TINY) else 0.0
        z = self._away(value)
        self._way = 0 if abs(z) < _TOLERATED else 1 if z > 0.0 else -1
        self._up, self._down = _FULL * (self._way > 0), _FULL * (self._way < 0)
        self._quick, self._extent = z, max(abs(z), _CUT)

    @property
    def grade(self) -> float:
        """The larger sum, by what is full."""
        return max(self._up, self._down) / _FULL

    def take(self, values: Sequence[float]) -> list[tuple[int, str]]:
        """Judge values; see Beside."""
        alarms = []
        for index, value in enumerate(values[: self.left]):
            z = self._away(value)
            self._quick += _QUICK * (z - self._quick)
            step = max(-_CUT, min(_CUT, z))
            self._up = max(0.0, min(_FULL, self._up + step - _TOLERATED))
            self._down = max(0.0, min(_FULL, self._down - step - _TOLERATED))
            way = self._departs()
            if way:
                self._way, self._extent = way, max(abs(self._quick), _CUT)
                words = "up" if way > 0 else "down"
                alarms.append((index, f"again {words}: {number(value)} where {number(self._centre)} was usual"))
        self.left = max(0, self.left - len(values))
        return alarms

    def _departs(self) -> int:
        """Return the side of a new departure, 1 or -1; 0 where there is none."""
        if self._way and (self._up if self._way > 0 else self._down) < _FULL / 2.0:
            self._way = 0
        if self._up >= _FULL and self._way <= 0:
            return 1
        if self._down >= _FULL and self._way >= 0:
            return -1
        return self._way if self._way * self._quick > _FURTHER * self._extent + _FURTHER_BY else 0

    def _away(self, value: float) -> float:
        distance = value - self._centre
        if self._spread:
            return max(-_FAR, min(_FAR, distance / self._spread))
        return 0.0 if abs(distance) <= abs(self._centre) * _ROUNDING else _CUT if distance > 0.0 else -_CUT


class EventWatch:
    """Judge events by the share that failed before an alarm, for so many events.

    >>> watch = EventWatch(0.01, 100)
    >>> watch.take([0.0] * 3), watch.take([1.0] * 8), watch.take([0.0] * 3)
    ([], [], [(1, 'again: 41 % of the last failed, 1 % was usual')])
    """

    def __init__(self, share: float, events: int) -> None:
        self.left = events
        self._share = share = min(max(share, 1e-6), 0.95)
        self._miss, self._hit = log((share + (1.0 - share) / 2.0) / share), log(0.5)
        self._sum, self._out = _EVENTS_FULL, True
        self._quick = self._extent = 0.5

    @property
    def grade(self) -> float:
        """The sum, by what is full."""
        return self._sum / _EVENTS_FULL

    def take(self, values: Sequence[float]) -> list[tuple[int, str]]:
        """Judge events; see Beside."""
        alarms = []
        for index, conforms in enumerate(values[: self.left]):
            self._quick += _EVENTS_QUICK * (1.0 - conforms - self._quick)
            self._sum = max(0.0, min(_EVENTS_FULL, self._sum + (self._hit if conforms else self._miss)))
            self._out = self._out and self._sum >= _EVENTS_FULL / 2.0
            further = self._out and self._quick > self._extent + _EVENTS_FURTHER * (1.0 - self._extent)
            if further or (self._sum >= _EVENTS_FULL and not self._out):
                self._out, self._extent = True, max(self._quick, 0.5)
                failed, usual = round(100 * self._quick), round(100 * self._share)
                alarms.append((index, f"again: {failed} % of the last failed, {usual} % was usual"))
        self.left = max(0, self.left - len(values))
        return alarms


class Watching(Contract):
    """A detector whose method learns again after an alarm, with a watch beside it until it has.

    A subclass writes `_method` in place of `_feed`, and calls `_learns_again` where the method begins anew; `_learnt` in place
    of `ready`, and `_progress` and `_part` in place of `summary` and `_grade`.
    """

    _watch: Beside | None = None
    _begun: Sequence[tuple[int, Beside]] = ()

    def _learns_again(self, index: int, watch: Beside) -> None:
        """Take note that after this record of the batch the method knows nothing, and that the watch judges instead."""
        self._begun = [*self._begun, (index, watch)]

    def _feed(self, values: Sequence[Any], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = self._method(values, times_ms)
        begun: Sequence[tuple[int, Beside]] = self.__dict__.pop("_begun", ())  # of this batch, and no part of the state
        if self._watch is None and not begun:
            return alarms
        found: dict[int, Alarm] = {}
        at = 0
        for index, watch in begun:
            self._take_beside(values, at, index, found)
            self._watch, at = watch, index + 1
        self._take_beside(values, at, len(values), found)
        found.update((alarm.index, alarm) for alarm in alarms)
        return [found[index] for index in sorted(found)]

    def _take_beside(self, values: Sequence[Any], start: int, stop: int, found: dict[int, Alarm]) -> None:
        if self._watch is None or start >= stop:
            return
        some = values[start : min(stop, start + self._watch.left)]
        found.update((start + index, Alarm(start + index, text)) for index, text in self._watch.take(some))
        if not self._watch.left:
            self._watch = None

    @property
    def ready(self) -> bool:
        """Whether it judges: by what it has learnt, or after an alarm by what it knew before."""
        return self._watch is not None or self._learnt

    def summary(self) -> str:
        """Return how the stream looks, and whether that is judged by what was known before an alarm."""
        return f"judged by what was before the alarm; {self._progress()}" if self._watch is not None else self._progress()

    def _grade(self) -> float:
        return self._watch.grade if self._watch is not None else self._part()

    @property
    @abstractmethod
    def _learnt(self) -> bool:
        """Whether the method has seen enough."""

    @abstractmethod
    def _method(self, values: Sequence[Any], times_ms: Sequence[int] | None) -> list[Alarm]:
        """Take records as `_feed` does."""

    @abstractmethod
    def _progress(self) -> str:
        """Say how the stream looks to the method."""

    def _part(self) -> float:
        """Return the part of the method's threshold that the last record reached."""
        return 0.0
