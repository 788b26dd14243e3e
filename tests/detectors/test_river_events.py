"""Detectors on conformance: they speak exactly where river's do, and what passes over conforming events changes nothing."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from detectors.feeding import by_the_method
from river.drift import binary

from failshut_detectors import Alarm, Ddm, Eddm, EventDetector, Fhddm, HddmA, HddmW, Unfit
from failshut_detectors.registry import DetectorError, build

#: ours, river's, and whether river's takes 1 for a failure
PAIRS: dict[str, tuple[Callable[[], EventDetector], Callable[[], Any], bool]] = {
    "ddm": (Ddm, binary.DDM, True),
    "ddm that waits": (lambda: Ddm(warm_up=200, threshold=2.0), lambda: binary.DDM(warm_start=200, drift_threshold=2.0), True),
    "eddm": (Eddm, binary.EDDM, True),
    "eddm with a ratio": (lambda: Eddm(warm_up=10, ratio=0.96), lambda: binary.EDDM(10, alpha=0.97, beta=0.96), True),
    "fhddm": (Fhddm, binary.FHDDM, False),
    "fhddm with a window": (lambda: Fhddm(window=25, confidence=0.001), lambda: binary.FHDDM(25, 0.001), False),
    "hddm_a": (HddmA, binary.HDDMA, True),
    "hddm_a that is sure": (lambda: HddmA(confidence=1e-6), lambda: binary.HDDMA(drift_confidence=1e-6), True),
    "hddm_w": (HddmW, binary.HDDMW, True),
    "hddm_w with a weight": (
        lambda: HddmW(confidence=0.01, weight=0.2),
        lambda: binary.HDDMW(drift_confidence=0.01, lambda_val=0.2),
        True,
    ),
}
OURS = [Ddm, Eddm, Fhddm, HddmA, HddmW]


def events(rng: random.Random, *parts: tuple[float, int]) -> list[float]:
    """Parts of a stream: the share that does not conform, and how many."""
    return [float(rng.random() >= share) for share, count in parts for _ in range(count)]


def bare(detector: Any, stream: list[float], of_failures: bool) -> list[int]:
    """Where a bare river loop detects."""
    found = []
    for index, value in enumerate(stream):
        detector.update(1 - int(value) if of_failures else int(value))
        if detector.drift_detected:
            found.append(index)
    return found


def fed(
    detector: EventDetector, stream: list[float], size: Callable[[], int], pickled: bool = False
) -> tuple[list[Alarm], EventDetector]:
    """What ours says, handed over in batches of these sizes."""
    alarms, at = [], 0
    while at < len(stream):
        batch = stream[at : at + size()]
        alarms += [Alarm(at + alarm.index, alarm.text) for alarm in detector.feed(batch)]
        at += len(batch)
        if pickled:
            detector = pickle.loads(pickle.dumps(detector))
    return alarms, detector


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PAIRS)
def test_alarms_are_rivers(name: str, seed: int) -> None:
    """The same indices as a bare river loop and the same words: one by one, in batches, whole, through pickles."""
    ours, rivers, of_failures = PAIRS[name]
    rng = random.Random(seed)
    parts = [(rng.choice([0.0, 0.0, 0.01, 0.1, 0.3, 0.6, 1.0]), rng.randint(40, 500)) for _ in range(8)]
    stream = events(rng, (0.0, 300), *parts, (0.0, 300), (0.9, 200), (0.02, 300), (0.95, 200))
    expected = bare(rivers(), stream, of_failures)
    ways = {
        "one by one": fed(ours(), stream, lambda: 1),
        "in batches": fed(ours(), stream, lambda: rng.randint(1, 150)),
        "whole": fed(ours(), stream, lambda: len(stream)),
        "pickled": fed(ours(), stream, lambda: rng.randint(1, 150), pickled=True),
    }
    assert expected, f"seed {seed}: nothing to find"
    for way, (alarms, _) in ways.items():
        assert [alarm.index for alarm in by_the_method(alarms)] == expected, f"{way}, seed {seed}"
    assert len({tuple(alarms) for alarms, _ in ways.values()}) == 1, f"words differ, seed {seed}"
    assert len({detector.reading for _, detector in ways.values()}) == 1, f"readings differ, seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("misses", [0, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_long_good_times_are_passed_over_without_a_trace(name: str, misses: int) -> None:
    """After thousands of conforming events in blocks, which are not gone through one by one, alarms are still river's."""
    ours, rivers, of_failures = PAIRS[name]
    good = 17_000 if "_w" in name else 3_000  # its weighted shares come to rest after 15,000
    rng = random.Random(9)
    stream = [1.0] * 200 + [0.0] * misses + [1.0] * good + events(rng, (0.2, 400), (0.9, 300)) + [1.0] * 2_000
    stream += events(rng, (0.8, 400))
    expected = bare(rivers(), stream, of_failures)
    assert expected
    for size in (100, 1_000):
        alarms, _ = fed(ours(), stream, lambda size=size: size)  # type: ignore[misc] # its default is its type
        assert [alarm.index for alarm in by_the_method(alarms)] == expected


@pytest.mark.slow
def test_what_is_not_at_rest_is_not_passed_over() -> None:
    """With a long memory, shares still sink after thousands of conforming events, and alarms depend on it."""
    stream = events(random.Random(3), (0.5, 500)) + [1.0] * 3_000 + events(random.Random(4), (0.7, 3_000))
    expected = bare(binary.HDDMW(drift_confidence=0.001, lambda_val=0.001), stream, of_failures=True)
    assert expected
    alarms, _ = fed(HddmW(weight=0.001), stream, lambda: 100)
    assert [alarm.index for alarm in by_the_method(alarms)] == expected


