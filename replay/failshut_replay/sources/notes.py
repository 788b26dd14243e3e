"""What is odd about a file that is imported, said in sentences before it is recorded.

The problem: a column whose values are all written 48,5 is a column of faults. A recording of it looks like any other, until
somebody replays it and finds a gate that never opens. So readings are counted as they pass. A file without any reading, and one
of which no value was understood, are refused at their end, when nothing has been recorded yet.

Values that were understood and are no numbers (NaN, booleans, nothing at all) are evidence, as they are live: faults. A file
that holds nothing else is recorded, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from failshut_replay.errors import ImportFault
from failshut_replay.sources.front_door import Event

SHOWN_CHARS = 60


class Placed(NamedTuple):
    """An event, and where in its file it stands, in words."""

    where: str
    event: Event


class Notes:
    """Counts what a file holds. `told` is given a sentence for each oddity, once."""

    def __init__(self, path: Path, told: Callable[[str], None]) -> None:
        self.path, self._told = path, told
        self.readings = self.good = 0
        self.misread = 0
        self._first_misread = ""
        self._first_fault = ""
        self.timeless = 0
        self.moved = self.moved_ms = 0

    def misread_value(self, where: str, value: object) -> None:
        """Take note of a value that is no number, and not one that says so either."""
        self._first_misread = self._first_misread or f"{where}: {value!r:.{SHOWN_CHARS}}"
        self.misread += 1

    def watched(self, events: Iterator[Placed]) -> Iterator[Event]:
        """Yield the events, and at their end say what was odd.

        Raises:
            ImportFault: there was no event, or none that anything was understood of.
        """
        for where, event in events:
            self.readings += 1
            if event.item[0] in ("fault", "unreadable"):
                self._first_fault = self._first_fault or f"{where}: {event.item[-1]}"
            elif event.item[0] != "sample" or event.item[2] - event.item[2] == 0:
                self.good += 1
            else:
                self._first_fault = self._first_fault or f"{where}: {event.item[2]}"
            yield event
        self._end()

    def _end(self) -> None:
        if not self.readings:
            raise ImportFault(f"{self.path} holds no readings")
        if self.misread and not self.good:
            raise ImportFault(
                f"{self.path}: {self.misread} of {self.readings} values are no numbers and no other is one, first in "
                f"{self._first_misread}: write 48.5, without separators of thousands (--decimal-comma takes 48,5 in CSV)"
            )
        if not self.good:
            self._told(f"{self.path}: all {self.readings} readings are faults, first in {self._first_fault}")
        elif self.misread:
            self._told(f"{self.path}: {self.misread} of {self.readings} values are no numbers, first in {self._first_misread}")
        if self.timeless:
            self._told(
                f"{self.path}: {self.timeless} readings claim no time that can be: each counts from the newest in its line "
                "or above"
            )
        if self.moved:
            self._told(
                f"{self.path}: {self.moved} readings are older than one above of their series, by up to {self.moved_ms} ms: "
                "they were put in the order of time"
            )
