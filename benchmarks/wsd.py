"""Service telemetry at one record a minute: 30 series of web services, 25 days each, labelled by people (WSD).

An event is a run of labelled records, found when a detector speaks within it or at most three records before or after it,
as in cloud_monitoring.py; the figure where no record near counts stands beside. Every other alarm is a false one. The first
day of each series is left out. The same at five minutes, each record the mean of five. Our constants of `local_seasonal`
were chosen on these series, NAB, cloud-monitoring and the incidents of incidents.py together; docs/detectors.md has the
folds.

Data: WSD (AnoTransfer), in wsd/wsd-dev.npz of FAILSHUT_DATASETS; without it the benchmark says so and ends.

    make bench NAME=wsd
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import median

import harness
import numpy as np
from cloud_monitoring import NEAR, judge
from detector_contenders import SLOW, VALUES, Contender, ours
from nab_scoring import Series, datasets

from failshut_detectors import Alarm

DAY = 1_440  # records of a minute
GOAL_F1, GOAL_FALSE = 0.62, 3.0


class MovingAverage:
    """What a user writes in six lines: beyond so many deviations of the last hour, and not again within the hour."""

    def __init__(self, deviations: float = 6.0, window: int = 60) -> None:
        self._deviations, self._window = deviations, window
        self._last: deque[float] = deque(maxlen=window)
        self._sum = self._squares = 0.0
        self._quiet = 0

    def feed(self, values: Sequence[float], times_ms: Sequence[int]) -> list[Alarm]:
        alarms = []
        for index, value in enumerate(values):
            self._quiet -= 1
            if len(self._last) == self._window:
                mean = self._sum / self._window
                deviation = sqrt(max(0.0, self._squares / self._window - mean * mean))
                if self._quiet < 0 and abs(value - mean) > self._deviations * deviation:
                    alarms.append(Alarm(index, "far"))
                    self._quiet = self._window
                oldest = self._last[0]
                self._sum, self._squares = self._sum - oldest, self._squares - oldest * oldest
            self._last.append(value)
            self._sum, self._squares = self._sum + value, self._squares + value * value
        return alarms


def load(path: Path, minutes: int = 1) -> list[Series]:
    """Read the series, each record the mean of so many minutes; windows are runs of labelled records."""
    held, found = np.load(path), []
    for name in sorted({key.split(".")[0] for key in held}, key=int):
        count = len(held[f"{name}.value"]) // minutes * minutes
        values = held[f"{name}.value"][:count].astype(float).reshape(-1, minutes).mean(axis=1)
        labels = held[f"{name}.label"][:count].reshape(-1, minutes).max(axis=1).astype(np.int64)
        times_ms = held[f"{name}.time"][:count:minutes].astype(np.int64) * 1000
        edges = np.diff(np.concatenate([[0], labels, [0]]))
        windows = zip(np.nonzero(edges == 1)[0].tolist(), (np.nonzero(edges == -1)[0] - 1).tolist(), strict=True)
        found.append(Series(name, values, times_ms, tuple(windows)))
    return found


def data() -> Path | None:
    """Return where the data are, if anywhere."""
    folder = datasets()
    path = folder / "wsd" / "wsd-dev.npz" if folder else None
    return path if path and path.exists() else None


def contenders() -> list[Contender]:
    """Every detector on values but the slow ones, and what a user writes in six lines."""
    found = [one for one in ours(VALUES) if one.name not in SLOW]
    return [*found, Contender("moving average, 6 deviations", MovingAverage)]


def measured(report: harness.Report, series: Sequence[Series], minutes: int, contender: Contender) -> tuple[float, float]:
    """Add a contender's figures; return F1 and false alarms per series and 30 days."""
    alarms, first = [], DAY // minutes
    for one in series:
        found = contender.make().feed(one.values.tolist(), one.times_ms.tolist())
        alarms.append([alarm.index for alarm in found])
    outcome, strict = judge(series, alarms, NEAR, first), judge(series, alarms, 0, first)
    days = sum(len(one.values) - first for one in series) * minutes / DAY
    false = outcome.false_alarms / days * 30.0
    name = f"{contender.name}, {minutes} min"
    report.figure(f"{name}: F1", outcome.f1, "")
    report.figure(f"{name}: recall", outcome.recall, "")
    report.figure(f"{name}: false alarms per series and 30 days", false, "")
    report.figure(f"{name}: F1 where no record near counts", strict.f1, "")
    if outcome.delays:
        report.figure(f"{name}: delay, median", median(outcome.delays), "records")
    return outcome.f1, false


def main() -> None:
    path = data()
    if path is None:
        harness.say("Skipped: no data set here. Name the folder that holds wsd/wsd-dev.npz in FAILSHUT_DATASETS.")
        return
    report = harness.Report("wsd", ["failshut", "numpy"])
    goals = (0.0, 99.0)
    for minutes in (1, 5):
        series = load(path, minutes)
        for contender in contenders():
            harness.say(f"{contender.name} at {minutes} min")
            found = measured(report, series, minutes, contender)
            if contender.name == "local_seasonal" and minutes == 1:
                goals = found
    report.goal("local_seasonal, 1 min: F1 short of 0.62", max(0.0, GOAL_F1 - goals[0]), 0.0)
    report.goal("local_seasonal, 1 min: false alarms per series and 30 days", goals[1], GOAL_FALSE)
    report.finish()


if __name__ == "__main__":
    main()
