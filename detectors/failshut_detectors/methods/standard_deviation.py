"""Standard absolute deviation: a value that is too many standard deviations from the mean of all before it.

Source: J. Hochenbaum, O. S. Vallis and A. Kejariwal, Automatic Anomaly Detection in the Cloud Via Statistical Learning
(2017), the rule of several sigmas; the implementation of mean and deviation is river's.

A value beyond the threshold teaches nothing. A single 1e9 would make everything after it normal. Even clipped at the
threshold, a few dozen in a row would widen the deviation so fast that none of them is unusual any more. If unusual
values go on, it is a new stream, and mean and deviation are learnt again. That is after `warm_up` unusual values in a
row, or some more with usual ones between them (but fewer than ten to one). Values are scaled first (scaling.py), so
that a small constant of river's does not matter.

Parameters: `sigmas` (standard deviations) is the distance that is too far. Mean and deviation are first learnt from
`warm_up` (records), and nothing is judged before that.

Limits: each record is judged alone, so a small lasting shift is none of its business, and hours widen the deviation.
`for_false_trips` is exact for independent normal values. A count that is nearly always 0 alarms at its rare 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

from river import anomaly

from failshut_detectors.contract import Kind, number
from failshut_detectors.shared.scaling import Scale, Scaled

_USUAL = 0.1  # of an unusual value is made up for by a usual one
_SIGMAS_MAX = 1_000.0


class StandardAbsoluteDeviation(Scaled):
    """Detect values far from the mean.

    >>> detector = StandardAbsoluteDeviation(sigmas=4.0)
    >>> detector.feed([1.0, 3.0] * 100), detector.ready
    ([], True)
    >>> detector.feed([9.0, 2.0])[0].text
    '9 is 6.982 deviations from mean 2 (deviation 1.003)'
    """

    name = "standard_absolute_deviation"
    kind = Kind.ANOMALY
    version = 2
    _clip = 1e6  # what is learnt is clipped here, by a deviation that is better known

    def __init__(self, sigmas: float = 8.0, warm_up: int = 100) -> None:
        if not 1.0 <= sigmas <= _SIGMAS_MAX:
            raise ValueError(f"sigmas is {sigmas}, must be from 1 to {_SIGMAS_MAX:g}")
        self._sigmas = sigmas
        super().__init__(warm_up)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        if not 4.0 <= records <= 1e15:
            raise ValueError(f"one false alarm in {records} records cannot be promised: from 4 to 1e15")
        return {"sigmas": -NormalDist().inv_cdf(0.5 / records), "warm_up": 1_000}

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._sad = anomaly.StandardAbsoluteDeviation()
        self._score = self._unusual = 0.0

    def _judge(self, scale: Scale, values: Sequence[float]) -> Iterator[tuple[int, str]]:
        sad, score_one, learn_one, sigmas = self._sad, self._sad.score_one, self._sad.learn_one, self._sigmas
        for index, scaled in enumerate(scale.of(values)):
            if sad.variance.n < self._warm_up:
                learn_one(None, max(-sigmas, min(sigmas, scaled)))
                continue
            self._score = score = score_one(None, scaled)
            if score <= sigmas:
                learn_one(None, scaled)
                self._unusual = max(0.0, self._unusual - _USUAL)
                continue
            mean, deviation = sad.variance.mean.get(), sqrt(sad.variance.get())
            self._unusual += 1.0
            where = f"mean {number(scale.back(mean))} (deviation {number(deviation * scale.spread)})"
            yield index, f"{number(values[index])} is {number(score)} deviations from {where}"

    def _usual(self) -> tuple[float, float]:
        centre, spread = super()._usual()
        return centre + self._sad.variance.mean.get() * spread, sqrt(self._sad.variance.get()) * spread

    def _outdated(self) -> bool:
        return self._unusual >= self._warm_up

    def _part(self) -> float:
        return self._score / self._sigmas

    def _progress(self) -> str:
        """Return mean and standard deviation of what was learnt."""
        if self._scale is None:
            return self._learning()
        deviation = sqrt(self._sad.variance.get()) * self._scale.spread
        return f"mean {number(self._scale.back(self._sad.variance.mean.get()))}, deviation {number(deviation)}"
