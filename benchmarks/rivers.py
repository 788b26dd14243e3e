"""What the detectors' benchmarks compare: everything in the registry, by what it reads, beside river's own, bare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from river import anomaly, drift
from river.drift import binary

from failshut_detectors import Alarm, Contract, EventDetector, VectorDetector, registry

VALUES, EVENTS, VECTORS = "values", "events", "vectors"
SEED = 1


class Graded:
    """An anomaly detector of river's with the drift detectors' two words; it speaks at a score of `at`."""

    def __init__(self, detector: Any, at: float, key: str | None = None) -> None:
        self._detector, self._at, self._key = detector, at, key
        self.drift_detected = False
        self.score = 0.0

    def update(self, value: float) -> None:
        if self._key is None:
            self.score = self._detector.score_one(None, value)
            self._detector.learn_one(None, value)
        else:
            features = {self._key: value}
            self.score = self._detector.score_one(features)
            self._detector.learn_one(features)
        self.drift_detected = self.score >= self._at


BARE: dict[str, Callable[[], Any]] = {
    "adwin": drift.ADWIN,
    "page_hinkley": drift.PageHinkley,
    "kswin": lambda: drift.KSWIN(seed=SEED),
    "standard_absolute_deviation": lambda: Graded(anomaly.StandardAbsoluteDeviation(), 3.0),
    "half_space_trees": lambda: Graded(anomaly.HalfSpaceTrees(seed=SEED), 0.9, "value"),
    "ddm": binary.DDM,
    "eddm": binary.EDDM,
    "fhddm": lambda: binary.FHDDM(sliding_window_size=100),
    "hddm_a": binary.HDDMA,
    "hddm_w": binary.HDDMW,
}
"""River's own of the same method, as it comes."""

FAILURE_IS_ONE = {"ddm", "eddm", "hddm_a", "hddm_w"}
"""Of river's detectors on events, those that are told 1 for a failure; FHDDM is told 1 for a success."""


def by_what_they_read() -> dict[str, list[str]]:
    """The names in the registry, under values, events and vectors."""
    found: dict[str, list[str]] = {VALUES: [], EVENTS: [], VECTORS: []}
    for name in sorted(registry.OURS):
        found[reads(registry.find(name))].append(name)
    return found


def reads(cls: type[Contract]) -> str:
    """What a detector is fed."""
    return VECTORS if issubclass(cls, VectorDetector) else EVENTS if issubclass(cls, EventDetector) else VALUES


class Rivers:
    """A bare detector of river's behind our contract."""

    def __init__(self, name: str) -> None:
        self._detector = BARE[name]()
        self._flip = name in FAILURE_IS_ONE

    def feed(self, values: Sequence[float], times_ms: Sequence[int] | None = None) -> list[Alarm]:
        found = []
        for index, value in enumerate(values):
            self._detector.update(1 - value if self._flip else value)
            if self._detector.drift_detected:
                found.append(Alarm(index, ""))
        return found