def test_conforming_events_do_leave_hddm_w_at_rest() -> None:
    """The shortcut is taken: what comes to rest is not asked again until an event fails."""
    detector = HddmW()
    fed(detector, [1.0] * 3_000, lambda: 100)
    river = detector._river
    river.update = None  # whoever went through the events would call it
    assert detector.feed([1.0] * 5_000) == []
    with pytest.raises(TypeError):
        detector.feed([1.0, 0.0])


@pytest.mark.parametrize("kind", OURS)
def test_a_score_grows_towards_its_alarm(kind: type[EventDetector]) -> None:
    """From 0 to 1, 1 at an alarm alone; more than half of the way is seen before it, and it comes back from it."""
    detector, scores = kind(), [0.0]
    for value in [1.0, 1.0, 1.0, 0.0] * 100 + [0.0] * 400:
        reading = detector.update(value)
        assert 0.0 <= reading.score <= 1.0
        assert (reading.score == 1.0) is reading.demand
        if reading.demand:
            break
        scores.append(reading.score)
    assert reading.demand
    assert scores[-1] > 0.5
    assert detector.update(1.0).score > 0.5, "the fault has hardly ended"
    assert detector.feed([1.0] * 30) == []
    assert detector.score < 0.5


@pytest.mark.parametrize("kind", OURS)
def test_one_bad_value_blinds_nothing(kind: type[EventDetector]) -> None:
    """NaN is refused with its whole batch, and the fall that follows is found."""
    detector = kind()
    detector.feed(([1.0] * 19 + [0.0]) * 20)
    with pytest.raises(Unfit):
        detector.feed([1.0, float("nan")])
    assert detector.feed([0.0] * 300)


@pytest.mark.parametrize(("detector", "warm"), [(Ddm(warm_up=40), 40), (HddmA(), 30), (HddmW(warm_up=9), 9), (Eddm(), 30)])
def test_warm_up_is_explicit(detector: EventDetector, warm: int) -> None:
    """Before its warm-up a detector says that there is not enough evidence yet."""
    assert detector.summary()
    detector.feed([1.0] * (warm - 1))
    assert not detector.ready
    assert detector.reading.text == f"not enough evidence yet: learning: {warm - 1} of {warm}"
    detector.feed([1.0])
    assert detector.ready


@pytest.mark.parametrize(("kind", "first"), [(Ddm, 1), (Eddm, 31), (Fhddm, 27), (HddmA, 4), (HddmW, 11)])
def test_how_many_failures_it_takes_after_a_good_time(kind: type[EventDetector], first: int) -> None:
    """What the pages promise: after 20,000 conforming events, so many failures in a row are an alarm."""
    detector = kind()
    assert fed(detector, [1.0] * 20_000, lambda: 500)[0] == []
    alarms = detector.feed([0.0] * 40)
    assert alarms[0].index + 1 == first
    assert alarms[0].text == f"{first} of the last 100 do not conform"


@pytest.mark.parametrize(("kind", "found"), [(Ddm, True), (Eddm, True), (Fhddm, False), (HddmA, True), (HddmW, False)])
def test_a_small_rise_is_found_by_those_that_remember(kind: type[EventDetector], found: bool) -> None:
    """1 % failing becomes 10 %: the windows of FHDDM and HDDM_W are too short for it, as their pages say."""
    for seed in range(3):
        rng, detector = random.Random(seed), kind()
        detector.feed(events(rng, (0.01, 3_000)))
        assert bool(detector.feed(events(rng, (0.1, 3_000)))) is found, f"seed {seed}"


@pytest.mark.parametrize("kind", [Fhddm, HddmA, HddmW])
def test_a_budget_of_false_trips_is_kept(kind: type[EventDetector]) -> None:
    """Where half of all events fail, which is the worst case, one alarm in 1,000 events is promised and about kept."""
    detector = kind(**kind.for_false_trips(1_000))
    alarms, _ = fed(detector, events(random.Random(2), (0.5, 20_000)), lambda: 500)
    assert len(alarms) <= 40


@pytest.mark.parametrize("kind", [Ddm, Eddm])
def test_who_makes_no_promise_says_so(kind: type[EventDetector]) -> None:
    """DDM and EDDM have no bound on false alarms to set."""
    with pytest.raises(ValueError, match="no promise"):
        kind.for_false_trips(1_000)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ddm", {"warm_up": 0}),
        ("ddm", {"threshold": 0.0}),
        ("eddm", {"ratio": 1.0}),
        ("fhddm", {"window": 0}),
        ("fhddm", {"confidence": 0.0}),
        ("fhddm", {"confidence": 1e-310}),
        ("hddm_a", {"confidence": 1.0}),
        ("hddm_a", {"warm_up": -1}),
        ("hddm_w", {"weight": 0.0}),
        ("hddm_w", {"weight": 0.5}),
    ],
)
def test_parameters_with_which_it_could_not_speak_are_refused(name: str, given: dict[str, Any]) -> None:
    """What is no probability, no time, or would silence it for ever is refused when the policy is read."""
    with pytest.raises(DetectorError):
        build(name, given)
    assert build(name, {}).name == name


@pytest.mark.parametrize("kind", [Fhddm, HddmA, HddmW])
@pytest.mark.parametrize("records", [1.0, 0.0, -5.0, float("nan")])
def test_a_budget_that_cannot_be_is_refused(kind: type[EventDetector], records: float) -> None:
    """One false alarm in one event or less is no budget."""
    with pytest.raises(ValueError, match="cannot be promised"):
        kind.for_false_trips(records)
