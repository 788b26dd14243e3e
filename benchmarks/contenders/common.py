"""What every contender does to a sample, and how it is timed.

A contender is a program: `python X.py BOOTSTRAP TOPIC SAMPLES MESSAGES`. It reads the topic from its beginning as its library
would have a user do it, decodes each message with msgspec into the struct that Failshut's own fast path uses, feeds the value
to river's ADWIN of that series, and prints one line of JSON when it has seen SAMPLES samples: the CPU time of its process (all
threads) and the wall time, both from its first message or chunk to its last.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from dataclasses import dataclass
from typing import NoReturn

import msgspec
from river import drift

from failshut_streams.codecs.wire import SampleWire

DONE = "BENCH "
"""Stands before the result, so that what libraries print is not taken for it."""

decode = msgspec.json.Decoder(list[SampleWire] | SampleWire).decode


@dataclass(frozen=True)
class Task:
    """What this process is to read; `group` is its own."""

    bootstrap: str
    topic: str
    samples: int
    group: str


def task() -> Task:
    """Return what the command line says."""
    _, bootstrap, topic, samples = sys.argv[:4]
    return Task(bootstrap, topic, int(samples), f"bench-{uuid.uuid4().hex}")


class Scoring:
    """ADWIN by series. The clock starts at the first value and stops with the process."""

    def __init__(self, samples: int) -> None:
        self.detectors: dict[tuple[str, str], drift.ADWIN] = {}
        self.seen = 0
        self._samples = samples
        self._cpu = self._wall = 0.0

    def begin(self) -> None:
        """Start the clock, once."""
        if not self._wall:
            self._cpu, self._wall = time.process_time(), time.perf_counter()

    def take(self, value: bytes) -> None:
        """Decode one message and score what is in it."""
        found = decode(value)
        detectors = self.detectors
        if type(found) is not list:
            found = [found]
        for wire in found:
            try:
                detector = detectors[wire.service, wire.metric]
            except KeyError:
                detector = detectors[wire.service, wire.metric] = drift.ADWIN()
            detector.update(wire.value)
        self.seen += len(found)

    @property
    def done(self) -> bool:
        """Whether all samples were seen."""
        return self.seen >= self._samples

    def end(self) -> NoReturn:
        """Print the result and end the process, without the library's own goodbye."""
        finish(self.seen, time.process_time() - self._cpu, time.perf_counter() - self._wall)


def finish(samples: int, cpu_s: float, wall_s: float) -> NoReturn:
    """Print a result and end the process."""
    print(DONE + json.dumps({"samples": samples, "cpu_s": cpu_s, "wall_s": wall_s}), flush=True)
    os._exit(0)
