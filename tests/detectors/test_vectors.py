"""Several metrics judged together: run lengths as published, promises kept, and changes that no single chart sees."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from math import sqrt
from statistics import fmean

import numpy as np
import pytest
from detectors.feeding import assert_same_however_fed, where
from scipy.special import chdtri, chndtr

from failshut_detectors import Ewma, Mahalanobis, Mewma, VectorDetector
from failshut_detectors.shared.covariance import Covariance, hotelling_limit
from failshut_detectors.shared.run_lengths import ewma_limit, mewma_arl, mewma_limit

Vectors = list[tuple[float, ...]]
Maker = Callable[[int], VectorDetector]

DETECTORS: list[Maker] = [
    lambda width: Mahalanobis(width=width, per_records=100_000),
    lambda width: Mewma(width=width, arl=100_000),
]
each_detector = pytest.mark.parametrize("make", DETECTORS, ids=["mahalanobis", "mewma"])


def normal(seed: int, count: int, width: int, correlation: float = 0.0) -> Vectors:
    """Standard normal vectors, every two metrics of which correlate."""
    covariance = np.full((width, width), correlation) + (1.0 - correlation) * np.eye(width)
    rng = np.random.default_rng(seed)
    return [tuple(map(float, row)) for row in rng.multivariate_normal(np.zeros(width), covariance, count)]


def shifted(vectors: Vectors, by: Sequence[float]) -> Vectors:
    return [tuple(value + shift for value, shift in zip(vector, by, strict=True)) for vector in vectors]


class TestRunLengths:
    """How long a MEWMA chart runs while nothing changes."""

    @pytest.mark.parametrize(
        ("width", "weight", "squared", "published"),
        [
            (2, 0.1, 8.64, 200),
            (3, 0.1, 10.79, 200),
            (4, 0.1, 12.73, 200),
            (6, 0.2, 17.51, 200),
            (10, 0.1, 22.67, 200),
            (4, 0.25, 16.38, 500),
        ],
    )
    def test_they_are_the_published_ones(self, width: int, weight: float, squared: float, published: float) -> None:
        """Limits of Prabhu and Runger (1997), as in Montgomery's table 11.3, and of Rigdon (1995), to one percent."""
        assert mewma_arl(weight, sqrt(squared), width) == pytest.approx(published, rel=0.01)

    def test_they_are_those_of_the_markov_chain(self) -> None:
        """Runger and Prabhu's chain of rings (1996), another method, comes to the same."""
        width, weight, limit, rings = 3, 0.1, sqrt(10.79), 200
        step = limit * sqrt(weight / (2.0 - weight)) / (rings + 0.5)
        radii = np.arange(rings + 1) * step
        edges = np.concatenate([[0.0], (radii + step / 2.0)]) / weight
        left = ((1.0 - weight) * radii / weight) ** 2
        chain = np.diff(chndtr(edges[None, :] ** 2, width, np.maximum(left, 1e-12)[:, None]), axis=1)
        arl = np.linalg.solve(np.eye(rings + 1) - chain, np.ones(rings + 1))[0]
        assert mewma_arl(weight, limit, width) == pytest.approx(arl, rel=0.005)

    def test_they_are_what_charts_have(self) -> None:
        """Three thousand simulated charts of three metrics, seed 12, run as long as the equation says."""
        rng = np.random.default_rng(12)
        weight, limit, charts = 0.2, 3.0, 3_000
        averages, lengths, records = np.zeros((charts, 3)), [], 0
        while len(averages):
            records += 1
            averages = (1.0 - weight) * averages + weight * rng.normal(size=averages.shape)
            inside = (averages**2).sum(axis=1) * (2.0 - weight) / weight <= limit**2
            lengths += [records] * int((~inside).sum())
            averages = averages[inside]
        assert fmean(lengths) == pytest.approx(mewma_arl(weight, limit, 3), rel=0.05)

    def test_one_metric_is_an_ewma_chart(self) -> None:
        """Where nothing is judged together, the limit is the scalar chart's."""
        for arl in (500.0, 10_000.0):
            assert mewma_limit(arl, 0.1, 1) == pytest.approx(ewma_limit(arl, 0.1), rel=1e-6)

    def test_without_memory_it_is_chi_squared(self) -> None:
        """A weight of 1 judges each vector by itself: the quantile of one in 200."""
        assert mewma_limit(200.0, 1.0, 5) ** 2 == pytest.approx(chdtri(5, 1 / 200), rel=1e-6)

    @pytest.mark.parametrize("width", [2, 8, 32])
    @pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
    def test_limits_have_the_run_length_that_was_asked_for(self, width: int, weight: float) -> None:
        """Asking for a run length and computing it again gives the same, from a hundred records to a hundred million."""
        for arl in (100.0, 1e4, 1e8):
            assert mewma_arl(weight, mewma_limit(arl, weight, width), width) == pytest.approx(arl, rel=1e-6)

    def test_a_limit_knows_how_little_was_learnt(self) -> None:
        """Hotelling's quantile: Tracy, Young and Mason's for fifty records, chi squared's for very many."""
        # 2 * 51 * 49 / (50 * 48) times F(2, 48; 0.005) = 5.93.
        assert hotelling_limit(0.005, 2, 50) ** 2 == pytest.approx(12.35, rel=0.01)
        assert hotelling_limit(0.005, 2, 10**9) ** 2 == pytest.approx(chdtri(2, 0.005), rel=1e-4)


