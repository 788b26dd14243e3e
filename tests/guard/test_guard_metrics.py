"""What a service's guards saw stands in the metrics that the service has, and costs a service without any nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from patience import patient
from prometheus_client import CollectorRegistry, generate_latest

from failshut import Cause, Gate, Withheld, withheld
from failshut.metrics import export_to_opentelemetry, export_to_prometheus
from failshut.testing import Rehearsal

SUBJECT = "agent:refund-7"


def executed(gate: Gate, error: Exception | None = None) -> Cause | None:
    try:
        with gate.execution(SUBJECT):
            if error:
                raise error
    except Withheld as denial:
        return denial.cause
    except RuntimeError:
        return None
    return None


def scene(stage: Rehearsal, name: str) -> None:
    """Two executions that succeed, one that fails, two denials of two kinds, one closing in the middle."""
    control = stage.gate(name).open()
    executed(control.gate)
    executed(control.gate)
    executed(control.gate, RuntimeError("no"))
    try:
        with control.gate.execution(SUBJECT) as execution:
            control.close(Cause.LOCK)
            execution.check()
    except Withheld:
        pass
    assert executed(control.gate) is Cause.LOCK
    control.lapse()
    executed(control.gate)
    control.open()
    executed(control.gate)
    assert control.outcomes()["ok"] == 3  # the guard's thread, which a rehearsal has none of, reads them so too


def test_prometheus_reads_who_was_admitted_and_who_was_not(stage: Rehearsal) -> None:
    """Executions by outcome, denials by cause, and whether the gate is open here, now."""
    registry = CollectorRegistry()
    export_to_prometheus(registry)
    export_to_prometheus(registry)
    scene(stage, "metrics.prometheus")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"gate": "metrics.prometheus", **labels})

    assert value("failshut_guard_executions_total", outcome="ok") == 3
    assert value("failshut_guard_executions_total", outcome="failed") == 1
    assert value("failshut_guard_withheld_total", cause="lock") == 2
    assert value("failshut_guard_gate_open") == 1
    stage.gate("metrics.prometheus").close()
    assert value("failshut_guard_gate_open") == 0
    assert b"# TYPE failshut_guard_withheld_total counter" in generate_latest(registry)


def test_opentelemetry_reads_the_same(stage: Rehearsal) -> None:
    """The same numbers, under the names that OpenTelemetry has."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("of tests")
    export_to_opentelemetry(meter)
    scene(stage, "metrics.otel")
    found = {}
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            labels = dict(point.attributes or {})
            if labels.pop("gate") == "metrics.otel":
                found[metric.name, "".join(map(str, labels.values()))] = getattr(point, "value", None)
    assert found["failshut.guard.executions", "ok"] == 3
    assert found["failshut.guard.withheld", "lock"] == 2
    assert found["failshut.guard.gate.open", ""] == 1


def test_no_denial_is_lost_among_threads() -> None:
    """Denials are counted without a lock, by as many threads as like."""
    before = withheld.denials().get(("metrics.threads", "lock"), 0)
    threads = [
        threading.Thread(target=lambda: [Withheld("metrics.threads", Cause.LOCK) for _ in range(2_000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert withheld.denials()["metrics.threads", "lock"] - before == 8_000


def test_labels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that makes up gates by the thousand counts the rest together."""
    monkeypatch.setattr(withheld, "PAIRS_MAX", len(withheld.denials()) + 1)
    before = withheld.denials().get(("other", "lock"), 0)
    for number in range(10):
        Withheld(f"metrics.bounded-{number}", Cause.LOCK)
    assert withheld.denials()["metrics.bounded-0", "lock"] == 1
    assert withheld.denials()["other", "lock"] - before == 9


def test_a_service_without_metrics_exports_nowhere_and_decides_as_before() -> None:
    """Neither library is needed, and the guard imports none."""
    code = (
        "import sys\n"
        "import failshut, failshut.metrics\n"
        "assert 'prometheus_client' not in sys.modules\n"
        "sys.modules['prometheus_client'] = sys.modules['opentelemetry'] = sys.modules['opentelemetry.metrics'] = None\n"
        "assert failshut.metrics.export() == []\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_counts_from_zero() -> None:
    """What the parent withheld is the parent's to export."""
    Withheld("metrics.fork", Cause.LOCK)
    pid = os.fork()
    if pid == 0:
        os._exit(bool(withheld.denials()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
