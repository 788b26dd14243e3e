"""False-trip budget: the user says how often it may be wrong, and the detector finds its threshold.

Most detectors promise a false-alarm rate for independent, normal values. Telemetry has daily patterns, memory
and heavy tails, so that promise is wrong by orders of magnitude. This detector promises a rate that it can
keep:

1. A record is compared with its expected value: a seasonal mean for its half hour, and an autoregression of
   order two. Both are learnt online. What remains is close to exchangeable.
2. Its rank among the last thousand remainders is a conformal p-value, which is uniform for any distribution. As
   a normal score it looks the same for every stream.
3. Bets on shifts of several sizes, up and down, are e-values of that score. A Shiryaev-Roberts sum for each bet
   grows when the bet wins. The mean of the sums is an e-detector. Under exchangeability it needs on average at
   least A records to reach A, for any distribution.
4. The detector measures how far real telemetry departs from that. In theory the peaks of the sum over a low
   level follow 1/A. Their observed number and mean excess, shrunk towards theory, correct the threshold. If
   more alarms were raised than the budget allows, the threshold stays higher until time has paid for them.

Sources: J. Shin, A. Ramdas and A. Rinaldo, E-detectors: a nonparametric framework for sequential change
detection, New England J. Stat. Data Sci. 2 (2024); V. Vovk, I. Nouretdinov and A. Gammerman, Testing
exchangeability on-line, ICML 2003, and V. Vovk, Testing randomness online, Statistical Science 36 (2021), on
conformal test martingales and Shiryaev-Roberts; step 4 is the peaks-over-threshold method (J. Pickands,
Annals of Statistics 3 (1975)) and ours in this place. No random number is drawn: ties count half.

Parameters: `per_records` (records) is the time in which one false alarm is allowed. If `per_ms` (milliseconds) is above 0, it
replaces `per_records`: the number of records in that time is learnt from the records' times. No alarm is raised in the first
`warm_up` (records). In the `rest` (records) after an alarm the expectation is learnt again, and a watch (watch.py) judges by
the former one.

Limits: a change slower than the reference (1000 records) is learnt, not noticed. A stream that keeps having real
incidents raises its own threshold, as the budget asks. A budget of one in fewer than 500 records is kept as one
in 500. For a budget longer than the stream's life there is only theory, and an assumption (_HEAVINESS).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from math import exp, log
from statistics import NormalDist

from failshut_detectors.contract import Alarm, Detector, Kind, number
from failshut_detectors.methods.seasonal import bucket_of
from failshut_detectors.shared.watch import Watch, Watching

_REFERENCE = 1000  # remainders that a new one is ranked among
_REFERENCE_MIN = 200
_DELAY = 50  # records before a remainder joins the reference: a change must not hide itself
_SHIFTS = (0.5, 1.0, 2.0, 3.0)  # in standard deviations; each is bet on upwards and downwards
_CELLS = 2000  # of p-values: a bet is looked up, not computed
_SEASON_RATE, _LEVEL_RATE = 0.05, 0.002
_MEMORY = 0.002  # of the autoregression and the spreads
_AUTOREGRESSION_FROM = 30  # records
_REACH = 5.0  # mean deviations: the most that one value can teach
_INTERVAL_RATE, _INTERVAL_REACH = 0.001, 20.0
_RECORDS_MIN = 500.0
_DEVIATION = 1.25  # a normal deviation, in mean ones
_SUM_LEAST = 1e-300

# Theory of the peaks, for this mixture of bets: a peak over _PEAK_LEVEL is over once the sum falls below _PEAK_BASE;
# one begins every _PEAK_RECORDS records of an exchangeable stream (benchmarks/false_alarms.py measures it again),
# and the logarithm of its height exceeds the level by 1 on average.
_PEAK_BASE, _PEAK_LEVEL = log(10.0), log(50.0)
_PEAK_RECORDS = 99.0
_BELIEF = 2.0  # peaks that theory counts for, until a stream has shown its own
_HEAVINESS = 2.0  # the mean excess that is assumed before a stream has shown its own: telemetry is not exchangeable
_DEBT_POWER = 4  # an overdrawn budget is replaced by one so many times, to this power, as long


def _bets() -> list[tuple[float, ...]]:
    """Return the e-values of every shift, for each cell of the p-value: likelihood ratios of normal scores, mean 1."""
    normal = NormalDist()
    scores = [normal.inv_cdf((cell + 0.5) / _CELLS) for cell in range(_CELLS)]
    columns = []
    for shift in (*_SHIFTS, *(-shift for shift in _SHIFTS)):
        column = [exp(shift * score - shift * shift / 2.0) for score in scores]
        mean = sum(column) / _CELLS
        columns.append([bet / mean for bet in column])
    return list(zip(*columns, strict=True))


_BETS = _bets()


class _Expectation:
    """What a record should be: a seasonal mean and an autoregression of order two, learnt online."""

    def __init__(self) -> None:
        self._means: dict[int, float] = {}
        self._counts: dict[int, int] = {}
        self._level = 0.0
        self.usual = 0.0  # what the last record was compared with, but for the memory from one to the next
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the level and the memory, keep the hours: what follows an alarm may be another stream."""
        self._seen = 0
        self._seasonal_loss = self._plain_loss = self._spread = 0.0
        self._before = self._before_that = 0.0
        self._square = self._lagged = self._square_before = 0.0
        self._product = self._product_before = 0.0

    @property
    def spread(self) -> float:
        """The mean deviation from the level."""
        return self._spread

    def remainder(self, value: float, bucket: int) -> float:
        """Return the value less its expectation, and learn from it."""
        if self._seen == 0:
            self._level = value
        self._seen += 1
        plain = value - self._level
        mean = self._means.get(bucket, self._level)
        seasonal = value - mean
        by_hour = self._seasonal_loss < self._plain_loss
        self.usual = mean if by_hour else self._level
        carried = self._carried()
        remainder = (seasonal if by_hour else plain) - carried
        if self._spread > 0.0:
            reach = _REACH * self._spread
            plain, seasonal = max(-reach, min(reach, plain)), max(-reach, min(reach, seasonal))
        self._learn(bucket, mean, seasonal, plain, seasonal if by_hour else plain)
        return remainder

    def _carried(self) -> float:
        """Return the part of the deviation that the two before it foretell."""
        determinant = self._square * self._square_before - self._lagged * self._lagged
        if self._seen <= _AUTOREGRESSION_FROM or determinant <= 1e-9 * self._square * self._square_before:
            return 0.0
        first = self._product * self._square_before - self._product_before * self._lagged
        second = self._product_before * self._square - self._product * self._lagged
        return first / determinant * self._before + second / determinant * self._before_that

    def _learn(self, bucket: int, mean: float, seasonal: float, plain: float, deviation: float) -> None:
        rate = max(_MEMORY, 1.0 / self._seen)
        before, before_that = self._before, self._before_that
        self._square += rate * (before * before - self._square)
        self._lagged += rate * (before * before_that - self._lagged)
        self._square_before += rate * (before_that * before_that - self._square_before)
        self._product += rate * (deviation * before - self._product)
        self._product_before += rate * (deviation * before_that - self._product_before)
        self._before, self._before_that = deviation, before
        self._seasonal_loss += rate * (seasonal * seasonal - self._seasonal_loss)
        self._plain_loss += rate * (plain * plain - self._plain_loss)
        self._spread += rate * (abs(plain) - self._spread)
        self._level += max(_LEVEL_RATE, 1.0 / self._seen) * plain
        count = self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self._means[bucket] = mean + max(_SEASON_RATE, 1.0 / (count + 1)) * seasonal


