"""River's detectors on values, ours around them: the same method, with words, grades, promises and refusals."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import fmean, stdev

import pytest
from detectors.feeding import assert_same_however_fed, by_the_method, where
from river import anomaly, drift
from scipy import stats

from failshut_detectors import Adwin, Detector, HalfSpaceTrees, Kswin, PageHinkley, StandardAbsoluteDeviation
from failshut_detectors.contract import Contract, Kind
from failshut_detectors.methods.kswin import _probabilities
from failshut_detectors.registry import build
from failshut_detectors.shared.run_lengths import two_sided_cusum_arl

CLASSES: list[type[Detector]] = [Adwin, PageHinkley, Kswin, StandardAbsoluteDeviation, HalfSpaceTrees]


def normal(count: int, mean: float = 0.0, deviation: float = 1.0, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, deviation) for _ in range(count)]


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Adwin(delta=0.0),
        lambda: Adwin(delta=1.0),
        lambda: Adwin(delta=float("nan")),
        lambda: Adwin(clock=0),
        lambda: Adwin(grace_period=0),
        lambda: Adwin(warm_up=9),
        lambda: Adwin(warm_up=0, scale=1.0),
        lambda: Adwin(scale=-1.0),
        lambda: Adwin(scale=1e-60),
        lambda: Adwin(scale=float("nan")),
        lambda: Adwin.for_false_trips(1.0),
        lambda: PageHinkley(threshold=0.0),
        lambda: PageHinkley(threshold=float("inf")),
        lambda: PageHinkley(delta=-0.1),
        lambda: PageHinkley(alpha=0.0),
        lambda: PageHinkley(alpha=1.1),
        lambda: PageHinkley(warm_up=3),
        lambda: PageHinkley.for_false_trips(0.5),
        lambda: Kswin(alpha=0.0),
        lambda: Kswin(alpha=1.0),
        lambda: Kswin(recent=1),
        lambda: Kswin(recent=501, window=5_000),
        lambda: Kswin(window=59, recent=30),
        lambda: Kswin.for_false_trips(0.0),
        lambda: StandardAbsoluteDeviation(sigmas=0.5),
        lambda: StandardAbsoluteDeviation(sigmas=float("nan")),
        lambda: StandardAbsoluteDeviation(warm_up=1),
        lambda: StandardAbsoluteDeviation.for_false_trips(2.0),
        lambda: HalfSpaceTrees(threshold=1.0),
        lambda: HalfSpaceTrees(window=5),
        lambda: HalfSpaceTrees(trees=0),
        lambda: HalfSpaceTrees(height=13),
        lambda: HalfSpaceTrees.for_false_trips(1_000.0),
    ],
)
def test_impossible_detectors_are_refused(refused: Callable[[], object]) -> None:
    """What cannot work is refused where it is built, in words that name the parameter."""
    with pytest.raises(ValueError, match=r"must be|at least|from \d|promise|out of reach"):
        refused()


@pytest.mark.parametrize("cls", CLASSES)
def test_a_policy_finds_it(cls: type[Contract]) -> None:
    """By name, under its kind, with every parameter at its default."""
    detector = build(cls.name, {})
    assert type(detector) is cls
    assert cls.kind is (Kind.ANOMALY if cls in (StandardAbsoluteDeviation, HalfSpaceTrees) else Kind.DRIFT)
    assert not detector.ready
    assert detector.summary()


@pytest.mark.parametrize(
    ("detector", "warm"),
    [(Adwin(), 30), (PageHinkley(), 30), (Kswin(), 100), (StandardAbsoluteDeviation(), 100), (HalfSpaceTrees(), 250)],
    ids=lambda given: getattr(given, "name", str(given)),
)
def test_warm_up_is_as_long_as_it_says(detector: Detector, warm: int) -> None:
    """One record less is not enough evidence; that record more is, and nothing before it was an alarm."""
    values = normal(warm)
    assert detector.feed(values[:-1]) == []
    assert not detector.ready
    assert detector.reading.text.startswith("not enough evidence yet: ")
    assert detector.feed(values[-1:]) == []
    assert detector.ready


@pytest.mark.parametrize("make", [PageHinkley, Kswin, StandardAbsoluteDeviation, HalfSpaceTrees])
def test_a_grade_is_small_while_nothing_changes_and_one_at_an_alarm(make: Callable[[], Detector]) -> None:
    """Scores are far below the threshold in the middle, and reach 1 at an alarm and nowhere else."""
    detector, calm = make(), []
    for value in normal(600, seed=3):
        calm.append(detector.update(value).score)
    assert 0.0 < fmean(calm[300:]) < 0.8
    assert max(calm) < 1.0
    rising = [detector.update(value) for value in normal(60, mean=25.0)]
    assert any(reading.demand for reading in rising)
    assert all((reading.score == 1.0) == reading.demand for reading in rising)


def test_page_hinkley_grades_by_rivers_own_sums() -> None:
    """The score reaches 1 in the record in which river's sums pass the threshold: its names still mean that."""
    detector = PageHinkley(threshold=20.0, delta=0.5)
    detector.feed(normal(300))
    scores = []
    while not detector.reading.demand:
        scores.append(detector.update(2.0).score)
    assert scores == sorted(scores)
    assert scores[-2] > 0.85


