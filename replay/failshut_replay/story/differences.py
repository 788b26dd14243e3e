"""Two stories of one recording: which gates differ, from when, why, and for how long.

Two policies, or two versions: the gate's state is compared at every moment, since decisions of different policies have
different bytes anyway. The first moment at which they differ is the first divergence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from failshut_replay.errors import ReplayError
from failshut_replay.story.labels import Incident
from failshut_replay.story.story import Story, gates_of
from failshut_replay.story.timeline import Span, Timeline


@dataclass(frozen=True, slots=True)
class Difference:
    """How one gate fared in two stories. Times in milliseconds; `first` is None where it fared alike.

    `incidents_ms` is for how long each was open inside labelled incidents, and how long these are together.
    """

    gate: str
    open_ms: tuple[int, int]
    closings: tuple[int, int]
    trips: tuple[int, int]
    apart_ms: int
    first_ms: int | None
    first: tuple[str, str] | None
    incidents_ms: tuple[int, int, int] = (0, 0, 0)


def compare(one: Story, two: Story, labels: Sequence[Incident] = ()) -> list[Difference]:
    """Return how each gate fared in both, those that differ first, by when they began to.

    Raises:
        ReplayError: they are not of the same time.
    """
    if (one.begin_ms, one.end_ms) != (two.begin_ms, two.end_ms):
        raise ReplayError(f"{one.name} and {two.name} are of different times: compare stories of one recording")
    gates = gates_of([one, two])
    differences = [_of_gate(gate, one, two, labels) for gate in gates]
    return sorted(differences, key=lambda found: (found.first_ms is None, found.first_ms or 0, found.gate))


def _of_gate(gate: str, one: Story, two: Story, labels: Sequence[Incident]) -> Difference:
    pair = (one.timelines.get(gate, Timeline(gate)), two.timelines.get(gate, Timeline(gate)))
    length_ms = one.end_ms - one.begin_ms
    apart_ms, first_ms, first = 0, None, None
    for start_ms, end_ms, left, right in _together(*pair, one.begin_ms, one.end_ms):
        if (left is not None and left.open) == (right is not None and right.open) and _words(left) == _words(right):
            continue
        if first_ms is None:
            first_ms, first = start_ms, (_words(left), _words(right))
        if (left is not None and left.open) != (right is not None and right.open):
            apart_ms += end_ms - start_ms
    closings = [sum(not span.open for span in timeline.spans[1:]) for timeline in pair]
    opened = [length_ms - _not_open_ms(timeline, one.begin_ms, one.end_ms) for timeline in pair]
    inside = [open_inside_ms(timeline, labels, one.end_ms) for timeline in pair]
    return Difference(
        gate,
        (opened[0], opened[1]),
        (closings[0], closings[1]),
        (len(pair[0].trips), len(pair[1].trips)),
        apart_ms,
        first_ms,
        first,
        (inside[0][0], inside[1][0], inside[0][1]),
    )


def open_inside_ms(timeline: Timeline, labels: Sequence[Incident], end_ms: int) -> tuple[int, int]:
    """Return for how long a gate was open inside its labelled incidents, and how long they are. Milliseconds."""
    bounds = [(one.start_ms, min(end_ms, one.end_ms)) for one in labels if one.gate == timeline.gate and one.start_ms < end_ms]
    return sum(timeline.open_ms(*each) for each in bounds), sum(end - start for start, end in bounds)


def _not_open_ms(timeline: Timeline, from_ms: int, to_ms: int) -> int:
    spans = (span for span in timeline.spans if span.open)
    return to_ms - from_ms - sum(max(0, min(to_ms, span.end_ms) - max(from_ms, span.start_ms)) for span in spans)


def _words(span: Span | None) -> str:
    if span is None:
        return "closed, nothing decided yet"
    return f"open, {span.breaker}" if span.open else f"closed over {span.cause}, {span.breaker}"


def _together(one: Timeline, two: Timeline, from_ms: int, to_ms: int) -> list[tuple[int, int, Span | None, Span | None]]:
    """Cut time wherever either changes."""
    spans = [*one.spans, *two.spans]
    edges = sorted({from_ms, to_ms, *(span.start_ms for span in spans if from_ms < span.start_ms < to_ms)})
    found: list[tuple[int, int, Span | None, Span | None]] = []
    at_one = at_two = -1
    for start_ms, end_ms in pairwise(edges):
        while at_one + 1 < len(one.spans) and one.spans[at_one + 1].start_ms <= start_ms:
            at_one += 1
        while at_two + 1 < len(two.spans) and two.spans[at_two + 1].start_ms <= start_ms:
            at_two += 1
        left = one.spans[at_one] if at_one >= 0 else None
        found.append((start_ms, end_ms, left, two.spans[at_two] if at_two >= 0 else None))
    return found
