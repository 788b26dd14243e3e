"""EDDM: non-conforming events that come closer together.

Source: M. Baena-Garcia and others, Early Drift Detection Method, Fourth International Workshop on Knowledge Discovery
from Data Streams, 2006; the implementation is river's. It computes mean and deviation of the distances (in events)
between failures. It raises an alarm when the mean plus two deviations falls below `ratio` of its greatest value.

Parameters: `warm_up` (failures, and events) comes before the first test, and again after each alarm; `ratio` (0 to 1).

Limits: it looks only at failures, and needs 30 of them. After an alarm, or on a stream that never failed, it alarms with the
31st at the earliest. Distances are averaged since the last alarm: with one failure in ten for 50,000 events, it takes some 800
failures in a row to speak. It makes no promise of how often it is wrong, and deviations of distances vary as much as the
distances. If nothing changes, it alarms every 700 (10 % failing) to 5,000 events (1 %).
"""

from __future__ import annotations

from typing import Any

from river.drift import binary

from failshut_detectors.shared.river_events import RiverEvents


class Eddm(RiverEvents):
    """Detect that non-conforming events come closer together.

    >>> detector = Eddm()
    >>> detector.feed(([1.0] * 9 + [0.0]) * 50), detector.ready
    ([], True)
    >>> detector.feed([0.0] * 80)[0].text
    '65 of the last 100 do not conform'
    """

    name = "eddm"
    _relearns = 10

    def __init__(self, warm_up: int = 30, ratio: float = 0.9) -> None:
        if not 0.0 < ratio < 1.0:
            raise ValueError(f"ratio is {ratio}, must be above 0 and below 1")
        super().__init__(binary.EDDM(warm_start=warm_up, alpha=1.0, beta=ratio), warm_up)

    def _pass_over(self, count: int) -> bool:
        self._river._n += count  # between failures it only counts
        return True

    def _part(self) -> float:
        river: Any = self._river
        if river._n_errors <= river.warm_start or river._p2s_prime_max <= 0:
            return 0.0
        distances = river._error_distances
        level = (distances.mean.get() + 2.0 * distances.get() ** 0.5) / river._p2s_prime_max
        return float((1.0 - level) / (1.0 - river.beta))
