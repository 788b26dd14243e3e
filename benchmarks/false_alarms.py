"""How often detectors are wrong, beside what they promise; and how soon they are right.

Records per false alarm, nominal beside observed, on three streams in which nothing changes (independent normal,
Student's t with three degrees of freedom, an autoregression of .7) and on real telemetry: NAB's and
cloud-monitoring's series outside their labelled windows. Those hold changes that nobody labelled, which count as
false alarms here. Delay: records from a step of 1, 2, 3 or 5 standard deviations, after 1,200 normal ones, to
the first alarm, and how many of the steps are not noticed within 1,000 records. The exact run lengths of the charts
stand beside the published ones.

Nominal is given where a detector promises records per false alarm; river's detectors do not.

    make bench NAME=false_alarms
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from statistics import median
from typing import Any

import harness
import nab_scoring
import numpy as np
from cloud_monitoring import load as load_cloud
from nab_scoring import Series
from river import drift

from failshut_detectors import Adwin, Alarm, Cusum, Detector, Ewma, FalseTripBudget, PageHinkley, SeasonalRecord
from failshut_detectors.run_lengths import two_sided_cusum_arl

SEED = 20_240_601
RECORDS = 300_000
SLOW_RECORDS = 20_000  # of a stream, for a detector that takes 200 us a record
BEFORE, AFTER, STEPS = 1_200, 1_000, 60
SIGMAS = (1.0, 2.0, 3.0, 5.0)
LOOKED_AT = 300
# D. C. Montgomery, Introduction to Statistical Quality Control, table 9.3: two-sided CUSUM, k = 1/2, by shift and h.
PUBLISHED_CUSUM = {
    4.0: {0: 168, 0.25: 74.2, 0.5: 26.6, 0.75: 13.3, 1: 8.38, 1.5: 4.75, 2: 3.34, 2.5: 2.62, 3: 2.19, 4: 1.71},
    5.0: {0: 465, 0.25: 139, 0.5: 38.0, 0.75: 17.0, 1: 10.4, 1.5: 5.75, 2: 4.01, 2.5: 3.11, 3: 2.57, 4: 2.01},
}


class Rivers:
    """A bare detector of river's behind our contract."""

    uses_times = False
    ready = True

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def feed(self, values: Sequence[float], times_ms: Sequence[int] | None = None) -> list[Alarm]:
        found = []
        for index, value in enumerate(values):
            self._detector.update(value)
            if self._detector.drift_detected:
                found.append(Alarm(index, ""))
        return found

    def summary(self) -> str:
        return ""


CONTENDERS: dict[str, tuple[Callable[[], Detector], float | None]] = {
    "false_trip_budget 1 in 1,000": (lambda: FalseTripBudget(per_records=1_000), 1_000),
    "false_trip_budget 1 in 10,000": (lambda: FalseTripBudget(per_records=10_000), 10_000),
    "seasonal_record": (SeasonalRecord, None),
    "cusum 1 in 1,000": (lambda: Cusum(arl=1_000), 1_000),
    "cusum 1 in 10,000": (lambda: Cusum(arl=10_000), 10_000),
    "ewma 1 in 1,000": (lambda: Ewma(arl=1_000), 1_000),
    "ewma 1 in 10,000": (lambda: Ewma(arl=10_000), 10_000),
    "adwin": (Adwin, None),
    "page_hinkley": (PageHinkley, None),
    "river ADWIN": (lambda: Rivers(drift.ADWIN()), None),
    "river PageHinkley": (lambda: Rivers(drift.PageHinkley()), None),
    "river KSWIN (seed 1)": (lambda: Rivers(drift.KSWIN(seed=1)), None),
}


def streams() -> dict[str, list[float]]:
    """Three streams in which nothing changes, each of variance 1 but the heavy-tailed one (3)."""
    lots = np.random.default_rng(SEED)
    noise = lots.standard_normal(RECORDS)
    carried = np.empty(RECORDS)
    value = 0.0
    for index, shock in enumerate((noise * sqrt(1 - 0.7 * 0.7)).tolist()):
        value = 0.7 * value + shock
        carried[index] = value
    return {
        "independent": lots.standard_normal(RECORDS).tolist(),
        "t3": lots.standard_t(3, RECORDS).tolist(),
        "AR(.7)": carried.tolist(),
    }


