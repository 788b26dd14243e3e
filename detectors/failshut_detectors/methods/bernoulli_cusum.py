"""Bernoulli CUSUM: a share of failing events that rises, however little, as soon as the events can show it.

From 1 % to 5 % is an incident, and a window of a hundred events hardly shows it. A sum of likelihood ratios forgets nothing
of a rise and all of what was before it. Three sums run together: for odds of failing that are twice, five and thirty times
as high.

The share that is usual is learnt from all events so far, those of the last `memory` above all. It is taken as high as these
events allow (two deviations). So a detector that has seen little hears large rises alone, and a share that is not known
well is no reason to speak. Events join what is usual a hundred at a time, and not while a sum is more than half full.

After an alarm the sums stay where they are. The next alarm is raised when a sum was below half and is full again, or when
the latest events fail twice as often as at the last alarm. What follows an alarm is learnt beside; after `relearn` events
it is what is usual.

Source: M. R. Reynolds and Z. G. Stoumbos, A CUSUM Chart for Monitoring a Proportion When Inspecting Continuously, J.
Quality Technology 31 (1999); G. Lorden, Procedures for Reacting to a Change in Distribution, Ann. Math. Stat. 42 (1971),
for the bound: a sum that speaks at log(A) is wrong once in A events at most.

Parameters: `arl` (events) is the mean run length without a change, at least. `window` (events) comes before the first
judgement; its words speak of as many. `least` (0 to 1) is a share that may always fail. `memory` (events) and `relearn`
(events) are as above.

Limits: the bound holds for independent events. Failures that come in bursts of five or more are alarms. A share that creeps
within `memory` is learnt. A stream of which most failed from the beginning has no rise: that is what the `over` of a policy
is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import log, sqrt
from typing import Any

from failshut_detectors.contract import Alarm, EventDetector

_ODDS = (2.0, 5.0, 30.0)  # of failing, in terms of the usual ones
_BLOCK = 100  # events that become usual at once
_SURE = 2.0  # deviations by which the usual share may be higher than what was seen
_LATEST = 0.05  # of the newest event, in the share of the latest
_FURTHER = 2.0
_BACK = 5.0  # the logarithm of how much likelier it is that a fault is over than that it lasts
_SHARE_MAX = 0.95


class BernoulliCusum(EventDetector):
    """Detect that the share of events that do not conform rises.

    >>> detector = BernoulliCusum()
    >>> detector.feed(([1.0] * 99 + [0.0]) * 50), detector.ready
    ([], True)
    >>> detector.feed(([1.0] * 9 + [0.0]) * 60)[0].text
    '10 of the last 100 do not conform, 1.3 % are usual'
    """

    name = "bernoulli_cusum"

    def __init__(
        self, arl: float = 1e6, window: int = 100, least: float = 0.001, memory: int = 50_000, relearn: int = 1_000
    ) -> None:
        if not 100.0 <= arl <= 1e15:
            raise ValueError(f"arl is {arl}, must be from 100 to 1e15 events")
        if window < 1 or not 0.0 < least <= 0.5:
            raise ValueError(f"window is {window} and least {least}: at least 1 event, and a share above 0 and at most 0.5")
        if not _BLOCK <= relearn <= memory:
            raise ValueError(
                f"relearn is {relearn} and memory {memory}: at least {_BLOCK} events, and memory no less than relearn"
            )
        self._full = log(arl * len(_ODDS))
        self._window, self._least, self._memory, self._relearn = window, least, memory, relearn
        self._recent: deque[float] = deque(maxlen=window)
        self._seen = 0
        self._events = self._misses = 0.0  # that are usual
        self._block_events = self._block_misses = 0
        self._fresh: list[int] | None = None  # events since an alarm, and how many of them failed
        self._sums = [0.0] * len(_ODDS)
        self._hits = 0  # since the last miss; not in the sums yet
        self._out = False  # whether a sum has been more than half full since the last alarm
        self._latest = self._latest_then = 0.0
        self._back = self._back_hit = self._back_miss = 0.0  # evidence that the fault is over, what a hit adds, a miss takes
        self._begin_share()

    def _begin_share(self) -> None:
        """Take what is usual from what was seen."""
        events, misses = max(1.0, self._events), self._misses
        high = (misses + _SURE * sqrt(misses + 1.0) + 1.0) / events
        self._share = share = min(max(high, self._least), _SHARE_MAX)
        self._ratios = []
        if share == _SHARE_MAX:  # as good as all of them fail: there is no rise left
            self._ratios = [(0.0, -1.0)] * len(_ODDS)
            return
        for odds in _ODDS:
            after = odds * share / (1.0 - share + odds * share)
            self._ratios.append((log(after / share), log((1.0 - after) / (1.0 - share))))

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        if not 100.0 <= records <= 1e15:
            raise ValueError(f"one false alarm in {records} events cannot be promised: from 100 to 1e15")
        return {"arl": records}

    @property
    def ready(self) -> bool:
        """Whether a whole window was seen."""
        return self._seen >= self._window

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        index, count = 0, len(values)
        while index < count:
            upto = min(count, index + _BLOCK - self._block_events)
            some = values[index:upto]
            if min(some) == 1.0:  # none failed
                self._hits += len(some)
                self._latest = _faded(self._latest, len(some))
            else:
                for at, conforms in enumerate(some, index):
                    if conforms:
                        self._hits += 1
                        self._latest -= _LATEST * self._latest
                    elif self._miss() and self._seen + at >= self._window:
                        recent = [*self._recent, *values[: at + 1]][-self._window :]
                        alarms.append(Alarm(at, f"{_told(recent)}, {self._usual()} are usual"))
                        self._spoke()
            self._block_events += len(some)
            self._block_misses += len(some) - int(sum(some))
            index = upto
            if self._block_events == _BLOCK:
                self._end_block()
        self._seen += count
        self._recent.extend(values[-self._window :])
        return alarms

    def _miss(self) -> bool:
        """Take an event that fails, and return whether it completes an alarm."""
        self._recovers()
        full, hits = self._full, self._hits
        self._sums = [
            min(full, max(0.0, total + hits * hit) + miss) for total, (miss, hit) in zip(self._sums, self._ratios, strict=True)
        ]
        self._latest += _LATEST * (1.0 - self._latest)
        self._hits = 0
        if self._out:
            self._back = max(0.0, self._back - self._back_miss)
        if max(self._sums) < full:
            return False
        return not self._out or self._latest > _FURTHER * self._latest_then

    def _recovers(self) -> None:
        """End the fault that was spoken of, where the hits since the last miss show that it is over."""
        if self._out and self._back + self._hits * self._back_hit >= _BACK:
            self._out, self._sums, self._hits = False, [0.0] * len(_ODDS), 0
        elif self._out:
            self._back += self._hits * self._back_hit

    def _spoke(self) -> None:
        then = min(max(self._latest, 2.0 * self._share), 0.99)
        self._out, self._latest_then, self._back = True, self._latest, 0.0
        self._back_hit, self._back_miss = log((1.0 - self._share) / (1.0 - then)), log(then / self._share)
        if self._fresh is None:
            self._fresh = [0, 0]

    def _end_block(self) -> None:
        """Let a hundred events join what is usual, unless they may be a change; after an alarm, what is learnt beside."""
        self._recovers()
        events, misses = self._block_events, self._block_misses
        self._block_events = self._block_misses = 0
        if self._fresh is not None:
            self._fresh = [self._fresh[0] + events, self._fresh[1] + misses]
            if self._fresh[0] < self._relearn:
                return
            self._events, self._misses = map(float, self._fresh)
            self._fresh, self._sums, self._out = None, [0.0] * len(_ODDS), False
        elif self._fullness() > 0.5:
            return
        else:
            self._events += events
            self._misses += misses
            if self._events > self._memory:
                self._events, self._misses = self._events / 2.0, self._misses / 2.0
        self._sums = [_with_hits(*pair, self._hits) for pair in zip(self._sums, self._ratios, strict=True)]
        self._hits = 0
        self._begin_share()

    def _fullness(self) -> float:
        hits = [self._hits] * len(_ODDS)
        return max(map(_with_hits, self._sums, self._ratios, hits)) / self._full

    def _grade(self) -> float:
        if self._out and self._back + self._hits * self._back_hit >= _BACK:
            return 0.0
        return self._fullness()

    def _usual(self) -> str:
        return f"{100.0 * self._share:.2g} %"

    def summary(self) -> str:
        """Return how many of the last window do not conform."""
        return _told(list(self._recent)) if self.ready else f"learning: {self._seen} of {self._window}"


def _with_hits(total: float, ratio: tuple[float, float], hits: int) -> float:
    return max(0.0, total + hits * ratio[1])


def _faded(latest: float, events: int) -> float:
    """Return a share after so many events of which none failed, as one by one."""
    for _ in range(events):
        if latest < 1e-12:
            return 0.0
        latest -= _LATEST * latest
    return latest


def _told(events: Sequence[float]) -> str:
    return f"{len(events) - int(sum(events))} of the last {len(events)} do not conform"
