"""Two workers read one activation differently: nothing is admitted beyond the bound, and the worker is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from monitor.harness import Installation, WorkerProcess, until
from monitor.policies import heartbeat
from monitor.trouble import assigned, beating, gate_in, one_story, outruns_nothing, place_of, shared
from patience import patient

from failshut.signing import SigningKey
from failshut_breakers.decisions.decision import Kind
from failshut_servers import Kafka, Valkey
from failshut_streams.control.client import Operator
from failshut_streams.health import Report

pytestmark = pytest.mark.slow

PLUGIN = Path(__file__).resolve().parents[2] / "examples" / "detector_plugin"
TTL_MS = 2_000

VERSION = 'conformance: {series: svc/amount, rule: "value <= 500", detector: hddm_w, over: 0.05, window: 10, stale: 10m}'
LIBRARY = 'conformance: {series: svc/amount, cel: "value <= 500.0", over: 0.05, window: 10, stale: 10m}'
PLUG_IN = "anomaly: {series: svc/amount, detector: jump, far: 30.0, stale: 10m}"


def policy(gate: str, condition: str) -> str:
    return f'gate: {gate}\npermit: {{ttl: {TTL_MS}ms}}\nsubjects: ["*"]\nconditions:\n  - {condition}\n'


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example of a plug-in, as pip installs it."""
    source, target = tmp_path_factory.mktemp("plugin") / "source", tmp_path_factory.mktemp("site")
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], check=True, timeout=patient(120))
    return target


def report(monitor: Installation, worker: WorkerProcess) -> Report | None:
    """Return what a worker says of itself in the store, if it does."""
    data: Any = monitor.redis.get(monitor.names.worker(worker.config["worker_id"]))
    return msgspec.json.decode(data, type=Report) if data else None


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        pytest.param(VERSION, "older", id="an-older-version-without-the-detector"),
        pytest.param(LIBRARY, "without_cel", id="a-missing-library"),
        pytest.param(PLUG_IN, "", id="a-missing-plug-in"),
    ],
)
async def test_a_worker_that_cannot_read_a_policy_keeps_its_gate_open_over_nothing(
    condition: str, fault: str, kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, plugin: Path
) -> None:
    """The partition with the bad values is the other worker's: the gate closes, names it, and judges all once it is gone.

    Guards: the digest in every run (`Agreement.disputed`); without it the gate stays open over every bad value. The values
    that did not count are told again by the worker that agrees (`Retelling`), so the gate then trips at the first of them.
    """
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"other.yaml": heartbeat("other", "svc")}) as monitor:
        agrees = monitor.worker("agrees", path=plugin)
        misreads = monitor.worker("misreads", fault=fault)
        await shared(monitor, agrees, misreads)
        (at,) = assigned(misreads, monitor.topics.telemetry)
        (mine, *_) = sorted(assigned(agrees, monitor.topics.evidence))
        gate = gate_in(mine)
        async with beating(monitor, "svc"):
            await monitor.operator.activate({"other.yaml": heartbeat("other", "svc"), "pay.yaml": policy(gate, condition)})
            partition = 1 - at
            for _ in range(20):
                await monitor.values("svc/amount", [100.0, 101.0, 99.0] * 5, partition)
            closing = await monitor.closed(gate, "routing")
            assert closing.because.startswith("worker misreads cannot read this gate's policy and feeds it nothing")
            sent = await monitor.values("svc/amount", [1e6] * 200, at)
            await _named(monitor, agrees, misreads, gate)
            assert not monitor.open(gate), "open over values that no conditions were fed"
            assert not monitor.of(gate, Kind.RENEW)
            misreads.kill()
            tripped = await monitor.closed(gate, "anomaly" if "anomaly" in condition else "conformance")
            assert tripped.origin is not None
            assert tripped.origin.partition == at
            assert tripped.origin.offset >= place_of(sent[0]).offset
            await outruns_nothing(monitor)
            one_story(monitor)
        assert agrees.stop() == 0


