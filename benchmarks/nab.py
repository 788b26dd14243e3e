"""How good our detectors are on the Numenta Anomaly Benchmark, beside river's and the published leaderboard.

Every detector reads each of the 58 files once, record by record, and sees nothing but values and times: no
range, no length, no label. The scorer is proven first, on the two detectors for which the data set holds
the score of every record.

In-sample means the thresholds that a detector comes with, which were chosen on this corpus. Cross-validated
means: ten folds of files; for each, the four thresholds are chosen anew on the other nine (the grid point
whose neighbourhood scores best there) and judged on it. Rates and windows inside the detector stay, and were
chosen while looking at the whole corpus: a cross-validated figure says nothing about that choice.

    make bench NAME=nab
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import harness
import nab_scoring as scoring
import numpy as np
from detector_contenders import VALUES, ours, rivers
from nab_scoring import Corpus, Floats
from river import anomaly

from failshut_detectors.methods.seasonal import SeasonalSignals, bucket_of

FOLDS = 10
REST_MS, WARM_UP = 28_800_000, 100
GRID: tuple[tuple[float, ...], ...] = (
    (0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, inf),  # range
    (0.01, 0.02, 0.03, 0.045, 0.07, 0.1, inf),  # smoothed
    (0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 1.0),  # level
    (20.0, 35.0, 50.0, 70.0, 100.0, 140.0, inf),  # spike
)


def alarms_of(corpus: Corpus, make: Callable[[], Any]) -> tuple[list[Floats], float, int]:
    """Return the scores (1 at an alarm), microseconds a record and the bytes of the largest state at a file's end."""
    scores, state, took = [], 0, 0.0
    for series in corpus.series:
        detector = make()
        found = np.zeros(len(series.values))
        values, times = series.values.tolist(), series.times_ms.tolist()
        began = time.process_time()
        alarms = detector.feed(values, times)
        took += time.process_time() - began
        for alarm in alarms:
            found[alarm.index] = 1.0
        scores.append(found)
        state = max(state, len(pickle.dumps(detector)))
    records = sum(len(series.values) for series in corpus.series)
    return scores, took / records * 1e6, state


def deviations_of(corpus: Corpus) -> list[Floats]:
    """River's StandardAbsoluteDeviation, scored by its own graded score."""
    scores = []
    for series in corpus.series:
        detector = anomaly.StandardAbsoluteDeviation()
        found = np.zeros(len(series.values))
        for index, value in enumerate(series.values.tolist()):
            found[index] = float(detector.score_one(None, value))
            detector.learn_one(None, value)
        scores.append(np.nan_to_num(found, posinf=1e12))
    return scores


def signals_of(corpus: Corpus) -> list[Floats]:
    """Each file's four signals, record by record."""
    found = []
    for series in corpus.series:
        update = SeasonalSignals(WARM_UP).update
        rows = zip(series.values.tolist(), series.times_ms.tolist(), strict=True)
        found.append(np.array([update(value, bucket_of(at)) for value, at in rows]))
    return found


def gains_over_grid(corpus: Corpus, signals: list[Floats], profile: scoring.Profile) -> Floats:
    """Each file's gain over silence for every combination of thresholds: an array (grid..., files)."""
    shape = tuple(len(axis) for axis in GRID)
    axes = [np.array(axis).reshape([-1 if k == place else 1 for k in range(len(GRID))]) for place, axis in enumerate(GRID)]
    found = np.zeros((*shape, len(corpus.series)))
    for number, series in enumerate(corpus.series):
        rewards, window = corpus.rewards(number, profile)
        last_ms = np.full(shape, -REST_MS - 1, dtype=np.int64)
        best = np.full((max(1, len(series.windows)), *shape), -profile.miss)
        candidates = np.nonzero((signals[number] > [min(axis) for axis in GRID]).any(axis=1))[0]
        for row in candidates[candidates >= WARM_UP]:
            fires = series.times_ms[row] - last_ms > REST_MS
            exceeds = [signals[number][row, place] > axis for place, axis in enumerate(axes)]
            fires &= exceeds[0] | exceeds[1] | exceeds[2] | exceeds[3]
            last_ms[fires] = series.times_ms[row]
            if window[row] >= 0:
                best[window[row]][fires] = np.maximum(best[window[row]][fires], rewards[row])
            elif window[row] == scoring.OUTSIDE:
                found[..., number][fires] += rewards[row]
        if series.windows:
            found[..., number] += (best + profile.miss).sum(axis=0)
    return found


