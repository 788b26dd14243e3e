"""The suite: every detector passes it, and each of eight faults is found by its name."""

from __future__ import annotations

import datetime
import gc
import itertools
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from detectors import broken, more_broken

from failshut_detectors import Contract, registry
from failshut_detectors.paced import Paced
from failshut_detectors.suite import Promise, check, streams
from failshut_detectors.suite.probes import clock_moved, deep_size, watched
from failshut_detectors.suite.streams import Shape
from failshut_detectors.votes import Votes

RECORDS = 30_000
"""Half of what the suite takes as it comes: these tests are many, and one detector takes 140 microseconds a record."""
FEW = 12_000
"""Enough to find what is broken in detectors that learn from a hundred records."""

FAULTS = {
    broken.LookAhead: Promise.LOOK_AHEAD,
    broken.HiddenClock: Promise.CLOCK,
    broken.NanBlind: Promise.UNFIT,
    broken.BatchDependent: Promise.BATCHES,
    broken.Growing: Promise.MEMORY,
    broken.Unpicklable: Promise.PICKLES,
    broken.RangePeeking: Promise.RANGE,
    broken.Resting: Promise.RESTS,
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", registry.OURS)
def test_every_detector_of_ours_keeps_the_contract(name: str) -> None:
    """As it comes, no promise is broken."""
    assert [str(found) for found in check(lambda: registry.build(name, {}, 3), budget=RECORDS)] == []


@pytest.mark.slow
def test_a_budget_in_time_keeps_the_contract() -> None:
    """A detector that cannot do without times is tried with times alone."""
    assert check(lambda: registry.build("false_trip_budget", {"per_ms": 1e9}), budget=RECORDS) == []


MADE_OF_OTHERS: dict[str, Callable[[], Contract]] = {
    "votes on values": lambda: Votes([registry.build(name, {}) for name in ("adwin", "cusum", "page_hinkley")], 2, 100),
    "votes on events": lambda: Votes([registry.build(name, {}) for name in ("ddm", "fhddm", "hddm_w")], 2, 100),
    "paced on values": lambda: Paced(registry.find("cusum"), {}, per_ms=2.6e9),
    "paced on events": lambda: Paced(registry.find("hddm_w"), {}, per_ms=2.6e9),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("made", MADE_OF_OTHERS)
def test_detectors_made_of_others_keep_the_contract(made: str) -> None:
    """Several that vote, and one whose budget is in time."""
    assert [str(found) for found in check(MADE_OF_OTHERS[made], budget=RECORDS)] == []


def test_what_the_broken_ones_stand_on_is_right() -> None:
    """So what the suite finds in them is their own fault."""
    assert check(broken.Right, budget=RECORDS) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_broken_detector_is_found_and_its_fault_named(fault: Callable[[], Any]) -> None:
    """One finding, with the broken promise, and with where it showed."""
    (finding,) = check(fault, budget=FEW)
    assert finding.promise is FAULTS[fault]  # type: ignore[index]
    assert finding.evidence


@pytest.mark.slow
def test_a_finding_can_be_had_again() -> None:
    """The same seed finds the same at the same record; another seed finds it too."""
    assert check(broken.LookAhead, budget=FEW) == check(broken.LookAhead, budget=FEW)
    (finding,) = check(broken.LookAhead, budget=FEW, seed=7)
    assert (finding.promise, finding.seed) == (Promise.LOOK_AHEAD, 7)
    assert f"seed 7 at record {finding.index}" in str(finding)


def test_progress_names_each_promise_that_is_tried() -> None:
    """What rests on a broken promise is not tried."""
    tried: list[Promise] = []
    check(broken.Right, budget=FEW, progress=tried.append)
    assert tried == list(Promise)
    tried.clear()
    check(broken.LookAhead, budget=FEW, progress=tried.append)
    assert set(Promise) - set(tried) == {Promise.RANGE, Promise.BATCHES}


MORE_FAULTS: dict[Callable[[], Any], Promise] = {
    more_broken.Unseeded: Promise.REPEATS,
    more_broken.Hashes: Promise.PICKLES,
    more_broken.Unversioned: Promise.PICKLES,
    more_broken.Forgetful: Promise.PICKLES,
    more_broken.Silent: Promise.DETECTS,
    more_broken.Hurried: Promise.READINGS,
    more_broken.Wordy: Promise.READINGS,
    more_broken.Graded: Promise.READINGS,
    more_broken.Steady: Promise.TIMES,
    more_broken.Greedy: Promise.UNFIT,
    more_broken.Deaf: Promise.HEARS,
    more_broken.Slotless: Promise.DETECTS,
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", MORE_FAULTS, ids=lambda fault: fault.__name__)
def test_other_faults_are_named_too(fault: Callable[[], Any]) -> None:
    """Chance without a seed, state that is not all, words that are none: each is found first under its own name."""
    assert check(fault, budget=FEW)[0].promise is MORE_FAULTS[fault]


CALLS: dict[str, Callable[[], object]] = {
    "time": time.time,
    "monotonic_ns": time.monotonic_ns,
    "localtime": time.localtime,
    "now": lambda: datetime.datetime.now(datetime.UTC),
    "today": datetime.date.today,
    "urandom": lambda: os.urandom(1),
    "uuid4": uuid.uuid4,
    "token_bytes": secrets.token_bytes,
    "random": random.random,
    "gauss": lambda: random.gauss(0, 1),
    "numpy.random": lambda: np.random.normal(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_a_clock_or_of_chance_is_seen(name: str) -> None:
    """By whatever name it was imported, and by what is called in turn."""
    assert name in watched(lambda: CALLS[name]())


def test_what_is_allowed_is_not_seen() -> None:
    """A generator with a seed, and arithmetic on times that were given."""
    rng, generator = random.Random(1), np.random.default_rng(1)
    assert watched(lambda: (rng.random(), rng.gauss(0, 1), generator.normal(), time.gmtime(5), sorted([2, 1]))) == ""


def test_what_others_do_while_memory_is_collected_is_not_seen() -> None:
    """A test runner that times collections is not the detector; its callback is there again afterwards."""

    def timer(phase: str, info: dict[str, int]) -> None:
        time.perf_counter()

    gc.callbacks.append(timer)
    try:
        assert watched(gc.collect) == ""
        assert timer in gc.callbacks
    finally:
        gc.callbacks.remove(timer)


def test_a_clock_that_is_not_called_from_python_is_moved() -> None:
    """What `iter` calls is called from C: it is not seen, but it differs once the clock is moved."""
    read = lambda: next(iter(time.time, None))  # noqa: E731
    assert watched(read) == ""
    before = read()
    with clock_moved():
        assert read() > before + 86_400
    assert read() < before + 86_400


def test_deep_sizes_count_each_thing_once() -> None:
    """What is shared is one thing; what is below counts."""
    many = [float(index) for index in range(1_000)]
    assert deep_size([many, many]) < deep_size([many]) + 100
    assert deep_size({"all": many}) > 24_000


@pytest.mark.parametrize("shape", Shape)
def test_streams_are_made_again_from_their_seed(shape: Shape) -> None:
    """Equal for one seed, others for another, and of one length."""
    one, same, other = (streams.streams(shape, 3, 300, seed) for seed in (1, 1, 2))
    assert one == same
    assert [stream.records for stream in one] != [stream.records for stream in other]
    assert {len(stream) for stream in one} == {300}
    assert all(len(set(map(len, stream.records))) == 1 for stream in one if shape is Shape.VECTORS)
    backwards = [stream for stream in one if stream.times_ms and any(a > b for a, b in itertools.pairwise(stream.times_ms))]
    assert backwards
