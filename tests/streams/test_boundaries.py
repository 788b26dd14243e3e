"""Routers and governors remember the same boundaries, whatever producers write between them."""

from __future__ import annotations

import copy
import itertools
import random
from typing import Any

import pytest
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st
from streams.front_door import EVIDENCE_ID, INSTALLATION, PARTITIONS, ROUTES, START_MS, chunk, cutter
from streams.front_door import record as telemetry_record

from failshut_breakers.evidence.boundaries import KEPT_MAX, MARK_EVERY_MS, SPAN_MS, Boundaries, ends_run, look_before, span_ms
from failshut_breakers.evidence.coverage import BROKER_SKEW_MS, Admission, Coverage
from failshut_breakers.evidence.records import Mark, Term
from failshut_breakers.policy.routes import Routes
from failshut_streams.router.cutter import Cut, Cutter
from failshut_streams.sources.marks import MARK_KEY, encode_mark
from failshut_streams.transport import Record

TELEMETRY = ("telemetry", 0)
DAY_MS = 86_400_000


def forged(offset: int, append_ms: int, time_ms: int | None = None) -> Record:
    """A mark as anybody can write it."""
    return Record(offset, append_ms, 1, MARK_KEY, encode_mark(append_ms if time_ms is None else time_ms, 1), ())


def routes(routing: int = -1) -> Routes:
    """Nobody is fed, and the runs say so."""
    return Routes(routing, made=ROUTES.made)


def of_term() -> Coverage:
    return Coverage.of_term(Term(0, 0, 1, EVIDENCE_ID, PARTITIONS, {"telemetry": {0: 0}}, "", INSTALLATION), -1)


def admitted(coverage: Coverage, *cuts: Cut) -> list[Admission]:
    """What the runs for the first evidence partition are to a coverage."""
    return [coverage.admit(run)[0] for cut in cuts for at, run in cut.runs if at == 0]


def searched(records: list[Record], append_ms: int) -> int:
    """The boundary that reading the log finds: what mark_search.py does, from the beginning."""
    found, marked_ms = 0, None
    for at in records:
        if at.key == MARK_KEY and at.timestamp_ms < append_ms:
            if marked_ms is not None and ends_run(at.timestamp_ms, marked_ms):
                found = at.offset + 1
            marked_ms = at.timestamp_ms
    return found


step = st.sampled_from([0, 0, 1, 1, 3, 20, 49, 50, 51, 180, 220, 2_000, 60_000])
kind = st.sampled_from(["mark", "mark", "sample"])
logs = st.lists(st.tuples(step, kind), min_size=2, max_size=60)


def as_records(steps: list[tuple[int, str]]) -> list[Record]:
    times = itertools.accumulate((ms for ms, _ in steps), initial=START_MS)
    return [
        forged(at, ms) if what == "mark" else telemetry_record(at, b"{}")._replace(timestamp_ms=ms)
        for at, ((_, what), ms) in enumerate(zip(steps, times, strict=False))
    ]


@settings(max_examples=draws(600), deadline=None)
@given(
    logs,
    st.lists(st.integers(0, 60), max_size=4),
    st.integers(0, 60),
    st.integers(-50, 1_200),
    st.integers(0, 100_000),
    st.booleans(),
)
def test_a_router_that_goes_back_finds_its_governor_there(
    steps: list[tuple[int, str]], starts: list[int], until: int, off_ms: int, late_ms: int, one_lives: bool
) -> None:
    """Routers die and are followed by others, beside one that lives on or a standby that repeats them. Then an activation is
    taken up. Whoever goes on, by what it remembers, by reading the log, or started anew: its runs join."""
    records = as_records(steps)
    until = max(1, min(until, len(records)))
    coverage, committed = of_term(), 0
    alive: list[Cutter] = []
    if one_lives:
        admitted(coverage, cutter(1).cut(chunk(records[:until]), routes()))
    for end in sorted({until, *(at for at in starts if 0 < at < until)}):
        begin = min(committed, end)
        alive.append(cutter(1))
        cut = alive[-1].cut(chunk(records[begin:end], begin, end), routes())
        admitted(coverage, cut)
        committed = cut.boundary if cut.boundary is not None else committed
    for at in alive[:-1]:  # a standby's runs come later, and have all been covered
        assert at.reach is not None
        assert {*admitted(coverage, at.cut(chunk(records[at.reach : until], at.reach, until), routes()))} <= {
            Admission.DUPLICATE
        }
    activated_ms = records[until - 1].timestamp_ms + BROKER_SKEW_MS + off_ms
    new = coverage.succeeded_by(7, activated_ms)
    look_ms = look_before(activated_ms - BROKER_SKEW_MS, activated_ms + late_ms)
    read = searched(records, look_ms)
    remembered = [at.last_boundary_before(look_ms) for at in alive]
    goes_on = [(at, found) for at, found in zip(alive, remembered, strict=True) if found is not None]
    goes_on += [(copy.deepcopy(at), read) for at in alive]
    for at, found in [*goes_on, (cutter(1), min(committed, read))]:
        back = found if at.reach is None else min(found, at.reach)
        at.back_to(back)
        told = at.cut(chunk([*records[back:], forged(len(records), START_MS + DAY_MS)], back), routes(7))
        assert Admission.GAP not in admitted(copy.deepcopy(new), told)


