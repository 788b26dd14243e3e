"""A log whose beginning retention has removed: recorded with what is known, followed until gates can decide, and compared."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from replay import made

from failshut_breakers.decisions.decision import Decision, Kind, decode_decision, encode_decision
from failshut_breakers.evidence.records import Activation, Reading, Samples, decode_run, encode_run
from failshut_breakers.governor import Governor
from failshut_console.exits import Trouble
from failshut_console.recordings.replay import save
from failshut_replay.errors import RecordingError, ReplayError
from failshut_replay.recording.manifest import VERSION
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import Evidence, record
from failshut_replay.replay.replay import Replay
from failshut_replay.replay.verdict import check
from failshut_replay.sources.front_door import Event, evidence_of
from failshut_replay.story.story import replayed

RULE = made.policy(
    f'conformance: {{series: {made.SERIES}, rule: "value <= 80", window: 20}}',
    "heartbeat: {source: agent, every: 1s, grace: 2s}",
)


pytestmark = pytest.mark.usefixtures("signed_often")


def events(count: int = 1200, change_at: int = 800, back_at: int = 900) -> Iterator[Event]:
    """A series that jumps and comes back, and a heartbeat."""
    rng = random.Random(2)
    for at in range(count):
        time_ms = made.START_MS + at * 100
        yield Event(time_ms, ("sample", made.SERIES, rng.gauss(97 if change_at <= at < back_at else 48, 2)))
        if at % 5 == 0:
            yield Event(time_ms, ("beat", "agent"))


def log_of(policy: str) -> tuple[list[Evidence], list[bytes]]:
    """The whole log, and what a governor decided over it."""
    records = list(evidence_of(events(), {"pay.yaml": policy}))
    governor = Governor(0, decode_run(records[0].record).log, lambda gate: True)
    taken = [encode_decision(one) for at in records for one in governor.step(at.offset, decode_run(at.record))]
    return records, taken


def trips_in(taken: list[bytes]) -> list[Decision]:
    """What conditions asked for."""
    return [one for one in map(decode_decision, taken) if one.kind is Kind.CLOSE and one.cause != "insufficient"]


def trip_in(taken: list[bytes]) -> Decision:
    """The first of them."""
    return trips_in(taken)[0]


def activation_of(policy: str) -> Activation:
    return Activation(1, made.START_MS - 10_000, 1, {"pay.yaml": policy}, "import", "")


def begun_late(path: Path, policy: str, records: list[Evidence], taken: list[bytes], begin: int = 60) -> Recording:
    """Record what is left of the log behind its first records."""
    record(path, records[begin:], taken, activations=lambda offset: activation_of(policy) if offset == 1 else None)
    return Recording(path)


def test_windows_forget_so_that_every_byte_is_the_same(tmp_path: Path) -> None:
    """Where conditions look back over a window alone, a replay decides byte for byte from the first permit on."""
    records, taken = log_of(RULE)
    opened = begun_late(tmp_path / "a.parquet", RULE, records, taken)
    assert opened.manifest.version == VERSION
    verdict = check(opened)
    assert verdict.identical, verdict.told()
    assert 0 < verdict.followed < 20
    assert verdict.decisions > 50
    assert list(verdict.compared_from) == ["pay"]
    closings = [one for step in Replay(opened) for one in step.decisions if one.kind is Kind.CLOSE]
    assert {str(one.cause) for one in closings} == {"conformance"}


def test_a_long_memory_says_other_numbers(tmp_path: Path) -> None:
    """ADWIN remembers everything since the last change: the same decisions are told apart from the same bytes."""
    records, taken = log_of(made.DRIFT)
    quiet = [one for one in taken if decode_decision(one).offset < trip_in(taken).offset - 8]
    verdict = check(begun_late(tmp_path / "a.parquet", made.DRIFT, records, quiet))
    assert verdict.same, verdict.told()
    assert verdict.in_other_words > 20
    assert not verdict.identical
    assert "remember further back" in verdict.told()


def test_what_a_long_memory_would_have_decided_elsewhere_is_a_difference(tmp_path: Path) -> None:
    """A trip that comes at another record, because less is remembered, is told, never smoothed over."""
    records, taken = log_of(made.DRIFT)
    trip = trip_in(taken)
    moved = [one for one in taken if decode_decision(one).offset < trip.offset]
    moved.append(encode_decision(msgspec.structs.replace(trip, offset=trip.offset + 30)))
    verdict = check(begun_late(tmp_path / "a.parquet", made.DRIFT, records, moved))
    assert not verdict.same
    assert "closes over drift" in verdict.difference


def test_behind_a_difference_the_comparison_goes_on(tmp_path: Path) -> None:
    """A detector that remembers less trips elsewhere; what comes after it is compared all the same, and every trip is told."""
    records, taken = log_of(made.DRIFT)
    verdict = check(begun_late(tmp_path / "a.parquet", made.DRIFT, records, taken))
    assert 1 <= verdict.differences <= 2 * len(trips_in(taken))
    assert verdict.records == len(records) - 60
    assert f"{verdict.differences} times among {verdict.decisions} decisions" in verdict.told()
    assert verdict.decisions > 30


def test_one_changed_record_is_a_difference_there_as_well(tmp_path: Path) -> None:
    """Once a gate decides by itself, other evidence is a difference, and the first one is told."""
    records, taken = log_of(RULE)
    trip = trip_in(taken)
    records = [_calmed(one) if one.offset == trip.offset else one for one in records]
    verdict = check(begun_late(tmp_path / "a.parquet", RULE, records, taken))
    assert not verdict.same
    assert f"evidence 0/{trip.offset}" in verdict.difference
    assert "on record is pay closes over conformance" in verdict.difference


def _calmed(one: Evidence) -> Evidence:
    """The same record, with values as if nothing had happened."""
    run = decode_run(one.record)
    readings = {gate: [_as_usual(block) for block in held] for gate, held in run.readings.items()}
    return one._replace(record=encode_run(msgspec.structs.replace(run, readings=readings)))


def _as_usual(reading: Reading) -> Reading:
    if not isinstance(reading, Samples):
        return reading
    return msgspec.structs.replace(reading, floats=struct.pack("<d", 48.0) * reading.count)


def test_a_gate_that_is_tripped_at_the_beginning_follows_until_it_is_reset(tmp_path: Path) -> None:
    """Nothing that a replay makes up stands in place of a closing that was before the recording."""
    records, taken = log_of(RULE)
    last = trips_in(taken)[-1].offset
    opened = begun_late(tmp_path / "a.parquet", RULE, records, taken, begin=last + 1)
    verdict = check(opened)
    assert verdict.identical, verdict.told()
    first = next(one for step in Replay(opened) for one in step.decisions if one.kind is not Kind.NOTE)
    assert first.kind is Kind.OPEN
    assert encode_decision(first) in taken


def test_a_gate_that_never_gives_a_permit_is_not_said_to_be_the_same(tmp_path: Path) -> None:
    """A recording in which nothing could be compared is no proof of anything."""
    records, taken = log_of(RULE)
    last = trips_in(taken)[-1].offset
    left = records[: last + 3]
    verdict = check(begun_late(tmp_path / "a.parquet", RULE, left, taken, begin=trip_in(taken).offset + 1))
    assert not verdict.same
    assert verdict.never_compared == ["pay"]


def test_a_what_if_starts_without_evidence(tmp_path: Path) -> None:
    """Another policy needs nothing of the one before: it decides from the first record that is left."""
    records, taken = log_of(made.DRIFT)
    opened = begun_late(tmp_path / "a.parquet", made.DRIFT, records, taken)
    story = replayed(opened, policies={"pay.yaml": RULE})
    assert [trip.cause for trip in story.timelines["pay"].trips][:1] == ["conformance"]


def test_policies_that_are_not_those_on_record_are_refused(tmp_path: Path) -> None:
    """Control is read without its signatures; what governors trusted is told by the digests in their decisions."""
    records, taken = log_of(RULE)
    with pytest.raises(RecordingError, match="neither evidence nor control holds its text"):
        record(tmp_path / "a.parquet", records[60:], taken, activations=lambda offset: activation_of(made.DRIFT))
    with pytest.raises(RecordingError, match="offset 1 of control"):
        record(tmp_path / "a.parquet", records[60:], taken)
    assert list(tmp_path.iterdir()) == []


def test_without_decisions_on_record_there_is_nothing_to_follow(tmp_path: Path) -> None:
    """What was decided before what is left cannot be made up."""
    records, _ = log_of(RULE)
    with pytest.raises(ReplayError, match="known from the record alone"):
        record(tmp_path / "a.parquet", records[60:], activations=lambda offset: activation_of(RULE))


def test_it_is_not_saved_as_if_it_had_been_decided_again(tmp_path: Path) -> None:
    """What it follows is the record's, not this version's."""
    records, taken = log_of(RULE)
    begun_late(tmp_path / "a.parquet", RULE, records, taken)
    with pytest.raises(Trouble, match="does not begin with its log"):
        save(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()
