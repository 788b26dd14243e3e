"""For how much of the time a healthy gate is closed by each detector: 30 quiet stretches of real series, a reading a minute.

A stretch of 2,640 readings without a label, from the series in wsd/wsd-dev.npz. Each runs through the condition itself and
a breaker with a cooldown of 30 minutes and no probes, as in reopening.py. The time counts from the gate's first opening;
trips are told per series and 30 days. A demand that lasts is counted in full: a level that wanders keeps a gate closed
until it wanders back.

    make bench NAME=time_closed
"""

from __future__ import annotations

import harness
import numpy as np
from nab_scoring import Floats
from reopening import Breaker, _policy, stretches
from wsd import DAY, data

from failshut_breakers.conditions import Moment, build
from failshut_breakers.evidence.records import Samples
from failshut_breakers.policy.policy import parse_policy

CONDITIONS = {
    "local_seasonal (default)": "anomaly: {series: s/x}",
    "seasonal_record": "anomaly: {series: s/x, detector: seasonal_record}",
    "standard_absolute_deviation": "anomaly: {series: s/x, detector: standard_absolute_deviation}",
    "false_trip_budget, 1 per 30d": "drift: {series: s/x, false_trips: 1 per 30d}",
    "adwin": "drift: {series: s/x, detector: adwin}",
    "cusum": "drift: {series: s/x, detector: cusum}",
    "ewma": "drift: {series: s/x, detector: ewma}",
    "page_hinkley": "drift: {series: s/x, detector: page_hinkley}",
    "kswin": "drift: {series: s/x, detector: kswin}",
}
MINUTE_MS, GOAL = 60_000, 0.01


def run(text: str, values: Floats) -> tuple[float, int, int]:
    """Return the share of time closed since the first opening, trips, and readings since then."""
    condition, breaker = build(parse_policy(_policy(text)).conditions[0]), Breaker()
    opened = []
    for at, value in enumerate(values.tolist(), 1):
        moment = Moment(at * MINUTE_MS, at * MINUTE_MS)
        condition.feed(Samples.of("s/x", [(at, 0, at * MINUTE_MS, value)]), 0, moment)
        condition.tick(moment)
        opened.append(breaker.is_open(at, condition))
    if True not in opened:
        return 1.0, breaker.trips, len(opened)
    since = opened[opened.index(True) :]
    return 1.0 - float(np.mean(since)), breaker.trips, len(since)


def main() -> None:
    path = data()
    if path is None:
        harness.say("Skipped: no data set here. Name the folder that holds wsd/wsd-dev.npz in FAILSHUT_DATASETS.")
        return
    report = harness.Report("time_closed", ["failshut", "numpy", "river"])
    found = [part.astype(float) for part, _ in stretches(path)]
    closed: dict[str, float] = {}
    for name, text in CONDITIONS.items():
        harness.say(name)
        results = [run(text, values) for values in found]
        readings = sum(one[2] for one in results)
        closed[name] = sum(one[0] * one[2] for one in results) / readings
        report.figure(f"{name}: closed", closed[name], "share of time")
        report.figure(f"{name}: trips", sum(one[1] for one in results) / readings * 30 * DAY, "per series and 30 days")
    report.goal("local_seasonal: share of time closed", closed["local_seasonal (default)"], GOAL)
    report.finish()


if __name__ == "__main__":
    main()
