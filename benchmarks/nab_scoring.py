"""The Numenta Anomaly Benchmark's score, computed by ourselves.

NAB rewards a detector for being early: within an anomaly's window only the earliest alarm counts, weighed by a
sigmoid that falls from 1 at the window's start to 0 at its end; a window without an alarm costs; an alarm
outside costs a little, less so right behind a window. A tenth of the records lies in windows, half of each
before its anomaly. What falls into a file's probation is not scored. One threshold serves the whole corpus,
and the sum is scaled so that silence is 0 and perfection 100.

Source: A. Lavin and S. Ahmad, Evaluating Real-Time Anomaly Detection Algorithms: the Numenta Anomaly
Benchmark, ICMLA 2015, and its code (numenta/NAB, `sweeper.py`), which this reproduces to its published digits
for the detectors whose score of every record is published (tests/detectors/test_nab_scoring.py).

Limits: the whole corpus is held in memory as arrays, some 20 MB.
"""

from __future__ import annotations

import csv
import json
import math
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

OUTSIDE, PROBATION = -1, -2
PROBATION_SHARE, PROBATION_ROWS_MAX = 0.15, 750


@dataclass(frozen=True, slots=True)
class Profile:
    """What a hit, a missed window and a false alarm are worth."""

    name: str
    hit: float
    miss: float
    false_alarm: float


STANDARD = Profile("standard", 1.0, 1.0, 0.11)
LOW_FP = Profile("reward_low_FP_rate", 1.0, 1.0, 0.22)
LOW_FN = Profile("reward_low_FN_rate", 1.0, 2.0, 0.11)
PROFILES = (STANDARD, LOW_FP, LOW_FN)


@dataclass(frozen=True, slots=True)
class Series:
    """One file: values, times in milliseconds, and its windows as pairs of the first and last row."""

    name: str
    values: Floats
    times_ms: NDArray[np.int64]
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """How many rows at the start are not scored."""
        return int(min(PROBATION_SHARE * len(self.values), PROBATION_ROWS_MAX))


class Corpus:
    """All files, and what an alarm at each record would be worth."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = tuple(series)
        self.windows = sum(len(each.windows) for each in series)
        self._sigmoid = [_positions(each) for each in series]

    def rewards(self, row: int, profile: Profile) -> tuple[Floats, NDArray[np.int64]]:
        """What an alarm at each record of file `row` is worth, and the number of its window (or OUTSIDE, PROBATION)."""
        shape, window = self._sigmoid[row]
        best = _sigmoid(-1.0)
        return np.where(window >= 0, shape * profile.hit / best, shape * profile.false_alarm), window

    def steps(self, row: int, scores: Floats, profile: Profile) -> tuple[Floats, Floats]:
        """Return (scores, gains): lowering the threshold past a score changes the file's sum by its gain."""
        rewards, window = self.rewards(row, profile)
        outside = window == OUTSIDE
        at, gains = [scores[outside]], [rewards[outside]]
        for number in range(len(self.series[row].windows)):
            rows = np.nonzero(window == number)[0]
            if not len(rows):
                continue
            order = np.argsort(-scores[rows], kind="stable")
            reached = np.maximum.accumulate(np.maximum(rewards[rows[order]], -profile.miss))
            at.append(scores[rows[order]])
            gains.append(np.diff(reached, prepend=-profile.miss))
        return np.concatenate(at), np.concatenate(gains)

    def silence(self, rows: Iterable[int], profile: Profile) -> float:
        """The sum of these files without an alarm."""
        return -profile.miss * sum(len(self.series[row].windows) for row in rows)

    def raw(self, rows: Iterable[int], scores: Sequence[Floats], threshold: float, profile: Profile) -> float:
        """The sum of these files when every score of at least `threshold` is an alarm."""
        total = self.silence(rows := list(rows), profile)
        for row in rows:
            at, gains = self.steps(row, scores[row], profile)
            total += float(gains[at >= threshold].sum())
        return total

    def best_threshold(self, rows: Iterable[int], scores: Sequence[Floats], profile: Profile) -> tuple[float, float]:
        """The threshold with the largest sum over these files, and that sum."""
        rows = list(rows)
        steps = [self.steps(row, scores[row], profile) for row in rows]
        at, gains = np.concatenate([s[0] for s in steps]), np.concatenate([s[1] for s in steps])
        order = np.argsort(-at, kind="stable")
        at, sums = at[order], np.cumsum(gains[order])
        last_of_equals = np.append(np.nonzero(np.diff(at))[0], len(at) - 1)
        winner = last_of_equals[int(np.argmax(sums[last_of_equals]))]
        silence = self.silence(rows, profile)
        if sums[winner] <= 0.0:
            return math.inf, silence
        return float(at[winner]), silence + float(sums[winner])

    def scaled(self, raw: float, profile: Profile) -> float:
        """A sum over the whole corpus, so that silence is 0 and perfection 100."""
        silence = -profile.miss * self.windows
        return 100.0 * (raw - silence) / (profile.hit * self.windows - silence)

    def score(self, scores: Sequence[Floats], profile: Profile) -> tuple[float, float]:
        """NAB's own figure: (score, threshold), the threshold being the best for the whole corpus."""
        threshold, raw = self.best_threshold(range(len(self.series)), scores, profile)
        return self.scaled(raw, profile), threshold

    def folds(self, count: int) -> list[list[int]]:
        """Every file in one of `count` folds, by its place in the order of the names (kinds of files spread evenly)."""
        by_name = sorted(range(len(self.series)), key=lambda row: self.series[row].name)
        return [sorted(by_name[fold::count]) for fold in range(count)]