def neighbourhood(sums: Floats) -> Floats:
    """Each grid point's mean with its neighbours along every axis: a lucky point among poor ones is not chosen."""
    for axis, length in enumerate(sums.shape):
        below, above = np.maximum(np.arange(length) - 1, 0), np.minimum(np.arange(length) + 1, length - 1)
        sums = (np.take(sums, below, axis) + 2 * sums + np.take(sums, above, axis)) / 4
    return sums


def cross_validated(corpus: Corpus, gains: Floats, folds: list[list[int]], profile: scoring.Profile) -> float:
    """The score when each fold's thresholds were chosen on the others."""
    every = gains.sum(axis=-1)
    raw = corpus.silence(range(len(corpus.series)), profile)
    for fold in folds:
        training = neighbourhood(every - gains[..., fold].sum(axis=-1))
        chosen = np.unravel_index(int(training.argmax()), training.shape)
        raw += float(gains[chosen][fold].sum())
    return corpus.scaled(raw, profile)


def other_folds(corpus: Corpus, seed: int) -> list[list[int]]:
    """Ten folds by lot."""
    order = np.random.default_rng(seed).permutation(len(corpus.series))
    return [sorted(int(row) for row in part) for part in np.array_split(order, FOLDS)]


def prove_scorer(report: harness.Report, corpus: Corpus, folder: Path) -> dict[str, dict[str, float]]:
    """Score what NAB has scored, and return its leaderboard."""
    published: dict[str, dict[str, float]] = json.loads((folder / "results" / "final_results.json").read_text())
    silent = [np.zeros(len(series.values)) for series in corpus.series]
    report.figure("scorer: null", corpus.score(silent, scoring.STANDARD)[0], "points")
    apart = 0.0
    for name in ("numenta", "windowedGaussian"):
        score, _ = corpus.score(scoring.published_scores(folder, name, corpus), scoring.STANDARD)
        report.figure(f"scorer: {name} (published {published[name]['standard']:.2f})", score, "points")
        apart = max(apart, abs(score - published[name]["standard"]))
    report.goal("scorer: largest difference from a published score", apart, 1e-6)
    return published


def show(report: harness.Report, corpus: Corpus, name: str, scores: list[Floats]) -> float:
    """Add the three profiles' figures and return the standard one."""
    for profile in scoring.PROFILES:
        report.figure(f"{name}: {profile.name}", corpus.score(scores, profile)[0], "points")
    return corpus.score(scores, scoring.STANDARD)[0]


def main() -> None:
    datasets = scoring.datasets()
    if datasets is None or not (datasets / "nab").is_dir():
        harness.say("Skipped: no data sets here. Name their folder in FAILSHUT_DATASETS.")
        return
    report = harness.Report("nab", ["failshut", "numpy", "river"])
    harness.say("Reading the corpus")
    corpus = scoring.load(datasets / "nab")
    published = prove_scorer(report, corpus, datasets / "nab")
    standard: dict[str, float] = {}
    for contender in (*ours(VALUES), *rivers(VALUES)):
        name = contender.name
        harness.say(f"{name} on {len(corpus.series)} files")
        scores, cost_us, state = alarms_of(corpus, contender.make)
        standard[name] = show(report, corpus, name, scores)
        report.figure(f"{name}: cost", cost_us, "us/record")
        report.figure(f"{name}: state", state, "bytes")
        report.figure(f"{name}: alarms", sum(float(each.sum()) for each in scores), "")
    show(report, corpus, "river's standard_absolute_deviation, best threshold", deviations_of(corpus))
    harness.say("Cross-validating seasonal_record over its thresholds")
    signals = signals_of(corpus)
    for profile in scoring.PROFILES:
        gains = gains_over_grid(corpus, signals, profile)
        folded = cross_validated(corpus, gains, corpus.folds(FOLDS), profile)
        report.figure(f"seasonal_record, cross-validated: {profile.name}", folded, "points")
        if profile is scoring.STANDARD:
            standard["cross-validated"] = folded
            lots = [cross_validated(corpus, gains, other_folds(corpus, seed), profile) for seed in range(20)]
            report.figure("seasonal_record, cross-validated: mean of 20 other folds", float(np.mean(lots)), "points")
            report.figure("seasonal_record, cross-validated: worst of them", min(lots), "points")
    for name, scored in sorted(published.items(), key=lambda item: -item[1]["standard"]):
        report.figure(f"published: {name}", scored["standard"], "points")
    report.goal("seasonal_record: points short of 78 (standard)", max(0.0, 78.0 - standard["seasonal_record"]), 0.0)
    report.goal("seasonal_record: points short of 75 (cross-validated)", max(0.0, 75.0 - standard["cross-validated"]), 0.0)
    report.finish()


if __name__ == "__main__":
    main()