class TestPromises:
    """False alarms on independent normal vectors, recorded seeds: observed against promised."""

    @pytest.mark.slow
    @pytest.mark.parametrize("width", [1, 4])
    @pytest.mark.parametrize("cls", [Mahalanobis, Mewma])
    def test_they_are_kept_within_a_factor_of_two(self, cls: type[Mahalanobis | Mewma], width: int) -> None:
        """Two hundred records to learn from suffice: one alarm in a thousand records, as promised."""
        alarms, records = 0, 0
        for seed in range(12):
            vectors = normal(seed, 8_000, width, 0.5)
            found = cls(width=width, **cls.for_false_trips(1_000.0)).feed(vectors)  # type: ignore[arg-type]
            alarms += len(found)
            records += len(vectors) - 200 * (1 if cls is Mahalanobis else 1 + len(found))
        assert 500 < records / alarms < 2_000

    def test_impossible_ones_are_refused(self) -> None:
        """No promise below a few records or beyond all, no covariance from a handful, no width without a bound."""
        for refused in (
            lambda: Mahalanobis(width=2, per_records=1.0),
            lambda: Mahalanobis(width=2, per_records=float("nan")),
            lambda: Mahalanobis(width=2, memory=100),
            lambda: Mahalanobis(width=0),
            lambda: Mahalanobis(width=33, learn=500),
            lambda: Mewma(width=3, learn=18),
            lambda: Mewma(width=2, weight=0.0),
            lambda: Mewma(width=2, weight=1.5),
            lambda: Mewma(width=2, arl=0.5),
        ):
            with pytest.raises(ValueError, match=r"must be|out of reach|at least|less than|can be judged"):
                refused()


class TestDetection:
    """What only a joint view finds, and how soon."""

    def test_against_their_correlation(self) -> None:
        """Two metrics within their own ranges but against their correlation: a scalar detector on either says nothing."""
        vectors = normal(3, 2_000, 2, 0.95)
        vectors[1_500] = (1.5, -1.5)
        assert 1_500 in where(Mahalanobis(width=2, per_records=100_000).feed(vectors))
        for metric in (0, 1):
            alone = [(vector[metric],) for vector in vectors]
            assert where(Mahalanobis(width=1, per_records=100_000).feed(alone)) == []

    def test_a_small_joint_shift_is_found_sooner_than_by_two_charts(self) -> None:
        """Two thirds of a deviation in each of two metrics, ten seeds: MEWMA needs fewer records than the first of two EWMA."""
        delays: dict[str, list[int]] = {"mewma": [], "ewma": []}
        for seed in range(10):
            quiet = normal(100 + seed, 500, 2)
            then = shifted(normal(200 + seed, 500, 2), (0.67, 0.67))
            together = Mewma(width=2, arl=10_000, learn=500)
            together.feed(quiet)
            delays["mewma"].append(where(together.feed(then))[0])
            apart = []
            for metric in (0, 1):
                chart = Ewma(arl=20_000, learn=500)  # two of them are wrong once in 10,000 records
                chart.feed([vector[metric] for vector in quiet])
                apart.append(where(chart.feed([vector[metric] for vector in then]))[0])
            delays["ewma"].append(min(apart))
        assert fmean(delays["mewma"]) < 0.9 * fmean(delays["ewma"]), delays

    @each_detector
    def test_a_step_is_noticed_and_its_metrics_named(self, make: Maker) -> None:
        """Twenty deviations in one of three metrics: at once, and first of all named."""
        detector = make(3)
        assert where(detector.feed(normal(5, 600, 3, 0.3))) == []
        first = detector.feed(shifted(normal(6, 20, 3, 0.3), (0.0, -20.0, 0.0)))[0]
        assert first.index <= 1
        assert first.text.startswith("metric 1 down ")

    @each_detector
    def test_one_metric_alone_is_a_chart(self, make: Maker) -> None:
        """A width of 1 works: a step of five deviations is found."""
        detector = make(1)
        assert detector.feed(normal(7, 800, 1)) == []
        assert where(detector.feed(shifted(normal(8, 50, 1), (5.0,))))[0] < 8

    @each_detector
    def test_thirty_two_metrics_can_be_judged(self, make: Maker) -> None:
        """The widest: silent while nothing changes, and a shift of a deviation and a half in each is found."""
        detector = make(32)
        assert where(detector.feed(normal(9, 600, 32))) == []
        assert where(detector.feed(shifted(normal(10, 50, 32), [1.5] * 32)))

    def test_what_is_usual_is_followed(self) -> None:
        """A level that changed for good is unlike all seen at first, and usual after as many records as are remembered."""
        detector = Mahalanobis(width=2, per_records=100_000, memory=1_000)
        detector.feed(normal(13, 1_000, 2))
        after = shifted(normal(14, 4_000, 2), (6.0, 6.0))
        assert where(detector.feed(after[:10])) == list(range(10))
        detector.feed(after[10:3_000])
        assert detector.feed(after[3_000:]) == []

    def test_a_drift_chart_does_not_follow(self) -> None:
        """A shift that creeps in over thousands of records is found all the same."""
        creeping = [(x + index / 5_000, y) for index, (x, y) in enumerate(normal(15, 10_000, 2))]
        assert where(Mewma(width=2, arl=100_000).feed(creeping))


