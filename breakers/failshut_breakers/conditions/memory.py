"""A detector that remembers what was normal. Its demand lasts until the series is back there.

The problem: a detector reports a change once, and then learns the readings after it as normal. If the demand ended with the
alarm, or after some time, the gate would reopen into the fault.

The idea: beside the detector there is a bounded memory of its last readings, with a copy of the detector every `BLOCK`
readings. At an alarm `reference.onset` finds in the memory where the change began, and the detector is restored to its
state there. It reads nothing while the demand lasts. So it does not learn the fault, and need not learn again
afterwards. A window of readings ends the demand if their own times are after it and two things are true. The window is
back within the reference. And the restored detector does not alarm when it is fed that window. The detector then goes on
from there. The demand also ends if an operator accepts the new level, or if the policy adopts it after some time. Then
the detector starts anew with the readings of that time.

A detector needs nothing beyond its contract: it can be pickled, and it is fed. So this also works for plug-ins.

Limits: those of reference.py. A copy costs up to 100 microseconds (half-space trees: 7 milliseconds).
"""

from __future__ import annotations

import pickle
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from failshut_breakers.conditions.base import NEVER_MS
from failshut_breakers.conditions.reference import READINGS_MAX, READINGS_MIN, Reference, onset
from failshut_breakers.policy.detection import Detection
from failshut_detectors.contract import Alarm, Contract, Unfit

BLOCK = 256
"""Readings between two copies of the detector. The memory holds up to about twice as many."""

Rows = Sequence[Any]
"""Values, or vectors of values if several series are judged together."""


