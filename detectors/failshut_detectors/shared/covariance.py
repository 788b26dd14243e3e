"""How several metrics usually move together: what is needed to say how far a vector is from usual.

Each metric is measured in its own standard deviations, so milliseconds and seconds give the same result. The
correlation says which of these deviations belong together. It learns from the first `learn` vectors at once and
robustly. A value beyond four times the range of nine tenths of the examples counts as if it were at that limit.
Afterwards vectors can be followed, a block at a time, by the update of a weighted mean and covariance; the last
`memory` records count.

Two metrics that are copies would make the correlation singular. So correlations are reduced by 0.1 % (shrinkage towards
independence). Directions in which nothing ever moved then have a small deviation, not none. A metric that never moved
during learning has no deviation. Its first two moves are infinitely unusual, and from then on the smaller of them is
its deviation. None falls below a tenth of what was learnt.

Sources: H. Hotelling, Multivariate Quality Control, in Techniques of Statistical Analysis (1947); D. H. D. West, Updating
Mean and Variance Estimates: An Improved Method, Comm. ACM 22 (1979), and T. Finch, Incremental calculation of
weighted mean and variance (2009), for the update; P. J. Huber, Robust Statistics (1981), for bounding what one
observation can teach.

Sums use `fsum`, which is correctly rounded in any order, and there is no BLAS. So the same values lead to the same bits on
every machine, with every number of threads and every version of Python.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import fsum, sqrt
from operator import mul
from statistics import median

from scipy.special import betaincinv

from failshut_detectors.contract import Alarm, VectorDetector, number

WIDTH_MAX = 32
"""Metrics judged together at most: a record costs the square of them."""

FAR = 1e6
"""Deviations beyond which a value is no further out."""

_REACH = 4.0  # an example this many times further out than nine tenths of them counts as if it were there
_SHRINKAGE = 0.001
_LEAST = 0.1  # of the deviation that was learnt: a metric that stands still for a day keeps that much
_NAMED_MAX, _NAMED_SHARE = 3, 0.1  # metrics that an alarm names: each with this share of the distance at least

Matrix = list[list[float]]


class Covariance:
    """Centre, deviation and correlation of a few metrics, learnt from vectors of equal length, at least two.

    >>> usual = Covariance([(1.0, 10.0), (3.0, 30.0), (2.0, 20.0), (2.0, 20.0)])
    >>> usual.centre, [round(value, 3) for value in usual.deviation]
    ([2.0, 20.0], [0.816, 8.165])
    """

    def __init__(self, examples: Sequence[Sequence[float]]) -> None:
        self.count = len(examples)
        self.centre, self.deviation = [], []
        columns = []
        for column in zip(*examples, strict=True):
            middle, distances = _without_absurd(column)
            mean = fsum(distances) / self.count
            distances = [distance - mean for distance in distances]
            deviation = sqrt(fsum(map(mul, distances, distances)) / (self.count - 1))
            self.centre.append(middle + mean)
            self.deviation.append(deviation)
            columns.append([distance / deviation for distance in distances] if deviation else [0.0] * self.count)
        self._least = [_LEAST * deviation for deviation in self.deviation]
        self._move = [0.0] * len(columns)  # the smallest so far of a metric that stood still while it was learnt
        self._correlation = [
            [1.0 if i == j else fsum(map(mul, columns[i], columns[j])) / (self.count - 1) for j in range(i + 1)]
            for i in range(len(columns))
        ]
        self.precision = _inverse(_shrunk(self._correlation))

    def standardise(self, vector: Sequence[float]) -> list[float]:
        """Return how many deviations each metric is from its centre, `FAR` at most, also where there is no deviation."""
        found = []
        for value, centre, deviation in zip(vector, self.centre, self.deviation, strict=True):
            distance = value - centre
            if deviation > 0.0:
                distance /= deviation
                found.append(distance if -FAR <= distance <= FAR else FAR if distance > 0.0 else -FAR)
            else:
                found.append(0.0 if distance == 0.0 else FAR if distance > 0.0 else -FAR)
        return found

    def shares(self, standardised: Sequence[float]) -> list[float]:
        """Return what each metric adds to the squared distance from the centre, in view of all the others; maybe below 0."""
        return [z * fsum(map(mul, row, standardised)) for z, row in zip(standardised, self.precision, strict=True)]

    def stir(self, vector: Sequence[float]) -> bool:
        """Take note of metrics that move and never did; return whether there is one. The second move sets the deviation."""
        stirred = False
        for i, value in enumerate(vector):
            distance = abs(value - self.centre[i])
            if self.deviation[i] or not distance:
                continue
            stirred = True
            if self._move[i]:
                self.deviation[i] = min(self._move[i], distance)
                self._least[i] = _LEAST * self.deviation[i]
            self._move[i] = distance
        return stirred

    def follow(self, block: Sequence[Sequence[float]], memory: int) -> None:
        """Learn from standardised vectors, all of them standardised since the last call; the last `memory` records count."""
        columns = list(zip(*block, strict=True))
        weight = len(block) / (self.count + len(block))
        shifts = [weight * fsum(column) / len(block) for column in columns]
        correlation = [
            [
                (1.0 - weight) * before + weight * fsum(map(mul, columns[i], columns[j])) / len(block) - shifts[i] * shifts[j]
                for j, before in enumerate(row)
            ]
            for i, row in enumerate(self._correlation)
        ]
        scales = []
        for i, (deviation, shift) in enumerate(zip(self.deviation, shifts, strict=True)):
            scale = sqrt(max(0.0, correlation[i][i]))
            if deviation > 0.0:
                scale = max(scale, self._least[i] / deviation)
            self.centre[i] += deviation * shift
            self.deviation[i] = deviation * scale
            scales.append(scale)
        self._correlation = [
            [value / (scales[i] * scales[j]) for j, value in enumerate(row)] for i, row in enumerate(correlation)
        ]
        self.count = min(self.count + len(block), memory)
        self.precision = _inverse(_shrunk(self._correlation))


class VectorChart(VectorDetector):
    """Learn how the metrics usually move together from `learn` vectors, then hand standardised ones to `_judge`.

    It speaks of `metric 0`, `metric 1` and so on; who knows their names puts them there.
    """

    def __init__(self, width: int, learn: int) -> None:
        if not 1 <= width <= WIDTH_MAX:
            raise ValueError(f"{width} metrics: from 1 to {WIDTH_MAX} can be judged together")
        if learn < 3 * width + 10:
            raise ValueError(f"learn is {learn}: {width} metrics need {3 * width + 10} records at least")
        self.width = width
        self._learn = learn
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._examples: list[Sequence[float]] = []
        self._usual: Covariance | None = None
        self._distance = 0.0

    @property
    def ready(self) -> bool:
        """Whether it has learnt how the metrics usually move."""
        return self._usual is not None

    def summary(self) -> str:
        """Return how far the metrics are from usual."""
        if not self.ready:
            return f"learning: {len(self._examples)} of {self._learn}"
        return self._far()

    def _feed(self, vectors: Sequence[Sequence[float]], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        for index, vector in enumerate(vectors):
            usual = self._usual
            if usual is None:
                self._examples.append(tuple(vector))
                if len(self._examples) == self._learn:
                    self._usual, self._examples = Covariance(self._examples), []
                continue
            text = self._judge(usual, vector)
            if text:
                alarms.append(Alarm(index, text))
        return alarms

    def _grade(self) -> float:
        return self._distance / self._limit() if self.ready else 0.0

    def _words(self, usual: Covariance, moved: Sequence[float], shares: Sequence[float]) -> str:
        """Say which metrics moved most, those first that add most to the distance."""
        enough = _NAMED_SHARE * fsum(shares)
        order = sorted((i for i in range(self.width) if shares[i] >= enough), key=lambda i: -shares[i])[:_NAMED_MAX]
        said = []
        for i in order:
            way = "up" if moved[i] > 0 else "down"
            how = f" {number(round(abs(moved[i]), 1))} deviations" if usual.deviation[i] else ", which had stood still"
            said.append(f"metric {i} {way}{how}")
        return f"{', '.join(said)}; {self._far()}"

    def _far(self) -> str:
        return f"distance {number(round(self._distance, 2))} from usual, limit {number(round(self._limit(), 2))}"

    @abstractmethod
    def _limit(self) -> float:
        """Return the distance beyond which it speaks."""

    @abstractmethod
    def _judge(self, usual: Covariance, vector: Sequence[float]) -> str:
        """Take one vector and return why it is an alarm, or nothing."""


def hotelling_limit(tail: float, width: int, count: int, centre_error: float = 1.0) -> float:
    """Return the distance that a normal vector exceeds with probability `tail`; `count` others gave centre and covariance.

    The root of Hotelling's T squared quantile, and of chi squared's for a large `count`. `centre_error` is the variance of a
    single vector in units of what is judged: 1 for a vector, more for an average of many.

    >>> round(hotelling_limit(0.005, 2, 10**9) ** 2, 2), round(hotelling_limit(0.005, 2, 50) ** 2, 2)
    (10.6, 12.35)
    """
    share = float(betaincinv((count - width) / 2.0, width / 2.0, tail))
    return round(sqrt((count - 1) * (1.0 / share - 1.0) * (1.0 + centre_error / count)), 6)


def _without_absurd(column: Sequence[float]) -> tuple[float, list[float]]:
    """Return the middle, and the distances from it with a reach that one absurd example cannot choose."""
    middle = median(column)
    distances = sorted(abs(value - middle) for value in column)
    # Where nine tenths stand still, the second largest move is one that was confirmed.
    reach = _REACH * distances[len(distances) * 9 // 10] or distances[-2]
    return middle, [max(-reach, min(reach, value - middle)) for value in column]


def _shrunk(correlation: Matrix) -> Matrix:
    return [[1.0 if i == j else (1.0 - _SHRINKAGE) * value for j, value in enumerate(row)] for i, row in enumerate(correlation)]


def _inverse(lower: Matrix) -> Matrix:
    """Return the inverse of a positive definite matrix whose lower triangle is given, by Cholesky's factor."""
    factor: Matrix = []
    for given in lower:
        row: list[float] = []
        for j, value in enumerate(given[:-1]):
            row.append((value - fsum(map(mul, row, factor[j]))) / factor[j][j])
        row.append(sqrt(given[-1] - fsum(map(mul, row, row))))
        factor.append(row)
    size = len(factor)
    columns: Matrix = []  # of the factor's inverse, each from its diagonal on
    for j in range(size):
        column = [1.0 / factor[j][j]]
        for i in range(j + 1, size):
            column.append(-fsum(map(mul, factor[i][j:i], column)) / factor[i][i])
        columns.append(column)
    inverse = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            inverse[i][j] = inverse[j][i] = fsum(map(mul, columns[i], columns[j][i - j :]))
    return inverse
