"""A demand stands until its cause is gone, for every detector that a policy can name: ours, and one that a package brings."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from typing import Any

import pytest

from failshut_breakers.conditions.memory import BLOCK, Remembering
from failshut_breakers.conditions.reference import Reference, onset
from failshut_breakers.policy.detection import Choice, Detection
from failshut_detectors.contract import Alarm, Detector, EventDetector, Kind, VectorDetector
from failshut_detectors.registry import OURS

EVERY_MS = 1_000
START_MS = 1_700_000_000_000


class Jump(Detector):
    """Somebody's detector: it speaks of a value twice as far from the first twenty as any of them, and then begins anew."""

    name, kind = "jump", Kind.DRIFT

    def __init__(self) -> None:
        self.first: list[float] = []

    @property
    def ready(self) -> bool:
        return len(self.first) == 20

    def summary(self) -> str:
        return f"{len(self.first)} seen"

    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        for index, value in enumerate(values):
            if not self.ready:
                self.first.append(value)
                continue
            middle = sum(self.first) / 20
            if abs(value - middle) > 2 * max(abs(one - middle) for one in self.first):
                alarms.append(Alarm(index, f"{value:.0f} where {middle:.0f} was"))
                self.first = [value]
        return alarms


DETECTORS = {**OURS, "jump": Jump}


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OURS, "jump", Jump)


class Fed:
    """A detector with its memory, fed one reading a second."""

    def __init__(self, name: str, seed: int = 1) -> None:
        cls = DETECTORS[name]
        self.events, width = issubclass(cls, EventDetector), 2 if issubclass(cls, VectorDetector) else 0
        self.memory = Remembering(Detection((Choice(name, ()),), width), self.events)
        self.width, self.rng, self.now_ms = width, random.Random(seed), START_MS

    def reading(self, bad: bool) -> Any:
        if self.events:
            return float(self.rng.random() >= (0.6 if bad else 0.01))
        level = 480.0 if bad else 48.0
        return tuple(self.rng.gauss(level, 8.0) for _ in range(self.width)) if self.width else self.rng.gauss(level, 8.0)

    def run(self, count: int, bad: bool = False, own_ms: int = 0) -> list[bool]:
        """Feed so many readings; return after each whether the demand stands."""
        stands = []
        for _ in range(count):
            self.memory.take([self.reading(bad)], [own_ms or self.now_ms], self.now_ms, self.now_ms)
            self.now_ms += EVERY_MS
            stands.append(self.memory.stands)
        return stands

    def until_quiet(self) -> None:
        """Normal readings until no demand stands: detectors speak for nothing now and then."""
        for _ in range(50):
            if not any(self.run(50)[-20:]):
                return
        raise AssertionError("it never ended")


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_a_demand_stands_for_as_long_as_its_cause(name: str) -> None:
    """Through a thousand bad readings, and old good ones; not beyond some sixty good ones, and then it is ready again."""
    one = Fed(name)
    one.run(1_200)
    one.until_quiet()
    assert any(one.run(100, bad=True)), "it notices"
    assert all(one.run(400, bad=True)), "it does not get used to it"
    assert all(one.run(100, own_ms=START_MS)), "old good readings are no end of it"
    assert not all(one.run(76)), "the fault is over"
    assert one.memory.ready


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adwin", "seasonal_record", "fhddm", "mahalanobis"])
def test_cuts_and_snapshots_change_nothing(name: str) -> None:
    """One by one, in batches, and through a pickle after each: the same demands, ends, and words."""
    source = Fed(name)
    rows = [source.reading(bad) for bad in [False] * 700 + [True] * 200 + [False] * 500 + [True] * 50 + [False] * 300]
    times = [START_MS + n * EVERY_MS for n in range(len(rows))]
    told = []
    for size, pickled in ((1, False), (7, True), (100, False)):
        memory, said = Fed(name).memory, []
        for minute in range(0, len(rows), 100):  # the newest mark is the same for what stands between two
            for at in range(minute, minute + 100, size):
                upto = min(at + size, minute + 100, len(rows))
                alarms = memory.take(rows[at:upto], times[at:upto], times[minute], times[minute])
                said += [(at + alarm.index, alarm.text) for alarm in alarms]
                memory = pickle.loads(pickle.dumps(memory)) if pickled else memory
        told.append((said, memory.stands, memory.detector.summary()))
    assert told[0] == told[1] == told[2]
    assert told[0][0]


def test_its_memory_is_bounded() -> None:
    """However long a stream, and however often it comes and goes."""
    one = Fed("adwin")
    for bad in (False, True) * 4:
        one.run(1_000, bad)
    assert len(one.memory._times) <= 2 * BLOCK
    assert len(one.memory._latest) <= BLOCK


def test_a_new_level_is_adopted_with_what_was_read_since() -> None:
    """Ready at once, and the old level is what it speaks of then."""
    one = Fed("adwin")
    one.run(300)
    one.run(200, bad=True)
    one.memory.adopt()
    assert one.memory.ready
    assert not any(one.run(200, bad=True))
    assert any(one.run(200))


def test_where_a_change_began_is_found() -> None:
    """To a reading for a clear one, also at the last; one absurd value is no change of the rest."""
    rng = random.Random(3)
    calm = [rng.gauss(0.0, 1.0) for _ in range(200)]
    assert onset([calm + [9.0] * 30]) == 200
    assert onset([[*calm, 1e9]]) == 200
    assert abs(onset([calm[:100] + [1e30] + calm[100:] + [6.0] * 40]) - 201) <= 1
    assert onset([[1.0] * 50 + [2.0]]) == 50


@pytest.mark.parametrize(("away", "readings"), [(100.0, 20), (2.0, 20), (1.0, 50)])
def test_a_small_change_takes_more_readings(away: float, readings: int) -> None:
    """Between 20 and 50, by the deviations of the change; and half of the change is not back."""
    rng = random.Random(4)
    before = [rng.gauss(0.0, 1.0) for _ in range(128)]
    reference = Reference.of([before], [[away] * 30])
    assert reference.readings in (readings, readings + 1, readings - 1) or (readings == 50 and reference.readings > 40)
    assert reference.back([[rng.gauss(0.0, 1.0) for _ in range(reference.readings)]])
    assert not reference.back([[rng.gauss(away, 1.0) for _ in range(reference.readings)]])


def test_a_window_nearer_to_the_fault_than_to_what_was_is_not_back() -> None:
    """Whatever the detector says: half of the change is the border, and two deviations."""
    before = [48.0 + n % 5 for n in range(100)]
    reference = Reference.of([before], [[value + 4.0 for value in before[:50]]])
    window = before[: reference.readings]
    assert reference.back([window])
    assert reference.back([[value + 1.5 for value in window]])
    assert not reference.back([[value + 2.5 for value in window]])
    far = Reference.of([before], [[value + 400.0 for value in before[:50]]])
    assert not far.back([[value + 4.0 for value in window]]), "two deviations of some 1.4"


def test_a_value_that_is_stuck_is_demanded_for_while_it_is() -> None:
    """Within every reference, and all the same no end: fed with it, the detector speaks again; and it ends when it moves."""
    one = Fed("local_seasonal")
    one.run(1_200)
    one.until_quiet()
    stuck = one.reading(bad=False)
    stands = []
    for _ in range(300):
        one.memory.take([stuck], [one.now_ms], one.now_ms, one.now_ms)
        one.now_ms += EVERY_MS
        stands.append(one.memory.stands)
    first = stands.index(True)
    assert first < 40
    assert all(stands[first:])
    assert not all(one.run(80)), "it moves again"
