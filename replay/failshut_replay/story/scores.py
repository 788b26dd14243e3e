"""Scores that an operations team acts on: what was missed, how late, how often for nothing, and what that cost.

An incident is noticed if a condition closes its open gate between its start and its end. A gate that was already closed notices
nothing: otherwise one that is always closed would be the best of all. A false trip is a time for which a condition closed an
open gate outside of every incident. A trip within `settle_ms` after an incident's end is its tail, and counts as neither. Rates
come with an exact 95 % Poisson interval, because three false trips in a week's recording say little about a year. Every score
is shown beside two that cost nothing: a gate that never closes and one that is always closed.

Source of the interval: F. Garwood, Fiducial Limits for the Poisson Distribution, Biometrika 28 (1936). Source of NAB's
score: A. Lavin and S. Ahmad, Evaluating Real-Time Anomaly Detection Algorithms, ICMLA 2015; here incidents are the windows
and positions are times, where NAB counts rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from failshut_replay.story.labels import Incident
from failshut_replay.story.timeline import Timeline

WEEK_MS = 7 * 86_400_000
NAB_FALSE_ALARM = 0.11


@dataclass(slots=True)
class Noticed:
    """What became of an incident. `delay_s` is None where it was missed; `open_s` is how long of it the gate was open."""

    recording: str
    gate: str
    start_ms: int
    note: str
    delay_s: float | None
    cause: str
    open_s: float = 0.0
    length_s: float = 0.0


@dataclass(slots=True)
class Score:
    """A score over any number of recordings."""

    incidents: list[Noticed] = field(default_factory=list)
    false_trips: int = 0
    normal_ms: int = 0  # since it first opened, without incidents
    closed_ms: int = 0  # of that, closed
    nab_raw: float = 0.0

    @property
    def missed(self) -> int:
        """How many incidents no condition noticed."""
        return sum(one.delay_s is None for one in self.incidents)

    @property
    def nab(self) -> float | None:
        """NAB's score, standard profile: 0 for silence, 100 for noticing all at once; None where it says nothing."""
        count = len(self.incidents)
        known = count and not math.isnan(self.nab_raw)
        return round(100 * (self.nab_raw + count) / (2 * count), 2) if known else None

    @property
    def open_s(self) -> float:
        """For how long gates were open in incidents: what a delay does not say, where a gate opens again before the end."""
        return sum(one.open_s for one in self.incidents)

    @property
    def open_share(self) -> float | None:
        """The same as a share of the incidents; None without any."""
        length_s = sum(one.length_s for one in self.incidents)
        return self.open_s / length_s if length_s else None

    def delay_s(self, percent: float) -> float | None:
        """Return a percentile (nearest rank) of the delays of what was noticed; None where nothing was."""
        delays = sorted(one.delay_s for one in self.incidents if one.delay_s is not None)
        return delays[max(0, math.ceil(percent / 100 * len(delays)) - 1)] if delays else None

    def false_per_week(self) -> tuple[float, float, float] | None:
        """Return false trips a week, with the ends of a 95 % interval; None where no normal time was watched."""
        if self.normal_ms <= 0:
            return None
        weeks = self.normal_ms / WEEK_MS
        low, high = poisson_interval(self.false_trips)
        return self.false_trips / weeks, low / weeks, high / weeks

    def join(self, other: Score) -> None:
        """Count another recording's score in."""
        self.incidents += other.incidents
        self.false_trips += other.false_trips
        self.normal_ms += other.normal_ms
        self.closed_ms += other.closed_ms
        self.nab_raw += other.nab_raw

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        rate = self.false_per_week()
        return {
            "incidents": len(self.incidents),
            "missed": self.missed,
            "open_s": self.open_s,
            "open_share": self.open_share,
            "delay_p50_s": self.delay_s(50),
            "delay_p95_s": self.delay_s(95),
            "false_trips": self.false_trips,
            "false_trips_per_week": rate and rate[0],
            "false_trips_per_week_95": rate and list(rate[1:]),
            "normal_s": self.normal_ms / 1000,
            "closed_without_cause_s": self.closed_ms / 1000,
            "nab": self.nab,
            "each": [asdict(one) for one in self.incidents],
        }


