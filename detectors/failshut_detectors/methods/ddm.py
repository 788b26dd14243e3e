"""DDM: a share of non-conforming events that rises above its lowest, by standard deviations.

Source: J. Gama, P. Medas, G. Castillo and P. Rodrigues, Learning with Drift Detection, SBIA 2004; the implementation is
river's. It computes the share p of failures among all events since the last alarm, with its deviation s. It remembers
both where p + s was lowest. It raises an alarm when p + s exceeds that p by `threshold` of that s.

Parameters: `warm_up` (events) comes before the first test, and again after each alarm; `threshold` (standard deviations).

Limits: if no event failed during the warm-up, the lowest deviation is 0. Then a single failure is an alarm at once, however
long the stream was good. Use it for streams in which some events always fail. It makes no promise of how often it is wrong, and
tests after every event. If nothing changes, it alarms every 1,400 (1 % failing) to 13,000 events (10 %). The share is that of
all events since the last alarm: the longer all was well, the later it speaks.
"""

from __future__ import annotations

from typing import Any

from river.drift import binary

from failshut_detectors.shared.river_events import RiverEvents


class Ddm(RiverEvents):
    """Detect that the share of non-conforming events rises from its lowest.

    >>> detector = Ddm()
    >>> detector.feed(([1.0] * 9 + [0.0]) * 50), detector.ready
    ([], True)
    >>> detector.feed([0.0] * 60)[0].text
    '23 of the last 100 do not conform'
    """

    name = "ddm"

    def __init__(self, warm_up: int = 30, threshold: float = 3.0) -> None:
        if not 0.0 < threshold < float("inf"):
            raise ValueError(f"threshold is {threshold}, must be above 0 standard deviations")
        super().__init__(binary.DDM(warm_start=warm_up, drift_threshold=threshold), warm_up)

    def _pass_over(self, count: int) -> bool:
        if self._misses or self._since <= self._warm_up:
            return False
        # Nothing failed, so share and deviation are 0 and stay so: what is counted is the events.
        self._river._p.n += count
        return True

    def _part(self) -> float:
        river: Any = self._river
        if not river._s_min:  # nothing was tested yet, or the lowest deviation is 0: no failure at all, or an alarm
            return 0.0
        share = river._p.get()
        deviation = (share * (1.0 - share) / river._p.n) ** 0.5
        return float((share + deviation - river._p_min) / (river.drift_threshold * river._s_min))