def slow(name: str) -> bool:
    return "KSWIN" in name


def per_alarm(records: int, alarms: int) -> float:
    """Records per alarm; where there was none, at least as many as there were."""
    return records / max(1, alarms)


def on_real(series: Iterable[Series], make: Callable[[], Detector]) -> tuple[int, int]:
    """Records outside windows, after the first 300, and alarms among them."""
    records = alarms = 0
    for each in series:
        counts = np.ones(len(each.values), dtype=bool)
        counts[:LOOKED_AT] = False
        for start, end in each.windows:
            counts[start : end + 1] = False
        found = make().feed(each.values.tolist(), each.times_ms.tolist())
        alarms += sum(bool(counts[alarm.index]) for alarm in found)
        records += int(counts.sum())
    return records, alarms


def delays(make: Callable[[], Detector], sigma: float, steps: int) -> tuple[float, float]:
    """Median records from a step to the first alarm, and the share of steps that are not noticed."""
    rng = random.Random(SEED)
    found = []
    for _ in range(steps):
        values = [rng.gauss(0.0, 1.0) + (sigma if index >= BEFORE else 0.0) for index in range(BEFORE + AFTER)]
        first = next((alarm.index for alarm in make().feed(values) if alarm.index >= BEFORE), None)
        if first is not None:
            found.append(first - BEFORE + 1)
    return (float(median(found)) if found else float(AFTER)), 1.0 - len(found) / steps


def charts(report: harness.Report) -> None:
    """Exact run lengths beside the published table."""
    apart = 0.0
    for decision, row in PUBLISHED_CUSUM.items():
        for shift, published in row.items():
            exact = two_sided_cusum_arl(0.5, decision, shift)
            apart = max(apart, abs(exact - published) / published)
            report.figure(f"CUSUM k=.5 h={decision:g} shift {shift:g} (published {published})", exact, "records")
    report.goal("CUSUM: largest difference from the published table", apart, 0.01)


def factor(observed: float, nominal: float) -> float:
    """How far apart, as a factor of at least 1."""
    return max(observed / nominal, nominal / observed)


def main() -> None:
    report = harness.Report("false_alarms", ["failshut", "numpy", "river"])
    charts(report)
    sources = streams()
    folder = nab_scoring.datasets()
    real: dict[str, Sequence[Series]] = {}
    if folder is None:
        harness.say("No data sets here: real telemetry is left out. Name their folder in FAILSHUT_DATASETS.")
    else:
        real = {
            "NAB outside windows": nab_scoring.load(folder / "nab").series,
            "cloud outside windows": load_cloud(folder / "cloud-monitoring"),
        }
    goals: list[tuple[str, float]] = []
    for name, (make, nominal) in CONTENDERS.items():
        said = f" (nominal {nominal:,.0f})" if nominal else ""
        for source, values in sources.items():
            harness.say(f"{name} on {source}")
            some = values[:SLOW_RECORDS] if slow(name) else values
            observed = per_alarm(len(some), len(make().feed(some)))
            report.figure(f"{name}, {source}{said}", observed, "records/alarm")
            if isinstance(make(), FalseTripBudget) and nominal:
                goals.append((f"{name}, {source}: factor from nominal", factor(observed, nominal)))
        for source, series in real.items():
            if slow(name):
                continue
            harness.say(f"{name} on {source}")
            observed = per_alarm(*on_real(series, make))
            report.figure(f"{name}, {source}{said}", observed, "records/alarm")
            if isinstance(make(), FalseTripBudget) and nominal:
                goals.append((f"{name}, {source}: factor from nominal", factor(observed, nominal)))
        for sigma in SIGMAS:
            delay, missed = delays(make, sigma, 5 if slow(name) else STEPS)
            report.figure(f"{name}: delay at {sigma:g} sigma", delay, "records")
            report.figure(f"{name}: missed at {sigma:g} sigma", missed, "share")
    for name, apart in goals:
        report.goal(name, apart, 2.0)
    report.finish()


if __name__ == "__main__":
    main()
