"""The base install is the guard alone: small, and enough to guard a function against a monitor that runs elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from monitor.harness import Installation, until
from monitor.policies import heartbeat
from patience import patient

from failshut_breakers.command import Lock
from failshut_servers import Kafka, Valkey

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DIRECT_DEPENDENCIES_MAX = 5

SERVICE = textwrap.dedent(
    """
    import importlib.util, json, sys
    from failshut import Gate, Withheld

    for absent in ("faust", "aiokafka", "river", "numpy", "pydantic", "msgspec"):
        assert importlib.util.find_spec(absent) is None, absent

    gate = Gate("pay")

    @gate.guarded(subject="agent:1")
    def pay(amount):
        return amount

    for line in sys.stdin:
        try:
            print(json.dumps({"paid": pay(int(line))}), flush=True)
        except Withheld as withheld:
            print(json.dumps({"withheld": str(withheld.cause)}), flush=True)
    """
)


@pytest.fixture(scope="module")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python in which `pip install .` without extras was run, and nothing else."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=patient(120))
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(ROOT)], check=True, timeout=patient(300), cwd=folder)
    return python


def test_the_base_install_brings_few_dependencies(base_python: Path) -> None:
    """At most five direct dependencies, and `failshut` imports with them."""
    code = "import failshut, importlib.metadata as m, json; print(json.dumps(m.requires('failshut')))"
    answer = subprocess.run([base_python, "-c", code], check=True, capture_output=True, timeout=patient(60))
    direct = [requirement for requirement in json.loads(answer.stdout) if "extra ==" not in requirement]
    assert 0 < len(direct) <= DIRECT_DEPENDENCIES_MAX, direct


async def test_a_function_is_guarded_against_a_monitor_in_another_environment(
    base_python: Path, kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """The function runs while the monitor vouches for it, and is withheld, with the cause, once an operator locks the gate."""
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": heartbeat("pay", grace="5s")}) as monitor:
        monitor.worker()
        environment = {**os.environ, "FAILSHUT_STORE": monitor.store_url, "FAILSHUT_JWKS": str(monitor.jwks)}
        environment["FAILSHUT_DEADLINE_MS"] = "2000"
        service = subprocess.Popen(
            [base_python, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            ask, told = service.stdin, service.stdout
            assert ask is not None
            assert told is not None

            async def answer() -> dict[str, object]:
                await monitor.send({"kind": "heartbeat", "service": "agent"})
                ask.write("7\n")
                ask.flush()
                said: dict[str, object] = json.loads(told.readline())
                return said

            async def answers(wanted: dict[str, object]) -> bool:
                return await answer() == wanted

            assert "withheld" in await answer()
            await until(lambda: answers({"paid": 7}), "the function runs")
            await monitor.operator.send(monitor.command(Lock, gate="pay"))
            await until(lambda: answers({"withheld": "lock"}), "the function is withheld")
        finally:
            service.kill()
            service.wait(patient(10))
