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
from nab_scoring import Series
from wsd import DAY, contenders, data, load

from failshut_replay.trial.injected import begins, injected

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
            changed = injected(kind, one.values, at, an_hour).tolist()
            heard = pickle.loads(state).feed(changed, times_ms[at : at + len(changed)])
            since = begins(kind, an_hour)
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
