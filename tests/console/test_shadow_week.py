"""A week in shadow on the recording that ships, and what becomes of its gate when the policy is put in force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from breakers.log import World
from console.console_support import Failshut

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.records import Samples
from failshut_replay import Recording, Replay

REPLAY = Path(__file__).parents[2] / "replay"
WEEK = REPLAY / "weeks" / "shadow-week.parquet"
POLICY = REPLAY / "incidents" / "policies" / "shop-checkout.yaml"
MINUTE_MS = 60_000

pytestmark = pytest.mark.slow


def report(failshut: Failshut, *arguments: str) -> list[dict[str, object]]:
    told = failshut("shadow", "report", "--on", str(WEEK), "--json", *arguments)
    assert told.status == 0, told.err
    found: list[dict[str, object]] = json.loads(told.out)
    return found


def test_the_week_is_told(failshut: Failshut) -> None:
    """The slow hour is heard, two spikes are taken for anomalies, and it would have been open for 96 % of the time."""
    (gate,) = report(failshut)
    assert (gate["gate"], gate["would_close"], gate["would_trip"]) == ("shop.checkout", 4, 3)
    assert gate["causes"] == {"anomaly": 3, "insufficient": 1}
    assert 0.95 < float(str(gate["would_open_share"])) < 0.97


def test_another_policy_is_tried_on_the_same_week(failshut: Failshut, tmp_path: Path) -> None:
    """A rule that says what is too slow trips over the slow hour alone."""
    other = tmp_path / "other.yaml"
    rule = 'conformance: {series: shop-api/latency_ms, rule: "value <= 300", window: 20, over: 0.2, stale: 10m}'
    other.write_text(POLICY.read_text().replace("anomaly: {series: shop-api/latency_ms, stale: 10m, adopt: after 1h}", rule))
    (gate,) = report(failshut, "--policy", str(other))
    assert gate["would_trip"] == 1
    assert "conformance" in dict(gate["causes"])  # type: ignore[call-overload]


def test_what_cannot_be_read_is_said(failshut: Failshut, tmp_path: Path) -> None:
    """A file that is no recording, a policy of nobody's gate, and a policy without a recording: status 2 and why."""
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(WEEK.read_bytes()[:9_000])
    strange = tmp_path / "strange.yaml"
    strange.write_text(POLICY.read_text().replace("shop.checkout", "nobody"))
    for arguments in (["--on", str(torn)], ["--on", str(WEEK), "--policy", str(strange)], ["--policy", str(strange)]):
        told = failshut("shadow", "report", *arguments)
        assert told.status == 2, told.out
        assert told.err


def test_promotion_closes_nothing() -> None:
    """After the week's last day in shadow the policy is enforced: open at once, with what was learnt, and no closing since."""
    values = [
        value
        for step in Replay(Recording(WEEK))
        for readings in step.run.readings.values()
        for one in readings
        if isinstance(one, Samples)
        for *_, value in one.rows
    ][-1_440:]
    shadow = POLICY.read_text()
    world = World(shadow)
    for at, value in enumerate(values):
        if at == len(values) - 60:
            would = world.gate("shop.checkout").would.mode
            said = len(world.said)
            world.activate(shadow.replace("mode: shadow", "mode: enforce"))
        world.send(("sample", "shop-api/latency_ms", value), ("beat", "shop-api", None))
        world.mark(MINUTE_MS)
    assert would == "armed"
    since = [one for one in world.said[said:] if one.gate == "shop.checkout"]
    assert since[0].kind is Kind.OPEN
    assert Kind.CLOSE not in {one.kind for one in since}
    assert world.is_open("shop.checkout")
