"""Replay: identical decisions, a clear first difference, and what would have happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from replay import made

from failshut_breakers.decisions.decision import Kind, decode_decision, encode_decision
from failshut_breakers.evidence.records import decode_run, encode_run
from failshut_replay.errors import ReplayError
from failshut_replay.recording.reader import Recording
from failshut_replay.recording.record import Evidence, record
from failshut_replay.replay.rehearsal import messages
from failshut_replay.replay.replay import Replay, Step, paced
from failshut_replay.replay.verdict import check
from failshut_replay.replay.what_if import Assumed
from failshut_replay.sources.front_door import Event, evidence_of
from failshut_replay.story.story import on_record, replayed

LAGGING = """gate: g
permit: {ttl: 3s}
conditions:
  - lag: {group: g, topic: t, allowed: 5, behind: 1s}
  - heartbeat: {source: agent, grace: 3s}
"""
INCIDENTS = Path(__file__).parents[2] / "replay" / "incidents"


def closings(recording: Recording, *arguments: Any) -> list[str]:
    steps = Replay(recording, *arguments)
    return [
        str(one.cause) for step in steps for one in step.decisions if one.kind is Kind.CLOSE and one.cause != "insufficient"
    ]


@pytest.mark.parametrize("name", ["drift", "silent-death", "lagging-consumer"])
def test_the_shipped_incidents_replay_to_the_same_bytes(name: str) -> None:
    """What stands in replay/incidents/ is decided again, byte for byte, by the code as it is now."""
    verdict = check(Recording(INCIDENTS / f"{name}.parquet"))
    assert verdict.identical, verdict.difference
    assert verdict.decisions >= 5


def test_a_replay_decides_what_is_on_record(incident: Recording) -> None:
    """The trip is at the same record, and every byte is the same."""
    verdict = check(incident)
    assert verdict.identical
    assert verdict.decisions == incident.manifest.rows("decision")
    assert verdict.samples == 800
    assert closings(incident) == ["drift"]


def other_evidence(records: list[Evidence], at: int) -> list[Evidence]:
    """The same log, but for one sample's value in one record."""
    run = decode_run(records[at].record)
    blocks = [msgspec.structs.replace(block, floats=block.floats[:-8] + bytes(8)) for block in run.readings["pay"]]  # type: ignore[union-attr]
    changed = encode_run(msgspec.structs.replace(run, readings={"pay": blocks}))
    return [*records[:at], records[at]._replace(record=changed), *records[at + 1 :]]


@pytest.mark.usefixtures("signed_often")
def test_one_changed_record_changes_the_report(tmp_path: Path) -> None:
    """Evidence that is not what was judged leads to other decisions, and the first one is named."""
    records = list(evidence_of(made.values(), {"pay.yaml": made.DRIFT}))
    original = made.recording(tmp_path / "a.parquet")
    at = next(number for number, one in enumerate(records) if number > 40 and decode_run(one.record).readings)
    record(tmp_path / "b.parquet", other_evidence(records, at), [one.record for one in original.decisions(0)])
    verdict = check(Recording(tmp_path / "b.parquet"))
    assert not verdict.identical
    assert f"evidence 0/{at + 1}" in verdict.difference  # the next mark: evidence time advances there
    assert "differs in readings" in verdict.difference
    assert [name for name, _, _ in verdict.fields] == ["readings"]
    assert original.digest != Recording(tmp_path / "b.parquet").digest


@pytest.mark.usefixtures("signed_often")
def test_a_decision_that_is_missing_is_the_first_difference(tmp_path: Path) -> None:
    """A decision that nobody has on record is named, and so is one on record that does not follow."""
    records = list(evidence_of(made.values(), {"pay.yaml": made.DRIFT}))
    taken = [one.record for one in made.recording(tmp_path / "a.parquet").decisions(0)]
    record(tmp_path / "less.parquet", records, [*taken[:7], *taken[8:]])
    assert "nothing more is on record" in check(Recording(tmp_path / "less.parquet")).difference
    moved = encode_decision(msgspec.structs.replace(decode_decision(taken[7]), offset=decode_decision(taken[7]).offset + 1))
    record(tmp_path / "more.parquet", records, [*taken, moved])
    assert "now nothing is decided" in check(Recording(tmp_path / "more.parquet")).difference


def test_evidence_that_no_governor_had_judged_is_no_difference(tmp_path: Path, incident: Recording) -> None:
    """A recording of a running monitor ends before its governor has come to the end: that is said, and not held against it."""
    records = list(evidence_of(made.values(), {"pay.yaml": made.DRIFT}))
    taken = [one.record for one in incident.decisions(0)]
    record(tmp_path / "early.parquet", records, taken[:-2])
    verdict = check(Recording(tmp_path / "early.parquet"))
    assert verdict.identical
    assert verdict.undecided == 2