def test_nobody_goes_back_to_the_first_mark_of_a_start() -> None:
    """A router that starts behind a mark ends a run at the next one; who knows the mark before has passed that one by. Were it
    a boundary to go back to, and no mark came since, the run there would not join."""
    records = [forged(0, START_MS - 200), forged(1, START_MS), forged(2, START_MS + 1)]
    coverage, first, standby = of_term(), cutter(1), cutter(1)
    assert admitted(coverage, first.cut(chunk(records), routes()))
    assert standby.cut(chunk(records[2:], 2), routes()).boundary == 3
    new = coverage.succeeded_by(7, START_MS + 10_000)
    assert new.covered[TELEMETRY] == 2
    assert standby.last_boundary_before(START_MS + 9_000) is None
    assert searched(records, START_MS + 9_000) == 2


@pytest.mark.parametrize("burst", [0, 1_100, 5_000])
def test_a_burst_of_marks_before_an_activation_closes_nothing(burst: int) -> None:
    """However many marks a producer writes in the second before an activation, the new version gets evidence time."""
    coverage, front = of_term(), cutter(1)
    ms = START_MS
    records: list[Any] = []
    for _ in range(100):
        ms += 200
        records.append(forged(len(records), ms))
    records += [forged(100 + n, ms + 900 * n // max(1, burst)) for n in range(burst)]
    ms += 900
    assert Admission.GAP not in admitted(coverage, front.cut(chunk(records), routes()))
    activated_ms = ms + 50
    new = coverage.succeeded_by(7, activated_ms)
    back = front.last_boundary_before(look_before(activated_ms - BROKER_SKEW_MS, activated_ms))
    assert back is not None
    front.back_to(back)
    records += [forged(len(records) + n, ms + 200 * (n + 1)) for n in range(100)]
    told = admitted(new, front.cut(chunk(records[back:], back), routes(7)))
    assert Admission.GAP not in told
    assert new.marks[TELEMETRY] == records[-1].timestamp_ms


def test_marks_in_any_number_multiply_no_work() -> None:
    """4,000 marks within a third of a second end no more runs than a mark every `MARK_EVERY_MS` would."""
    records = [forged(n, START_MS + n * 333 // 4_000) for n in range(4_000)]
    cut = cutter(1).cut(chunk(records), routes())
    assert len(cut.runs) <= PARTITIONS * (333 // MARK_EVERY_MS + 2)


def test_a_forged_mark_holds_no_genuine_one_back() -> None:
    """Where marks that claim an old time are the first in every span, the time of a genuine one goes with the next of them."""
    records: list[Any] = []
    ms = START_MS
    for _ in range(40):
        records += [forged(len(records), ms, START_MS - 60_000), forged(len(records) + 1, ms + 1)]
        ms += MARK_EVERY_MS
    cut = cutter(1).cut(chunk(records), routes())
    last = [run for at, run in cut.runs if at == 0][-1]
    assert last.mark == Mark(ms - 2 * MARK_EVERY_MS + 1, 1)


def test_what_was_vouched_for_is_forgotten_when_reading_goes_back() -> None:
    """A mark that stood further on says nothing of what is read before it."""
    front = cutter(1)
    late = START_MS + 10_000
    records = [forged(0, START_MS), forged(1, late), forged(2, late + 60)]
    front.cut(chunk(records), routes())
    (run, *_) = [run for _, run in front.cut(chunk([forged(1, late, START_MS + 5)], 1), routes()).runs]
    assert run.mark == Mark(START_MS + 5, 1)


@pytest.mark.parametrize("seed", range(8))
def test_every_boundary_has_a_later_one_close_by(seed: int) -> None:
    """Of each boundary that was ever added, it or a later one within its span is remembered, at its age."""
    rng = random.Random(seed)
    kept, added, ms = Boundaries(), [], START_MS
    for position in range(3_000):
        ms += rng.choice([0, 30, 60, 200, 1_000, rng.choice([0, 30_000, 3_600_000, DAY_MS])])
        kept.add(ms, ms, position)
        added.append((ms, position))
    assert len(kept) < 2_000
    for append_ms, position in added:
        near = append_ms + span_ms(ms - append_ms)
        assert any(at.position >= position and at.append_ms < near for at in kept)


def test_what_is_remembered_is_bounded() -> None:
    """A mark every 40 ms for a month, with pauses, leaves no more than `KEPT_MAX`, and the oldest are there."""
    kept = Boundaries()
    ms, position = START_MS, 0
    for hour in range(24 * 30):
        for _ in range(500):
            ms, position = ms + 40, position + 1
            kept.add(ms, ms, position)
        ms = START_MS + (hour + 1) * 3_600_000
    assert len(kept) < KEPT_MAX
    assert kept.before(START_MS + DAY_MS) is not None


def test_a_span_is_a_small_part_of_its_age() -> None:
    """So a margin of a thirty-second of an activation's age, and a little, reaches beyond every span."""
    for age_ms in (0, 1, 19_999, 20_000, 39_999, 3_600_000, DAY_MS, 400 * DAY_MS):
        assert SPAN_MS <= span_ms(age_ms) <= max(SPAN_MS, age_ms // 100)
        assert look_before(START_MS, START_MS + age_ms) + span_ms(age_ms) < START_MS


def test_boundaries_beyond_a_position_are_forgotten() -> None:
    """Who reads again from a position knows nothing of what stood behind it."""
    kept = Boundaries()
    for position in (1, 2, 3):
        kept.add(START_MS + position * 1_000, START_MS, position)
    kept.back_to(1)
    assert [at.position for at in kept] == [1]


def test_a_late_activation_is_looked_for_further_back() -> None:
    """Boundaries are thinned with age, so who takes up an activation late goes back by a thirty-second of its age more."""
    assert look_before(START_MS, START_MS + 32_000) == look_before(START_MS, START_MS) - 1_000
