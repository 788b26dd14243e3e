"""Seasonal record: a value, or a stretch of values, that this stream never had at this hour.

Thresholds in a stream's own units do not travel, and a fixed count of sigmas is wrong for most telemetry. So
every signal here is compared with its own past: it speaks when it breaks the record. A stationary stream of n
records breaks a record some ln(n) times, so that such a detector grows quieter with age and needs no scale.

Four signals, each from one pass and constant memory:

- range: the value is outside all values so far, by a share of their range;
- smoothed: the same for a short moving average, so that a run of high values counts that no single one breaks;
- level: the running mean of how unusual values are for their half hour of the day (weekends apart), against its
  slowly fading maximum. It shows a shape that is wrong for the hour, or missing, though each value was seen
  before;
- spike: one value is very unusual for its half hour, by the usual size of that measure.

After an alarm it rests, because an incident breaks many records in a row. While it rests only records that are broken by far
count: a value that is further out than all that was seen, the incident included, by a quarter of that range.

Source: the problem, the probation and the scoring are A. Lavin and S. Ahmad, Evaluating Real-Time Anomaly
Detection Algorithms: the Numenta Anomaly Benchmark, ICMLA 2015; records as a distribution-free statistic go back
to K. N. Chandler, The Distribution and Frequency of Record Values, J. R. Stat. Soc. B 14 (1952). The combination
is ours; docs/detectors.md says what it reaches and what was chosen while looking at NAB.

Parameters: four are thresholds, and larger is quieter. `range_share` and `smoothed_share` are shares of the range so
far. `level_ratio` is a ratio to the fading record. `spike` is in standard deviations of the measure. It rests
for `rest_ms` (milliseconds) after an alarm, or for `rest` (records) if there are no times or they do not advance.
`warm_up` (records) comes before the first alarm. Times are milliseconds since 1970; hours and weekends are UTC's.
Without times all hours are one.

Limits: it is made for a record every minute to every hour. It notices what is new, so a fault that returns
every day at the same hour becomes normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from failshut_detectors.contract import Alarm, Detector, Kind, number

_HALF_HOUR_MS = 1_800_000
_DAY_MS = 86_400_000
_HALF_HOURS = 48
_BUCKETS = 2 * _HALF_HOURS  # the half hours of working days, then those of weekends

_SEASON_RATE = 0.1  # how fast a half hour's mean and spread follow, once they were seen ten times
_SPREAD_SHARE = (
    0.05  # of the whole stream's spread, added to a half hour's own: one without any spread would alarm at every change
)
_SLOW_RATE, _FAST_RATE = 0.0005, 0.01  # of the stream's own mean and spread: some 2000 and 100 records
_SMOOTH_RATE = 0.3
_LEVEL_RATE = 0.01
_FADING = 0.2  # of the slow rate, by which the level's record fades
_SPIKE_MAX, _UNUSUAL_MAX = 1e6, 10.0
_LEAST = 0.05  # added to what is divided by, in units of the measure
_SEEN_BEFORE_JUDGED = 4  # times a half hour must have been seen
_BY_FAR = 0.25  # of the range, by which it must be exceeded in the rest after an alarm
_REACH = 1.0  # ranges beyond the range so far: the most that one value can teach, so that a single 1e100 does not blind it


class SeasonalSignals:
    """The four signals, one record at a time; without thresholds."""

    def __init__(self, warm_up: int = 100) -> None:
        self.seen = 0
        self.warm_up = warm_up
        self._learn_records_from = warm_up // 3
        self._low = self._high = self._smooth = self._smooth_low = self._smooth_high = 0.0
        self._means = [0.0] * _BUCKETS
        self._variances = [0.0] * _BUCKETS
        self._counts = [0] * _BUCKETS
        self._slow_mean = self._slow_variance = self._fast_mean = self._fast_variance = 0.0
        self._level = self._level_record = self._spike_mean = self._spike_variance = 0.0
        self._recorded = 0

    @property
    def warm(self) -> bool:
        """Whether `warm_up` records were seen."""
        return self.seen >= self.warm_up

    def usual(self, bucket: int) -> float:
        """Return the mean of this half hour."""
        return self._means[bucket]

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value learnt."""
        return self._low, self._high

    def update(self, value: float, bucket: int) -> tuple[float, float, float, float]:
        """Take one record and return (range, smoothed, level, spike), each against what was seen before it."""
        seen = self.seen
        if seen == 0:
            self._start(value)
        width = self._high - self._low
        beyond = 0.0
        if value > self._high:
            beyond = (value - self._high) / width if width > 0 else 1.0
        elif value < self._low:
            beyond = (self._low - value) / width if width > 0 else 1.0
        if beyond > 0.0:
            if seen >= self.warm_up and beyond > _REACH and width > 0:
                value = self._high + _REACH * width if value > self._high else self._low - _REACH * width
            if value > self._high:
                self._high = value
            else:
                self._low = value
        smoothed = self._smoothed(value, seen)
        unusual, spiky = self._season(value, bucket, seen)
        level, spike = self._against_records(unusual, spiky, seen)
        self._learn(value, bucket, seen)
        self.seen = seen + 1
        return beyond, smoothed, level, spike

    def _start(self, value: float) -> None:
        self._low = self._high = self._smooth = self._smooth_low = self._smooth_high = value
        self._slow_mean = self._fast_mean = value

    def _smoothed(self, value: float, seen: int) -> float:
        self._smooth = smooth = self._smooth + max(_SMOOTH_RATE, 1.0 / (seen + 1)) * (value - self._smooth)
        width = self._smooth_high - self._smooth_low
        beyond = 0.0
        if smooth > self._smooth_high:
            beyond = (smooth - self._smooth_high) / width if width > 0 else 1.0
            self._smooth_high = smooth
        elif smooth < self._smooth_low:
            beyond = (self._smooth_low - smooth) / width if width > 0 else 1.0
            self._smooth_low = smooth
        return beyond

    def _season(self, value: float, bucket: int, seen: int) -> tuple[float, float]:
        """Return how unusual the value is for its half hour, by the long-run spread and by the recent one."""
        if self._counts[bucket] < _SEEN_BEFORE_JUDGED or seen < self._learn_records_from:
            return 0.0, 0.0
        distance = abs(value - self._means[bucket])
        if distance == 0.0:
            return 0.0, 0.0
        spread = sqrt(self._variances[bucket])
        # The last term is what rounding makes of a constant stream.
        by_slow = spread + _SPREAD_SHARE * sqrt(self._slow_variance) + 1e-6 * abs(self._slow_mean)
        by_fast = spread + _SPREAD_SHARE * sqrt(self._fast_variance) + 1e-6 * abs(self._fast_mean)
        return (
            distance / by_slow if distance < _UNUSUAL_MAX * by_slow else _UNUSUAL_MAX,
            distance / by_fast if distance < _SPIKE_MAX * by_fast else _SPIKE_MAX,
        )

    def _against_records(self, unusual: float, spiky: float, seen: int) -> tuple[float, float]:
        self._level += max(_LEVEL_RATE, 1.0 / (seen + 1)) * (unusual - self._level)
        level = spike = 0.0
        if seen >= self.warm_up:
            level = self._level / (self._level_record + _LEAST)
            spike = (spiky - self._spike_mean) / (sqrt(self._spike_variance) + _LEAST)
        if seen >= self._learn_records_from:
            self._recorded += 1
            slow = max(_SLOW_RATE, 1.0 / self._recorded)
            self._level_record = max(self._level_record * (1.0 - _FADING * slow), self._level)
            fast = max(_FAST_RATE, 1.0 / self._recorded)
            distance = spiky - self._spike_mean
            self._spike_mean += fast * distance
            self._spike_variance = (1.0 - fast) * (self._spike_variance + fast * distance * distance)
        return level, spike

    def _learn(self, value: float, bucket: int, seen: int) -> None:
        count = self._counts[bucket] = self._counts[bucket] + 1
        rate = _SEASON_RATE if count > 10 else 1.0 / count
        distance = value - self._means[bucket]
        self._means[bucket] += rate * distance
        self._variances[bucket] = (1.0 - rate) * (self._variances[bucket] + rate * distance * distance)
        rate = max(_SLOW_RATE, 1.0 / (seen + 1))
        distance = value - self._slow_mean
        self._slow_mean += rate * distance
        self._slow_variance = (1.0 - rate) * (self._slow_variance + rate * distance * distance)
        rate = max(_FAST_RATE, rate)
        distance = value - self._fast_mean
        self._fast_mean += rate * distance
        self._fast_variance = (1.0 - rate) * (self._fast_variance + rate * distance * distance)


