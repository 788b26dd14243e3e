"""A what-if policy is fed what its conditions ask for, wherever in the recording that stands."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from replay import made

from failshut_breakers.evidence.records import (
    SCHEMA,
    FaultRow,
    Faults,
    FromMany,
    OutcomeRow,
    Outcomes,
    Run,
    Samples,
    Unreadable,
)
from failshut_replay.replay.rehearsal import messages
from failshut_replay.replay.replay import Step
from failshut_replay.replay.what_if import WhatIf

ROWS = [FaultRow(5, 0, made.START_MS, "not JSON")]
NEW = made.policy(
    "unreadable: {at_least: 1, window: 10s}",
    "failure_rate: {over: 0.5, at_least: 1, window: 10s}",
    f"heartbeat: {{series: {made.SERIES}, grace: 3s}}",
)


def run(**readings: Any) -> Run:
    """A run of telemetry with these readings by gate."""
    return Run(
        schema=SCHEMA,
        evidence_id="e",
        evidence_partitions=1,
        term=1,
        routing=1,
        router="r",
        topic="telemetry",
        partition=0,
        previous=0,
        upto=10,
        append_ms=made.START_MS,
        mark=None,
        readings=readings,
        notices=[],
        made=b"m",
    )


def what_if() -> WhatIf:
    """Another policy for the gate pay."""
    manifest: Any = SimpleNamespace(gates={"pay": None, "other": None})
    return WhatIf(manifest, {"new.yaml": NEW})


def test_records_that_nobody_can_read_are_taken_from_gates_that_asked() -> None:
    """The recorded policy of the gate did not ask about them; another gate's did."""
    what = what_if()
    after = what.apply(run(other=[Unreadable(ROWS)]))
    assert after.readings["pay"] == [Unreadable(ROWS)]
    never = "that condition never had evidence"
    assert what.complaints() == [
        f"pay: the recording holds nothing of outcomes: {never}",
        f"pay: the recording holds nothing of series {made.SERIES}: {never}",
    ]


def test_outcomes_of_another_gate_are_nobody_elses() -> None:
    """A gate's executions are its own."""
    outcomes = Outcomes([OutcomeRow(5, 0, made.START_MS, 1, "", "failed", 3)])
    assert "pay" not in what_if().apply(run(other=[outcomes])).readings


def test_what_was_judged_by_instance_is_a_stream_as_well() -> None:
    """A recording tells who sent what only if a policy asked; without it a condition by instance never had evidence."""
    many = FromMany(made.SERIES, ["a", "b"], [(5, 0, made.START_MS, 0, 1.0), (6, 0, made.START_MS, 1, "no number")])
    after = what_if().apply(run(other=[many])).readings["pay"]
    assert after == [
        Samples.of(made.SERIES, [(5, 0, made.START_MS, 1.0)]),
        Faults(made.SERIES, [FaultRow(6, 0, made.START_MS, "no number")]),
    ]
    manifest: Any = SimpleNamespace(gates={"pay": None})
    asks = made.policy(f"drift: {{series: {made.SERIES}, detector: adwin, by: instance}}")
    what = WhatIf(manifest, {"new.yaml": asks})
    what.apply(run(pay=[Samples.of(made.SERIES, [(5, 0, made.START_MS, 1.0)])]))
    assert what.complaints() == [
        f"pay: the recording holds nothing of instances {made.SERIES}: that condition never had evidence"
    ]


def test_a_rehearsal_names_the_instances_and_says_nothing_twice() -> None:
    """Of a series that is judged both ways, what says who sent it."""
    many = FromMany(made.SERIES, ["a", ""], [(5, 0, made.START_MS, 0, 1.0), (6, 0, made.START_MS, 1, 2.0)])
    one = run(pay=[*many.as_one(), many], other=many.as_one())
    told = [json.loads(message) for message in messages(Step(0, 0, 0, one, []))]
    service, metric = made.SERIES.split("/")
    assert told == [
        {"service": service, "metric": metric, "value": 1.0, "instance": "a"},
        {"service": service, "metric": metric, "value": 2.0},
    ]


def test_a_new_condition_on_outcomes_says_that_none_were_recorded() -> None:
    """A router forwards no outcomes that no policy reads: a what-if that reads them is not told that nothing failed."""
    what = what_if()
    what.apply(run(pay=[Unreadable(ROWS)]))
    assert any("nothing of outcomes" in complaint for complaint in what.complaints())
    what.apply(run(pay=[Outcomes([OutcomeRow(5, 0, made.START_MS, 1, "", "ok", 3)])]))
    assert not any("nothing of outcomes" in complaint for complaint in what.complaints())
