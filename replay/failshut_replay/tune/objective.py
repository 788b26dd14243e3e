"""Judging a policy on labelled recordings: what `failshut tune` does for each draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from failshut_breakers.evidence.records import FromMany, Samples
from failshut_breakers.policy.policy import Policy
from failshut_replay.errors import ReplayError
from failshut_replay.recording.reader import Recording
from failshut_replay.replay.replay import Replay
from failshut_replay.replay.what_if import Assumed
from failshut_replay.story.labels import beside, read_labels
from failshut_replay.story.scores import score
from failshut_replay.story.story import replayed
from failshut_replay.tune.search import Incidental, Outcome
from failshut_replay.tune.space import Usual

VALUES_MAX = 200_000
"""Values of a series that are looked at for what is usual: evenly thinned out beyond."""


@dataclass(frozen=True)
class Objective:
    """Judges policies of one gate on recordings. Picklable: each process opens the files for itself."""

    gate: str
    paths: tuple[Path, ...]
    assumed: Assumed
    settle_ms: int = 0

    def __call__(self, text: str) -> Outcome:
        """Return what a policy comes to over all recordings."""
        incidents: list[Incidental] = []
        false, normal_ms, closed_ms = 0, 0, 0
        for path in self.paths:
            recording = Recording(path)
            labels = [label for label in read_labels(beside(path), recording.manifest) if label.gate == self.gate]
            story = replayed(recording, "tuned", {"tuned.yaml": text}, self.assumed, series=False)
            one = score([story.timelines[self.gate]], labels, story.end_ms, path.stem, self.settle_ms, story.begin_ms)
            for label, noticed in zip(labels, one.incidents, strict=True):
                length_s = (label.end_ms - label.start_ms) / 1000
                incidents.append(Incidental(f"{path.stem} {label.start_ms}", length_s, noticed.delay_s, noticed.open_s))
            # For a choice the time before it first opens counts too: a gate that needs a day to open is closed for a day.
            lead_ms = max(0, (story.timelines[self.gate].first_open_ms() or 0) - story.begin_ms)
            false += one.false_trips
            normal_ms, closed_ms = normal_ms + one.normal_ms + lead_ms, closed_ms + one.closed_ms + lead_ms
        return Outcome(tuple(incidents), false, normal_ms, closed_ms)


def suited(paths: Sequence[Path], policy: Policy) -> list[Path]:
    """Return the recordings that hold the policy's gate and have labels.

    Raises:
        ReplayError: there is none, or no incident in them.
    """
    found, incidents = [], 0
    for path in paths:
        recording = Recording(path)
        if policy.gate in recording.manifest.gates and beside(path).exists():
            found.append(path)
            incidents += sum(label.gate == policy.gate for label in read_labels(beside(path), recording.manifest))
    if not incidents:
        raise ReplayError(f"no recording here has a labelled incident of gate {policy.gate}: there is nothing to tune against")
    return found


def tested_kinds(recordings: Objective, text: str) -> frozenset[str]:
    """Return the kinds of conditions that demanded in an incident under a policy: what an incident has tested."""
    heard: set[str] = set()
    for path in recordings.paths:
        recording = Recording(path)
        story = replayed(recording, "tested", {"tuned.yaml": text}, recordings.assumed, series=False)
        for label in read_labels(beside(path), recording.manifest):
            trips = story.timelines[recordings.gate].trips if label.gate == recordings.gate else []
            heard |= {trip.cause for trip in trips if label.start_ms <= trip.at_ms < label.end_ms}
    return frozenset(heard)


def usual_values(paths: Sequence[Path]) -> dict[str, Usual]:
    """Return what is usual of every series in the recordings."""
    values: dict[str, list[float]] = {}
    for path in paths:
        for step in Replay(Recording(path)):
            for readings in step.run.readings.values():
                for reading in readings:
                    if isinstance(reading, Samples | FromMany):
                        held = values.setdefault(reading.series, [])
                        held.extend(_values_of(reading))
                        if len(held) > VALUES_MAX:
                            values[reading.series] = held[::2]
    return {series: Usual.of(held) for series, held in values.items()}


def _values_of(reading: Samples | FromMany) -> Sequence[float]:
    if isinstance(reading, Samples):
        return reading.values()
    return [row[4] for row in reading.rows if isinstance(row[4], float)]
