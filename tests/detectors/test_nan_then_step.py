"""One NaN, then a step: every detector notices it; river's ADWIN and Page-Hinkley, bare, never notice anything again."""

from __future__ import annotations

import random

import pytest
from detectors.feeding import MINUTE_MS, times_of, where
from river import drift

from failshut_breakers.conditions import Condition, Moment, Status, build
from failshut_breakers.evidence.records import FaultRow, Faults, Samples
from failshut_breakers.policy.policy import parse_policy
from failshut_detectors import EventDetector, Unfit, VectorDetector, registry

NAN = float("nan")
SEED = 5
CALM, CHANGED = 1_000, 400
LEVEL, SIGMA, STEP = 50.0, 2.0, 20.0
LIMIT_FROM = 98
"""Events of which all but one must have failed before a condition of conformance demands by its own limit."""
TIMES = times_of(CALM + CHANGED)

RIVERS = {"adwin": drift.ADWIN, "page_hinkley": drift.PageHinkley}


def stream() -> tuple[list[float], list[float]]:
    """Normal values, and those after a step of twenty standard deviations."""
    rng = random.Random(SEED)
    calm = [rng.gauss(LEVEL, SIGMA) for _ in range(CALM)]
    return calm, [rng.gauss(LEVEL + STEP * SIGMA, SIGMA) for _ in range(CHANGED)]


@pytest.mark.parametrize("name", registry.OURS)
def test_one_nan_blinds_no_detector(name: str) -> None:
    """It is refused, whatever else is in its batch; the step after it is noticed. Beside it: river's own, bare, is blind."""
    detector = registry.build(name, {}, 3)
    calm, changed = stream()
    as_record = {True: lambda value: float(value < 70.0), False: lambda value: value}[isinstance(detector, EventDetector)]
    records = [as_record(value) for value in (*calm, *changed)]
    if isinstance(detector, VectorDetector):
        rng = random.Random(SEED + 1)
        records = [[value + rng.gauss(0.0, SIGMA) for _ in range(3)] for value in records]
    detector.feed(records[:CALM], TIMES[:CALM])
    assert detector.ready
    bad = [1.0, NAN, 1.0] if isinstance(detector, VectorDetector) else NAN
    with pytest.raises(Unfit):
        detector.feed([records[0], bad, records[1]], TIMES[:3])
    noticed = where(detector.feed(records[CALM:], TIMES[CALM:]))
    assert noticed, f"{name} is blind after one NaN"

    if name in RIVERS:
        assert bare(name, [*calm, *changed]), "without the NaN river's own notices the step"
        assert bare(name, [*calm, NAN, *changed]) == [], "river's own has learnt to bear NaN: say so in the documents"


def bare(name: str, values: list[float]) -> list[int]:
    """Where river's detector, not wrapped, speaks from the step on."""
    detector, found = RIVERS[name](), []
    for index, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected and index >= CALM:
            found.append(index)
    return found


SINGLE = [name for name, cls in registry.OURS.items() if not issubclass(cls, VectorDetector)]


def condition(name: str) -> Condition:
    """The condition of a policy that asks for this detector; of conformance, with a limit of its own that comes later."""
    kind = registry.OURS[name].kind
    rule = ', rule: "value < 70", over: 0.99' if issubclass(registry.OURS[name], EventDetector) else ""
    text = f"gate: a.b\npermit: {{ttl: 3s}}\nconditions:\n  - {kind}: {{series: s/x, detector: {name}{rule}}}\n"
    return build(parse_policy(text).conditions[0])


@pytest.mark.parametrize("name", SINGLE)
def test_one_nan_blinds_no_condition(name: str) -> None:
    """The same through a policy's condition, as the pipeline hands it over: a fault between two blocks of samples.

    To conformance the fault is an event that does not conform: DDM, which has seen none before, demands there and then.
    """
    one = condition(name)
    calm, changed = stream()
    row = 0
    for row, value in enumerate(calm * 2):  # each as it comes: what is older than its `stale` is dropped
        if one.feed(block([value], row), 0, moment(row)) and one.status is Status.DEMANDS:
            assert one.accept(moment(row)) == ""  # a false alarm, which stands until somebody accepts what it reads
        if row >= CALM and one.status is Status.HOLDS:
            break
    one.tick(moment(row))
    assert one.status is Status.HOLDS, one.text
    demands = one.feed(Faults("s/x", [FaultRow(row + 1, 0, moment(row + 1).newest_ms, "not a number")]), 0, moment(row + 1))
    first = row + 2
    for row, value in enumerate(changed, first):
        demands += one.feed(block([value], row), 0, moment(row))
    assert demands, f"{name} is blind after one NaN"
    assert demands[0].offset < first + LIMIT_FROM, f"not {name} demands, but the condition's own limit"
    one.tick(moment(row))
    assert one.text


def block(values: list[float], first: int) -> Samples:
    """Readings in one block, from this offset on."""
    return Samples.of("s/x", [(first + row, 0, moment(first + row).newest_ms, value) for row, value in enumerate(values)])


def moment(records: int) -> Moment:
    """The evidence time behind so many records."""
    now_ms = TIMES[0] + 5 * MINUTE_MS * records
    return Moment(now_ms, now_ms)