def test_versions_that_differ_are_named(tmp_path: Path, incident: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever meets a difference first wants to know whether it is the same code."""
    monkeypatch.setattr("failshut_replay.replay.verdict.versions", lambda: incident.manifest.made_by | {"river": "99"})
    assert check(incident).made_by["river"][1] == "99"


def test_the_virtual_time_can_be_slowed(incident: Recording) -> None:
    """Ten times as fast as it happened is a tenth of the time, and the steps are the same."""
    slept: list[float] = []
    steps = sum(1 for _ in paced(Replay(incident), 1_000_000, slept.append))
    assert steps == incident.manifest.rows("evidence")
    list(paced(Replay(incident), 10, slept.append))
    assert max(slept) == pytest.approx((incident.manifest.end_ms - incident.manifest.begin_ms) / 10_000, rel=0.3)


# --- what if ---


def test_another_policy_decides_otherwise(incident: Recording) -> None:
    """A detector that is deaf notices nothing, from the start."""
    assert closings(incident, {"deaf.yaml": made.DEAF}) == []


def test_the_same_policy_as_a_what_if_is_identical(incident: Recording) -> None:
    """Replacing a policy by itself changes nothing: the digest of its text is the same."""
    now = [encode_decision(one) for step in Replay(incident, {"x.yaml": made.DRIFT}) for one in step.decisions]
    assert now == [one.record for one in incident.decisions(0)]


def test_a_policy_for_a_gate_that_is_not_in_it_is_refused(incident: Recording) -> None:
    """It names the gate and those that there are."""
    other = made.DRIFT.replace("gate: pay", "gate: other")
    with pytest.raises(ReplayError, match="gate other, which is not in the recording; it holds pay"):
        Replay(incident, {"other.yaml": other})


def test_a_bad_policy_is_refused(incident: Recording) -> None:
    """A what-if with a policy that cannot be used would only show a closed gate."""
    with pytest.raises(ReplayError, match=r"bad.yaml: .*parsecs"):
        Replay(incident, {"bad.yaml": made.DRIFT.replace("3s", "2 parsecs")})


def test_a_condition_without_evidence_is_named(incident: Recording) -> None:
    """Evidence that nobody recorded cannot be made up: the what-if says which."""
    story = replayed(incident, policies={"x.yaml": made.policy("heartbeat: {source: nobody, grace: 3s}")})
    assert story.complaints == ["pay: the recording holds nothing of source nobody: that condition never had evidence"]


def test_a_what_if_finds_series_that_other_gates_watch(tmp_path: Path) -> None:
    """A new policy may watch what was recorded for another gate."""

    def both() -> Iterator[Event]:
        for event in made.values():
            yield event
            yield Event(event.time_ms, ("beat", "agent"))

    recording = made.recording(
        tmp_path / "a.parquet", both(), pay=made.DRIFT, other=made.policy("heartbeat: {source: agent, grace: 3s}", gate="other")
    )
    watching = made.policy(f"drift: {{series: {made.SERIES}, detector: adwin}}", gate="other")
    story = replayed(recording, policies={"x.yaml": watching})
    assert story.complaints == []
    assert [trip.cause for trip in story.timelines["other"].trips] == ["drift"]


def test_probes_and_resets_can_be_assumed(incident: Recording) -> None:
    """A breaker that wants probes stays in PROVING unless somebody answers; one that wants an operator stays tripped."""
    adopted = f"drift: {{series: {made.SERIES}, detector: adwin, adopt: after 5s}}"
    probing = made.policy(adopted, reset="{after: 5s, probes: 3}")
    assert closings(incident, {"p.yaml": probing}) == ["drift"]
    silent = replayed(incident, policies={"p.yaml": probing})
    answered = replayed(incident, policies={"p.yaml": probing}, assumed=Assumed(probes_pass=True))
    assert silent.timelines["pay"].spans[-1].breaker == "PROVING"
    assert answered.timelines["pay"].spans[-1].breaker == "ARMED"
    latched = made.policy(adopted, reset="{probes: 0}")
    assert not replayed(incident, policies={"p.yaml": latched}).timelines["pay"].spans[-1].open
    reset = replayed(incident, policies={"p.yaml": latched}, assumed=Assumed(reset_after_ms=10_000))
    assert reset.timelines["pay"].spans[-1].open


def test_the_story_on_record_is_the_story_replayed(incident: Recording) -> None:
    """Timelines from recorded decisions and from a replay are the same."""
    assert on_record(incident).timelines == replayed(incident).timelines


def test_a_rehearsal_says_nothing_of_lag() -> None:
    """Lag and outcomes are no telemetry: written there they would be unreadable, and the monitor measures its own."""
    events = [Event(made.START_MS + at, ("lag", "g", "t", {0: (1, 2)})) for at in range(3)]
    events.append(Event(made.START_MS + 5, ("beat", "agent")))
    policies = {"a.yaml": LAGGING}
    governor_fed = [decode_run(one.record) for one in evidence_of(events, policies)]
    told = [messages(Step(0, 0, 0, run, [])) for run in governor_fed]
    assert any(run.readings for run in governor_fed)
    assert [json.loads(one) for some in told for one in some] == [{"kind": "heartbeat", "service": "agent"}]


def test_a_rehearsal_is_the_telemetry_again(incident: Recording) -> None:
    """Every sample once, as a producer would write it, without its old time."""
    told = [json.loads(message) for step in Replay(incident) for message in messages(step)]
    assert len(told) == 800
    assert told[0]["service"] == "agent"
    assert set(told[0]) == {"service", "metric", "value"}
    assert [one["value"] for one in told] == [event.item[2] for event in made.values()]
