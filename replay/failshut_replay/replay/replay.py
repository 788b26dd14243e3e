"""Replay: the very governor that runs live, over a recording, in virtual time.

A governor uses no time except the time in the evidence. So a replay runs as fast as the code, or as slowly as somebody
wants to watch. Partitions are merged by the time at which their records were appended; within one, the log's order is
kept. `check` compares what is decided now with what is on record, byte for byte, and reports the first difference in
words.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from failshut.seal import Seal
from failshut_breakers.agreement import Unquestioned
from failshut_breakers.decisions.decision import Decision
from failshut_breakers.evidence.records import EvidenceError, FromMany, Run, Samples, decode_run
from failshut_breakers.governor import Governor
from failshut_replay.errors import RecordingError
from failshut_replay.recording.policy_names import PolicyNames
from failshut_replay.recording.reader import Decided, Recorded, Recording
from failshut_replay.replay.resume import Follower, activation_at, begin
from failshut_replay.replay.what_if import NOTHING, Answers, Assumed, WhatIf


class Step(NamedTuple):
    """One evidence record and what follows from it."""

    partition: int
    offset: int
    time_ms: int
    run: Run
    decisions: list[Decision]
    seal: Seal | None = None


class Replay:
    """A replay of a recording; iterate over it once.

    Args:
        recording: what is replayed.
        policies: file name to text of policies that replace the recorded ones from the start; none are replaced without.
        assumed: what the world answers in a what-if.

    Raises:
        ReplayError: a policy is bad, or for a gate that is not in the recording.
    """

    def __init__(self, recording: Recording, policies: Mapping[str, str] | None = None, assumed: Assumed = NOTHING) -> None:
        self.recording = recording
        self.what_if = WhatIf(recording.manifest, policies or {})
        self.governors: dict[int, Governor] = {}
        self.records = self.samples = 0
        self.followers: dict[int, Follower] = {}  # of partitions that begin in the middle of their log
        self._answers: dict[int, Answers] = {}
        self._assumed = assumed

    def __iter__(self) -> Iterator[Step]:
        streams = [self.recording.evidence(partition) for partition in self.recording.manifest.partitions]
        if len(streams) == 1:
            yield from map(self._step, streams[0])
            return
        yield from map(self._step, heapq.merge(*streams, key=lambda record: (record.time_ms, record.partition)))

    @property
    def following(self) -> set[str]:
        """Gates that follow the record, because too little is known of them to decide by themselves (replay/resume.py)."""
        return set().union(*(follower.following for follower in self.followers.values()))

    def _step(self, record: Recorded) -> Step:
        partition = record.partition
        try:
            run = self.what_if.apply(decode_run(record.record))
            governor = self.governors.get(partition)
            if governor is None:
                governor = self._begin(partition, run)
            if self._assumed is not NOTHING:
                run = self._answers[partition].add(run)
            decisions = governor.step(record.offset, run)
            if partition in self.followers:
                decisions = self.followers[partition].take(governor, record.offset, decisions)
        except EvidenceError as error:
            raise RecordingError(f"{self.recording.path}: evidence {partition}/{record.offset}: {error}") from error
        if self._assumed is not NOTHING:
            self._answers[partition].see(decisions, governor, run.append_ms)
        self.records += 1
        for readings in run.readings.values():
            for reading in readings:
                if isinstance(reading, Samples):
                    self.samples += reading.count
                elif isinstance(reading, FromMany):
                    self.samples += sum(isinstance(row[4], float) for row in reading.rows)
        return Step(partition, record.offset, record.time_ms, run, decisions, governor.seal)

    def _begin(self, partition: int, run: Run) -> Governor:
        manifest = self.recording.manifest
        gates = manifest.gates
        owns: Callable[[str], bool] = lambda gate: gates.get(gate) == partition  # noqa: E731
        start = manifest.start(partition)
        if start is None:
            governor = Governor(partition, run.log, owns)
        else:
            activation = activation_at(manifest, start)
            in_force = activation and self.what_if.activation(activation)
            governor = begin(partition, run, owns, start, in_force, manifest.installation)
            follow = {gate for gate in gates if owns(gate) and gate not in self.what_if.texts}
            names = PolicyNames(manifest)
            standing = {gate: names.presently(data) for gate, data in start.standing.items()}
            self.followers[partition] = Follower(follow, Decided(self.recording, partition), standing)
        if self.what_if.texts:  # what a router made of the recorded policies is no ground to refuse what it forwarded
            governor.agreement = Unquestioned()
        self.governors[partition], self._answers[partition] = governor, Answers(self._assumed)
        return governor


def paced(replay: Replay, speed: float, sleep: Callable[[float], None] = time.sleep) -> Iterator[Step]:
    """Yield the steps so many times as fast as they happened; 0 is as fast as the code goes."""
    began_s, first_ms = time.monotonic(), 0
    for step in replay:
        first_ms = first_ms or step.time_ms
        if speed:
            ahead_s = (step.time_ms - first_ms) / 1000 / speed - (time.monotonic() - began_s)
            if ahead_s > 0:
                sleep(ahead_s)
        yield step
