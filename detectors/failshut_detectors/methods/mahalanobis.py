"""Mahalanobis distance: one vector of metrics unlike all seen, though each metric may be within its usual range.

Many requests and a busy processor are usual, few and an idle one as well; few requests and a busy processor are not.
The distance from the centre is measured in deviations, and includes which metrics move together. Its limit is the
quantile that a normal vector exceeds once in `per_records`. The limit considers how few records the centre was learnt
from.

Source: P. C. Mahalanobis, On the generalized distance in statistics, Proc. Natl. Inst. Sci. India 2 (1936); H. Hotelling,
Multivariate Quality Control (1947), and N. D. Tracy, J. C. Young and R. L. Mason, Multivariate Control Charts for
Individual Observations, J. Quality Technology 24 (1992), for the limit; covariance.py for what is learnt.

Parameters: `per_records` (records) is the time in which one false alarm is allowed. `learn` (records) come before the
first judgement. `memory` (records) is how slowly the normal level follows: a shift that stays is normal after about as
many. A vector beyond twice the limit teaches no more than one at twice the limit.

Limits: the promise holds for normal values, one record like the next; heavy tails and hours of the day make it speak more
often. A shift is spoken of at every record until it is usual; one that is small against the limit never is: take
Mewma. Metrics of which nine tenths of the values are equal have no deviation to speak of: judge these by a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import fsum, sqrt

from failshut_detectors.contract import Kind
from failshut_detectors.shared.covariance import Covariance, VectorChart, hotelling_limit

_BLOCK = 100  # records between two looks at what is usual now
_REACH = 2.0  # limits: the most that one vector can teach

_limit = lru_cache(maxsize=256)(hotelling_limit)


class Mahalanobis(VectorChart):
    """Detect a vector that is unlike all that were seen.

    >>> together = [(x, 2.0 * x + y) for x in (1.0, 2.0, 3.0, 4.0) for y in (0.1, -0.1)]
    >>> detector = Mahalanobis(width=2, per_records=1000.0, learn=80)
    >>> detector.feed(together * 10), detector.feed([(4.0, 8.1)])
    ([], [])
    >>> detector.feed([(4.0, 2.0)])[0].text
    'metric 0 up 1.3 deviations, metric 1 down 1.3 deviations; distance 42.17 from usual, limit 3.94'
    """

    name = "mahalanobis"
    kind = Kind.ANOMALY

    def __init__(self, width: int = 1, per_records: float = 10_000.0, learn: int = 200, memory: int = 5_000) -> None:
        if not 2.0 <= per_records <= 1e12:
            raise ValueError(f"per_records is {per_records}, must be from 2 to 1e12")
        if memory < learn:
            raise ValueError(f"memory is {memory}, less than learn ({learn})")
        self._per_records, self._memory = per_records, memory
        super().__init__(width, learn)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"per_records": records}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._block: list[list[float]] = []

    def _limit(self) -> float:
        count = self._usual.count if self._usual else self._learn
        return _limit(1.0 / self._per_records, self.width, count)

    def _judge(self, usual: Covariance, vector: Sequence[float]) -> str:
        standardised = usual.standardise(vector)
        shares = usual.shares(standardised)
        self._distance = distance = sqrt(max(0.0, fsum(shares)))
        limit = self._limit()
        text = self._words(usual, standardised, shares) if distance > limit else ""
        if not (text and usual.stir(vector)):
            self._take(usual, standardised, distance, _REACH * limit)
        return text

    def _take(self, usual: Covariance, standardised: list[float], distance: float, reach: float) -> None:
        if distance > reach:
            standardised = [z * reach / distance for z in standardised]
        self._block.append(standardised)
        if len(self._block) == _BLOCK:
            usual.follow(self._block, self._memory)
            self._block = []
