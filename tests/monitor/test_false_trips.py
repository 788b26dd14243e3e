"""A budget of false trips on real servers: what is counted stands in the decisions, and an operator's command takes it away."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from monitor.harness import Installation, until
from typer.testing import CliRunner

from failshut_breakers.decisions.decision import Breaker
from failshut_console.app import app
from failshut_servers import Kafka, Valkey

POLICY = """
gate: pay
permit: {ttl: 2s}
conditions:
  - drift: {series: agent/amount, detector: cusum, false_trips: 1 per 30d, learn: 100, stale: 10m}
"""


async def test_a_trip_counts_against_its_budget_until_it_is_confirmed(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """`failshut confirm` is done once, refused the second time, and leaves the gate as it is."""
    rng = random.Random(7)
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": POLICY}) as monitor:
        monitor.worker()
        await monitor.values("agent/amount", [rng.gauss(50, 5) for _ in range(300)])
        await monitor.opened("pay")
        await monitor.values("agent/amount", [rng.gauss(150, 5) for _ in range(20)])
        closing = await monitor.closed("pay", "drift")
        assert closing.breaker is Breaker.TRIPPED
        # The closing tells of the trip itself: the count is taken with its epoch.
        assert "1 false trip in less than 1m" in closing.readings[0].text
        key = tmp_path / "operator.pem"
        monitor.operator_key.save(key)
        told = ["confirm", "pay", "--epoch", str(int(closing.epoch)), "--why", "paid twice", "--by", "ada", "--json"]
        where = ["--broker", monitor.config["broker"], "--prefix", monitor.prefix, "--key", str(key), "--wait", "60"]
        first = await asyncio.to_thread(CliRunner().invoke, app, [*told, *where])
        assert first.exit_code == 0, first.output
        answer = json.loads(first.output)
        assert answer["result"] == "done"
        assert answer["because"] == f"confirmed: the trip of epoch {int(closing.epoch)} had a cause: paid twice"
        again = await asyncio.to_thread(CliRunner().invoke, app, [*told, *where])
        assert again.exit_code == 1, again.output
        assert "confirmed already" in json.loads(again.output)["because"]
        status = await until(lambda: monitor.status("pay"), "the gate has a status")
        assert (status.epoch, status.breaker) == (closing.epoch, Breaker.TRIPPED)
