"""Local and seasonal: a stream that is unlike its last minutes, unlike this time on other days, restless, or stuck.

What people call an incident on service telemetry is mostly one of four things, and each has a signal here:

- local: the value's distance from a moving average, in usual distances; there are a slow and a quick average;
- daily: how far a short average lies outside the half hours at this time on the last seven days, the neighbouring ones
  included;
- restless: the change from one record to the next, lately beside always;
- stuck: records since the value moved, and since it was another than the same three.

How large a signal must be follows from the stream's own days (own_past.py), so that milliseconds and requests, calm streams and
restless ones, are judged alike.

An alarm is not repeated while its cause lasts, but what follows is heard. On the same side it takes 1.3 times as much, after
sixty quiet records 0.7 times, and less with every record. On the other side, and for a value that is stuck, it takes no
more than ever.

Sources: those of own_past.py; the combination is ours. docs/detectors.md says what it hears, and what was chosen on which data.

Parameters: `quiet` multiplies every threshold. `stuck` (records) is how long a value stands still at least before that is
an alarm. `warm_up` (records) comes before the first alarm. Times are milliseconds since 1970, and days are UTC's. Without
times there is no daily signal, and a day is 1,440 records.

Limits: it is made for a record every second to every hour, and makes no promise of how often it is wrong. In its first days
it knows few days. What lasts for a hundred records is usual to the local signals, what lasts for a week to the daily one. A
weekend's level on a working day is within the range of seven days, and not heard. Rare events (nearly always 0) are judged
by their share: use a rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from failshut_detectors.contract import Alarm, Detector, Kind, number
from failshut_detectors.shared.own_past import Alarms, Average, Days, Threshold

_HALF_HOUR_MS, _HALF_HOURS, _DAYS = 1_800_000, 48, 7
_COMPARED_MIN = 6  # half hours
_BACK = 4  # half hours: times that go back so far begin anew
_REACH = 50.0  # usual distances: the most that one value teaches of the time of day
_SMOOTH = 0.3  # of the newest value, in the average that is compared with other days
_SLOW, _QUICK = 0.04, 0.3  # rates of the two moving averages
_SCALE, _LATELY = 0.002, 0.06  # rates of what is usual, and usual lately
_CUT, _CUT_LATELY = 4.0, 8.0  # usual distances: the most that one change teaches
_RESTLESS_FROM = 100  # records
_SETTLED = 50  # records, before which nothing is known of how far is usual
_LEVEL_SHARE = 0.1  # of the level at this time of day, in the unit of the daily signal
_SET = 3  # values that are "the same few"
_MOVES_MIN = 50  # before standing still is news
_ROUNDING = 1e-9

_MOST, _NEARLY_ALL = 14 / 19, 1 / 19  # of the days, by which thresholds are set: of what is noisy, of what is rare
_FEW = 2.0  # times `stuck`
_AT_FIRST = 4.0  # times the floor of the restless signal, until three days are known: each day has its steps

SLOW, QUICK, DAILY, RESTLESS, STUCK, FEW = range(6)


class LocalSeasonalSignals:
    """The signals of one stream, record by record, without thresholds: three with a sign, the others from 0 on."""

    def __init__(self) -> None:
        self.slow, self.quick = Average(_SLOW), Average(_QUICK)
        self.seen = 0
        self.low = self.high = 0.0  # of the half hours that the daily signal compares with
        self.smooth = 0.0
        self.last = 0.0
        self._level, self._compares = 0.0, False
        self._half_hours: dict[int, list[float]] = {}
        self._half = -1
        self._sum, self._count = 0.0, 0
        self._change = self._change_lately = 0.0
        self.still = self._few = self._moves = self._sets = 0
        self._set: list[float] = []

    def update(self, value: float, time_ms: int | None) -> tuple[float, float, float, float, float, float]:
        """Take one record and return its signals."""
        seen = self.seen
        if seen == 0:
            self.last = self.smooth = value
        self.seen = seen + 1
        rate = _SCALE if seen > 500 else 1.0 / (seen + 1)
        reach = _REACH * self.slow.unit
        taught = max(self.slow.mean - reach, min(self.slow.mean + reach, value)) if seen > _SETTLED and reach else value
        slow = self.slow.away(value, rate)
        quick = self.quick.away(value, rate)
        self.smooth += _SMOOTH * (taught - self.smooth)
        daily = 0.0
        if time_ms is not None:
            half = time_ms // _HALF_HOUR_MS
            if half > self._half or half < self._half - _BACK:
                self._begin_half_hour(half)
            self._sum += taught
            self._count += 1
            daily = self._daily() if self._compares else 0.0
        return slow, quick, daily, self._restless(value, seen, rate), *self._stuck(value)

    def _begin_half_hour(self, half: int) -> None:
        if self._count:
            known = self._half_hours.setdefault(self._half % _HALF_HOURS, [])
            known.append(self._sum / self._count)
            del known[:-_DAYS]
        self._half, self._sum, self._count = half, 0.0, 0
        before, now, after = (self._half_hours.get((half + step) % _HALF_HOURS, []) for step in (-1, 0, 1))
        compared = sorted([*before[:-1], *now, *after])  # the half hour just before is today's
        self._compares = len(compared) >= _COMPARED_MIN
        if self._compares:
            self.low, self.high = compared[0], compared[-1]
            self._level = abs(compared[len(compared) // 2])

    def _daily(self) -> float:
        smooth = self.smooth
        if self.low <= smooth <= self.high:
            return 0.0
        unit = _LEVEL_SHARE * self._level + 2.0 * self.slow.unit + _ROUNDING * abs(smooth)
        return (smooth - (self.high if smooth > self.high else self.low)) / unit if unit > 0.0 else 0.0

    def _restless(self, value: float, seen: int, rate: float) -> float:
        change, scale = abs(value - self.last), self.slow.scale
        most = _CUT_LATELY * scale
        self._change_lately += _LATELY * ((change if change < most else most) - self._change_lately)
        most = _CUT * scale
        self._change += rate * ((change if change < most else most) - self._change)
        if seen <= _RESTLESS_FROM or self._change <= 0.0 or self._change_lately <= self._change:
            return 0.0
        return self._change_lately / self._change - 1.0

    def _stuck(self, value: float) -> tuple[float, float]:
        if abs(value - self.last) <= _ROUNDING * abs(value):
            self.still += 1
        else:
            self.still = 0
            self._moves += 1
        known = self._set
        if value in known:
            self._few += 1
        elif len(known) < _SET:
            known.append(value)
            self._few += 1
        else:
            self._set, self._few = [self.last, value], 1
            self._sets += 1
        self.last = value
        still = float(self.still) if self._moves >= _MOVES_MIN else 0.0
        return still, float(self._few) if self._sets >= _MOVES_MIN else 0.0


class LocalSeasonal(Detector):
    """Detect values that this stream has not had lately, nor at this time of day, and a stream that is restless or stuck.

    >>> import random
    >>> rng, detector = random.Random(1), LocalSeasonal()
    >>> detector.feed([rng.gauss(48, 2) for _ in range(1_000)]), detector.ready
    ([], True)
    >>> detector.feed([0.0])[0].text
    '0 where 48.02 was just before'
    >>> [alarm.text for alarm in detector.feed([48.0] * 20)][-1]
    '48 for 8 records: it never stood still for so long'
    """

    name = "local_seasonal"
    kind = Kind.ANOMALY
    uses_times = True

    def __init__(self, quiet: float = 1.0, stuck: int = 7, warm_up: int = 100) -> None:
        if not 0.1 <= quiet <= 100.0:
            raise ValueError(f"quiet is {quiet}, must be from 0.1 to 100")
        if stuck < 2 or warm_up < 10:
            raise ValueError(f"stuck is {stuck} and warm_up {warm_up}: at least 2 and at least 10 records")
        self._warm_up = warm_up
        self._signals = LocalSeasonalSignals()
        self._days, self._news = Days(), Alarms()
        self._thresholds = [
            Threshold(quiet * 5.5, quiet * 2.8, _MOST),
            Threshold(quiet * 9.0, quiet * 3.1, _MOST),
            Threshold(quiet * 2.0, quiet * 1.5, _MOST),
            Threshold(quiet * 1.15, quiet * 3.0, _MOST, _AT_FIRST),
            Threshold(quiet * stuck, quiet * 3.0, _NEARLY_ALL),
            Threshold(quiet * stuck * _FEW, quiet * 3.0, 0.0),
        ]
        self._reached = 0.0

    @property
    def ready(self) -> bool:
        """Whether `warm_up` records were seen."""
        return self._signals.seen >= self._warm_up

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        signals, thresholds, over = self._signals, self._thresholds, self._days.over
        update = signals.update
        for index, value in enumerate(values):
            time_ms = times_ms[index] if times_ms is not None else None
            before, kept = signals.slow.mean, signals.quick.mean
            was_ready = signals.seen >= self._warm_up
            settled = signals.seen >= _SETTLED
            found = update(value, time_ms)
            reached = 0.0
            for signal, threshold in zip(found, thresholds, strict=True):
                size = signal if signal >= 0.0 else -signal
                if size > threshold.largest and settled:
                    threshold.largest = size
                if size > reached * threshold.value:
                    reached = size / threshold.value
            if reached >= 1.0 and was_ready:
                text = self._judge(found, value, before, kept)
                if text:
                    alarms.append(Alarm(index, text))
            self._reached = reached
            if over(time_ms):
                signals.slow.end_day()
                signals.quick.end_day()
                for threshold in thresholds:
                    threshold.end_day()
        return alarms

    def _judge(self, found: Sequence[float], value: float, slow: float, quick: float) -> str:
        """Return why a record is an alarm; nothing where what it shows is no news."""
        told = ""
        for signal, (size, threshold) in enumerate(zip(found, self._thresholds, strict=True)):
            grade = abs(size) / threshold.value
            if grade < 1.0:
                continue
            side = "still" if signal >= STUCK else "up" if size > 0.0 else "down"
            if self._news.hears(self._signals.seen, side, grade) and not told:
                told = self._words(signal, value, slow, quick)
        return told

    def _words(self, signal: int, value: float, slow: float, quick: float) -> str:
        signals = self._signals
        if signal in (SLOW, QUICK):
            return f"{number(value)} where {number(slow if signal == SLOW else quick)} was just before"
        if signal == DAILY:
            where = f"{number(signals.low)} to {number(signals.high)} is usual at this time of day"
            return f"values around {number(signals.smooth)} where {where}"
        if signal == RESTLESS:
            return "from record to record it changes far more than usual"
        if signal == STUCK:
            return f"{number(value)} for {signals.still + 1} records: it never stood still for so long"
        return f"the same few values, {number(value)} among them, for longer than ever"

    def _grade(self) -> float:
        return self._reached

    def summary(self) -> str:
        """Return where the stream is, and where it is at this time on other days."""
        signals = self._signals
        if not self.ready:
            return f"learning: {signals.seen} of {self._warm_up}"
        return f"about {number(signals.slow.mean)}, usually within {number(2.5 * signals.slow.scale)} of it"