def score(
    timelines: Iterable[Timeline],
    labels: Sequence[Incident],
    end_ms: int,
    recording: str = "",
    settle_ms: int = 0,
    begin_ms: int = 0,
) -> Score:
    """Return the score of gates' timelines against their labels, between two times. What came before only led up to it."""
    total = Score()
    for timeline in timelines:
        incidents = [label for label in labels if label.gate == timeline.gate]
        first_ms = timeline.first_open_ms()
        begun_ms = timeline.spans[0].start_ms if timeline.spans else end_ms
        # One that never opened was closed all the time.
        from_ms = min(end_ms, max(begin_ms, begun_ms if first_ms is None else first_ms))
        own = Score(normal_ms=max(0, end_ms - from_ms))
        own.closed_ms = timeline.closed_ms(from_ms, end_ms)
        for incident in incidents:
            own.incidents.append(_noticed(timeline, incident, recording, end_ms))
            start_ms, until_ms = max(from_ms, incident.start_ms), min(end_ms, incident.end_ms + settle_ms)
            own.normal_ms -= max(0, until_ms - start_ms)
            own.closed_ms -= timeline.closed_ms(start_ms, max(start_ms, until_ms))
        closing = [trip.at_ms for trip in timeline.trips if trip.closed_it and trip.at_ms >= begin_ms]
        outside = [at_ms for at_ms in closing if not _within(at_ms, incidents, settle_ms)]
        own.false_trips = len(outside)
        own.nab_raw = sum(_nab_hit(one, label) for one, label in zip(own.incidents, incidents, strict=True))
        own.nab_raw += sum(_nab_false(at_ms, incidents) for at_ms in outside)
        total.join(own)
    return total


def _noticed(timeline: Timeline, incident: Incident, recording: str, end_ms: int) -> Noticed:
    within = (trip for trip in timeline.trips if incident.start_ms <= trip.at_ms < incident.end_ms and trip.closed_it)
    found = next(within, None)
    delay_s = (found.at_ms - incident.start_ms) / 1000 if found else None
    until_ms = min(end_ms, incident.end_ms)
    open_s = timeline.open_ms(incident.start_ms, until_ms) / 1000
    length_s = max(0, until_ms - incident.start_ms) / 1000
    cause = found.cause if found else ""
    return Noticed(recording, incident.gate, incident.start_ms, incident.note, delay_s, cause, open_s, length_s)


def _within(at_ms: int, incidents: Sequence[Incident], settle_ms: int) -> bool:
    return any(incident.start_ms <= at_ms < incident.end_ms + settle_ms for incident in incidents)


def baselines(
    timelines: Sequence[Timeline], labels: Sequence[Incident], end_ms: int, settle_ms: int = 0, begin_ms: int = 0
) -> dict[str, Score]:
    """Return what two gates that know nothing would score over the same time: never-fire and always-fire."""
    measured = score(timelines, labels, end_ms, settle_ms=settle_ms, begin_ms=begin_ms)
    length_s = {(one.gate, one.start_ms): max(0, min(end_ms, one.end_ms) - one.start_ms) / 1000 for one in labels}
    never = Score(
        [Noticed("", *(one.gate, one.start_ms, one.note), None, "", *[length_s[one.gate, one.start_ms]] * 2) for one in labels],
        *(0, measured.normal_ms, 0),
    )
    never.nab_raw = -float(len(labels))
    always = Score(
        [
            Noticed("", *(one.gate, one.start_ms, one.note), 0.0, "always", 0.0, length_s[one.gate, one.start_ms])
            for one in labels
        ]
    )
    # It closes once for each stretch of normal time, and never opens in any.
    stretches = sum(1 + sum(label.gate == timeline.gate for label in labels) for timeline in timelines)
    always.false_trips, always.normal_ms, always.closed_ms = stretches, measured.normal_ms, measured.normal_ms
    always.nab_raw = math.nan  # an alarm at every record: NAB would count records, which time has none of
    return {"never-fire": never, "always-fire": always}


def _nab_hit(noticed: Noticed, incident: Incident) -> float:
    if noticed.delay_s is None:
        return -1.0
    position = noticed.delay_s * 1000 / (incident.end_ms - incident.start_ms) - 1
    return _sigmoid(position) / _sigmoid(-1.0)


def _nab_false(at_ms: int, incidents: Sequence[Incident]) -> float:
    before = [incident for incident in incidents if incident.end_ms <= at_ms]
    if not before:
        return -NAB_FALSE_ALARM
    last = max(before, key=lambda incident: incident.end_ms)
    position = (at_ms - last.end_ms) / (last.end_ms - last.start_ms)
    return NAB_FALSE_ALARM * (_sigmoid(position) if position <= 3 else -1.0)


def _sigmoid(position: float) -> float:
    return 2 / (1 + math.exp(5 * position)) - 1


def poisson_interval(count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval for the mean of a Poisson count.

    >>> [round(end, 3) for end in poisson_interval(3)]
    [0.619, 8.767]
    >>> [round(end, 3) for end in poisson_interval(0)]
    [0.0, 3.689]
    """
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _solve(lambda mean: 1 - _cdf(count - 1, mean), tail, rising=True)
    return low, _solve(lambda mean: _cdf(count, mean), tail, rising=False)


def _cdf(count: int, mean: float) -> float:
    if mean <= 0:
        return 1.0
    return math.fsum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(count + 1))


def _solve(tail: Any, wanted: float, rising: bool) -> float:
    low, high = 0.0, 10.0
    while (tail(high) < wanted) == rising:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if (tail(middle) < wanted) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2
