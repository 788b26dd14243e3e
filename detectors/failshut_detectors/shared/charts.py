"""What control charts share: learn how the stream is, then judge standardised values by it.

Mean and standard deviation are learnt from the first `learn` records, without the absurd ones. After an alarm
they are learnt again, because the stream may be another one. Until then a watch (watch.py) judges by the former ones.
The threshold comes from the average run length that is asked for (run_lengths.py), so that nobody has to look up a table.

Limits: the run length is exact for independent normal values whose mean and deviation are known. A few hundred
records do not determine them well enough for run lengths beyond some thousand. With daily patterns, memory or
heavy tails use FalseTripBudget.
"""

from __future__ import annotations

from collections.abc import Sequence

from failshut_detectors.contract import Alarm, Detector, Kind, number
from failshut_detectors.shared.scaling import centre_and_spread
from failshut_detectors.shared.watch import Watch, Watching


class Chart(Watching, Detector):
    """Learn a mean and a standard deviation, then hand standardised values to `_judge`."""

    kind = Kind.DRIFT
    version = 2

    def __init__(self, learn: int) -> None:
        if learn < 2:
            raise ValueError(f"learn is {learn}: two records at least make a standard deviation")
        self._learn = learn
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._examples: list[float] = []
        self._known = False
        self._mean = self._deviation = 0.0

    @property
    def _learnt(self) -> bool:
        """Whether mean and standard deviation are learnt; after an alarm they are learnt anew."""
        return self._known

    def _method(self, values: Sequence[float], times_ms: Sequence[int] | None) -> list[Alarm]:
        alarms = []
        for index, value in enumerate(values):
            if not self._known:
                self._take(value)
                continue
            distance = value - self._mean
            if self._deviation > 0.0:
                z = distance / self._deviation
            else:
                z = 0.0 if distance == 0.0 else 1e6 if distance > 0 else -1e6
            way = self._judge(max(-1e6, min(1e6, z)))
            if way:
                mean = number(self._mean)
                alarms.append(
                    Alarm(index, f"mean {way} from {mean} (deviation {number(self._deviation)}): {number(value)} now")
                )
                self._learns_again(index, Watch(self._mean, self._deviation, value, self._learn))
                self._begin_anew()
        return alarms

    def _progress(self) -> str:
        if not self._known:
            return f"learning: {len(self._examples)} of {self._learn}"
        return f"judged by mean {number(self._mean)}, deviation {number(self._deviation)}"

    def _take(self, value: float) -> None:
        self._examples.append(value)
        if len(self._examples) < self._learn:
            return
        self._mean, self._deviation = centre_and_spread(self._examples)
        self._examples = []
        self._known = True

    def _judge(self, z: float) -> str:
        """Take one standardised value and return "up", "down" or nothing."""
        raise NotImplementedError
