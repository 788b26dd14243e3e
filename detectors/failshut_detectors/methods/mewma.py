"""MEWMA chart: a small lasting shift of several metrics together, by a moving average that forgets.

A shift of half a deviation in each of four metrics is a whole one for their vector. Judged together, it is
found sooner than by four charts that share their false alarms. The average's distance from the centre must
exceed a limit that holds for its steady state and follows from `arl`.

Source: C. A. Lowry, W. H. Woodall, C. W. Champ and S. E. Rigdon, A Multivariate Exponentially Weighted Moving Average
Control Chart, Technometrics 34 (1992); run_lengths.py for the limit, covariance.py for what is learnt. The limit is
widened for what is not known after `learn` records as Hotelling's quantile is for a single vector (our approximation).

Parameters: `arl` (records) is the mean run length without a change. `weight` (0.01 to 1) is how fast the average
follows: 0.1 finds shifts of one deviation, 0.4 those of two. Centre and covariance are learnt from `learn` (records).
After an alarm they are learnt again, because the stream may be another one. Until then it
judges by what it knew: it speaks again where the average was back and departs, turns round, or doubles its distance.

Limits: the run length holds for independent normal vectors; memory from one record to the next and hours of the day
shorten it. One absurd vector is a shift, too. It does not follow: what creeps is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import fsum, sqrt

from scipy.special import chdtrc

from failshut_detectors.contract import Kind
from failshut_detectors.shared.covariance import Covariance, VectorChart, hotelling_limit
from failshut_detectors.shared.run_lengths import mewma_limit


class Mewma(VectorChart):
    """MEWMA chart with limits for the steady state.

    >>> usual = [(x, y) for x in (1.0, 2.0, 3.0, 4.0) for y in (10.0, 30.0, 20.0)]
    >>> chart = Mewma(width=2, arl=500.0, weight=0.2, learn=60)
    >>> chart.feed(usual * 5), chart.ready
    ([], True)
    >>> chart.feed([(3.5, 28.0)] * 20)[0].text
    'metric 1 up 1 deviations, metric 0 up 0.9 deviations; distance 3.89 from usual, limit 3.89'
    """

    name = "mewma"
    kind = Kind.DRIFT
    version = 2

    def __init__(self, width: int = 1, arl: float = 10_000.0, weight: float = 0.1, learn: int = 200) -> None:
        super().__init__(width, learn)
        self._weight = weight
        self._bound = widened_limit(arl, weight, width, learn)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, float]:
        return {"arl": records}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._average = [0.0] * self.width
        self._extent: float | None = None  # the distance at the last alarm, until the average is back or all is learnt again
        self._fresh: list[Sequence[float]] = []  # what follows an alarm
        self._relearning = False

    def _limit(self) -> float:
        return self._bound

    def _judge(self, usual: Covariance, vector: Sequence[float]) -> str:
        weight = max(self._weight, _QUICK) if self._relearning else self._weight
        self._average = [
            before + weight * (z - before) for before, z in zip(self._average, usual.standardise(vector), strict=True)
        ]
        shares = usual.shares(self._average)
        self._distance = sqrt(max(0.0, fsum(shares)) * (2.0 - weight) / weight)
        if self._relearning:
            return self._judge_again(usual, vector, shares)
        if self._distance <= self._bound:
            return ""
        self._relearning, self._extent = True, self._distance
        return self._words(usual, self._average, shares)

    def _judge_again(self, usual: Covariance, vector: Sequence[float], shares: Sequence[float]) -> str:
        """Judge by what was known before an alarm, and learn again beside it."""
        text = ""
        if self._distance < self._bound / 2.0:
            self._extent = None
        if self._distance > (self._bound if self._extent is None else _FURTHER * self._extent):
            self._extent, text = self._distance, self._words(usual, self._average, shares)
        self._fresh.append(tuple(vector))
        if len(self._fresh) == self._learn:
            fresh = Covariance(self._fresh)
            self._begin_anew()
            self._usual = fresh
        return text


_QUICK = 0.3  # the weight at least, while it learns again: an average that is slow comes back late
_FURTHER = 2.0


@lru_cache(maxsize=64)
def widened_limit(arl: float, weight: float, width: int, learn: int) -> float:
    """Return the limit with about this ARL where centre and covariance were learnt from so many records."""
    known = mewma_limit(arl, weight, width)
    return hotelling_limit(float(chdtrc(width, known * known)), width, learn, (2.0 - weight) / weight)
