"""One detector under trial: what the suite asks of it, and what it said of a stream, however that was handed over."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from failshut_detectors.contract import Alarm, EventDetector, Kind, Reading
from failshut_detectors.suite import streams
from failshut_detectors.suite.streams import Shape, Stream


class Judged(Protocol):
    """What the suite asks of a detector; subclasses of ours have it."""

    version: ClassVar[int]

    def feed(self, records: Sequence[Any], times_ms: Sequence[int] | None = None, /) -> list[Alarm]:
        """Take records and return the alarms."""

    def summary(self) -> str:
        """Say how the stream looks."""

    @property
    def ready(self) -> bool:
        """Whether it has seen enough."""

    @property
    def reading(self) -> Reading:
        """Everything that it says."""


_BATCHES = (0, 1, 10, 50, 150)

Said = tuple[bool, float, bool, str, str]
Alarms = list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Trace:
    """What a detector said of a stream: its alarms by place, and its readings after so many records."""

    alarms: Alarms
    readings: dict[int, Said]


class Broken(Exception):
    """A promise is broken: how that shows, and where."""

    def __init__(self, evidence: str, stream: Stream | None = None, index: int | None = None) -> None:
        super().__init__(evidence)
        self.evidence, self.stream, self.index = evidence, stream, index


class Trial:
    """One detector under trial: how it is made, its streams, and what it says of them record by record."""

    def __init__(self, make: Callable[[], Judged], budget: int, seed: int) -> None:
        self.make, self.budget, self.seed = make, budget, seed
        self.heard_again: list[Any] | None = None  # again.py keeps there what it has found
        self.length = max(budget // 30, 60)
        new = make()
        self.shape, self.width = _shape(new)
        self.no_times: list[int] | None = None
        try:
            new.feed(self.calm.cut(0, 1).records)
        except ValueError:
            self.no_times = []  # it cannot do without
        self.streams = streams.streams(self.shape, self.width, self.length, seed, self.no_times is not None)

    @cached_property
    def calm(self) -> Stream:
        """Half of a stream's length in which nothing changes."""
        return streams.calm(self.shape, self.width, self.length // 2, self.seed)

    @property
    def long(self) -> Stream:
        """The stream by which memory is judged."""
        return streams.long(self.shape, self.width, self.budget, self.seed)

    @cached_property
    def changes(self) -> Sequence[Any]:
        """What no detector may miss."""
        return streams.changes(self.shape, self.width, self.length, self.seed)

    @cached_property
    def one_by_one(self) -> list[tuple[Trace, bytes]]:
        """What it says of each stream, one record at a time, and its state after the last."""
        return [self.singly(stream) for stream in self.streams]

    @property
    def traces(self) -> list[tuple[Stream, Trace]]:
        """Each stream, and what it says of it."""
        return [(stream, found) for stream, (found, _) in zip(self.streams, self.one_by_one, strict=True)]

    def singly(self, stream: Stream) -> tuple[Trace, bytes]:
        """Feed a stream to a new detector, one record at a time, and return what was said and its state."""
        detector = self.make()
        return trace(detector, stream, [1] * len(stream)), state_of(detector)

    def sizes(self, length: int) -> list[int]:
        """Return sizes of batches, some of them empty, that make up a length."""
        rng, sizes, left = np.random.default_rng(self.seed), [0], length
        while left > 0:
            sizes.append(min(int(rng.choice(_BATCHES)), left))
            left -= sizes[-1]
        return sizes


def trace(detector: Judged, stream: Stream, sizes: Sequence[int], pickled: bool = False) -> Trace:
    """Feed a stream in batches of these sizes, through a pickle after each if asked, and return what was said."""
    found, at = Trace([], {}), 0
    for size in sizes:
        batch = stream.cut(at, at + size)
        try:
            found.alarms.extend((at + alarm.index, alarm.text) for alarm in detector.feed(batch.records, batch.times_ms))
            at += size
            found.readings[at] = said(detector)
        except Exception as error:
            raise Broken(f"raises at a batch of {size}: {named(error)}", stream, at) from error
        if pickled:
            detector = pickle.loads(pickled_state(detector))  # noqa: S301 - pickled the line before
    return found


def _shape(detector: Judged) -> tuple[Shape, int]:
    if isinstance(getattr(detector, "width", None), int):
        return Shape.VECTORS, detector.width  # type: ignore[attr-defined] # asked for in the line before
    if isinstance(detector, EventDetector) or getattr(detector, "kind", None) == Kind.CONFORMANCE:
        return Shape.EVENTS, 1
    return Shape.VALUES, 1


def said(detector: Judged) -> Said:
    """Return everything that a detector says, which must not contradict itself."""
    reading = detector.reading
    if bool(detector.ready) != reading.ready:
        raise ValueError(f"it is {'ready' if detector.ready else 'not ready'}, and its reading says otherwise")
    return reading.ready, reading.score, reading.demand, reading.text, detector.summary()


def after(detector: Judged, stream: Stream) -> Judged:
    """Feed a stream whole and return the detector."""
    trace(detector, stream, [len(stream)])
    return detector


def pickled_state(detector: Judged) -> bytes:
    """Return the pickle of a detector, which must have one."""
    try:
        return pickle.dumps(detector)
    except Exception as error:
        raise Broken(f"cannot be pickled: {named(error)}") from error


def state_of(detector: Judged) -> bytes:
    """Return the pickle, by which states are compared; nothing where there is none, which is a finding of its own."""
    try:
        return pickle.dumps(detector)
    except Exception:  # noqa: BLE001 - see above
        return b""


def first_difference(one: Trace, other: Trace) -> int | None:
    """Return the first record at which two traces differ."""
    alarms = set(one.alarms) ^ set(other.alarms)
    readings = [at - 1 for at in one.readings.keys() & other.readings.keys() if one.readings[at] != other.readings[at]]
    return min([index for index, _ in alarms] + readings, default=None)


def named(error: Exception) -> str:
    """Return an exception in a few words."""
    return f"{type(error).__name__}: {error}"[:200]
