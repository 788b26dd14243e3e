"""The streams of the suite: what a detector may meet, made from a seed, so that each finding can be made again.

Each has a change large enough for any detector, since a suite on streams in which nothing is found would show nothing.
Values, events (1 conforms, 0 does not) and vectors of several metrics each have their own. Times are steady, repeated,
going back, with gaps of a week, or missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

START_MS = 1_700_000_000_000
_MINUTE_MS, _WEEK_MS = 60_000, 604_800_000
_STEP_SIGMAS = (20.0, -40.0, 80.0)  # of the changes that no detector may miss
_SHARE = 0.97  # of events that conform while nothing is wrong

Numbers = NDArray[np.float64]


class Shape(StrEnum):
    """What a detector is fed."""

    VALUES = "values"
    EVENTS = "events"
    VECTORS = "vectors"


@dataclass(frozen=True, slots=True)
class Stream:
    """Records with their times, and what they were made from."""

    name: str
    seed: int
    records: Sequence[Any]
    times_ms: Sequence[int] | None

    def __len__(self) -> int:
        return len(self.records)

    def cut(self, start: int, stop: int) -> Stream:
        """Return a part of it."""
        times = None if self.times_ms is None else self.times_ms[start:stop]
        return Stream(self.name, self.seed, self.records[start:stop], times)

    def followed_by(self, records: Sequence[Any]) -> Stream:
        """Return it with other records behind it, a minute apart."""
        times = None
        if self.times_ms is not None:
            times = [*self.times_ms, *(self.times_ms[-1] + _MINUTE_MS * (1 + index) for index in range(len(records)))]
        return Stream(self.name, self.seed, [*self.records, *records], times)


def streams(shape: Shape, width: int, length: int, seed: int, with_times: bool = False) -> list[Stream]:
    """Return one stream of each kind, of `length` records; `with_times` where a detector cannot do without times."""
    made = []
    for index, (name, (make, times)) in enumerate(_KINDS[shape].items()):
        rng = np.random.default_rng((seed, index))
        at_ms = _steady(length) if times is None and with_times else times(length) if times else None
        made.append(Stream(name, seed, _records(shape, width, partial(make, rng, length)), at_ms))
    return made


def long(shape: Shape, width: int, length: int, seed: int) -> Stream:
    """Return a long stream whose level moves every thousand records."""
    rng = np.random.default_rng((seed, 1_000))

    def level() -> Numbers:
        if shape is Shape.EVENTS:
            return _events(rng, np.where(np.arange(length) // 1_000 % 2, _SHARE - 0.3, _SHARE))
        return rng.normal(np.repeat(rng.uniform(40, 60, -(-length // 1_000)), 1_000)[:length], 2.0)

    return Stream("long", seed, _records(shape, width, level), _steady(length))


def awkward_times(shape: Shape, width: int, length: int, seed: int) -> list[Stream]:
    """Return calm streams with each kind of times that telemetry really has."""
    kinds = {"repeated times": _repeated, "times that go back": _going_back, "gaps of a week": _with_gaps}
    calm_records = calm(shape, width, length, seed).records
    return [Stream(name, seed, calm_records, times(length)) for name, times in kinds.items()]


def calm(shape: Shape, width: int, length: int, seed: int) -> Stream:
    """Return a stream in which nothing changes."""
    rng = np.random.default_rng((seed, 2_000))
    return Stream("calm", seed, _records(shape, width, lambda: _calm(shape, rng, length)), _steady(length))


def changes(shape: Shape, width: int, length: int, seed: int) -> Sequence[Any]:
    """Return what follows calm records in a change that no detector may miss: three, each larger than the one before."""
    rng = np.random.default_rng((seed, 3_000))
    each = length // len(_STEP_SIGMAS)

    def change() -> Numbers:
        if shape is Shape.EVENTS:
            return np.concatenate([_events(rng, np.full(each, share)) for share in (0.3, _SHARE, 0.0)])
        return np.concatenate([rng.normal(50.0 + 2.0 * sigmas, 2.0, each) for sigmas in _STEP_SIGMAS])

    return _records(shape, width, change)


def fault(shape: Shape, width: int, length: int, seed: int, size: float) -> Sequence[Any]:
    """Return records of a change that lasts; its size is 0 for what is calm, 1 for the first that no detector may miss."""
    rng = np.random.default_rng((seed, 4_000))

    def change() -> Numbers:
        if shape is Shape.EVENTS:
            return _events(rng, np.full(length, max(0.0, _SHARE - size * (_SHARE - 0.3))))
        return rng.normal(50.0 + 2.0 * size * _STEP_SIGMAS[0], 2.0, length)

    return _records(shape, width, change)


def far_beyond(shape: Shape, records: Sequence[Any]) -> Sequence[Any]:
    """Return records a million times larger; of events, which have no size, none that conforms."""
    if shape is Shape.EVENTS:
        return [0.0] * len(records)
    if shape is Shape.VECTORS:
        return [[1e6 * (value + 1.0) for value in vector] for vector in records]
    return [1e6 * (value + 1.0) for value in records]


def within(records: Sequence[Any], later: Sequence[Any]) -> Sequence[Any]:
    """Return later records, cut to the range that earlier ones have, so that the range tells nothing of them."""
    before = np.asarray(records, float)
    found: Sequence[Any] = np.clip(np.asarray(later, float), before.min(axis=0), before.max(axis=0)).tolist()
    return found


def unfit(shape: Shape, width: int) -> list[tuple[str, Any]]:
    """Return what no detector may see, each with what it is called."""
    bad = [
        ("NaN", float("nan")),
        ("infinity", float("inf")),
        ("minus infinity", -float("inf")),
        ("1e308", 1e308),
        ("a text", "12"),
        ("None", None),
    ]
    if shape is Shape.EVENTS:
        return [*bad, ("0.5", 0.5)]
    if shape is Shape.VALUES:
        return bad
    vectors: list[tuple[str, Any]] = [(f"a vector with {name}", [1.0] * (width - 1) + [value]) for name, value in bad]
    return [*vectors, ("a vector of another length", [1.0] * (width + 1))]


def _records(shape: Shape, width: int, make: Callable[[], Numbers]) -> Sequence[Any]:
    if shape is not Shape.VECTORS:
        found: Sequence[Any] = make().tolist()
        return found
    # Metrics of one service move together, and each a little on its own.
    columns = np.stack([make() for _ in range(width)], axis=1)
    mixed: Sequence[Any] = (columns + 0.5 * columns[:, [0]]).tolist()
    return mixed


def _steady(length: int) -> list[int]:
    return [START_MS + 5 * _MINUTE_MS * index for index in range(length)]


def _by_seconds(length: int) -> list[int]:
    return [START_MS + 1_000 * index for index in range(length)]


def _repeated(length: int) -> list[int]:
    return [START_MS + 10 * _MINUTE_MS * (index // 10) for index in range(length)]


def _going_back(length: int) -> list[int]:
    return [START_MS + _MINUTE_MS * (index if index % 50 else index - 60) for index in range(length)]


def _with_gaps(length: int) -> list[int]:
    return [START_MS + _MINUTE_MS * index + _WEEK_MS * (index // 250) for index in range(length)]


def _calm(shape: Shape, rng: np.random.Generator, length: int) -> Numbers:
    if shape is Shape.EVENTS:
        return _events(rng, np.full(length, _SHARE))
    return rng.normal(50.0, 2.0, length)


def _levels(length: int, *levels: float) -> Numbers:
    """Return the first level, then a fifth of the length for each of the others."""
    fifth = length // 5
    return np.repeat(np.array(levels), [length - fifth * (len(levels) - 1)] + [fifth] * (len(levels) - 1))


def _steps(rng: np.random.Generator, length: int) -> Numbers:
    return rng.normal(_levels(length, 50.0, 90.0, 50.0, -60.0), 2.0)


def _trend(rng: np.random.Generator, length: int) -> Numbers:
    level: Numbers = 50.0 + 0.2 * np.maximum(0.0, np.arange(length) - 0.6 * length)
    return rng.normal(level, 2.0)


def _heavy(rng: np.random.Generator, length: int) -> Numbers:
    return 2.0 * rng.standard_t(3, length) + _levels(length, 50.0, 150.0, 50.0)


def _carried(rng: np.random.Generator, length: int) -> Numbers:
    noise, value = rng.normal(0.0, 1.0, length), 0.0
    values = np.empty(length)
    for index in range(length):
        value = 0.7 * value + noise[index]
        values[index] = value
    return values + _levels(length, 5.0, 5.0, 45.0)


def _ties(rng: np.random.Generator, length: int) -> Numbers:
    values: Numbers = np.round(rng.normal(_levels(length, 3.0, 3.0, 30.0), 0.7))
    return values


def _constant(rng: np.random.Generator, length: int) -> Numbers:
    return _levels(length, 5.0, 5.0, 55.0, 5.0)


def _spikes(rng: np.random.Generator, length: int) -> Numbers:
    return np.where(rng.random(length) < 0.005, 1e6, rng.normal(50.0, 2.0, length))


def _events(rng: np.random.Generator, share: Numbers) -> Numbers:
    events: Numbers = (rng.random(len(share)) < share).astype(float)
    return events


_Kinds = dict[str, tuple[Callable[[np.random.Generator, int], Numbers], Callable[[int], list[int]] | None]]

_LEVELS: _Kinds = {
    "steps": (_steps, _steady),
    "a trend": (_trend, _by_seconds),
    "heavy tails (t3)": (_heavy, _repeated),
    "memory (AR .7)": (_carried, _going_back),
    "ties": (_ties, _with_gaps),
    "a constant": (_constant, _steady),
    "spikes, without times": (_spikes, None),
}

_KINDS: dict[Shape, _Kinds] = {
    Shape.VALUES: _LEVELS,
    Shape.VECTORS: _LEVELS,
    Shape.EVENTS: {
        "steps": (lambda rng, length: _events(rng, _levels(length, _SHARE, 0.4, _SHARE, 0.1)), _steady),
        "ever more failures": (lambda rng, length: _events(rng, np.linspace(1.0, 0.2, length)), _repeated),
        "all conform, then none": (lambda rng, length: _levels(length, 1.0, 1.0, 0.0, 1.0), _going_back),
        "every other one": (
            lambda rng, length: np.where(np.arange(length) < 0.6 * length, np.arange(length) % 2, 0.0),
            _with_gaps,
        ),
        "rare failures, without times": (lambda rng, length: _events(rng, _levels(length, 0.999, 0.999, 0.9)), None),
    },
}
