"""The scale of a stream, learnt from its first records, so that milliseconds and seconds are judged alike.

Some methods assume a unit: ADWIN's cut has a term for values from 0 to 1, Page-Hinkley's threshold is a sum of values.
Here they are handed (value - centre) / spread. Centre and spread are mean and standard deviation of the first `warm_up`
records, without the absurd ones. Those records are judged once the scale is known, so nothing is lost. Their alarms are
at the record that completed the learning.

Scaled values end at `CLIP` spreads, so that one finite 1e9 cannot blind a method for thousands of records. Sixteen is
the most that one record may weigh. Five records, the fewest that ADWIN compares, then move by 3.2 spreads. Its cut at a
delta of 0.002 just tolerates that, whatever the window, but not two such records. A step beyond it stays one.

Examples that do not differ have no spread: then a deviation of any size counts as one, in its direction. With more, the
first 1 of a counter after a million zeros would be an alarm. So counts of 0 and 1 are unchanged, and a change that
lasts is found within some dozens of records. Differences that are a number's own rounding count as none.

Limits: thirty examples know the spread to some 13 %; where only a minority of the examples (a tenth) is wide, that is
not seen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum, inf, sqrt
from statistics import median

from failshut_detectors.contract import Alarm, Detector
from failshut_detectors.shared.watch import Watch, Watching

CLIP = 16.0
"""Spreads at which a scaled value ends."""
EXAMPLES_MIN = 10
"""Of fewer records one that is absurd cannot be told from the others."""

_REACH = 10.0  # an example this many times further out than nine tenths of them is not learnt from
_ROUNDING = 2.0**-51  # relative to the centre: four of its last digit
_TINY = 2.0**-1022
_BLOCK = 512  # records scaled at once: what an alarm makes void is bounded by it
_GIVEN_MAX = 1e40  # beyond it, or below its inverse, squares of scaled values overflow


def centre_and_spread(examples: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation of at least two examples, without the absurd ones.

    >>> centre_and_spread([4.0, 6.0] * 20 + [1e9])
    (5.0, 1.0127393670836666)
    >>> centre_and_spread([0.0] * 40 + [7.0])
    (0.0, 0.0)
    """
    count, middle = len(examples), median(examples)
    distances = sorted(abs(value - middle) for value in examples)
    ninth = count * 9 // 10
    # Where nine tenths are equal, more of them are looked at, but never the last: one must not make the others usual.
    upto = max(ninth + 1, count - max(1, count // 50))
    reach = _REACH * next((distance for distance in distances[ninth:upto] if distance > 0.0), 0.0)
    kept = [value - middle for value in examples if abs(value - middle) <= reach]
    mean = fsum(kept) / len(kept)
    return middle + mean, sqrt(fsum((value - mean) ** 2 for value in kept) / max(1, len(kept) - 1))


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a stream lies and how wide it is, both in its own units; scaled values end at `clip`."""

    centre: float
    spread: float
    clip: float

    @classmethod
    def learnt(cls, examples: Sequence[float], clip: float = CLIP, lone: float = 1.0) -> Scale:
        """Return the scale of a stream that begins with these examples; `lone` is what a deviation counts where none differ.

        >>> Scale.learnt([1.0, 3.0] * 8).of([2.0, 1e9]), Scale.learnt([2.0] * 16).of([2.0, 2.1, -1e9])
        ([0.0, 16.0], [0.0, 1.0, -1.0])
        """
        centre, spread = centre_and_spread(examples)
        rounding = max(abs(centre) * _ROUNDING, _TINY)
        return cls(centre, spread, clip) if spread > rounding else cls(centre, rounding / lone, lone)

    def of(self, values: Sequence[float]) -> list[float]:
        """Return the values in spreads from the centre."""
        centre, spread, clip = self.centre, self.spread, self.clip
        scaled = [(value - centre) / spread for value in values]
        if not scaled or (max(scaled) <= clip and min(scaled) >= -clip):
            return scaled
        return [max(-clip, min(clip, z)) for z in scaled]

    def back(self, scaled: float) -> float:
        """Return what was scaled to this."""
        return self.centre + scaled * self.spread


class Scaled(Watching, Detector):
    """Learn the scale of a stream, or be given it, and hand scaled values to `_judge`.

    A given scale divides and does nothing else. A learnt one is learnt anew after an alarm, where `_outdated` says so,
    because what follows may be another stream; until then a watch (watch.py) judges by the former one.
    """

    _clip = CLIP
    _lone = 1.0

    def __init__(self, warm_up: int, scale: float = 0.0) -> None:
        if scale == 0.0 and warm_up < EXAMPLES_MIN:
            raise ValueError(f"warm_up is {warm_up}: a scale that is not given is learnt from at least {EXAMPLES_MIN}")
        if warm_up < 1:
            raise ValueError(f"warm_up is {warm_up}, must be at least 1")
        if scale != 0.0 and not 1.0 / _GIVEN_MAX <= scale <= _GIVEN_MAX:
            raise ValueError(f"scale is {scale}, must be 0 (to learn it) or between {1.0 / _GIVEN_MAX:g} and {_GIVEN_MAX:g}")
        self._warm_up = warm_up
        self._given = scale
        self._seen = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._examples: list[float] = []
        self._scale = Scale(0.0, self._given, inf) if self._given else None

    @property
    def _learnt(self) -> bool:
        """Whether `warm_up` values were seen; after an alarm a scale is learnt from as many again."""
        return self._scale is not None and self._seen >= self._warm_up

    def _method(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms: list[Alarm] = []
        index = 0
        while index < len(values):
            if self._scale is None:
                some = values[index : index + self._warm_up - len(self._examples)]
                index += len(some)
                text = self._learn(some, index - 1)
                if text:
                    alarms.append(Alarm(index - 1, text))
            else:
                index = self._go_on(self._scale, values, index, alarms)
        self._seen += len(values)
        return alarms

    def _learn(self, some: Sequence[float], index: int) -> str:
        self._examples += some
        if len(self._examples) < self._warm_up:
            return ""
        examples, self._examples = self._examples, []
        self._scale = Scale.learnt(examples, self._clip, self._lone)
        told = ""
        for at, text in self._judge(self._scale, examples):
            told = text or told
            if self._outdated():
                self._leave(index, examples[at])
                self._examples = examples[at + 1 :]
                break
        return told

    def _go_on(self, scale: Scale, values: Sequence[float], index: int, alarms: list[Alarm]) -> int:
        block = values[index : index + _BLOCK]
        for at, text in self._judge(scale, block):
            if text:
                alarms.append(Alarm(index + at, text))
            if self._outdated():
                self._leave(index + at, block[at])
                return index + at + 1
        return index + len(block)

    def _leave(self, index: int, value: float) -> None:
        """Begin anew after this record, with a watch that knows what was."""
        self._learns_again(index, Watch(*self._usual(), self._now(value), self._warm_up))
        self._begin_anew()

    def _usual(self) -> tuple[float, float]:
        """Return the level and the spread by which the last value was judged, in units of the stream."""
        if self._scale is None:
            raise RuntimeError("nothing was learnt that could be left")
        return self._scale.centre, self._scale.spread

    def _now(self, value: float) -> float:
        """Return where the stream is at an alarm whose last value is this."""
        return value

    def _outdated(self) -> bool:
        """Return whether, at what `_judge` has just yielded, the scale is to be learnt anew."""
        return not self._given

    @abstractmethod
    def _judge(self, scale: Scale, values: Sequence[float]) -> Iterator[tuple[int, str]]:
        """Take values and yield index and text of each alarm; no text where just the scale is outdated. Not resumed then."""

    def _learning(self) -> str:
        return f"learning the scale: {len(self._examples)} of {self._warm_up}"
