"""Half-space trees: a value, or a change from the value before, in a place with hardly any others.

Source: S. C. Tan, K. M. Ting and T. F. Liu, Fast Anomaly Detection for Streaming Data, IJCAI 2011; the implementation is
river's. Trees cut the unit square at random and count what falls where; counts of one window judge the next.

The square is value and change of one series, each in its own spreads z in the first window (scaling.py). The map 1/2 +
z / (2 |z| + 16) brings both between 0 and 1. The first 8 spreads to either side have half of the space, so far tails
share few cells. The map is fixed once learnt and knows no range. If the stream stays more than 8 spreads away for a
whole window, scale and trees are learnt again.

Parameters: `threshold` (0 to 1) is the score, river's, from which on a place is too empty. `window` (records) is the
number of records that are counted, and the warm-up. `trees` and `height` (cuts, one below the other) say how finely the
square is divided. `seed` is that of the cuts.

Limits: no promise of how often it is wrong. With the defaults: no alarm in 15,500 independent or autocorrelated (.7) normal
records, and one in some 7,750 of t with three degrees of freedom. A step of 20 sigma is noticed at its first records, one of 10
mostly, one of 5 hardly ever. What lasts is usual after a window. It costs more than all others here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from river import anomaly

from failshut_detectors.contract import Kind, number
from failshut_detectors.shared.scaling import CLIP, EXAMPLES_MIN, Scale, Scaled

_HALF = 8.0  # spreads to either side of the centre that have half of the room
_TREES_MAX, _HEIGHT_MAX = 200, 12


class HalfSpaceTrees(Scaled):
    """Detect values and changes where there were hardly any.

    >>> detector = HalfSpaceTrees(window=50)
    >>> detector.feed([float(n % 7) for n in range(200)]), detector.ready
    ([], True)
    >>> detector.feed([60.0, 3.0])[0].text
    '60 after 3 is where hardly any were (score 0.9742)'
    """

    name = "half_space_trees"
    kind = Kind.ANOMALY
    version = 2
    _clip = 1e6
    _lone = CLIP

    def __init__(self, threshold: float = 0.93, window: int = 250, trees: int = 25, height: int = 6, seed: int = 1) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold is {threshold}, must be above 0 and below 1")
        if window < EXAMPLES_MIN:
            raise ValueError(f"window is {window}, must be at least {EXAMPLES_MIN} records")
        if not 1 <= trees <= _TREES_MAX or not 1 <= height <= _HEIGHT_MAX:
            raise ValueError(f"trees is {trees} and height {height}: from 1 to {_TREES_MAX}, and from 1 to {_HEIGHT_MAX}")
        self._threshold = threshold
        self._parameters: dict[str, Any] = {"n_trees": trees, "height": height, "window_size": window, "seed": seed}
        super().__init__(window)

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._trees = anomaly.HalfSpaceTrees(**self._parameters)
        self._score = 0.0
        self._away = 0
        self._changes: Scale | None = None
        self._before = 0.0

    def _judge(self, scale: Scale, values: Sequence[float]) -> Iterator[tuple[int, str]]:
        if self._changes is None:  # these are the examples
            self._before = values[0]
            self._changes = Scale.learnt([after - before for before, after in pairwise(values)], self._clip, self._lone)
        score_one, learn_one, threshold = self._trees.score_one, self._trees.learn_one, self._threshold
        before = [self._before, *values[:-1]]
        changes = self._changes.of([value - before for value, before in zip(values, before, strict=True)])
        spreads = scale.of(values)
        for index, (value, change) in enumerate(zip(_unit(spreads), _unit(changes), strict=True)):
            place = {"value": value, "change": change}
            self._score = score = score_one(place)
            learn_one(place)
            if not 0.25 <= value <= 0.75:  # more than _HALF spreads away
                self._away += 1
            elif self._away:
                self._away -= 1
            if score >= threshold:
                where = f"{number(values[index])} after {number(before[index])}"
                yield index, f"{where} is where hardly any were (score {number(score)})"
            elif self._away and self._outdated():
                yield index, ""
        self._before = values[-1]

    def _outdated(self) -> bool:
        return self._away >= self._warm_up

    def _part(self) -> float:
        # Scores crowd near 1, so how empty a place is counts: the threshold's share of what the record's place holds.
        return (1.0 - self._threshold) / (1.0 - self._score) if self._score < self._threshold else 0.0

    def _progress(self) -> str:
        """Return the last score."""
        return self._learning() if self._scale is None else f"score {number(self._score)}, too far from {self._threshold:g} on"


def _unit(spreads: Sequence[float]) -> list[float]:
    """Return numbers of spreads as ones between 0 and 1.

    >>> _unit([0.0, 8.0, -8.0, 1e6])
    [0.5, 0.75, 0.25, 0.9999960000319997]
    """
    return [0.5 + spread / (2.0 * abs(spread) + 2.0 * _HALF) for spread in spreads]