def bucket_of(time_ms: int) -> int:
    """Return the half hour of the day in UTC, weekends apart.

    >>> bucket_of(0), bucket_of(2 * 86_400_000)  # a Thursday, and the Saturday after it
    (0, 48)
    """
    weekend = (time_ms // _DAY_MS + 3) % 7 >= 5
    return time_ms // _HALF_HOUR_MS % _HALF_HOURS + (_HALF_HOURS if weekend else 0)


class SeasonalRecord(Detector):
    """Detect what a stream with daily and weekly habits never did before.

    >>> detector = SeasonalRecord()
    >>> quarter_hours = [900_000 * n for n in range(960)]
    >>> day = [float(40 + 20 * (32 <= n % 96 < 72) + n % 3) for n in range(960)]
    >>> detector.feed(day, quarter_hours), detector.ready
    ([], True)
    >>> detector.feed([97.0], [900_000 * 960])[0].text
    '97 is outside 40 to 62, all seen so far'
    """

    name = "seasonal_record"
    kind = Kind.ANOMALY
    version = 2
    uses_times = True

    def __init__(
        self,
        range_share: float = 0.02,
        smoothed_share: float = 0.07,
        level_ratio: float = 0.99,
        spike: float = 100.0,
        rest_ms: int = 28_800_000,
        rest: int = 100,
        warm_up: int = 100,
    ) -> None:
        self._range_share, self._smoothed_share = range_share, smoothed_share
        self._level_ratio, self._spike = level_ratio, spike
        self._rest_ms, self._rest = rest_ms, rest
        self._resting_from_ms: int | None = None
        self._resting = 0
        self._signals = SeasonalSignals(warm_up)
        self._incident = 0.0, 0.0  # the range so far at the last alarm, with its value
        self._bucket = 0

    @property
    def ready(self) -> bool:
        """Whether `warm_up` records were seen."""
        return self._signals.warm

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        update = self._signals.update
        for index, value in enumerate(values):
            bucket = bucket_of(times_ms[index]) if times_ms is not None else 0
            low, high = self._signals.bounds
            usual = self._signals.usual(bucket)
            was_ready = self._signals.warm
            beyond, smoothed, level, spike = update(value, bucket)
            if not was_ready:
                continue
            if self._rests(times_ms[index] if times_ms is not None else None):
                low, high = min(low, self._incident[0]), max(high, self._incident[1])
                if low - _BY_FAR * (high - low) <= value <= high + _BY_FAR * (high - low):
                    continue
                text = f"{number(value)} is far outside {number(low)} to {number(high)}, the last alarm included"
            elif beyond > self._range_share:
                text = f"{number(value)} is outside {number(low)} to {number(high)}, all seen so far"
            elif smoothed > self._smoothed_share:
                text = f"values around {number(value)} are further out than any such run so far"
            elif level > self._level_ratio:
                text = "the last values fit their hours worse than any before"
            elif spike > self._spike:
                text = f"{number(value)} where {number(usual)} is usual at this hour"
            else:
                continue
            alarms.append(Alarm(index, text))
            self._incident = min(low, value), max(high, value)
            self._resting = self._rest
            self._resting_from_ms = times_ms[index] if times_ms is not None else None
        if values and times_ms is not None:
            self._bucket = bucket_of(times_ms[-1])
        return alarms

    def _rests(self, time_ms: int | None) -> bool:
        """Return whether the last alarm is so near that this record may raise none."""
        if time_ms is None:
            self._resting = max(0, self._resting - 1)
            return self._resting > 0
        if self._resting_from_ms is None:
            return False
        # Times that go back, or stand still, must not prolong the silence.
        over = time_ms - self._resting_from_ms > self._rest_ms
        if time_ms <= self._resting_from_ms:
            self._resting_from_ms = time_ms
            self._resting -= 1
            over = self._resting <= 0
        if over:
            self._resting_from_ms = None
        return self._resting_from_ms is not None

    def summary(self) -> str:
        """Return the range so far and what is usual now."""
        if not self.ready:
            return f"learning: {self._signals.seen} of {self._signals.warm_up}"
        low, high = self._signals.bounds
        return f"{number(low)} to {number(high)} so far, {number(self._signals.usual(self._bucket))} usual at this hour"
