"""Ways to hand a stream to a detector; all must lead to the same alarms."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any

from failshut_detectors import Alarm

MINUTE_MS = 60_000
Fed = Any
"""A `Detector`, a `VectorDetector` or `Votes`: they are fed alike, and share no base."""


def times_of(count: int, every_ms: int = 5 * MINUTE_MS, start_ms: int = 1_700_000_000_000) -> list[int]:
    """Times at a steady pace."""
    return [start_ms + every_ms * index for index in range(count)]


def feed(
    detector: Fed,
    values: Sequence[Any],
    times_ms: Sequence[int] | None = None,
    size: Callable[[], int] = lambda: 1 << 30,
    pickled: bool = False,
) -> list[Alarm]:
    """Feed values in batches of these sizes, with a pickle between batches if asked, and return the alarms by place."""
    alarms, at = [], 0
    while at < len(values):
        upto = at + size()
        some = detector.feed(values[at:upto], times_ms[at:upto] if times_ms is not None else None)
        alarms += [Alarm(at + alarm.index, alarm.text) for alarm in some]
        at = min(upto, len(values))
        if pickled:
            detector = pickle.loads(pickle.dumps(detector))
    return alarms


def assert_same_however_fed(make: Callable[[], Fed], values: Sequence[Any], times_ms: Sequence[int] | None = None) -> None:
    """One by one, in batches, whole, and through a pickle after each batch: the same alarms with the same words."""
    whole = feed(make(), values, times_ms)
    assert whole, "nothing to find"
    sizes = random.Random(1)
    assert feed(make(), values, times_ms, lambda: 1) == whole
    assert feed(make(), values, times_ms, lambda: sizes.randint(1, 97)) == whole
    assert feed(make(), values, times_ms, lambda: sizes.randint(1, 97), pickled=True) == whole


def by_the_method(alarms: Sequence[Alarm]) -> list[Alarm]:
    """Those that the method itself raised, and not the watch beside it while it learns again."""
    return [alarm for alarm in alarms if not alarm.text.startswith("again")]


def where(alarms: Sequence[Alarm]) -> list[int]:
    """The places of alarms."""
    return [alarm.index for alarm in alarms]
