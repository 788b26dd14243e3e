"""Between which bounds a detector's parameters are drawn, for every detector that may stand in place of another.

Detectors learn a stream's scale by themselves, so that their bounds are numbers without units, and the same for all
streams. All are positive and are drawn on a logarithmic scale. A detector that is not here (a plug-in, a slow one) is
drawn only if a policy names it. Then it keeps the parameters that it has there.
"""

from __future__ import annotations

from typing import NamedTuple

from failshut_detectors.contract import Kind, VectorDetector
from failshut_detectors.registry import find, names


class Bounds(NamedTuple):
    """The least and the largest value of a parameter. `whole`: it counts something. `steps`: so many values alone, 0 is all."""

    low: float
    high: float
    whole: bool = False
    steps: int = 0

    def at(self, share: float) -> float | int:
        """Return the value at a share (0 to 1) of the way, on a logarithmic scale.

        >>> Bounds(1, 100).at(0.5), Bounds(20, 500, whole=True).at(0.0)
        (10.0, 20)
        """
        if self.steps:
            share = min(int(share * self.steps), self.steps - 1) / (self.steps - 1)
        value = self.low * (self.high / self.low) ** share
        return round(value) if self.whole else short(value)


def short(value: float) -> float:
    """Return a number of four digits: what a person reads in a policy."""
    return float(f"{value:.4g}")


_LEARN = Bounds(20, 500, whole=True)
# A chart's limit is solved for, which takes as long as a replay: the same few charts are solved once in a process.
_RUN = Bounds(500, 1e6, steps=5)
_WEIGHT = Bounds(0.05, 0.8, steps=4)

DRAWN: dict[str, dict[str, Bounds]] = {
    "adwin": {"delta": Bounds(1e-6, 0.5), "clock": Bounds(1, 32, whole=True)},
    "cusum": {"arl": _RUN, "reference": Bounds(0.25, 2, steps=4), "learn": _LEARN},
    "ewma": {"arl": _RUN, "weight": _WEIGHT, "learn": _LEARN},
    "false_trip_budget": {"per_records": Bounds(500, 1e6)},
    "page_hinkley": {"threshold": Bounds(1, 300), "delta": Bounds(0.05, 5), "warm_up": _LEARN},
    "mewma": {"arl": _RUN, "weight": _WEIGHT, "learn": _LEARN},
    "local_seasonal": {"quiet": Bounds(0.3, 5)},
    "seasonal_record": {"range_share": Bounds(0.005, 2), "smoothed_share": Bounds(0.02, 1), "spike": Bounds(10, 300)},
    "standard_absolute_deviation": {"sigmas": Bounds(2, 20), "warm_up": _LEARN},
    "half_space_trees": {"threshold": Bounds(0.85, 0.99), "window": Bounds(100, 500, whole=True)},
    "mahalanobis": {"per_records": _RUN, "learn": _LEARN},
    "ddm": {"threshold": Bounds(2, 8), "warm_up": _LEARN},
    "eddm": {"ratio": Bounds(0.5, 0.98), "warm_up": _LEARN},
    "bernoulli_cusum": {"arl": Bounds(1e3, 1e8)},
    "fhddm": {"confidence": Bounds(1e-9, 0.05)},
    "hddm_a": {"confidence": Bounds(1e-9, 0.05), "warm_up": _LEARN},
    "hddm_w": {"confidence": Bounds(1e-4, 0.05), "weight": Bounds(0.02, 0.15), "warm_up": _LEARN},
}


def candidates(kinds: set[Kind], several: bool, today: str) -> list[str]:
    """Return the detectors that may stand in a condition of these kinds, on several series together or on one.

    `today` is the one that stands there, which is always among them.
    """
    found = []
    for name in names():
        if name == today or name in DRAWN:
            cls = find(name)
            if name == today or (cls.kind in kinds and issubclass(cls, VectorDetector) is several):
                found.append(name)
    return found
