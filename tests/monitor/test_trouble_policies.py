"""Policies that cannot be trusted or read: their gates close and say why, the others stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from monitor.harness import Installation, until
from monitor.policies import drift, heartbeat
from monitor.trouble import beating, closings, one_story, renewed

from failshut.signing import SigningKey
from failshut_breakers.command import Activate
from failshut_servers import Kafka, Valkey
from failshut_streams.control.client import Operator, new_id

pytestmark = pytest.mark.slow

GOOD = heartbeat("pay", grace="60s")
RULE = """
gate: pay
permit: {ttl: 2s}
conditions:
  - conformance: {series: agent/amount, rule: "value <="}
"""


async def test_a_bad_policy_closes_its_gates_and_names_the_fault(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Unknown detector, wrong unit, broken rule, two policies for one gate, an unsigned bundle: closed, until a good one comes.

    Guards: `read_bundle` keeps no earlier policy in place of a bad one; an unsigned bundle closes; the version must be higher.
    """
    kept = {"beat.yaml": heartbeat("beat", grace="60s")}
    bad = {
        "conditions.detector": {"pay.yaml": drift("pay").replace("detector: adwin", "detector: adwinn")},
        "permit.ttl": {"pay.yaml": GOOD.replace("ttl: 2s", "ttl: 3 parsecs")},
        "rule": {"pay.yaml": RULE},
        "two policies for one gate": {"pay.yaml": GOOD, "pay-too.yaml": GOOD},
    }
    first = {"pay.yaml": GOOD, **kept}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", first) as monitor, beating(monitor, "agent"):
        worker = monitor.worker()
        for gate in ("pay", "beat"):
            await monitor.opened(gate)
        for word, files in bad.items():
            await monitor.operator.activate({**files, **kept})

            def named(word: str = word) -> bool:
                status = monitor.status("pay")
                return status is not None and status.cause == "bad_policy" and word in status.because

            await until(named, lambda word=word: f"{word}: {monitor.status('pay')}")  # type: ignore[misc]
            assert not monitor.open("pay")
        await monitor.operator.activate({"pay.yaml": GOOD, **kept})
        await monitor.opened("pay")

        stranger = SigningKey.generate()
        async with Operator(monitor.config["broker"], stranger, monitor.prefix) as nobody:
            here = monitor.names.installation
            files = {"pay.yaml": GOOD}
            forged = Activate(installation=here, by="nobody", why="mine", id=new_id(), version=2**52, files=files)
            forged_at = await nobody.send(forged)
        closing = await monitor.closed("pay", "bad_policy")
        assert "not signed by a known operator" in closing.because

        async def buried() -> bool:
            return any(letter["origin"]["offset"] == forged_at for letter in await monitor.dead_letters())

        await until(buried, "the forgery is a dead letter")
        await monitor.operator.activate({"pay.yaml": GOOD, **kept})
        await monitor.opened("pay")

        old = Activate(installation=here, by="tester", why="an old one", id=new_id(), version=1, files={})
        await monitor.operator.send(old)
        await until(lambda: worker.said("version 1 is not above version"), "the old bundle is refused")
        for gate in ("pay", "beat"):
            await renewed(monitor, gate)
        # The gate beside it never closed over any of this.
        assert [cause for cause, _ in closings(monitor, "beat")] in (["insufficient"], [])
        one_story(monitor)
        assert worker.stop() == 0
