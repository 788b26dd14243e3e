"""What a record costs, and a detector's state: everything in the registry, beside river's own bare.

Every detector reads the same stream, in which nothing changes (normal values a minute apart; events of which one in
a hundred does not conform; three independent metrics), through `update` and through `feed` in batches of 1, 10, 100
and 1,000. Bare is the loop that a user of river writes, over the same values:

    for value in values:
        detector.update(value)
        detector.drift_detected

Contenders take turns, round by round, so that a busy minute meets all of them. CPU time of this process; a figure is
the best of eleven rounds, and the spread is how much longer the median round took. What wrapping adds is our best round
less river's.

State: pickled, and deep (every object that only this one reaches, by sys.getsizeof). River's ADWIN keeps its window
where neither looks into from outside, so its deep size is too small.

    make bench NAME=detector_cost
"""

from __future__ import annotations

import gc
import pickle
import random
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import harness
from detector_contenders import BARE, EVENTS, FAILURE_IS_ONE, METRICS, VALUES, VECTORS, TreesAlone, by_what_they_read

from failshut_detectors import registry

RECORDS, SLOW_RECORDS = 10_000, 1_000  # of a round
WARM_UP = 2_000
ROUNDS = 11
BATCHES = (1, 10, 100, 1_000)
SLOW_US = 50.0
MINUTE_MS = 60_000
MONDAY_MS = 1_704_067_200_000
WRAPPING_US, DEFAULT_US = 0.5, 10.0
DEFAULTS = ("seasonal_record", "false_trip_budget")
SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)

Round = Callable[[], float]


def streams() -> dict[str, list[Any]]:
    """Records of each kind, enough for the warm-up and a round."""
    rng = random.Random(7)
    count = WARM_UP + RECORDS
    return {
        VALUES: [rng.gauss(48.0, 2.0) for _ in range(count)],
        EVENTS: [float(rng.random() >= 0.01) for _ in range(count)],
        VECTORS: [tuple(rng.gauss(48.0, 2.0) for _ in range(METRICS)) for _ in range(count)],
    }


def timed(work: Callable[[], None], records: int) -> float:
    """Microseconds of CPU a record."""
    gc.collect()
    gc.disable()
    began = time.process_time_ns()
    work()
    took = time.process_time_ns() - began
    gc.enable()
    return took / records / 1e3


class Course:
    """A detector's way through one stream: each round goes on where the last one ended, in time if not in values."""

    def __init__(self, name: str, stream: Sequence[Any]) -> None:
        self.detector: Any = registry.build(name, {}, METRICS)
        self._uses_times = self.detector.uses_times
        self._clock_ms = MONDAY_MS
        self._stream = stream
        began = time.process_time()
        self.detector.feed(stream[:WARM_UP], self._times(WARM_UP))
        slow = (time.process_time() - began) / WARM_UP * 1e6 > SLOW_US
        self._records = SLOW_RECORDS if slow else RECORDS

    def _times(self, count: int) -> list[int] | None:
        if not self._uses_times:
            return None
        first = self._clock_ms
        self._clock_ms += count * MINUTE_MS
        return [first + MINUTE_MS * place for place in range(count)]

    def one_by_one(self) -> float:
        values, times = self._stream[WARM_UP : WARM_UP + self._records], self._times(self._records)
        update = self.detector.update

        def work() -> None:
            if times is None:
                for value in values:
                    update(value)
            else:
                for value, at in zip(values, times, strict=True):
                    update(value, at)

        return timed(work, len(values))

    def in_batches(self, size: int) -> float:
        values, times = self._stream[WARM_UP : WARM_UP + self._records], self._times(self._records)
        starts = range(0, len(values), size)
        batches = [values[start : start + size] for start in starts]
        marks = [times[start : start + size] if times else None for start in starts]
        feed = self.detector.feed

        def work() -> None:
            for batch, at in zip(batches, marks, strict=True):
                feed(batch, at)

        return timed(work, len(values))


class BareCourse:
    """The same for river's own."""

    def __init__(self, name: str, stream: Sequence[Any]) -> None:
        self.detector: Any = BARE[name]()
        self._stream: list[Any] = [int(1 - value) if name in FAILURE_IS_ONE else value for value in stream]
        if name == "half_space_trees":  # the same places, so that the same cells are walked through
            self.detector, self._stream = TreesAlone(), TreesAlone.places(stream)
        if name == "fhddm":
            self._stream = [int(value) for value in stream]
        for value in self._stream[:200]:
            self.detector.update(value)
        began = time.process_time()
        for value in self._stream[200:400]:
            self.detector.update(value)
        slow = (time.process_time() - began) / 200 * 1e6 > SLOW_US
        self._records = SLOW_RECORDS if slow else RECORDS

    def bare(self) -> float:
        values, detector = self._stream[WARM_UP : WARM_UP + self._records], self.detector

        def work() -> None:
            for value in values:
                detector.update(value)
                detector.drift_detected  # noqa: B018 # a user reads it after each record

        return timed(work, len(values))


def deep_bytes(thing: Any) -> int:
    """The sizes of all objects that this one reaches, without classes, modules and functions."""
    seen: set[int] = set()
    waiting, total = [thing], 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, SHARED):
            continue
        seen.add(id(each))
        total += sys.getsizeof(each)
        waiting.extend(gc.get_referents(each))
    return total


def rounds_of(courses: dict[str, Course], bare: dict[str, BareCourse]) -> dict[tuple[str, str], list[float]]:
    """Every way of feeding every detector, in turn."""
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(ROUNDS):
        harness.say(f"round {number + 1} of {ROUNDS}")
        for name, course in courses.items():
            found.setdefault((name, "update"), []).append(course.one_by_one())
            for size in BATCHES:
                found.setdefault((name, f"batch {size}"), []).append(course.in_batches(size))
            if name in bare:
                found.setdefault((name, "bare"), []).append(bare[name].bare())
    return found


def main() -> None:
    report = harness.Report("detector_cost", ["failshut", "numpy", "river"])
    records = streams()
    courses, bare = {}, {}
    for kind, names in by_what_they_read().items():
        for name in names:
            courses[name] = Course(name, records[kind])
            if name in BARE:
                bare[name] = BareCourse(name, records[kind])
    took = rounds_of(courses, bare)
    report.figure("median round over best round, median of all", median(median(each) / min(each) for each in took.values()), "")
    adds: dict[str, float] = {}
    for name, course in courses.items():
        for way in ("update", *(f"batch {size}" for size in BATCHES)):
            report.figure(f"{name}: {way}", min(took[name, way]), "us/record")
        report.figure(f"{name}: pickled", len(pickle.dumps(course.detector)), "bytes")
        report.figure(f"{name}: deep", deep_bytes(course.detector), "bytes")
        if name in bare:
            report.figure(f"{name}: river's own, bare", min(took[name, "bare"]), "us/record")
            report.figure(f"{name}: river's own, deep", deep_bytes(bare[name].detector), "bytes")
            adds[name] = min(took[name, "batch 1000"]) - min(took[name, "bare"])
            report.figure(f"{name}: wrapping adds in batches of 1,000", adds[name], "us/record")
    for name, added in adds.items():
        report.goal(f"{name}: wrapping adds, us a record in batches of 1,000", added, WRAPPING_US)
    for name in DEFAULTS:
        for size in (1, 1_000):
            report.goal(f"{name}: us a record in batches of {size:,}", min(took[name, f"batch {size}"]), DEFAULT_US)
    report.finish()


if __name__ == "__main__":
    main()
