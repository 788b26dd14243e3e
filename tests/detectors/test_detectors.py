"""Detectors: our methods speak exactly where river's do, however the stream is handed over."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from detectors.feeding import by_the_method
from river import drift
from river.drift import binary

from failshut_detectors import Adwin, Alarm, Detector, Fhddm, PageHinkley, number

PAIRS: dict[str, tuple[Callable[[], Detector], Callable[[], Any], bool]] = {
    "adwin": (lambda: Adwin(scale=1.0), drift.ADWIN, False),
    "adwin with a delta": (lambda: Adwin(delta=0.05, scale=1.0), lambda: drift.ADWIN(delta=0.05), False),
    "adwin every record": (
        lambda: Adwin(clock=1, grace_period=1, scale=1.0),
        lambda: drift.ADWIN(clock=1, grace_period=1),
        False,
    ),
    "page_hinkley": (lambda: PageHinkley(scale=1.0), drift.PageHinkley, False),
    "page_hinkley with a threshold": (
        lambda: PageHinkley(threshold=20, delta=0.5, warm_up=100, scale=1.0),
        lambda: drift.PageHinkley(threshold=20, delta=0.5, min_instances=100),
        False,
    ),
    "fhddm": (Fhddm, binary.FHDDM, True),
    "fhddm with a window": (
        lambda: Fhddm(window=25, confidence=0.001),
        lambda: binary.FHDDM(sliding_window_size=25, confidence_level=0.001),
        True,
    ),
}


def stream(seed: int, of_events: bool) -> list[float]:
    """A stream whose level, or share of conforming events, changes a few times."""
    rng = random.Random(seed)
    values: list[float] = []
    for _ in range(6):
        level, spread, share = rng.uniform(-50, 50), rng.uniform(0.1, 5), rng.random()
        for _ in range(rng.randint(100, 700)):
            values.append(float(rng.random() < share) if of_events else rng.gauss(level, spread))
    return values


def bare(detector: Any, values: list[float], as_int: bool) -> list[int]:
    """Where a bare river loop detects."""
    found = []
    for index, value in enumerate(values):
        detector.update(int(value) if as_int else value)
        if detector.drift_detected:
            found.append(index)
    return found


def fed(
    detector: Detector, values: list[float], sizes: Callable[[], int], pickled: bool = False
) -> tuple[list[Alarm], Detector]:
    """Where ours detects, handed over in batches of these sizes."""
    alarms, at = [], 0
    while at < len(values):
        batch = values[at : at + sizes()]
        alarms += [Alarm(at + alarm.index, alarm.text) for alarm in detector.feed(batch)]
        at += len(batch)
        if pickled:
            detector = pickle.loads(pickle.dumps(detector))
    return alarms, detector


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", PAIRS)
def test_ours_speaks_where_rivers_does(name: str, seed: int) -> None:
    """The same indices as a bare river loop: one by one, in batches, whole, and through a pickle after each batch."""
    ours, rivers, of_events = PAIRS[name]
    values = stream(seed, of_events)
    expected = bare(rivers(), values, of_events)
    rng = random.Random(seed)
    ways = {
        "one by one": fed(ours(), values, lambda: 1),
        "in batches": fed(ours(), values, lambda: rng.randint(1, 150)),
        "whole": fed(ours(), values, lambda: len(values)),
        "pickled": fed(ours(), values, lambda: rng.randint(1, 150), pickled=True),
    }
    assert expected, f"seed {seed}: nothing to find"
    for way, (alarms, _) in ways.items():
        assert [alarm.index for alarm in by_the_method(alarms)] == expected, f"{way}, seed {seed}"
    assert len({tuple(alarm.text for alarm in alarms) for alarms, _ in ways.values()}) == 1, f"words differ, seed {seed}"
    assert len({detector.summary() for _, detector in ways.values()}) == 1, f"summaries differ, seed {seed}"


@pytest.mark.parametrize(
    ("detector", "warm"),
    [(Adwin(warm_up=12), 12), (Adwin(warm_up=7, scale=1.0), 7), (PageHinkley(warm_up=11), 11), (Fhddm(window=12), 12)],
)
def test_a_detector_says_when_it_may_be_relied_on(detector: Detector, warm: int) -> None:
    """Before its warm-up a detector is silent because it knows nothing, and says so."""
    detector.feed([1.0] * (warm - 1))
    assert not detector.ready
    detector.feed([1.0])
    assert detector.ready
    assert detector.summary()


def test_no_values_are_no_alarm() -> None:
    """An empty batch changes nothing, and a detector that has seen nothing has a summary."""
    for detector in (Adwin(), PageHinkley(), Fhddm()):
        assert detector.feed([]) == []
        assert detector.summary()


@pytest.mark.parametrize(
    ("value", "text"), [(48.0, "48"), (1234.567, "1235"), (0.00012, "0.00012"), (-5e12, "-5e+12"), (999.96, "1000"), (0.0, "0")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    """A person on call reads four digits."""
    assert number(value) == text


def test_fhddm_in_blocks_alarms_where_a_bare_river_loop_does() -> None:
    """Blocks that conform whole are passed over; before, between and after them the alarms are river's, record by record."""
    rng = random.Random(5)
    stream: list[float] = []
    for miss_share, length in [(0.0, 700), (0.5, 90), (0.0, 950), (0.02, 300), (0.0, 400), (1.0, 60), (0.0, 500), (0.4, 200)]:
        stream += [0.0 if rng.random() < miss_share else 1.0 for _ in range(length)]
    bare, expected = binary.FHDDM(sliding_window_size=100, confidence_level=1e-6), []
    for at, value in enumerate(stream):
        bare.update(int(value))
        if bare.drift_detected:
            expected.append(at)
    ours, found, at = Fhddm(window=100), [], 0
    while at < len(stream):
        size = rng.choice([1, 7, 50, 130])
        found += [at + alarm.index for alarm in by_the_method(ours.feed(stream[at : at + size]))]
        at += size
    assert len(expected) > 2
    assert found == expected
