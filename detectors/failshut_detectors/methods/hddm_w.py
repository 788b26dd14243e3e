"""HDDM_W: a share of non-conforming events that rises, by McDiarmid's bound on weighted averages.

Source: I. Frias-Blanco and others, Online and Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds, IEEE
Transactions on Knowledge and Data Engineering 27 (2015); the implementation is river's. It compares exponentially
weighted shares before and after the point where that of all events was lowest; recent events weigh more.

Parameters: `confidence` (0 to 1) bounds a false alarm at one test. `weight` (0 to 1) is that of the newest event.
`warm_up` (events) comes before its silence counts.

Limits: events that are independent. It is quick, and blind to small changes. At the defaults the weighted share must
rise by 0.42, so a change from 1 % failing to 10 % is never found.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import log, sqrt
from typing import Any

from river.drift import binary

from failshut_detectors.contract import Alarm, number
from failshut_detectors.shared.river_events import RiverEvents, one_in, probability

_LOOK_EVERY = 1_000  # conforming events: whether they leave it as it is costs as much to know as some thirty of them


class HddmW(RiverEvents):
    """Detect that many more events than before do not conform, within a few of them.

    >>> detector = HddmW()
    >>> detector.feed([1.0] * 200), detector.ready
    ([], True)
    >>> detector.feed([0.0] * 60)[0].text
    '14 of the last 100 do not conform'
    """

    name = "hddm_w"

    def __init__(self, confidence: float = 0.001, weight: float = 0.05, warm_up: int = 30) -> None:
        if not 0.0 < weight < 1.0:
            raise ValueError(f"weight is {weight}, must be above 0 and below 1")
        rise = sqrt(weight / (2.0 - weight) * log(1.0 / probability("confidence", confidence)))
        if rise >= 1.0:
            raise ValueError(
                f"it would never speak: the share would have to rise by {number(rise)}; lower weight or raise confidence"
            )
        super().__init__(binary.HDDMW(drift_confidence=confidence, lambda_val=weight), warm_up)
        self._conforming = 0  # events of whole blocks that conform, without a break
        self._settled = False

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        return {"confidence": one_in(records)}

    def _method(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        if min(values, default=1.0) < 1.0:
            self._conforming, self._settled = 0, False
        return super()._method(values, times_ms)

    def _pass_over(self, count: int) -> bool:
        before, self._conforming = self._conforming, self._conforming + count
        if not self._settled and before // _LOOK_EVERY < self._conforming // _LOOK_EVERY:
            ahead = deepcopy(self._river)
            ahead.update(0)
            self._settled = _state(ahead) == _state(self._river)  # then every further one leaves it so, too
        return self._settled

    def _part(self) -> float:
        before, after = self._river._s1_incr, self._river._s2_incr
        if not (before.is_init and after.is_init):
            return 0.0
        bound = sqrt((before.ibc + after.ibc) * log(1.0 / self._river.drift_confidence) / 2.0)
        return float((after.ewma - before.ewma) / bound)


def _state(river: Any) -> list[float | bool]:
    samples = (river._total, river._s1_incr, river._s2_incr, river._s1_decr, river._s2_decr)
    return [river.drift_detected, river._incr_cutpoint, river._decr_cutpoint] + [
        part for sample in samples for part in (sample.is_init, sample.ewma, sample.ibc)
    ]
