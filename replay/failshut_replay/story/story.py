"""A replay told once, for everything that shows it: timelines, the decisions that changed something, series and scores.

Memory is bounded, whatever the length of the recording. A series is a fixed number of columns, each with the smallest
and largest value in it. Decisions that renew a permit are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from failshut_breakers.decisions.decision import Decision, Kind, decode_decision
from failshut_breakers.evidence.records import Beats, FromMany, Lags, Reading, Samples
from failshut_breakers.governor import Governor
from failshut_replay.recording.manifest import Manifest
from failshut_replay.recording.reader import Decided, Recording
from failshut_replay.replay.replay import Replay, Step
from failshut_replay.replay.what_if import NOTHING, Assumed
from failshut_replay.story.timeline import Timeline

COLUMNS = 900
SERIES_MAX = 8
CHANGES_MAX = 2_000
BETWEEN_HEARTBEATS = ": seconds between heartbeats"


@dataclass(slots=True)
class Trace:
    """One series, as columns of time: column to smallest, largest, sum and count."""

    name: str
    columns: dict[int, tuple[float, float, float, int]] = field(default_factory=dict)

    def add(self, column: int, value: float) -> None:
        """Count a value in."""
        low, high, total, count = self.columns.get(column, (value, value, 0.0, 0))
        self.columns[column] = (min(low, value), max(high, value), total + value, count + 1)


@dataclass(slots=True)
class Story:
    """What a replay (or what is on record) comes to."""

    name: str
    begin_ms: int
    end_ms: int
    timelines: dict[str, Timeline]
    changes: list[tuple[int, Decision]] = field(default_factory=list)  # when, what; renewals left out
    changes_left_out: int = 0
    decisions: int = 0
    traces: dict[tuple[str, str], Trace] = field(default_factory=dict)  # by gate and series
    scores: dict[tuple[str, str], Trace] = field(default_factory=dict)  # by gate and condition
    complaints: list[str] = field(default_factory=list)
    _beats: dict[tuple[str, str], int] = field(default_factory=dict)

    def column_ms(self, column: int) -> float:
        """Return the time in the middle of a column."""
        return self.begin_ms + (column + 0.5) * (self.end_ms - self.begin_ms) / COLUMNS

    def take(self, at_ms: int, decision: Decision) -> None:
        """Take the next decision."""
        self.decisions += 1
        timeline = self.timelines.get(decision.gate)
        if timeline is None:
            return
        timeline.take(decision, at_ms)
        if decision.kind is Kind.RENEW:
            return
        if len(self.changes) < CHANGES_MAX:
            self.changes.append((at_ms, decision))
        else:
            self.changes_left_out += 1

    def renew(self, step: Step) -> None:
        """Take the seal of a step, where there is one."""
        if step.seal is not None:
            for timeline in self.timelines.values():
                timeline.renew(step.seal, step.time_ms)

    def see(self, step: Step) -> None:
        """Take note of the values in a step."""
        length_ms = max(1, self.end_ms - self.begin_ms)
        for gate in step.run.readings:
            if gate not in self.timelines:
                continue
            for reading in step.run.readings[gate]:
                name, points = self._points(gate, reading)
                if not points:
                    continue
                trace = self.traces.get((gate, name))
                if trace is None:
                    if sum(key[0] == gate for key in self.traces) >= SERIES_MAX:
                        continue
                    trace = self.traces[gate, name] = Trace(name)
                for time_ms, value in points:
                    if self.begin_ms <= time_ms <= self.end_ms:
                        trace.add(min(COLUMNS - 1, (time_ms - self.begin_ms) * COLUMNS // length_ms), value)

    def grade(self, step: Step, governor: Governor) -> None:
        """Take note of how far each condition is towards its demand, behind a step."""
        column = min(COLUMNS - 1, (step.time_ms - self.begin_ms) * COLUMNS // max(1, self.end_ms - self.begin_ms))
        if column < 0:
            return
        for name in self.timelines:
            gate = governor.look(name)
            for condition in gate.conditions[:SERIES_MAX] if gate is not None else ():
                key = (name, condition.name)
                trace = self.scores.get(key)
                if trace is None:
                    trace = self.scores[key] = Trace(condition.name)
                trace.add(column, condition.score)

    def _points(self, gate: str, reading: Reading) -> tuple[str, list[tuple[int, float]]]:
        match reading:
            case Samples():
                return reading.series, [(row[2], row[3]) for row in reading.rows]
            case FromMany():
                return reading.series, [(row[2], row[4]) for row in reading.rows if isinstance(row[4], float)]
            case Lags():
                behind = [(row[2], float(sum(at.behind for at in row.partitions.values()))) for row in reading.rows]
                return f"{reading.group} on {reading.topic}: records behind", behind
            case Beats():
                name = f"{reading.source}{BETWEEN_HEARTBEATS}"
                points = []
                for _, _, time_ms in reading.rows:
                    before_ms = self._beats.get((gate, reading.source), time_ms)
                    self._beats[gate, reading.source] = time_ms
                    points.append((time_ms, (time_ms - before_ms) / 1000))
                return name, points
        return "", []

    def end(self) -> None:
        """End with the recording."""
        for timeline in self.timelines.values():
            timeline.end(self.end_ms)


def _empty(name: str, manifest: Manifest) -> Story:
    begin_ms = manifest.begin_ms if manifest.from_ms <= manifest.begin_ms else manifest.from_ms
    timelines = {gate: Timeline(gate) for gate in manifest.gates}
    return Story(name, begin_ms, max(manifest.end_ms, begin_ms + 1), timelines)


def replayed(
    recording: Recording,
    name: str = "replay",
    policies: Mapping[str, str] | None = None,
    assumed: Assumed = NOTHING,
    series: bool = True,
) -> Story:
    """Replay a recording and return what it comes to.

    Raises:
        ReplayError: a policy is bad, or for a gate that is not in the recording.
        RecordingError: the recording is not as it was made.
    """
    story = _empty(name, recording.manifest)
    replay = Replay(recording, policies, assumed)
    for step in replay:
        for decision in step.decisions:
            story.take(step.time_ms, decision)
        story.renew(step)
        if series:
            story.see(step)
            story.grade(step, replay.governors[step.partition])
    story.complaints = replay.what_if.complaints()
    story.end()
    return story


def on_record(recording: Recording, name: str = "on record") -> Story:
    """Return what the decisions on record come to. A replay says which permits seals renewed, and decides nothing else."""
    story = _empty(name, recording.manifest)
    decided = {partition: Decided(recording, partition) for partition in recording.manifest.partitions}
    for step in Replay(recording):
        for data in decided[step.partition].at(step.offset):
            story.take(step.time_ms, decode_decision(data))
        story.renew(step)
    story.changes.sort(key=lambda change: (change[0], change[1].gate, change[1].offset))
    story.end()
    return story


def gates_of(stories: Iterable[Story]) -> list[str]:
    """Return the gates of several stories, each once, in order."""
    return sorted({gate for story in stories for gate in story.timelines})
