"""What a gate does after its first closing: `make bench NAME=reopening` (FAILSHUT_DATASETS=folder of data sets).

Thirty lasting steps on quiet stretches of the series in wsd/wsd-dev.npz, for each detector of values. A stretch of 2,000
readings, one a minute, without a label, leads up to a step of four of its standard deviations. It lasts 240 readings
and ends; 400 quiet readings follow. Each runs through the condition itself, and a breaker with a cooldown of 30 minutes
and no probes. Told are:

- open: the share of the step after the first closing for which the gate was open (of those noticed). A rule says itself what
  the fault is, so with one the readings that break it are counted, and not those of the step that keep it;
- back: readings from the step's end to the gate's opening, less what was left of the cooldown (median; those that did not open
  within the 400 are counted);
- for nothing: trips in the stretch before the step, and the share of it for which the gate was closed once it first opened.

Without the data set it says so and ends.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

import numpy as np
from nab_scoring import datasets

from failshut_breakers.conditions import Condition, Moment, Status, build
from failshut_breakers.evidence.records import Samples
from failshut_breakers.policy.policy import parse_policy

LEAD, STEP, AFTER, MINUTE_MS, COOLDOWN = 2_000, 240, 400, 60_000, 30
STEPS = int(os.environ.get("FAILSHUT_STEPS", "30"))
DEVIATIONS = 4.0
CONDITIONS = {
    "adwin": "drift: {series: s/x, detector: adwin}",
    "false_trip_budget": "drift: {series: s/x, false_trips: 1 per 7d}",
    "cusum": "drift: {series: s/x, detector: cusum}",
    "page_hinkley": "drift: {series: s/x, detector: page_hinkley}",
    "kswin": "drift: {series: s/x, detector: kswin}",
    "local_seasonal": "anomaly: {series: s/x}",
    "seasonal_record": "anomaly: {series: s/x, detector: seasonal_record}",
    "standard_absolute_deviation": "anomaly: {series: s/x, detector: standard_absolute_deviation}",
    "rule and fhddm": 'conformance: {series: s/x, rule: "value <= LIMIT", window: 60, detector: fhddm}',
}


def stretches(path: Path) -> list[tuple[np.ndarray, float]]:
    """Quiet stretches, of different series as long as there are some, with their deviation."""
    held = np.load(path)
    names = sorted({key.split(".")[0] for key in held}, key=int)
    found, length = [], LEAD + STEP + AFTER
    for turn in range(4):
        for name in names:
            values, labels = held[f"{name}.value"], held[f"{name}.label"]
            for start in range(turn * length, len(values) - length, length):
                part = values[start : start + length]
                if not labels[start : start + length].any() and part[:LEAD].std() > 0:
                    found.append((part, float(part[LEAD - 500 : LEAD].std())))
                    break
            if len(found) == STEPS:
                return found
    return found


class Breaker:
    """Trips on a demand; resets after the cooldown, if its condition says nothing against it."""

    def __init__(self) -> None:
        self.tripped = 0
        self.trips = 0

    def is_open(self, at: int, condition: Condition) -> bool:
        """Return whether the gate is open at a reading."""
        demands = condition.status is Status.DEMANDS
        if self.tripped:
            if not demands and at >= self.tripped + COOLDOWN and not condition.news(self.tripped * MINUTE_MS):
                self.tripped = 0
        elif demands:
            self.tripped, self.trips = at, self.trips + 1
        return not self.tripped and condition.status is Status.HOLDS


def run(text: str, values: np.ndarray, deviation: float) -> tuple[float | None, int | None, int, float]:
    """Return the open share after the first closing, readings to the opening, and trips and closed share before."""
    limit = float(values[:LEAD].max() + 0.5 * deviation)
    condition, breaker = build(parse_policy(_policy(text.replace("LIMIT", f"{limit:.6g}"))).conditions[0]), Breaker()
    shifted = values.astype(float).copy()
    shifted[LEAD : LEAD + STEP] += DEVIATIONS * deviation
    opened = []
    for at, value in enumerate(shifted, 1):
        moment = Moment(at * MINUTE_MS, at * MINUTE_MS)
        condition.feed(Samples.of("s/x", [(at, 0, at * MINUTE_MS, float(value))]), 0, moment)
        condition.tick(moment)
        opened.append(breaker.is_open(at, condition))
        if at == LEAD:
            before = breaker.trips
    first = opened.index(True) if True in opened[:LEAD] else LEAD
    closed_before = 1.0 - float(np.mean(opened[first:LEAD])) if first < LEAD else 1.0
    during, after = opened[LEAD : LEAD + STEP], opened[LEAD + STEP :]
    closing = next((n for n in range(STEP) if not during[n]), None)
    share = None
    if closing is not None and opened[LEAD - 1]:
        fault = shifted[LEAD + closing : LEAD + STEP] > (limit if "LIMIT" in text else -np.inf)
        share = float(np.mean(np.array(during[closing:])[fault])) if fault.any() else 0.0
    back = after.index(True) if share is not None and True in after else None
    return share, back, before, closed_before


def _policy(condition: str) -> str:
    return f"gate: g\npermit: {{ttl: 3s}}\nconditions:\n  - {condition}\n"


def main() -> None:
    """Print the table."""
    folder = datasets()
    path = folder / "wsd" / "wsd-dev.npz" if folder else None
    if path is None or not path.exists():
        sys.exit("the data set is not there: FAILSHUT_DATASETS names the folder that holds wsd/wsd-dev.npz")
    found = stretches(path)
    print(f"{len(found)} steps of {DEVIATIONS:g} deviations; cooldown {COOLDOWN} readings")
    print(f"{'':28} noticed  open   back (none)  trips before  closed before")
    for name, text in CONDITIONS.items():
        results = [run(text, *one) for one in found]
        noticed = [one for one in results if one[0] is not None]
        back = [one[1] for one in noticed if one[1] is not None]
        told = f"{statistics.median(back):.0f}" if back else "-"
        share = f"{100 * statistics.fmean(one[0] or 0.0 for one in noticed):.1f} %" if noticed else "-"
        before, closed = sum(one[2] for one in results), 100 * statistics.fmean(one[3] for one in results)
        print(
            f"{name:28} {len(noticed):7} {share:>6} {told:>6} ({len(noticed) - len(back)}) {before:13} {closed:13.1f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