def datasets() -> Path | None:
    """The folder of data sets: FAILSHUT_DATASETS, or ../shared/datasets beside this checkout; None where there is none."""
    named = os.environ.get("FAILSHUT_DATASETS")
    folder = Path(named) if named else Path(__file__).resolve().parent.parent.parent / "shared" / "datasets"
    return folder if folder.is_dir() else None


def load(folder: Path) -> Corpus:
    """Read NAB's files and windows from `folder`."""
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text())
    series = []
    for name in sorted(windows):
        with (folder / "data" / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        stamps = [row["timestamp"][:19] for row in rows]
        times = [int(datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() * 1000) for stamp in stamps]
        bounds = tuple((stamps.index(first[:19]), stamps.index(last[:19])) for first, last in windows[name])
        values = np.array([float(row["value"]) for row in rows])
        series.append(Series(name, values, np.array(times, dtype=np.int64), bounds))
    return Corpus(series)


def published_scores(folder: Path, detector: str, corpus: Corpus) -> list[Floats]:
    """The score of every record that NAB publishes for `detector`, in the order of the corpus's files."""
    found: dict[str, Floats] = {}
    with tarfile.open(folder / "results" / f"{detector}.tar.gz") as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or not member.name.endswith(".csv"):
                continue
            kind, _, name = member.name.removeprefix("./").split("/")[-2:][0], "", member.name.rsplit("/", 1)[-1]
            lines = (line.decode() for line in file)
            column = [float(row["anomaly_score"]) for row in csv.DictReader(lines) if "anomaly_score" in row]
            found[f"{kind}/{name.removeprefix(detector + '_')}"] = np.array(column)
    return [found[each.name] for each in corpus.series]


def _sigmoid(position: float) -> float:
    return -1.0 if position > 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def _positions(series: Series) -> tuple[Floats, NDArray[np.int64]]:
    """The unweighted worth of an alarm at each record, and its window."""
    worth = np.full(len(series.values), -1.0)
    window = np.full(len(series.values), OUTSIDE, dtype=np.int64)
    for number, (first, last) in enumerate(series.windows):
        width = last - first + 1
        for row in range(first, last + 1):
            worth[row] = _sigmoid(-(last - row + 1) / width)
            window[row] = number
        until = series.windows[number + 1][0] if number + 1 < len(series.windows) else len(worth)
        for row in range(last + 1, until):
            worth[row] = _sigmoid((row - last) / (width - 1))
    window[: series.probation] = PROBATION
    return worth, window
