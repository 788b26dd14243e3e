"""How large a signal must be, by the stream's own past: moving averages with a scale, and days with their largest values.

A threshold in deviations does not travel: what one stream does every hour another never does. So a signal's largest value
of each day is kept, for twenty days. The threshold is a multiple of one that most of these days exceed, and never less than
a floor. A day with an incident is one of twenty. A single value teaches no more than five times the threshold.

Sources: R. G. Brown, Smoothing, Forecasting and Prediction (1962), for the mean absolute deviation as a scale; P. J. Huber,
Robust Statistics (1981), for bounded steps; R. A. Fisher and L. H. C. Tippett, Proc. Cambridge Phil. Soc. 24 (1928), for
block maxima.

Limits: in the first days there are few, and the threshold follows the largest of them.
"""

from __future__ import annotations

DAY_MS = 86_400_000
DAY_RECORDS, DAY_RECORDS_MIN = 1_440, 24
"""A day is over after so many records, or after its time and at least so many."""

_DAYS, _FEW_DAYS = 20, 3
_TAUGHT = 5.0  # thresholds: the most that a day's largest value teaches
_FIRST = (100,)  # records of the first days, which are short: something must be known soon
_CUT = 4.0  # usual distances: the most that one value teaches a scale, and half of what it moves an average
_LASTS = 100  # records out on one side, after which an average begins again where the stream is
_LEAST_SHARE = 0.02  # of how far values go on three days in four
_ROUNDING, _TINY, _FAR = 1e-9, 1e-290, 1e6


class Average:
    """A moving average of values, and how far they usually are from it.

    >>> average = Average(0.1)
    >>> distances = [average.away(value, 0.01) for value in [1.0, 3.0] * 200 + [9.0]]
    >>> round(average.scale, 2), round(distances[-1], 1)
    (1.05, 6.8)
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.mean = self.scale = 0.0
        self._seen = self._out = 0
        self._farthest, self._least = 0.0, 0.0  # the largest distance of the day, and what the scale is not below
        self._days: list[float] = []

    def away(self, value: float, rate: float) -> float:
        """Return the value's distance in usual ones, 1e6 at most, and learn from it; `rate` is the scale's."""
        self._seen = seen = self._seen + 1
        if seen == 1:
            self.mean = value
        distance = value - self.mean
        size, known = abs(distance), self.scale
        if size > self._farthest:
            self._farthest = size
        least = self._least + _ROUNDING * abs(self.mean) + _TINY
        scale = known if known > least else least
        cut = _CUT * scale
        step = self._rate if self._rate * seen > 1.0 else 1.0 / seen
        if size <= cut or not known:
            self._out = 0
            self.mean += step * distance
            self.scale = known + rate * (size - known)
        else:
            self.mean += step * (distance if size < 2.0 * cut else 2.0 * cut if distance > 0.0 else -2.0 * cut)
            self.scale = known + rate * (cut - known)
            self._out = max(self._out, 0) + 1 if distance > 0.0 else min(self._out, 0) - 1
            if abs(self._out) >= _LASTS:
                self.mean, self._out = value, 0
        far = distance / scale
        return far if -_FAR < far < _FAR else _FAR if far > 0.0 else -_FAR

    @property
    def unit(self) -> float:
        """The usual distance, and no less than a part of how far values go on most days."""
        return max(self.scale, self._least)

    def end_day(self) -> None:
        """Learn how far values go on most days: a stream that is nearly always 0 has no usual distance but that."""
        self._days = [*self._days[-_DAYS + 1 :], self._farthest]
        self._farthest = 0.0
        ordered = sorted(self._days)
        self._least = _LEAST_SHARE * ordered[(len(ordered) - 1) // 4]


class Days:
    """When a day of a stream is over: by its times, or by its records where there are none.

    >>> days = Days()
    >>> sum(days.over(minute * 60_000) for minute in range(10 * 1_440)), sum(Days().over(None) for _ in range(10))
    (10, 0)
    """

    def __init__(self) -> None:
        self._first = list(_FIRST)
        self._records = 0
        self._since_ms: int | None = None

    def over(self, time_ms: int | None) -> bool:
        """Take a record's time and return whether a day ends with it."""
        self._records += 1
        if self._since_ms is None:
            self._since_ms = time_ms
        elapsed = time_ms is not None and self._since_ms is not None and abs(time_ms - self._since_ms) >= DAY_MS
        if self._first:
            over = self._records >= self._first[0]
        else:
            over = self._records >= (DAY_RECORDS_MIN if elapsed else DAY_RECORDS)
        if over:
            self._records, self._since_ms = 0, time_ms
            self._first = self._first[1:]
        return over


class Threshold:
    """A multiple of a signal's largest value of a day that a share of the last twenty days reach, from a floor on.

    `at_first` multiplies the floor until three days are known: of a signal that a single step makes large.

    >>> threshold = Threshold(floor=2.0, multiple=3.0, share=0.7)
    >>> for largest in (1.0, 1.5, 1.2, 40.0):
    ...     threshold.largest = largest
    ...     threshold.end_day()
    >>> round(threshold.value, 1)
    3.6
    """

    def __init__(self, floor: float, multiple: float, share: float, at_first: float = 1.0) -> None:
        self._floor, self._multiple, self._share, self._at_first = floor, multiple, share, at_first
        self._days: list[float] = []
        self.value = at_first * floor
        self.largest = 0.0  # of the present day; whoever reads the signal keeps it

    def end_day(self) -> None:
        """Learn from the present day."""
        self._days = [*self._days[-_DAYS + 1 :], min(self.largest, _TAUGHT * self.value)]
        self.largest = 0.0
        ordered = sorted(self._days, reverse=True)
        self.value = max(self._floor, self._multiple * ordered[int(self._share * (len(ordered) - 1))])
        if len(ordered) < _FEW_DAYS:
            self.value = max(self.value, self._at_first * self._floor)


class Alarms:
    """Which of a signal's values are news: on each side the size of the last alarm fades, and more than that is needed.

    While the cause lasts it takes 1.3 times as much, after sixty records without any 0.7 times, and less with every record.

    >>> news = Alarms()
    >>> news.hears(0, "up", 4.0), news.hears(1, "up", 5.0), news.hears(2, "up", 7.0), news.hears(70, "up", 5.0)
    (True, False, True, True)
    """

    _ONGOING, _AFTERWARDS, _QUIET_RECORDS, _HALF_LIFE_RECORDS = 1.3, 0.7, 60, 180
    _REMEMBERED = 20.0  # thresholds: an absurd value must not raise what is needed for a day

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[int, float]] = {}

    def hears(self, at: int, side: str, size: float) -> bool:
        """Take a value of at least 1 at a record, and return whether it is an alarm."""
        last, before = self._sizes.get(side, (at, 0.0))
        quiet = at - last >= self._QUIET_RECORDS
        before = (min(before, self._REMEMBERED) if quiet else before) * 0.5 ** ((at - last) / self._HALF_LIFE_RECORDS)
        needed = before * (self._AFTERWARDS if quiet else self._ONGOING)
        self._sizes[side] = at, max(before, size)
        return bool(size >= needed)