@pytest.mark.parametrize("records", [100.0, 10_000.0])
def test_page_hinkleys_promise_is_that_of_cusum(records: float) -> None:
    """Its threshold for so many records has that run length, at the delta that goes with it."""
    given = PageHinkley.for_false_trips(records)
    assert two_sided_cusum_arl(given["delta"], given["threshold"]) == pytest.approx(records, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [PageHinkley, Kswin, StandardAbsoluteDeviation])
def test_a_promise_is_kept_on_independent_values(cls: type[Detector]) -> None:
    """Once in 500 records, over 40,000 normal ones: within a factor of two, or more seldom where a test is coarse."""
    detector = cls(**cls.for_false_trips(500.0))
    alarms = len(detector.feed(normal(40_000, 48.0, 0.01, seed=5)))
    assert (10 if cls is Kswin else 40) <= alarms <= 160


def test_page_hinkley_keeps_a_long_promise() -> None:
    """Once in 10,000 records holds over 200,000: forgetting, which would eat what is tolerated, is off."""
    given = PageHinkley.for_false_trips(10_000.0)
    assert 8 <= len(PageHinkley(**given).feed(normal(200_000, seed=6))) <= 32


def test_adwin_keeps_its_promise_amply() -> None:
    """Its bound is far from what happens: no alarm at all where one in 1,000 is allowed."""
    assert Adwin(**Adwin.for_false_trips(1_000.0)).feed(normal(40_000, 48.0, 0.01)) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_kswin_speaks_where_rivers_does(seed: int) -> None:
    """The same records as scipy's test on river's own draws, ties and constants included, however it is fed."""
    values = [*normal(250, seed=seed), *normal(100, 1.5, seed=seed), *[3.0] * 150, *(float(n % 3) for n in range(150))]
    plain, expected = drift.KSWIN(alpha=0.01, seed=seed), []
    for index, value in enumerate(values):
        plain.update(value)
        if plain.drift_detected:
            expected.append(index)
    assert len(expected) > 1
    assert where(by_the_method(Kswin(alpha=0.01, seed=seed).feed(values))) == expected
    assert_same_however_fed(lambda: Kswin(alpha=0.01, seed=seed), values)