class Remembering:
    """A detector with a memory."""

    def __init__(self, detection: Detection, events: bool = False) -> None:
        self._detection = detection
        self._events = events
        self._width = detection.width
        self.detector: Contract = detection.build()
        self.deaf = False  # it learns, and begins no demand
        self.window = READINGS_MIN  # the number of readings that ended the last demand, or that will end the present one
        self._empty()
        self._settle_down()

    def _empty(self) -> None:
        self._values = array("d")  # flat
        self._times = array("q")
        self._copies: list[tuple[int, bytes]] = [(0, b"")]  # one or two: rows before the copy, and the copy; empty is new

    def _settle_down(self) -> None:
        self.reference: Reference | None = None
        self.since_ms = 0  # the newest mark (ms) when it demanded; 0 if there is no demand
        self.began_ms = 0  # evidence time (ms) when it demanded
        self.text = ""
        self._normal = b""  # the detector as it was before the change
        self._window: deque[tuple[int, Any]] = deque(maxlen=1)
        self._latest: deque[tuple[int, Any]] = deque(maxlen=BLOCK)
        self._wait = 0  # readings until the next trial

    @property
    def stands(self) -> bool:
        """Whether it demands."""
        return self.since_ms > 0

    @property
    def ready(self) -> bool:
        """Whether the detector has read enough."""
        return self.detector.ready

    @property
    def progress(self) -> tuple[int, int]:
        """The number of readings in the window that may end the demand, and the number that it needs."""
        return len(self._window), self._window.maxlen or 0

    # --- reading ---

    def take(self, rows: Rows, times_ms: Sequence[int], since_ms: int, began_ms: int) -> list[Alarm]:
        """Read rows in order. Return the alarms that began a demand.

        `since_ms` is the newest mark, and `began_ms` is evidence time.

        Raises:
            Unfit: one of the rows is not fit for any detector. Nothing was read.
        """
        rows = self.detector.fit(rows)
        alarms: list[Alarm] = []
        at = 0
        while at < len(rows):
            if self.stands:
                at += self._watch(rows[at:], times_ms[at:])
                continue
            taken, text = self._feed(rows[at:], times_ms[at:])
            at += taken
            if text:
                alarms.append(Alarm(at - 1, text))
                self._demand(text, since_ms, began_ms)
        return alarms

    def _feed(self, rows: Rows, times_ms: Sequence[int]) -> tuple[int, str]:
        """Feed the detector up to the next copy or alarm. Return how many rows it took, and the alarm's text."""
        self._make_room()
        count = len(self._times)
        upto = min(len(rows), (BLOCK if count < BLOCK else 2 * BLOCK) - count)
        some, times_ms = (rows, times_ms) if upto == len(rows) else (rows[:upto], times_ms[:upto])
        before = pickle.dumps(self.detector) if self.deaf else b""
        alarms = self.detector.take(some, times_ms)
        if alarms:
            upto = alarms[0].index + 1  # the detector is restored to before the alarm, so later rows do not count
            some, times_ms = some[:upto], times_ms[:upto]
        if alarms and self.deaf:  # it has learnt up to the alarm, and what it remembers begins behind it
            self.detector = pickle.loads(before)  # noqa: S301 - its own state
            self._refeed(self.detector, some, times_ms)
            self._empty()
            self._copies = [(0, pickle.dumps(self.detector))]
            return upto, ""
        self._remember(some, times_ms)
        return upto, alarms[0].text if alarms else ""

    def _make_room(self) -> None:
        if len(self._times) >= 2 * BLOCK:
            at, copy = self._copies[1]
            del self._values[: at * max(1, self._width)], self._times[:at]
            self._copies = [(0, copy)]
        if len(self._times) >= BLOCK and len(self._copies) == 1:
            self._copies.append((len(self._times), pickle.dumps(self.detector)))

    def _remember(self, rows: Rows, times_ms: Sequence[int]) -> None:
        self._times.extend(times_ms)
        if not self._width:
            self._values.extend(rows)
            return
        for row in rows:
            self._values.extend(row)

    def _rows(self, at: int) -> list[Any]:
        """Return the remembered rows from this index on."""
        if not self._width:
            return self._values[at:].tolist()
        values = iter(self._values[at * self._width :].tolist())
        return list(zip(*[values] * self._width, strict=True))

    # --- a demand ---

    def _demand(self, text: str, since_ms: int, began_ms: int) -> None:
        """Begin to demand. The last reading that was fed raised the alarm."""
        width = max(1, self._width)
        columns = [self._values[metric::width] for metric in range(width)]
        split = onset(columns)
        if split:
            self.reference = Reference.of([one[:split] for one in columns], [one[split:] for one in columns], self._events)
        del self._values[split * width :], self._times[split:]
        self._copies = [one for one in self._copies if one[0] <= split]
        self.detector = self._as_it_was()
        self._normal = pickle.dumps(self.detector)
        self.since_ms, self.began_ms, self.text = max(1, since_ms), began_ms, text
        self.window = self.reference.readings if self.reference else READINGS_MAX
        self._window = deque(maxlen=self.window)
        self._wait = 0

    def _as_it_was(self) -> Contract:
        """Return the detector as it was at the end of the remembered readings."""
        at, copy = self._copies[-1]
        detector: Contract = pickle.loads(copy) if copy else self._detection.build()  # noqa: S301 - its own state
        self._refeed(detector, self._rows(at), self._times[at:].tolist())
        return detector

    def _refeed(self, detector: Contract, rows: Rows, times_ms: Sequence[int]) -> bool:
        """Feed rows to a detector again. Return whether it alarmed."""
        return bool(detector.feed(rows, times_ms)) if rows else False

    def _watch(self, rows: Rows, times_ms: Sequence[int]) -> int:
        """Read rows during a demand, up to the one that ends it. Return how many were read.

        Rows whose own time is not after the demand's beginning do not count.
        """
        for at, (time_ms, row) in enumerate(zip(times_ms, rows, strict=True), 1):
            if time_ms <= self.since_ms:
                continue
            self._window.append((time_ms, row))
            self._latest.append((time_ms, row))
            self._wait = max(0, self._wait - 1)
            if self._is_back():
                back = list(self._window)
                self._settle_down()
                self._remember([row for _, row in back], [time_ms for time_ms, _ in back])
                return at
        return len(rows)

    def _is_back(self) -> bool:
        """Return whether the window is back to normal. If it is, restore the detector and feed it the window."""
        if self.reference is None or self._wait or len(self._window) < self.reference.readings:
            return False
        rows = [row for _, row in self._window]
        if not self.reference.back(list(zip(*rows, strict=True)) if self._width else [rows]):
            return False
        trial: Contract = pickle.loads(self._normal)  # noqa: S301 - its own state
        if self._refeed(trial, rows, [time_ms for time_ms, _ in self._window]):
            self._wait = len(rows) // 4  # bounds the number of trials by the number of readings
            return False
        self.detector = trial
        return True

    def adopts_ms(self, adopt_ms: int | None) -> int:
        """Return from which evidence time (ms) on a demand is old enough to be adopted, or NEVER_MS if none ever is."""
        return NEVER_MS if adopt_ms is None or not self.stands else self.began_ms + adopt_ms

    def adopt(self) -> None:
        """Take the readings since the demand as normal. A new detector learns them."""
        rows, times_ms = [row for _, row in self._latest], [time_ms for time_ms, _ in self._latest]
        self._settle_down()
        self._empty()
        self.detector = self._detection.build()
        self._refeed(self.detector, rows, times_ms)
        self._remember(rows, times_ms)

    def inherit(self, before: Remembering) -> None:
        """Take over another's remembered readings and its demand."""
        if before._width != self._width or before._events != self._events:
            return
        rows, times_ms = before._rows(0), before._times.tolist()
        with suppress(Unfit):  # then this detector learns anew, and the demand still lasts
            self._refeed(self.detector, rows, times_ms)
            self._remember(rows, times_ms)
        self.reference, self.since_ms, self.began_ms, self.text = (
            before.reference,
            before.since_ms,
            before.began_ms,
            before.text,
        )
        self.window, self._window, self._latest, self._wait = before.window, before._window, before._latest, before._wait
        self._normal = pickle.dumps(self.detector)
