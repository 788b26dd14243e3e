"""Which gates time may change, so that a mark touches no others.

Each mark moves evidence time, and most gates have nothing to say about that. So a gate that was ticked says at what evidence
time it must be ticked again (`Step.wakes_ms`), and sleeps until then. A mark ticks the gates whose time has come and those
that are awake. What a sleeping gate missed are ticks that change nothing but ages and words. The last of them is enough, and
is made up for before anything else happens to the gate.

A gate is judged up to the evidence time of the last mark, asleep or not: that is what a seal says of it.

`Sweep` never lets a gate sleep. Both lead to the same decisions and the same seals (tests/breakers/test_waking.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from failshut_breakers.conditions import Moment
from failshut_breakers.evidence.lanes import Lane

HEAP_TIMES = 4
"""A heap with this many times more entries than there are sleepers is made anew."""


class Sleeper(NamedTuple):
    """A gate that sleeps: in which coverage, until when, and the evidence time of its last tick (ms)."""

    lane: Lane
    wakes_ms: int
    since_ms: int


class Waking:
    """Which gates of one governor are awake, and when each of the others wakes. Part of its state."""

    def __init__(self) -> None:
        self.awake: set[str] = set()
        self._asleep: dict[str, Sleeper] = {}
        self._heaps: dict[Lane, list[tuple[int, str]]] = {}  # what a gate that woke earlier left there stays until it comes up
        self._passed: dict[Lane, Moment] = {}  # the last mark that sleepers were not told of

    def stay_awake(self, gate: str) -> None:
        """Have a gate ticked at each mark."""
        self._asleep.pop(gate, None)
        self.awake.add(gate)

    def sleep(self, gate: str, lane: Lane, wakes_ms: int, moment: Moment) -> None:
        """Let a gate that was ticked at `moment` sleep until `wakes_ms`, unless that has come."""
        if wakes_ms <= moment.evidence_ms:
            self.stay_awake(gate)
            return
        passed = self._passed.get(lane)
        if passed is not None and passed.evidence_ms > moment.evidence_ms:
            del self._passed[lane]  # time never goes back: it is of a former coverage of this name
        self._put(gate, Sleeper(lane, wakes_ms, moment.evidence_ms))

    def _put(self, gate: str, sleeper: Sleeper) -> None:
        self.awake.discard(gate)
        self._asleep[gate] = sleeper
        lane, wakes_ms, _ = sleeper
        heap = self._heaps.setdefault(lane, [])
        heapq.heappush(heap, (wakes_ms, gate))
        if len(heap) > HEAP_TIMES * (len(self._asleep) + 1):
            self._heaps[lane] = sorted((one.wakes_ms, name) for name, one in self._asleep.items() if one.lane == lane)

    def forget(self, gate: str) -> None:
        """Let go of a gate."""
        self._asleep.pop(gate, None)
        self.awake.discard(gate)

    def due(self, lane: Lane, evidence_ms: int) -> set[str]:
        """Return the sleepers of a lane that a mark with this evidence time (ms) must tick. The caller wakes them."""
        due: set[str] = set()
        heap = self._heaps.get(lane, [])
        while heap and heap[0][0] <= evidence_ms:
            wakes_ms, gate = heapq.heappop(heap)
            sleeper = self._asleep.get(gate)
            if sleeper is not None and (sleeper.lane, sleeper.wakes_ms) == (lane, wakes_ms):
                due.add(gate)
        return due

    def wake(self, gate: str) -> Moment | None:
        """Wake a gate. Return the last mark that it was not told of, or None if it was told of all."""
        sleeper = self._asleep.get(gate)
        self.stay_awake(gate)
        passed = None if sleeper is None else self._passed.get(sleeper.lane)
        return passed if sleeper is not None and passed is not None and passed.evidence_ms > sleeper.since_ms else None

    def passes(self, lane: Lane, moment: Moment) -> None:
        """Take note of a mark that the sleepers of a lane are not told of."""
        self._passed[lane] = moment

    def judged_ms(self, gate: str, judged_ms: int) -> int:
        """Return the evidence time (ms) up to which a gate is judged that was judged up to `judged_ms` when it fell asleep."""
        sleeper = self._asleep.get(gate)
        passed = None if sleeper is None else self._passed.get(sleeper.lane)
        return judged_ms if passed is None else max(judged_ms, passed.evidence_ms)

    def keep(self, lanes: Iterable[Lane]) -> None:
        """Let go of lanes that no coverage has any more. No gate sleeps there."""
        kept = set(lanes)
        for lane in self._passed.keys() - kept:
            del self._passed[lane]
        for lane in self._heaps.keys() - kept:
            del self._heaps[lane]

    # --- for a copy in parts (parts.py) ---

    def without_gates(self) -> Waking:
        """Return a copy that knows coverages and no gates."""
        copied = type(self)()
        copied._passed = dict(self._passed)
        return copied

    def sleeper(self, gate: str) -> Sleeper | None:
        """Return how a gate sleeps, or None if it is awake."""
        return self._asleep.get(gate)

    def put(self, gate: str, sleeper: Sleeper | None) -> None:
        """Let a gate be as `sleeper` returned it."""
        if sleeper is None:
            self.stay_awake(gate)
        else:
            self._put(gate, sleeper)


class Sweep(Waking):
    """Has every gate ticked at each mark."""

    def sleep(self, gate: str, lane: Lane, wakes_ms: int, moment: Moment) -> None:
        self.stay_awake(gate)
