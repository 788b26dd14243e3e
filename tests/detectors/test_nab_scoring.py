"""Our NAB scorer: equal to NAB's own figures, and to its rules on streams small enough to reckon by hand."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # behind tests/, where folders have names of their own

import nab_scoring as scoring
from nab_scoring import LOW_FN, LOW_FP, STANDARD, Corpus, Series


def corpus(windows: tuple[tuple[int, int], ...] = ((400, 499),), length: int = 1000) -> Corpus:
    """One file with these windows; its first 150 records are probation."""
    return Corpus([Series("a/file.csv", np.zeros(length), np.arange(length, dtype=np.int64), windows)])


def alarms(*rows: int, length: int = 1000) -> list[scoring.Floats]:
    scores = np.zeros(length)
    scores[list(rows)] = 1.0
    return [scores]


def raw(of: Corpus, *rows: int, profile: scoring.Profile = STANDARD) -> float:
    score: float = of.raw([0], alarms(*rows), 0.5, profile)
    return score


@pytest.fixture(scope="module")
def nab() -> tuple[Path, Corpus]:
    folder = scoring.datasets()
    if folder is None or not (folder / "nab").is_dir():
        pytest.skip("no data sets here: name their folder in FAILSHUT_DATASETS")
    return folder / "nab", scoring.load(folder / "nab")


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["numenta", "windowedGaussian"])
def test_published_scores_are_reproduced(nab: tuple[Path, Corpus], detector: str) -> None:
    """From NAB's scores of every record follow NAB's totals, to nine digits."""
    folder, whole = nab
    published = json.loads((folder / "results" / "final_results.json").read_text())[detector]
    scores = scoring.published_scores(folder, detector, whole)
    for profile in (STANDARD, LOW_FN):
        assert whole.score(scores, profile)[0] == pytest.approx(published[profile.name], rel=1e-9)
    # NAB's own search stopped a little short of the best threshold for this profile: at its threshold we agree.
    best, _ = whole.score(scores, LOW_FP)
    assert published[LOW_FP.name] - 1e-6 <= best < published[LOW_FP.name] + 0.2
    if detector == "numenta":
        at = json.loads((folder / "config" / "thresholds.json").read_text())[detector][LOW_FP.name]["threshold"]
        found = whole.scaled(whole.raw(range(len(whole.series)), scores, at, LOW_FP), LOW_FP)
        assert found == pytest.approx(published[LOW_FP.name], rel=1e-9)


@pytest.mark.slow
def test_silence_scores_nothing(nab: tuple[Path, Corpus]) -> None:
    """A detector that never speaks gets 0 in every profile."""
    _, whole = nab
    silent = [np.zeros(len(series.values)) for series in whole.series]
    assert len(whole.series) == 58
    assert whole.windows == 116
    assert [whole.score(silent, profile)[0] for profile in scoring.PROFILES] == [0.0, 0.0, 0.0]


def test_an_early_hit_is_worth_one_and_a_late_one_less() -> None:
    """The sigmoid falls from 1 at the window's first record towards 0 at its last."""
    assert raw(corpus(), 400) == pytest.approx(1.0)
    middle = (2 / (1 + math.exp(-2.5)) - 1) / (2 / (1 + math.exp(-5)) - 1)
    assert raw(corpus(), 450) == pytest.approx(middle)
    assert 0.0 < raw(corpus(), 499) < 0.06


def test_a_window_counts_once() -> None:
    """The earliest alarm of a window is its worth; others neither add nor cost."""
    assert raw(corpus(), 410, 430, 480) == raw(corpus(), 410)


def test_a_missed_window_costs() -> None:
    """One without an alarm costs one, and two where misses weigh double."""
    assert raw(corpus()) == -1.0
    assert raw(corpus(), profile=LOW_FN) == -2.0


def test_a_false_alarm_costs_more_far_from_a_window() -> None:
    """Before any window it costs its full weight, right behind one nearly nothing."""
    assert raw(corpus(), 200) == pytest.approx(-1.11)
    assert -1.01 < raw(corpus(), 500) < -1.0
    assert raw(corpus(), 900) == pytest.approx(-1.11, abs=1e-6)
    assert raw(corpus(), 900, profile=LOW_FP) == pytest.approx(-1.22, abs=1e-6)


def test_probation_is_not_scored() -> None:
    """Alarms among the first 15 % cost nothing, and a window there cannot be hit."""
    assert raw(corpus(), 0, 100, 149) == raw(corpus())
    assert raw(corpus(), 150) < raw(corpus())
    assert raw(corpus(((50, 100),)), 60) == -1.0
    assert Series("", np.zeros(10_000), np.zeros(10_000, dtype=np.int64), ()).probation == 750


def test_the_best_threshold_is_the_best() -> None:
    """No threshold among the scores gives a larger sum than the one that is found."""
    lots = np.random.default_rng(4)
    whole = corpus(((200, 260), (400, 499), (700, 705)))
    scores = [np.round(lots.random(1000), 2)]
    threshold, best = whole.best_threshold([0], scores, STANDARD)
    tried = {float(at): whole.raw([0], scores, float(at), STANDARD) for at in np.unique(scores[0])}
    assert max(tried.values()) == pytest.approx(max(best, -3.0))
    assert best == pytest.approx(tried.get(threshold, whole.silence([0], STANDARD)))


def test_folds_are_a_partition() -> None:
    """Every file is judged once, by thresholds that have not seen it."""
    many = Corpus([Series(str(row), np.zeros(10), np.zeros(10, dtype=np.int64), ()) for row in range(58)])
    folds = many.folds(10)
    assert sorted(row for fold in folds for row in fold) == list(range(58))
    assert {len(fold) for fold in folds} == {5, 6}
