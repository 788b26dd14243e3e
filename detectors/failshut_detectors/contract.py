"""What every detector promises, ours or a plug-in.

A detector reads one stream, in order, in one pass and in constant memory. It reads no clock, and draws random numbers
only from a seed that is one of its parameters. It sees no value before its turn. So records one by one or in batches
give the same alarms and the same readings. Unfit values (NaN, infinity, a value whose square overflows, a text) are
refused before they reach it. The whole batch is refused, and the next batch is read.

Detectors pickle: a snapshot of a governor holds them, and the restored one goes on as if nothing had happened. Their
state has a version; state of another version is refused, never guessed at.

A new one subclasses `Detector`, `EventDetector` or `VectorDetector`, writes `_feed`, `ready` and `summary`, and
is run through suite/. registry.py says how a policy finds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, ClassVar

MAGNITUDE_MAX = 1e100
"""Beyond it a detector's sums of squares overflow and it never detects again: such a value is refused."""


class Kind(StrEnum):
    """Under which condition of a policy a detector stands."""

    DRIFT = "drift"  # a change of the values that lasts
    ANOMALY = "anomaly"  # values such as were never seen
    CONFORMANCE = "conformance"  # a change in how many events conform to a rule


class Unfit(ValueError):
    """A value that no detector may see: which of the batch, and why. Nothing of the batch was taken."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"value {index} is {reason}: no detector may see it")
        self.index = index
        self.reason = reason


class StateVersionError(ValueError):
    """Pickled state of another version of a detector: it starts without evidence instead."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change was detected at `index` of the values just fed; `text` says which, to a person on call."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a detector says after a record.

    `ready` is false while there is not enough evidence yet, whatever the rest says. `score` is the part of the threshold that
    was reached, from 0 to 1. It is 1 exactly where `demand` is true. A method that does not grade has 0 and 1 alone.
    """

    ready: bool
    score: float
    demand: bool
    text: str


class Contract(ABC):
    """What all detectors share; not to be subclassed directly."""

    name: ClassVar[str]
    """By which a policy asks for it: lower case, digits and underscores."""
    kind: Kind
    version: ClassVar[int] = 1
    """Of its pickled state: to be raised whenever the meaning of an attribute changes."""
    uses_times: ClassVar[bool] = False
    """Whether times change what it says; where they do not, a caller may spare itself the trouble."""

    _alarm_text = ""  # of the last record fed, where that was an alarm

    def feed(self, values: Sequence[Any], times_ms: Sequence[int] | None = None) -> list[Alarm]:
        """Take records in order, with their times (ms since 1970) where a caller has them, and return the alarms, by index.

        Raises:
            Unfit: no detector of this kind may see one of them, as `fit` says; nothing was taken.
            ValueError: there are not as many times as records; nothing was taken.
        """
        values = self.fit(values)
        if times_ms is not None and len(times_ms) != len(values):
            raise ValueError(f"{len(values)} values with {len(times_ms)} times")
        return self.take(values, times_ms)

    def update(self, value: Any, time_ms: int | None = None) -> Reading:
        """Take one record and return what it says now; raises as `feed` does."""
        self.feed((value,), None if time_ms is None else (time_ms,))
        return self.reading

    @abstractmethod
    def fit(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return the records as this detector sees them.

        Raises:
            Unfit: it may not see one of them.
        """

    def take(self, values: Sequence[Any], times_ms: Sequence[int] | None) -> list[Alarm]:
        """Do as `feed` with records that `fit` has passed: for a detector made of others, which looks at them once."""
        alarms = self._feed(values, times_ms)
        if len(values):
            self._alarm_text = alarms[-1].text if alarms and alarms[-1].index == len(values) - 1 else ""
        return alarms

    @abstractmethod
    def _feed(self, values: Sequence[Any], times_ms: Sequence[int] | None) -> list[Alarm]:
        """Take records that fit, as many times as records if any; maybe none of them."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it has seen enough to be relied on: before that it is silent because it knows nothing."""

    @abstractmethod
    def summary(self) -> str:
        """Say in a few words how the stream looks now."""

    @property
    def score(self) -> float:
        """The part of the threshold that the last record reached: 1 where it demands, less elsewhere."""
        return 1.0 if self._alarm_text else max(0.0, min(self._grade(), 0.999))

    @property
    def reading(self) -> Reading:
        """Everything that it says after the last record."""
        text = self._alarm_text or (self.summary() if self.ready else f"not enough evidence yet: {self.summary()}")
        return Reading(self.ready, self.score, bool(self._alarm_text), text)

    @classmethod
    def for_false_trips(cls, records: float) -> dict[str, Any]:
        """Return the parameters with which it is wrong about once in so many records of a stream that does not change.

        Raises:
            ValueError: it makes no such promise.
        """
        raise ValueError(f"{cls.name} makes no promise of how often it is wrong: give its own parameters instead")

    def _grade(self) -> float:
        """Return the part of the threshold reached by the last record, where the method grades; from 0 to 1."""
        return 0.0

    def __getstate__(self) -> tuple[int, dict[str, Any]]:
        return self.version, self.__dict__

    def __setstate__(self, state: tuple[int, dict[str, Any]]) -> None:
        version, attributes = state
        if version != self.version:
            raise StateVersionError(f"{self.name}: state of version {version}, this code reads {self.version}")
        self.__dict__.update(attributes)


