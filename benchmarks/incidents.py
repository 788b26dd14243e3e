"""Nine kinds of incident on real telemetry: which detectors notice them within the hour, at one minute and at five.

Each of the 30 series in wsd/wsd-dev.npz is fed up to a quiet point in its last 40 % (six hours without a label before it,
three after it; the points lie at different hours of the day). From there on its own values are changed in nine ways: up by
half, double, triple, half, zero; a ramp to double over two hours; four times the deviation from a moving average of a
quarter hour; the last value for ever; and up by half for ten minutes, followed half an hour after the beginning by zero. An
incident is noticed when a detector speaks within an hour (the ramp: within its two hours; the last: within the hour, after
the second beginning). False alarms are counted over the whole series without the incident, outside labels, after the first
day.

The detector alone is judged. In a gate the first alarm is a demand, so for a gate "second" is heard with the first.

Data: WSD in FAILSHUT_DATASETS; without it the benchmark says so and ends.

    make bench NAME=incidents
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import harness
import numpy as np
from cloud_monitoring import NEAR, judge
from detector_contenders import Contender
from nab_scoring import Floats, Series
from wsd import DAY, contenders, data, load

KINDS = {
    "up by half": 20,
    "double": 27,
    "triple": 27,
    "to half": 20,
    "to zero": 27,
    "ramp": 20,
    "variance": 20,
    "stuck": 27,
    "second": 27,
}
"""Each kind, and in how many of 30 the goal wants it noticed."""

_QUIET_BEFORE, _QUIET_AFTER, _SHARE, _APART = 6, 3, 0.6, 5  # hours, hours, of the series, hours


def quiet_point(series: Series, number: int, an_hour: int) -> int:
    """Return a record with nothing labelled around it, at another hour of the day for each series."""
    labels = np.zeros(len(series.values), dtype=bool)
    for start, end in series.windows:
        labels[start : end + 1] = True
    at = int(len(labels) * _SHARE) + number * _APART * an_hour % (24 * an_hour)
    while labels[at - _QUIET_BEFORE * an_hour : at + _QUIET_AFTER * an_hour].any():
        at += an_hour
    return at


def incident(kind: str, values: Floats, at: int, an_hour: int) -> Floats:
    """Return the changed values from a record on, up to the record by which it must be noticed."""
    length = 2 * an_hour if kind == "ramp" else an_hour * 3 // 2 if kind == "second" else an_hour
    changed = values[at : at + length].copy()
    factors = {"up by half": 1.5, "double": 2.0, "triple": 3.0, "to half": 0.5, "to zero": 0.0}
    if kind in factors:
        return changed * factors[kind]
    if kind == "ramp":
        return changed * (1.0 + np.arange(length) / length)
    if kind == "variance":
        width = max(3, an_hour // 4)
        around = values[at - width : at + length + width]
        smooth = np.convolve(around, np.ones(width) / width, "same")[width : width + length]
        return smooth + 4.0 * (changed - smooth)
    if kind == "stuck":
        return np.full(length, values[at - 1])
    changed[: max(1, an_hour // 6)] *= 1.5
    changed[an_hour // 2 :] = 0.0
    return changed


def measured(report: harness.Report, series: Sequence[Series], minutes: int, contender: Contender) -> dict[str, int]:
    """Add a contender's figures; return how many of each kind it noticed."""
    an_hour = 60 // minutes
    noticed, alarms = dict.fromkeys(KINDS, 0), []
    for number, one in enumerate(series):
        at = quiet_point(one, number, an_hour)
        values, times_ms = one.values.tolist(), one.times_ms.tolist()
        detector = contender.make()
        found = [alarm.index for alarm in detector.feed(values[:at], times_ms[:at])]
        state = pickle.dumps(detector)
        alarms.append(found + [at + alarm.index for alarm in detector.feed(values[at:], times_ms[at:])])
        for kind in KINDS:
            changed = incident(kind, one.values, at, an_hour).tolist()
            heard = pickle.loads(state).feed(changed, times_ms[at : at + len(changed)])
            since = an_hour // 2 if kind == "second" else 0
            noticed[kind] += any(alarm.index >= since for alarm in heard)
    days = sum(len(one.values) - DAY // minutes for one in series) * minutes / DAY
    false = judge(series, alarms, NEAR, DAY // minutes).false_alarms / days * 30.0
    for kind, count in noticed.items():
        report.figure(f"{contender.name}, {minutes} min: {kind}", count, f"of {len(series)}")
    report.figure(f"{contender.name}, {minutes} min: false alarms per series and 30 days", false, "")
    return noticed


def main() -> None:
    path = data()
    if path is None:
        harness.say("Skipped: no data set here. Name the folder that holds wsd/wsd-dev.npz in FAILSHUT_DATASETS.")
        return
    report = harness.Report("incidents", ["failshut", "numpy"])
    for minutes in (1, 5):
        series = load(path, minutes)
        for contender in contenders():
            harness.say(f"{contender.name} at {minutes} min")
            noticed = measured(report, series, minutes, contender)
            if contender.name == "local_seasonal":
                for kind, wanted in KINDS.items():
                    report.goal(f"local_seasonal, {minutes} min: {kind}, short of {wanted}", max(0, wanted - noticed[kind]), 0)
    report.finish()


if __name__ == "__main__":
    main()