class TestBadInput:
    """What is learnt from telemetry as it is."""

    @each_detector
    def test_scale_does_not_matter(self, make: Maker) -> None:
        """Each metric in milliseconds or in (binary) seconds: the same records are noticed, in the same words."""
        vectors = normal(16, 800, 2, 0.6) + shifted(normal(17, 100, 2, 0.6), (4.0, -2.0))
        expected = make(2).feed(vectors)
        assert expected
        assert make(2).feed([(2.0**-40 * x, 2.0**60 * y) for x, y in vectors]) == expected

    @each_detector
    @pytest.mark.parametrize("rounding", [0.0, 1e-13])
    def test_copies_neither_crash_nor_blind(self, make: Maker, rounding: float) -> None:
        """Two metrics that are copies, but for rounding: no false alarm, a shift of both is found, and so is their parting."""
        rng = np.random.default_rng(18)
        usual = [(x, x + rounding * float(rng.normal()), y) for x, y in normal(19, 1_500, 2)]
        detector = make(3)
        assert where(detector.feed(usual)) == []
        both, apart = pickle.loads(pickle.dumps(detector)), detector
        assert where(both.feed([(x + 6.0, y + 6.0, z) for x, y, z in usual[:50]]))[0] < 8
        assert where(apart.feed([(x, y + 1.0, z) for x, y, z in usual[:50]]))[0] < 8

    @each_detector
    def test_a_constant_metric_neither_crashes_nor_blinds(self, make: Maker) -> None:
        """A metric that stands still: the others are judged, and that it moves is noticed at once."""
        usual = [(x, 7.25) for (x,) in normal(20, 1_200, 1)]
        moved, still = make(2), make(2)
        assert where(moved.feed(usual)) == []
        still.feed(usual)
        assert where(still.feed([(x + 6.0, y) for x, y in usual[:50]]))[0] < 8
        alarm = moved.feed([(0.0, 7.5)])[0]
        assert alarm.text.startswith("metric 1 up, which had stood still; ")

    def test_what_stood_still_gets_a_deviation_by_its_second_move(self) -> None:
        """Errors that never were: the first two alarm, those of the same size after them do not; ten times as many do."""
        usual = [(x, 0.0) for (x,) in normal(21, 600, 1)]
        detector = Mahalanobis(width=2)
        detector.feed(usual[:500])
        at_most_one = [(0.0, 1e90), (0.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.0, 1.0), (0.0, 1.0), (0.0, 10.0)]
        assert where(detector.feed(at_most_one)) == [0, 2, 6]

    def test_following_is_learning_from_all(self) -> None:
        """Block by block, where nothing is forgotten: centre, deviations and precision of all vectors, numpy's."""
        first = normal(31, 300, 3, 0.5)
        then = [(2.0 * x + 1.0, y - 3.0, z) for x, y, z in normal(32, 1_000, 3, 0.8)]
        usual = Covariance(first)
        for block in range(0, 1_000, 100):
            usual.follow([usual.standardise(vector) for vector in then[block : block + 100]], 10**9)
        everything = np.array(first + then)
        assert usual.centre == pytest.approx(everything.mean(axis=0), rel=1e-9)
        assert usual.deviation == pytest.approx(everything.std(axis=0), rel=2e-3)
        precision = np.linalg.inv(np.corrcoef(everything.T))
        assert np.array(usual.precision) == pytest.approx(precision, rel=0.03)

    def test_a_million_equal_records_leave_a_deviation(self) -> None:
        """A metric that stands still for long keeps a tenth of its deviation: its usual noise is no alarm, a step is."""
        usual = Covariance(normal(22, 300, 2))
        before = list(usual.deviation)
        for _ in range(10_000):
            usual.follow([usual.standardise((0.0, 0.0))] * 100, 5_000)
        assert usual.deviation == pytest.approx([deviation / 10.0 for deviation in before])
        assert usual.precision[0][0] == pytest.approx(1.0)

    @each_detector
    @pytest.mark.parametrize("garbage", [1e100, -1e100, 5e-324])
    @pytest.mark.parametrize("place", [50, 400])
    def test_one_absurd_vector_does_not_blind(self, make: Maker, garbage: float, place: int) -> None:
        """Among the examples or later, in every metric: the next step of five deviations is found."""
        vectors = normal(23, 1_500, 2, 0.5)
        vectors[place] = (garbage, -garbage)
        vectors[1_000:] = shifted(vectors[1_000:], (5.0, 5.0))
        assert [index for index in where(make(2).feed(vectors)) if 1_000 <= index < 1_010]

    def test_rare_errors_have_a_deviation(self) -> None:
        """A metric that is zero in all but a few examples is not taken for one that stands still."""
        rng = np.random.default_rng(24)
        usual = Covariance([(x, float(rng.random() < 0.05)) for (x,) in normal(25, 300, 1)])
        assert 0.1 < usual.deviation[1] < 0.4

    @each_detector
    def test_nan_is_refused_and_a_step_found_afterwards(self, make: Maker) -> None:
        """Nothing of a batch with NaN is taken; a step of twenty deviations that follows is found."""
        detector = make(2)
        usual = normal(26, 600, 2)
        detector.feed(usual[:500])
        before = pickle.dumps(detector)
        with pytest.raises(ValueError, match="value 1 is a vector with nan in place 0"):
            detector.feed([(0.0, 0.0), (float("nan"), 0.0)])
        assert pickle.dumps(detector) == before
        assert where(detector.feed(shifted(usual[500:], (20.0, 20.0))))[0] < 3


