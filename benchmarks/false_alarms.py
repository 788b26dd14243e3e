"""How often detectors are wrong, beside what they promise; and how soon they are right.

On values: records per false alarm, nominal beside observed, on three streams in which nothing changes (independent
normal, Student's t with three degrees of freedom, an autoregression of .7) and on real telemetry: NAB's and
cloud-monitoring's series outside their labelled windows, as they are and deseasonalised (each value less the median of its
hour of the week, or of its hour of the day where the series spans no more than two weeks: with the whole series known).
Those hold changes that nobody labelled, which count as false alarms here. Delay: records from a step of 1, 2, 3 or 5
standard deviations, after 1,200 normal records, to the first alarm, and how many of the steps are not noticed within
1,000 records (60 steps); the same for the step back, 600 records after a step: what a detector still notices soon after an
alarm (20 steps).

On events: events per false alarm where 1 or 5 % do not conform, on one long stream and on 60 that have only begun (5,000
events each: what is compared with all that was seen is wrong early or never); delay from 1 % to 10, 20 and 50 %.

On vectors of three metrics: vectors per false alarm, independent and correlated (.8) normal; delay of a step of all
three together.

The exact run lengths of the charts stand beside the published ones. Nominal is given where a detector promises records
per false alarm. Slow detectors (KSWIN, half-space trees) get streams of 20,000 records, 20 steps, no real telemetry and no
step back.

    make bench NAME=false_alarms
    .venv/bin/python benchmarks/false_alarms.py values     # or events, vectors: that part alone
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from statistics import median
from typing import Any

import harness
import nab_scoring
import numpy as np
from cloud_monitoring import load as load_cloud
from detector_contenders import EVENTS, METRICS, VALUES, VECTORS, Contender, ours, rivers
from nab_scoring import Series

from failshut_detectors.shared.run_lengths import two_sided_cusum_arl

SEED = 20_240_601
RECORDS = 300_000
SLOW_RECORDS = 20_000  # of a stream, for a detector that is slow
BEFORE, AFTER, STEPS, FEW_STEPS = 1_200, 1_000, 60, 20
BACK_AFTER = 600  # records from a step to the step back
SIGMAS = (1.0, 2.0, 3.0, 5.0)
VECTOR_SIGMAS = (0.5, 1.0, 2.0, 3.0)
SHARES, SHARES_AFTER = (0.01, 0.05), (0.1, 0.2, 0.5)  # of events that do not conform
FRESH = 5_000  # events of a stream that has only begun
CORRELATION = 0.8
LOOKED_AT = 300
TWO_WEEKS_MS, DAY_MS, HOUR_MS = 1_209_600_000, 86_400_000, 3_600_000
PROMISES = (1_000.0, 10_000.0)
# D. C. Montgomery, Introduction to Statistical Quality Control, table 9.3: two-sided CUSUM, k = 1/2, by shift and h.
PUBLISHED_CUSUM = {
    4.0: {0: 168, 0.25: 74.2, 0.5: 26.6, 0.75: 13.3, 1: 8.38, 1.5: 4.75, 2: 3.34, 2.5: 2.62, 3: 2.19, 4: 1.71},
    5.0: {0: 465, 0.25: 139, 0.5: 38.0, 0.75: 17.0, 1: 10.4, 1.5: 5.75, 2: 4.01, 2.5: 3.11, 3: 2.57, 4: 2.01},
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


def events(share: float, count: int, seed: int = SEED) -> list[float]:
    """Independent events; so large a share does not conform."""
    rng = random.Random(seed)
    return [float(rng.random() >= share) for _ in range(count)]


def vectors(correlation: float, count: int, seed: int = SEED, sigma: float = 0.0) -> list[list[float]]:
    """Normal vectors, each two metrics as correlated; every metric shifted by so many standard deviations."""
    rng = random.Random(seed)
    common, own = sqrt(correlation), sqrt(1.0 - correlation)
    found = []
    for _ in range(count):
        together = common * rng.gauss(0.0, 1.0)
        found.append([together + own * rng.gauss(0.0, 1.0) + sigma for _ in range(METRICS)])
    return found


def deseasonalised(series: Series) -> Series:
    """Each value less the median of its hour of the week, or of the day where the series is no longer than two weeks."""
    hours = series.times_ms // HOUR_MS
    weekly = series.times_ms[-1] - series.times_ms[0] > TWO_WEEKS_MS
    bucket = hours % 168 if weekly else hours % 24
    values = series.values.copy()
    for each in np.unique(bucket):
        values[bucket == each] -= np.median(series.values[bucket == each])
    return Series(series.name, values, series.times_ms, series.windows)


def per_alarm(records: int, alarms: int) -> float:
    """Records per alarm; where there was none, at least as many as there were."""
    return records / max(1, alarms)


def on_real(series: Iterable[Series], make: Callable[[], Any]) -> tuple[int, int]:
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


def delay_of(make: Callable[[], Any], stream: Callable[[int], list[Any]], change: int, steps: int) -> tuple[float, float]:
    """Median records from record `change` of `stream` (of a seed) to the first alarm, and the share of changes not noticed."""
    found = []
    for step in range(steps):
        values = stream(SEED + step)
        first = next((alarm.index for alarm in make().feed(values) if alarm.index >= change), None)
        if first is not None:
            found.append(first - change + 1)
    return (float(median(found)) if found else float(AFTER)), 1.0 - len(found) / steps


def stepped(sigma: float, back: bool = False) -> Callable[[int], list[float]]:
    """Normal values with a step up, which ends after BACK_AFTER records where `back` is true."""

    def stream(seed: int) -> list[float]:
        rng = random.Random(seed)
        end = BEFORE + BACK_AFTER if back else BEFORE + AFTER
        count = BEFORE + AFTER + (BACK_AFTER if back else 0)
        return [rng.gauss(0.0, 1.0) + (sigma if BEFORE <= index < end else 0.0) for index in range(count)]

    return stream


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


def count(report: harness.Report, goals: list[tuple[str, float]], contender: Contender, source: str, observed: float) -> None:
    """Add how often it was wrong on a source, and for the budget detector a goal."""
    said = f" (nominal {contender.nominal:,.0f})" if contender.nominal else ""
    report.figure(f"{contender.name}, {source}{said}", observed, "records/alarm")
    if contender.name.startswith("false_trip_budget") and contender.nominal:
        goals.append((f"{contender.name}, {source}: factor from nominal", factor(observed, contender.nominal)))


def noticed(
    report: harness.Report,
    contender: Contender,
    what: str,
    stream: Callable[[int], list[Any]],
    change: int,
    steps: int = STEPS,
) -> None:
    """Add how soon it notices a change."""
    delay, missed = delay_of(contender.make, stream, change, FEW_STEPS if contender.slow else steps)
    report.figure(f"{contender.name}: delay {what}", delay, "records")
    report.figure(f"{contender.name}: not noticed {what}", missed, "share")


def on_values(report: harness.Report, goals: list[tuple[str, float]], real: dict[str, Sequence[Series]]) -> None:
    """Every detector on values."""
    sources = streams()
    for contender in (*ours(VALUES, PROMISES), *rivers(VALUES)):
        harness.say(contender.name)
        for source, values in sources.items():
            some = values[:SLOW_RECORDS] if contender.slow else values
            count(report, goals, contender, source, per_alarm(len(some), len(contender.make().feed(some))))
        for source, series in real.items():
            if not contender.slow:
                count(report, goals, contender, source, per_alarm(*on_real(series, contender.make)))
        for sigma in SIGMAS:
            noticed(report, contender, f"at {sigma:g} sigma", stepped(sigma), BEFORE)
            if not contender.slow:
                back = f"of the step back at {sigma:g} sigma"
                noticed(report, contender, back, stepped(sigma, True), BEFORE + BACK_AFTER, FEW_STEPS)


def on_events(report: harness.Report, goals: list[tuple[str, float]]) -> None:
    """Every detector on events."""
    for contender in (*ours(EVENTS, PROMISES), *rivers(EVENTS)):
        harness.say(contender.name)
        for share in SHARES:
            observed = per_alarm(RECORDS, len(contender.make().feed(events(share, RECORDS))))
            count(report, goals, contender, f"{share:.0%} not conforming", observed)
            alarms = sum(len(contender.make().feed(events(share, FRESH, SEED + each))) for each in range(STEPS))
            count(report, goals, contender, f"{share:.0%} not conforming, fresh", per_alarm(STEPS * FRESH, alarms))
        for after in SHARES_AFTER:

            def worse(seed: int, after: float = after) -> list[float]:
                return [*events(SHARES[0], BEFORE, seed), *events(after, AFTER, seed + STEPS)]

            noticed(report, contender, f"from {SHARES[0]:.0%} to {after:.0%}", worse, BEFORE)


def on_vectors(report: harness.Report, goals: list[tuple[str, float]]) -> None:
    """Every detector on vectors."""
    for contender in ours(VECTORS, PROMISES):
        harness.say(contender.name)
        for label, correlation in (("independent", 0.0), ("correlated", CORRELATION)):
            observed = per_alarm(RECORDS, len(contender.make().feed(vectors(correlation, RECORDS))))
            count(report, goals, contender, label, observed)
            for sigma in VECTOR_SIGMAS:

                def shifted(seed: int, correlation: float = correlation, sigma: float = sigma) -> list[list[float]]:
                    return [*vectors(correlation, BEFORE, seed), *vectors(correlation, AFTER, seed + STEPS, sigma)]

                noticed(report, contender, f"at {sigma:g} sigma, {label}", shifted, BEFORE)


def real_series() -> dict[str, Sequence[Series]]:
    """NAB's and cloud-monitoring's, as they are and deseasonalised; nothing where there are no data sets."""
    folder = nab_scoring.datasets()
    if folder is None:
        harness.say("No data sets here: real telemetry is left out. Name their folder in FAILSHUT_DATASETS.")
        return {}
    nab, cloud = nab_scoring.load(folder / "nab").series, load_cloud(folder / "cloud-monitoring")
    return {
        "NAB": nab,
        "cloud": cloud,
        "NAB deseasonalised": [deseasonalised(each) for each in nab],
        "cloud deseasonalised": [deseasonalised(each) for each in cloud],
    }


def main() -> None:
    report = harness.Report("false_alarms", ["failshut", "numpy", "river"])
    goals: list[tuple[str, float]] = []
    parts = sys.argv[1:] or [VALUES, EVENTS, VECTORS]
    if VALUES in parts:
        charts(report)
        on_values(report, goals, real_series())
    if EVENTS in parts:
        on_events(report, goals)
    if VECTORS in parts:
        on_vectors(report, goals)
    for name, apart in goals:
        report.goal(name, apart, 2.0)
    report.finish()


if __name__ == "__main__":
    main()