async def _named(monitor: Installation, agrees: WorkerProcess, misreads: WorkerProcess, gate: str) -> None:
    """Wait until both workers say so where an operator looks."""

    def claim() -> bool:
        one, other = report(monitor, agrees), report(monitor, misreads)
        disputes = one.disputes if one else []
        return (
            other is not None
            and any(line.startswith(f"{gate}: worker misreads") for line in disputes)
            and any(line.startswith(gate) for line in other.unread)
        )

    await until(claim, lambda: f"{report(monitor, agrees)} {report(monitor, misreads)}")


async def test_operators_are_those_that_control_names(kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str) -> None:
    """One of two workers has an old operators file: it believes whom the newer one names, and says that its own is old.

    Guards: operators' keys on control (`OperatorsInForce`); without them the old worker drops the activation, and vouches.
    """
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"other.yaml": heartbeat("other", "svc")}) as monitor:
        old = monitor.worker("old")
        await until(lambda: assigned(old, monitor.topics.telemetry), "the old one reads")
        ci = SigningKey.generate()
        newer = tmp_path / "newer.jwks"
        ci.key_set().joined(monitor.operator_key.key_set()).write(newer)
        new = monitor.worker("new", operators=str(newer))
        await shared(monitor, old, new)
        (at,) = assigned(old, monitor.topics.telemetry)
        await until(lambda: "is older than the one" in getattr(report(monitor, old), "operators", ""), "the old one says so")
        known = ci.key_set().joined(monitor.operator_key.key_set())
        async with Operator(monitor.config["broker"], ci, monitor.prefix, keys=known) as operator, beating(monitor, "svc"):
            await operator.activate({"other.yaml": heartbeat("other", "svc"), "pay.yaml": policy("pay", LIBRARY)})
            for _ in range(10):
                await monitor.values("svc/amount", [100.0] * 15, at)
            await monitor.opened("pay")
            sent = await monitor.values("svc/amount", [1e6] * 50, at)
            tripped = await monitor.closed("pay", "conformance")
            assert tripped.origin is not None
            assert place_of(sent[0]).offset <= tripped.origin.offset <= place_of(sent[-1]).offset
        assert (old.stop(), new.stop()) == (0, 0)


async def test_a_key_that_is_taken_out_commands_nothing_more_and_takes_nothing_back(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """A rotation while the worker runs, and one before it starts: what the key has activated stays, its next word is refused.

    Guards: `OperatorNaming` follows the file; verdicts are a function of control, so a restart reads them as they were.
    """
    ci = SigningKey.generate()
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {}) as monitor:
        file = tmp_path / "operators.jwks"
        ci.key_set().joined(monitor.operator_key.key_set()).write(file)
        worker = monitor.worker("first")
        known = ci.key_set().joined(monitor.operator_key.key_set())
        async with Operator(monitor.config["broker"], ci, monitor.prefix, keys=known) as operator:
            await operator.activate({"pay.yaml": policy("pay", LIBRARY)})
            await monitor.values("svc/amount", [100.0] * 30)
            await monitor.opened("pay")
            monitor.operator_key.write_jwks(file)
            await until(lambda: worker.said("named 1 operators' keys"), "the change is on control")
            await operator.activate({"pay.yaml": policy("pay", LIBRARY.replace("500", "500000000"))})
            await until(lambda: _refused(monitor), "the withdrawn key's activation is refused")
            await monitor.closed("pay", "bad_policy")  # whoever sends it has a key that is not an operator's
            await monitor.operator.activate({"pay.yaml": policy("pay", LIBRARY)})
            await monitor.values("svc/amount", [100.0] * 30)
            await monitor.opened("pay")
        assert worker.stop() == 0
        again = monitor.worker("again")
        await monitor.values("svc/amount", [100.0] * 30)
        await until(lambda: assigned(again, monitor.topics.telemetry), "the second one reads")
        await monitor.opened("pay")
        await monitor.values("svc/amount", [1e6] * 50)
        await monitor.closed("pay", "conformance")
        assert again.stop() == 0


async def _refused(monitor: Installation) -> bool:
    return any("UnknownKey" in letter["reason"] for letter in await monitor.dead_letters())