class Detector(Contract):
    """An online detector on one stream of numbers.

    Booleans and whole numbers are taken as floats: past 2**53 they are rounded. Unfit is what is not a number, NaN, infinite,
    or beyond `MAGNITUDE_MAX`.
    """

    def fit(self, values: Sequence[float]) -> Sequence[float]:
        return fit(values)

    @abstractmethod
    def _feed(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        """Take finite values, as many times as values if any; maybe none of them."""


class EventDetector(Detector):
    """A detector on events: 1 for one that conforms to a rule, 0 for another. Anything else is unfit."""

    kind = Kind.CONFORMANCE

    def fit(self, values: Sequence[float]) -> Sequence[float]:
        if not {0.0, 1.0}.issuperset(values):
            index = next(index for index, value in enumerate(values) if value not in (0.0, 1.0))
            raise Unfit(index, f"{values[index]!r}, which is no event (1 conforms, 0 does not)")
        return values


class VectorDetector(Contract):
    """A detector on several metrics of one service, judged together.

    A record is a vector of `width` numbers. Unfit is one of another length, or with an element that no detector may see.
    """

    width: int
    """How many metrics."""

    def fit(self, values: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
        whole: list[Sequence[float]] = []
        for index, vector in enumerate(values):
            if len(vector) != self.width:
                raise Unfit(index, f"a vector of {len(vector)} where {self.width} metrics are judged")
            try:
                whole.append(fit(vector))
            except Unfit as error:
                raise Unfit(index, f"a vector with {error.reason} in place {error.index}") from error
        return whole

    @abstractmethod
    def _feed(self, vectors: Sequence[Sequence[float]], times_ms: Sequence[int] | None) -> list[Alarm]:
        """Take vectors of finite values, as many times as vectors if any; maybe none of them."""


def fit(values: Sequence[float]) -> Sequence[float]:
    """Return the values as floats that a detector may see.

    Raises:
        Unfit: one of them is not.

    >>> fit([1, True, 2.5])
    [1.0, 1.0, 2.5]
    >>> fit([1.0, float("nan")])
    Traceback (most recent call last):
    failshut_detectors.contract.Unfit: value 1 is nan: no detector may see it
    """
    if not set(map(type, values)) <= {float}:
        values = [_float(index, value) for index, value in enumerate(values)]
    # A sum is finite only where all of it is: cheaper than to look at each, and what overflows is too large anyway.
    if not values or (isfinite(sum(values)) and min(values) >= -MAGNITUDE_MAX and max(values) <= MAGNITUDE_MAX):
        return values
    index = next(index for index, value in enumerate(values) if not abs(value) <= MAGNITUDE_MAX)
    raise Unfit(index, str(values[index]) if not isfinite(values[index]) else "too large")


def _float(index: int, value: object) -> float:
    if isinstance(value, str | bytes | bytearray):
        raise Unfit(index, f"a text, {value[:20]!r}")
    try:
        return float(value)  # type: ignore[arg-type] # what is no number is what this is for
    except OverflowError:
        raise Unfit(index, "too large") from None
    except (TypeError, ValueError):
        raise Unfit(index, f"no number but {type(value).__name__}") from None


def number(value: float) -> str:
    """Return a number for a person: four significant digits, no exponent where it is not needed.

    >>> number(48.0), number(1234.567), number(0.00012)
    ('48', '1235', '0.00012')
    """
    return f"{value:.4g}" if abs(value) < 1000 or abs(value) >= 1e9 else f"{value:.0f}"