class _Reference:
    """The last remainders in order of size; a new one's rank among them picks its bets."""

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._members: deque[float] = deque()
        self._waiting: deque[float] = deque()

    @property
    def full_enough(self) -> bool:
        """Whether a rank means something."""
        return len(self._sorted) >= _REFERENCE_MIN

    def bets(self, remainder: float) -> tuple[float, ...]:
        """Return the e-values of every shift for this remainder; ties count half."""
        ordered = self._sorted
        low = bisect_left(ordered, remainder)
        high = bisect_right(ordered, remainder, low)
        return _BETS[(low + high + 1) * _CELLS // (2 * (len(ordered) + 1))]

    def add(self, remainder: float) -> None:
        """Let it join once it has waited, and the oldest leave."""
        self._waiting.append(remainder)
        if len(self._waiting) <= _DELAY:
            return
        joining = self._waiting.popleft()
        insort(self._sorted, joining)
        self._members.append(joining)
        if len(self._members) > _REFERENCE:
            del self._sorted[bisect_left(self._sorted, self._members.popleft())]


class _Peaks:
    """How often and how far the sum exceeds a low level on this stream, and so where the budget's threshold lies."""

    def __init__(self) -> None:
        self.records = 0
        self._peaks = self._ended_by_alarm = 0
        self._excess = 0.0
        self._height = -1.0

    def threshold(self, records: float) -> float:
        """Return the logarithm that the sum exceeds once in so many records."""
        frequency = (_BELIEF + self._peaks) / (_BELIEF * _PEAK_RECORDS + self.records)
        # A peak that an alarm ended would have gone further: the mean of a censored exponential.
        excess = (_BELIEF * _HEAVINESS + self._excess) / (_BELIEF + self._peaks - self._ended_by_alarm)
        return _PEAK_LEVEL + excess * max(0.0, log(records * frequency))

    def take(self, height: float, threshold: float) -> bool:
        """Take the sum's logarithm after one record; return whether a peak has ended with it."""
        self.records += 1
        if height > self._height:
            self._height = height
        alarm = height >= threshold
        if not alarm and (height >= _PEAK_BASE or self._height < _PEAK_LEVEL):
            if height < _PEAK_BASE:
                self._height = -1.0
            return False
        self._peaks += 1
        self._ended_by_alarm += alarm
        self._excess += min(self._height, threshold) - _PEAK_LEVEL
        self._height = -1.0
        return True


class FalseTripBudget(Watching, Detector):
    """Detect a shift, up or down, and be wrong no more often than the user allows.

    >>> import random
    >>> rng = random.Random(1)
    >>> detector = FalseTripBudget(per_records=10_000)
    >>> detector.feed([rng.gauss(48, 2) for _ in range(1000)]), detector.ready
    ([], True)
    >>> alarm, = detector.feed([rng.gauss(56, 2) for _ in range(100)])
    >>> alarm.index < 10, alarm.text
    (True, '56.56 where 47.78 was expected: shift up')
    """

    name = "false_trip_budget"
    kind = Kind.DRIFT
    version = 2
    uses_times = True

    def __init__(self, per_records: float = 10_000.0, per_ms: float = 0.0, rest: int = 100, warm_up: int = 300) -> None:
        if not per_records > 0 or not per_ms >= 0:
            raise ValueError("a budget is one false alarm in so many records, or in so many milliseconds, above 0")
        self._per_records, self._per_ms = per_records, per_ms
        self._rest, self._warm_up = rest, warm_up
        self._seen = 0
        self._resting = 0
        self._alarms = 0
        self._interval_ms = 0.0
        self._intervals = 0
        self._last_ms: int | None = None
        self._expectation = _Expectation()
        self._reference = _Reference()
        self._peaks = _Peaks()
        self._sums = [0.0] * (2 * len(_SHIFTS))
        self._threshold = 0.0
        self._budget()

    @property
    def _learnt(self) -> bool:
        """Whether `warm_up` records were seen and there is a reference to rank among."""
        return self._seen >= self._warm_up and self._reference.full_enough

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"per_records": records}

    @property
    def nominal_records(self) -> float:
        """In how many records one false alarm is allowed, at the stream's present rate."""
        if not self._per_ms:
            return max(_RECORDS_MIN, self._per_records)
        if self._interval_ms <= 0.0:
            return _RECORDS_MIN
        return max(_RECORDS_MIN, self._per_ms / self._interval_ms)

    @property
    def observed(self) -> tuple[int, int]:
        """Alarms so far, and the records that could have raised one."""
        return self._alarms, self._peaks.records

    def _method(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        if times_ms is None and self._per_ms:
            raise ValueError("a budget in milliseconds needs the times of the values")
        alarms = []
        for index, value in enumerate(values):
            bucket = 0
            if times_ms is not None:
                bucket = bucket_of(times_ms[index])
                self._pace(times_ms[index])
            remainder = self._expectation.remainder(value, bucket)
            if self._take(remainder):
                expected = number(value - remainder)
                alarms.append(Alarm(index, f"{number(value)} where {expected} was expected: shift {self._direction()}"))
                level, spread = self._expectation.usual, _DEVIATION * self._expectation.spread
                self._learns_again(index, Watch(level, spread, value, self._rest))
                self._begin_anew()
        return alarms

    def _progress(self) -> str:
        if not self._learnt:
            return f"learning: {self._seen} of {max(self._warm_up, _REFERENCE_MIN + _DELAY)}"
        return f"{self._alarms} alarms in {self._peaks.records} records, 1 in {number(self.nominal_records)} allowed"

    def _take(self, remainder: float) -> bool:
        """Take one remainder and return whether it completes an alarm."""
        alarm = False
        if self._learnt:
            if self._resting > 0:
                self._resting -= 1
            else:
                alarm = self._bet(self._reference.bets(remainder))
        self._seen += 1
        self._reference.add(remainder)
        return alarm

    def _bet(self, bets: tuple[float, ...]) -> bool:
        self._sums = [(total + 1.0) * bet for total, bet in zip(self._sums, bets, strict=True)]
        height = log(max(sum(self._sums) / len(bets), _SUM_LEAST))
        threshold = self._threshold
        if self._peaks.take(height, threshold) or self._peaks.records % 64 == 0:
            self._budget()
        return height >= threshold

    def _budget(self) -> None:
        nominal = self.nominal_records
        between = max(nominal - self._rest, nominal / 2.0)
        overdrawn = max(1.0, (1 + self._alarms) / (1.0 + self._peaks.records / between))
        self._threshold = self._peaks.threshold(between * overdrawn**_DEBT_POWER)

    def _direction(self) -> str:
        up, down = sum(self._sums[: len(_SHIFTS)]), sum(self._sums[len(_SHIFTS) :])
        return "up" if up > down else "down"

    def _begin_anew(self) -> None:
        self._alarms += 1
        self._sums = [0.0] * len(self._sums)
        self._resting = self._rest
        self._expectation.begin_anew()
        self._budget()

    def _pace(self, time_ms: int) -> None:
        """Learn the mean time between records; repeated or earlier times and long gaps teach little."""
        if self._last_ms is None:
            self._last_ms = time_ms
            return
        interval = max(0.0, float(time_ms - self._last_ms))
        self._last_ms = max(self._last_ms, time_ms)
        if self._interval_ms > 0.0:
            interval = min(interval, _INTERVAL_REACH * self._interval_ms)
        self._intervals += 1
        self._interval_ms += max(_INTERVAL_RATE, 1.0 / self._intervals) * (interval - self._interval_ms)

    def _part(self) -> float:
        total = sum(self._sums) / len(self._sums)
        return log(max(total, 1.0)) / self._threshold if self._threshold > 0 else 0.0
