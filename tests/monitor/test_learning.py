"""A new condition learns from what the broker still holds: its gate opens without one more reading, on a real monitor."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor.harness import Installation, until
from monitor.policies import heartbeat
from monitor.trouble import beating, one_story

from failshut_breakers.decisions.decision import Kind
from failshut_breakers.evidence.history import history_of, is_history
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow

AWAY_MS = 6_000
BEAT = "heartbeat: {source: svc, every: 500ms, grace: 2s}"
RULE = 'conformance: {series: svc/amount, rule: "value <= 500", stale: 10m}'
DRIFT = "drift: {series: svc/amount, detector: adwin, stale: 10m}"


def policy(*conditions: str, learn: str = "{from: 24h}", gate: str = "pay") -> str:
    """A policy over these conditions."""
    lines = "".join(f"  - {condition}\n" for condition in conditions)
    return f'gate: {gate}\npermit: {{ttl: 2s}}\nsubjects: ["*"]\nconditions:\n{lines}learn: {learn}\n'


async def test_a_new_condition_learns_from_what_is_there(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """Telemetry that no policy asked for teaches one that does; what is sent to nobody else closes nothing; two workers agree.

    The gate with `from: nothing` beside it waits for news, which never come. A comment afterwards changes nothing at all.
    """
    other = {"beat.yaml": heartbeat("beat", "svc")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", other) as monitor:
        one, two = monitor.worker("one"), monitor.worker("two", group="standby")
        async with beating(monitor, "svc"):
            await monitor.opened("beat")
            sent = [await monitor.values("svc/amount", [100.0, 101.0, 99.0] * 10) for _ in range(10)]
            until_ms = sent[-1][-1].timestamp + AWAY_MS
            # Routers go back a little before an activation anyway: what they read then is no history.
            await until(lambda: monitor.proven_ms("beat") > until_ms, "the telemetry is a while ago")
            waits = policy(DRIFT, learn="{from: nothing}", gate="waits")
            await monitor.operator.activate({**other, "pay.yaml": policy(BEAT, DRIFT), "waits.yaml": waits})
            await monitor.opened("pay")
            assert not monitor.open("waits")
            await until(lambda: monitor.of("pay", Kind.OPEN), "the decision is on record")
            decision = monitor.of("pay", Kind.OPEN)[0]
            assert "mean 100" in next(one.text for one in decision.readings if one.name == "drift:svc/amount")
            told = [run for _, _, run in await monitor.evidence() if is_history(run)]
            assert {run.topic for run in told} >= {history_of("telemetry")}
            assert all(set(run.readings) <= {"pay"} for run in told)

            epoch = monitor.of("pay", Kind.OPEN)[-1].epoch
            text = "# a comment\n" + policy(DRIFT, BEAT)
            await monitor.operator.activate({**other, "pay.yaml": text, "waits.yaml": waits})
            await monitor.operator.activate({**other, "pay.yaml": policy(BEAT, DRIFT, RULE), "waits.yaml": waits})
            await until(lambda: monitor.of("pay", Kind.OPEN)[-1].epoch != epoch, "the rule, too, learns from what is there")
            await monitor.opened("pay")
            one_story(monitor)
        assert one.stop() == 0
        assert two.stop() == 0
