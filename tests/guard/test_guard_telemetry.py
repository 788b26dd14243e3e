"""Telemetry events, as the monitor reads them."""

from __future__ import annotations

import json
import math

from failshut import telemetry


def test_events_have_the_fields_of_the_wire_and_no_empty_ones() -> None:
    """A sample, a heartbeat and a list of both, with and without what is optional."""
    plain = telemetry.sample("refund-agent", "amount_eur", 48.0)
    assert json.loads(plain) == {"service": "refund-agent", "metric": "amount_eur", "value": 48.0}
    full = telemetry.sample("a", "b", 1, time_ms=1_700_000_000_000, instance="i", attributes={"region": "eu"})
    assert json.loads(full) == {
        "service": "a",
        "metric": "b",
        "value": 1,
        "time": 1_700_000_000_000,
        "instance": "i",
        "attributes": {"region": "eu"},
    }
    beat = telemetry.heartbeat("scaler", instance="i")
    assert json.loads(beat) == {"kind": "heartbeat", "service": "scaler", "instance": "i"}
    assert json.loads(telemetry.joined([plain, beat])) == [json.loads(plain), json.loads(beat)]
    assert telemetry.key("refund-agent", "amount_eur") == b"refund-agent/amount_eur"


def test_a_value_that_is_no_number_is_sent_and_not_dropped() -> None:
    """NaN is evidence: hiding it here would hide the fault."""
    assert math.isnan(json.loads(telemetry.sample("a", "b", math.nan))["value"])