class TestContract:
    """What every detector promises, where vectors make it hard."""

    @each_detector
    @pytest.mark.parametrize("width", [1, 2, 7])
    def test_the_same_however_fed(self, make: Maker, width: int) -> None:
        """Batches and pickles change nothing, to the last digit of what is said."""
        vectors = normal(27, 600, width, 0.4) + shifted(normal(28, 300, width, 0.4), [4.0] * width)
        assert_same_however_fed(lambda: make(width), vectors)

    @each_detector
    def test_state_is_the_same_to_the_last_bit(self, make: Maker) -> None:
        """One by one and in one batch: equal pickles."""
        vectors = normal(29, 1_000, 3, 0.4)
        whole, single = make(3), make(3)
        whole.feed(vectors)
        for vector in vectors:
            single.feed([vector])
        assert pickle.dumps(pickle.loads(pickle.dumps(whole))) == pickle.dumps(pickle.loads(pickle.dumps(single)))

    @each_detector
    def test_memory_is_bounded(self, make: Maker) -> None:
        """Ten thousand records later the state is no larger."""
        detector, sizes = make(4), []
        for seed in range(2):
            detector.feed(normal(seed, 10_000, 4))
            sizes.append(len(pickle.dumps(detector)))
        assert max(sizes) < 40_000

    @each_detector
    def test_it_says_when_it_may_be_relied_on(self, make: Maker) -> None:
        """Not before it has learnt, and how far it is."""
        detector = make(2)
        vectors = normal(30, 200, 2)
        detector.feed(vectors[:199])
        assert not detector.ready
        assert detector.summary() == "learning: 199 of 200"
        detector.feed(vectors[199:])
        assert detector.ready
        assert detector.update((0.0, 0.0)).score < 1.0
        assert detector.update((30.0, 0.0)).demand or detector.update((30.0, 0.0)).demand