@pytest.mark.parametrize("size", [2, 5, 30, 200])
def test_probabilities_are_those_of_scipy(size: int) -> None:
    """Each outcome of the test of two samples of one size."""
    for apart in {0, 1, 2, size // 3, size // 2, size - 1, size}:
        shifted = [value + apart - 0.5 if apart else value for value in range(size)]
        outcome = stats.ks_2samp(range(size), shifted, method="exact")
        assert round(outcome.statistic * size) == apart
        assert _probabilities(size)[apart] == pytest.approx(outcome.pvalue, rel=1e-12)


def test_kswins_draws_follow_from_its_seed() -> None:
    """Another seed draws otherwise, the same one the same."""
    values = [*normal(300), *normal(60, 0.8)]
    probabilities = []
    for seed in (1, 1, 2):
        detector = Kswin(alpha=1e-9, seed=seed)
        detector.feed(values)
        probabilities.append([detector.update(value).score for value in normal(20, seed=9)])
    assert probabilities[0] == probabilities[1] != probabilities[2]


def test_standard_deviation_scores_as_rivers_does() -> None:
    """Without anything unusual it is river's score, whatever the scale."""
    values = normal(400, 48.0, 1e-7)
    detector, plain = StandardAbsoluteDeviation(sigmas=20.0), anomaly.StandardAbsoluteDeviation()
    for value in values:
        score = plain.score_one(None, (value - 48.0) * 1e7)
        plain.learn_one(None, (value - 48.0) * 1e7)
        reading = detector.update(value)
    assert reading.score * 20.0 == pytest.approx(score, rel=1e-6)


def test_an_outlier_teaches_nothing() -> None:
    """After ten of 1e9 a value of twelve deviations is still unusual, at any size; a bare river score calls it usual."""
    values = normal(500)
    outliers = [1e9] * 10
    detector, plain = StandardAbsoluteDeviation(), anomaly.StandardAbsoluteDeviation()
    for value in values + outliers:
        plain.learn_one(None, value)
    assert plain.score_one(None, 12.0) < 1.0
    assert len(detector.feed(values + outliers)) == 10
    assert where(detector.feed([0.0, 12.0])) == [1]


@pytest.mark.parametrize("make", [lambda: StandardAbsoluteDeviation(warm_up=60), lambda: HalfSpaceTrees(window=60)])
def test_what_lasts_becomes_usual(make: Callable[[], Detector]) -> None:
    """A level a thousand deviations away is unusual at first, is learnt, and a step away from it is unusual again."""
    detector = make()
    detector.feed(normal(300))
    assert 0 in where(detector.feed(normal(60, 1_000.0, seed=2)))
    assert detector.summary().startswith("judged by what was before the alarm; learning"), "and it is ready"
    assert detector.feed(normal(240, 1_000.0, seed=5)) == []
    assert detector.ready
    assert detector.feed(normal(200, 1_000.0, seed=3)) == []
    assert where(detector.feed(normal(5, 1_030.0, seed=4)))


def test_what_is_unusual_every_other_record_becomes_usual() -> None:
    """Usual values in between do not keep it an anomaly for ever."""
    detector = StandardAbsoluteDeviation()
    detector.feed([0.0] * 50_000)
    found = where(detector.feed([1.0, 0.0] * 1_000))
    assert found[0] == 0
    assert 50 < len(found) < 300


def test_half_space_trees_find_a_change_that_ends_within_the_range() -> None:
    """A jump from one usual level to another is unusual in a stream that goes slowly from one to the other."""
    rng = random.Random(4)
    slow = [20.0 * (1 - abs(index % 400 - 200) / 100) + rng.gauss(0, 0.3) for index in range(2_000)]
    detector = HalfSpaceTrees(window=400)
    assert detector.feed(slow) == []
    assert slow[-1] < 1.0
    assert where(detector.feed([19.0])) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True])
def test_anomalies_are_rare_in_streams_without_any(heavy: bool) -> None:
    """As they come: on normal values none in 6,000, on t with three degrees of freedom less than one in 500."""
    rng = random.Random(3)
    values = [rng.gauss(0, 1) / ((rng.gammavariate(1.5, 2.0) / 3.0) ** 0.5 if heavy else 1.0) for _ in range(6_000)]
    assert stdev(values) < 3.0
    for make in (StandardAbsoluteDeviation, HalfSpaceTrees):
        assert len(make().feed(values)) <= (12 if heavy else 0)
