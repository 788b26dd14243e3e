"""What the detectors' benchmarks compare: everything in the registry, by what it reads, beside river's own, bare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from river import anomaly, drift
from river.drift import binary

from failshut_detectors import Alarm, Contract, EventDetector, VectorDetector, registry
from failshut_detectors.shared.scaling import Scale

VALUES, EVENTS, VECTORS = "values", "events", "vectors"
METRICS = 3  # that a detector on vectors is given
SEED = 1
SLOW = {"kswin", "half_space_trees"}
"""Of which some streams are shortened, here and where they are river's."""


class Graded:
    """An anomaly detector of river's with the drift detectors' two words; it speaks at a score of `at`."""

    def __init__(self, detector: Any, at: float) -> None:
        self._detector, self._at = detector, at
        self.drift_detected = False

    def update(self, value: float) -> None:
        score = self._detector.score_one(None, value)
        self._detector.learn_one(None, value)
        self.drift_detected = score >= self._at


class GradedSquare(Graded):
    """The same for one that reads named features: the value, and its change from the one before.

    Bare: river's half-space trees want features between 0 and 1, and its documentation puts a scaler before them.
    """

    _before = 0.0

    def update(self, value: float) -> None:
        features = {"value": value, "change": value - self._before}
        self._before = value
        score = self._detector.score_one(features)
        self._detector.learn_one(features)
        self.drift_detected = score >= self._at


class TreesAlone(Graded):
    """Half-space trees with nothing before them, told value and change where ours puts them between 0 and 1."""

    def __init__(self) -> None:
        super().__init__(anomaly.HalfSpaceTrees(n_trees=25, height=6, seed=SEED), 0.93)

    def update(self, place: tuple[float, float]) -> None:  # type: ignore[override]
        features = {"value": place[0], "change": place[1]}
        score = self._detector.score_one(features)
        self._detector.learn_one(features)
        self.drift_detected = score >= self._at

    @staticmethod
    def places(values: Sequence[float]) -> list[tuple[float, float]]:
        """Where values lie: in spreads from their centre, squeezed as ours are."""
        changes = [after - before for before, after in pairwise([values[0], *values])]
        columns = [Scale.learnt(column).of(column) for column in (values, changes)]
        return [(0.5 + z / (2 * abs(z) + 16), 0.5 + w / (2 * abs(w) + 16)) for z, w in zip(*columns, strict=True)]


BARE: dict[str, Callable[[], Any]] = {
    "adwin": drift.ADWIN,
    "page_hinkley": drift.PageHinkley,
    "kswin": lambda: drift.KSWIN(seed=SEED),
    "standard_absolute_deviation": lambda: Graded(anomaly.StandardAbsoluteDeviation(), 8.0),
    "half_space_trees": lambda: GradedSquare(anomaly.HalfSpaceTrees(n_trees=25, height=6, seed=SEED), 0.93),
    "ddm": binary.DDM,
    "eddm": binary.EDDM,
    "fhddm": lambda: binary.FHDDM(sliding_window_size=100),
    "hddm_a": binary.HDDMA,
    "hddm_w": binary.HDDMW,
}
"""River's own of the same method: as it comes, or with our parameters where it comes with others."""


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


@dataclass(frozen=True, slots=True)
class Contender:
    """A detector to compare; `nominal` is in how many records it promises one false alarm (0: it does not)."""

    name: str
    make: Callable[[], Any]
    nominal: float = 0.0
    slow: bool = False


def ours(reads_what: str, promises: Sequence[float] = ()) -> list[Contender]:
    """Every detector of the registry that reads this: as it comes, and with each promise that it can make."""
    found = []
    for name in by_what_they_read()[reads_what]:
        cls, slow = registry.find(name), name in SLOW
        defaults = {key: parameter.default for key, parameter in registry.parameters(cls).items()}
        promised = []
        for records in promises:
            try:
                given = cls.for_false_trips(records)
            except ValueError:
                continue  # it makes no such promise
            make = lambda name=name, given=given: registry.build(name, given, METRICS)  # noqa: E731
            promised.append(Contender(f"{name} 1 in {records:,.0f}", make, records, slow))
            if given.items() <= defaults.items():
                defaults = {}  # as it comes, it makes this very promise
        if defaults:
            found.append(Contender(name, lambda name=name: registry.build(name, {}, METRICS), slow=slow))
        found += promised
    return found


def rivers(reads_what: str) -> list[Contender]:
    """River's own of the same methods, bare."""
    names = [name for name in by_what_they_read()[reads_what] if name in BARE]
    return [Contender(f"river's {name}", lambda name=name: Rivers(name), slow=name in SLOW) for name in names]


class Rivers:
    """A bare detector of river's behind our contract."""

    def __init__(self, name: str) -> None:
        self._detector = BARE[name]()
        self._event = name not in by_what_they_read()[VALUES]
        self._flip = name in FAILURE_IS_ONE

    def feed(self, values: Sequence[float], times_ms: Sequence[int] | None = None) -> list[Alarm]:
        found = []
        if self._event:
            values = [int(1 - value) if self._flip else int(value) for value in values]
        for index, value in enumerate(values):
            self._detector.update(value)
            if self._detector.drift_detected:
                found.append(Alarm(index, ""))
        return found
