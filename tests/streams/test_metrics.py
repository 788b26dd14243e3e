"""A worker's numbers follow Prometheus' conventions, and no producer can make labels."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.gate.tally import Tally
from failshut_streams.codecs import DeadKind
from failshut_streams.endpoint import BEGIN_SECONDS_MAX, NOT_YET, SILENT_SECONDS_MAX, Vitals
from failshut_streams.metrics import GATES_MAX, OTHER, Metrics, MetricsUnavailable


def decision(gate: str, cause: Cause | None = Cause.DRIFT) -> Decision:
    return Decision(
        schema=2, kind=Kind.CLOSE, installation="i" * 32,
        gate=gate, epoch="0" * 16, partition=0, offset=0, breaker=Breaker.TRIPPED, cause=cause,
        because="", evidence_ms=0, policy="", mode="", exp_ms=0, ttl_ms=0, in_flight="cancel", origin=None, readings=[],
        subjects=[], operations=[], context={}, tokens=0, probe_epoch="", by="",
    )  # fmt: skip


def opened(gate: str) -> Decision:
    return msgspec.structs.replace(decision(gate, None), kind=Kind.OPEN, breaker=Breaker.ARMED, mode="armed")


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    with Metrics() as one:
        yield one


def filled(metrics: Metrics) -> str:
    """Everything used once; the text that Prometheus reads."""
    metrics.read("telemetry", 10, 100, 1)
    metrics.dead_letter("telemetry", DeadKind.JSON)
    metrics.runs_written(3)
    metrics.router_chunk(0.01)
    metrics.judged(3)
    metrics.decided([decision("payments.refund"), decision("fleet.scale", None)])
    metrics.governor_chunk(0.02)
    for what in (
        "written",
        "refused",
        "store_unreachable",
        "future_evidence",
        "lapsed_unsigned",
        "seal_differs",
        "something_new",
    ):
        metrics.effect(what, 2)
    metrics.snapshot(1, 1_000, 0.1, 1_700_000_000.0)
    metrics.evidence(10_000, {0: 9_000, 1: 0}, {("telemetry", 2): 9_500}, [("telemetry", 2)], [("otlp_metrics", 0)])
    metrics.owned({"telemetry": 2, "evidence": 4})
    metrics.open_transactions({("telemetry", 1): 40_000})
    metrics.readings_of_control(["payments.refund"], 1, True)
    metrics.false_trips([("payments.refund", "drift:s/x", Tally(per_ms=1_000.0, watched_ms=2_500, trips=3, confirmed=1))])
    metrics.gates(
        10_000, [(decision("payments.refund"), 0), (opened("fleet.scale"), 12_500), (opened("payments.route"), 9_000)]
    )
    metrics.mark(True)
    metrics.mark(False)
    for what in ("moved", "malformed", "store_unreachable", "broker_unreachable"):
        metrics.outcomes(what, 1)
    metrics.lag_sample(True)
    metrics.watch("queue_records", "Waiting.", lambda: 7.0)
    return generate_latest(metrics.registry).decode()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_metric_has_a_name_by_convention(metrics: Metrics) -> None:
    """Names begin with failshut_, counters end in _total, times are seconds, and each has a help text."""
    families = list(text_string_to_metric_families(filled(metrics)))
    assert len(families) > 25
    for family in families:
        assert re.fullmatch(r"failshut_[a-z][a-z_]*[a-z]", family.name), family.name
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|millis|minutes|kb|mb)(_|$)", family.name)
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        else:
            assert not family.name.endswith("_total")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: the parser's word stands alone")
def test_promtool_finds_nothing_to_say(metrics: Metrics) -> None:
    """Prometheus' own linter has no complaint."""
    done = subprocess.run(["promtool", "check", "metrics"], input=filled(metrics), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_numbers_are_counted(metrics: Metrics) -> None:
    """What was told is what stands there."""
    filled(metrics)
    assert value(metrics, "failshut_records_read_total", topic="telemetry") == 10
    assert value(metrics, "failshut_decisions_total", gate="payments.refund", kind="close", cause="drift") == 1
    assert value(metrics, "failshut_decisions_total", gate="fleet.scale", kind="close", cause="") == 1
    assert value(metrics, "failshut_statements_refused_total") == 2
    assert value(metrics, "failshut_seals_differing_total") == 2
    assert value(metrics, "failshut_other_effects_total") == 2
    assert value(metrics, "failshut_evidence_age_seconds", partition="0") == 1
    assert value(metrics, "failshut_evidence_age_seconds", partition="1") == float("inf")
    assert value(metrics, "failshut_mark_age_seconds", topic="telemetry", partition="2") == 0.5
    assert value(metrics, "failshut_gap", topic="telemetry", partition="2") == 1
    assert value(metrics, "failshut_unconfirmed_trips", gate="payments.refund", condition="drift:s/x") == 2
    assert value(metrics, "failshut_allowed_false_trips", gate="payments.refund", condition="drift:s/x") == 2.5
    assert value(metrics, "failshut_marks_total", result="failed") == 1
    assert value(metrics, "failshut_queue_records") == 7


def test_a_gate_is_open_while_its_permit_goes_on(metrics: Metrics) -> None:
    """Open, for how long, in which state, and why not: a permit that has run out is a closed gate, whatever was decided."""
    filled(metrics)
    assert value(metrics, "failshut_gate_open", gate="fleet.scale") == 1
    assert value(metrics, "failshut_gate_remaining_seconds", gate="fleet.scale") == 2.5
    assert value(metrics, "failshut_gate_closed", gate="fleet.scale", cause="lapsed") is None
    assert value(metrics, "failshut_gate_open", gate="payments.route") == 0
    assert value(metrics, "failshut_gate_closed", gate="payments.route", cause="lapsed") == 1
    assert value(metrics, "failshut_gate_breaker", gate="payments.route", state="ARMED") == 1
    assert value(metrics, "failshut_gate_closed", gate="payments.refund", cause="drift") == 1
    assert value(metrics, "failshut_gate_breaker", gate="payments.refund", state="TRIPPED") == 1
    assert (value(metrics, "failshut_gates", state="open"), value(metrics, "failshut_gates", state="closed")) == (1, 2)
    metrics.gates(13_000, [(opened("fleet.scale"), 12_500)])
    assert value(metrics, "failshut_gate_open", gate="fleet.scale") == 0
    assert value(metrics, "failshut_gate_open", gate="payments.refund") is None, "another worker governs it now"
    assert value(metrics, "failshut_gate_closed", gate="payments.refund", cause="drift") is None


def test_gates_beyond_the_bound_are_in_the_totals_alone(metrics: Metrics) -> None:
    """A thousandth gate makes no label, and is still counted as open or closed."""
    metrics.gates(1, ((opened(f"gate-{n}"), 2) for n in range(GATES_MAX + 50)))
    assert value(metrics, "failshut_gates", state="open") == GATES_MAX + 50
    assert value(metrics, "failshut_gate_open", gate=OTHER) is None


def test_gates_beyond_the_bound_are_counted_together(metrics: Metrics) -> None:
    """The labels of gates are bounded; what comes later is counted as other, and those that were first keep theirs."""
    metrics.decided(decision(f"gate-{n}") for n in range(GATES_MAX + 50))
    metrics.decided([decision("gate-0")])
    assert value(metrics, "failshut_decisions_total", gate=OTHER, kind="close", cause="drift") == 50
    assert value(metrics, "failshut_decisions_total", gate="gate-0", kind="close", cause="drift") == 2
    samples = [one for family in metrics.registry.collect() if family.name == "failshut_decisions" for one in family.samples]
    assert len({one.labels["gate"] for one in samples}) == GATES_MAX + 1


def test_tallies_beyond_the_bound_add_up(metrics: Metrics) -> None:
    """A policy's thousandth gate makes no label of its own, and its false trips are still counted."""
    tally = Tally(per_ms=1_000.0, watched_ms=1_000, trips=1)
    metrics.false_trips((f"gate-{n}", "drift:s/x", tally) for n in range(GATES_MAX + 50))
    assert value(metrics, "failshut_unconfirmed_trips", gate=OTHER, condition=OTHER) == 50
    assert value(metrics, "failshut_allowed_false_trips", gate=OTHER, condition=OTHER) == 50
    metrics.false_trips([])
    assert value(metrics, "failshut_unconfirmed_trips", gate="gate-0", condition="drift:s/x") is None


def test_a_dead_letters_kind_is_its_label(metrics: Metrics) -> None:
    """Every kind has a label of its own, from a fixed list, and "other" is one of them."""
    for kind in DeadKind:
        metrics.dead_letter("telemetry", kind)
        assert value(metrics, "failshut_dead_letters_total", topic="telemetry", reason=kind.value) == 1
    assert DeadKind.OTHER.value == OTHER


def test_what_is_gone_is_shown_no_more(metrics: Metrics) -> None:
    """A partition that another worker has, and a gap that was filled, leave no number behind."""
    metrics.evidence(10_000, {0: 9_000, 1: 9_000}, {("telemetry", 0): 1}, [("telemetry", 0)], [])
    metrics.evidence(10_000, {1: 9_000}, {}, [], [])
    assert value(metrics, "failshut_evidence_age_seconds", partition="0") is None
    assert value(metrics, "failshut_evidence_age_seconds", partition="1") == 1
    assert value(metrics, "failshut_gap", topic="telemetry", partition="0") is None
    assert value(metrics, "failshut_mark_age_seconds", topic="telemetry", partition="0") is None


def test_the_endpoint_serves_them(metrics: Metrics) -> None:
    """Port 0 finds a port, and Prometheus reads there what was counted."""
    metrics.mark(True)
    port = metrics.serve(0, "127.0.0.1")
    assert port == metrics.port > 0
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert 'failshut_marks_total{result="written"} 1.0' in answer.read().decode()


def asked(port: int, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()) if error.headers["Content-Type"] == "application/json" else {}


def test_ready_says_why_not_and_healthz_asks_for_the_event_loop_alone() -> None:
    """A store that is away makes no worker unhealthy: a restart would not bring it back. It is not ready, and says why."""
    now = [0.0]
    vitals = Vitals(lambda: now[0])
    with Metrics() as one:
        one.vitals = vitals
        port = one.serve(0)
        assert asked(port, "/healthz") == (200, {"alive": True, "why": []})
        assert asked(port, "/ready") == (503, {"ready": False, "why": [NOT_YET]})
        vitals.say(["the store does not take every write"])
        assert asked(port, "/healthz") == (200, {"alive": True, "why": []})
        assert asked(port, "/ready") == (503, {"ready": False, "why": ["the store does not take every write"]})
        vitals.say([])
        assert asked(port, "/ready") == (200, {"ready": True, "why": []})
        now[0] += SILENT_SECONDS_MAX + 1
        stuck = ["the event loop has not gone round for 16 s"]
        assert asked(port, "/healthz") == (503, {"alive": False, "why": stuck})
        assert asked(port, "/ready") == (503, {"ready": False, "why": stuck})
        assert asked(port, "/elsewhere") == (404, {})


def test_a_worker_that_never_reports_is_stuck_in_the_end() -> None:
    """Its start may take two minutes and not for ever."""
    now = [0.0]
    vitals = Vitals(lambda: now[0])
    now[0] = BEGIN_SECONDS_MAX
    assert not vitals.stuck
    now[0] += 1
    assert vitals.stuck
    vitals.say([str(number) for number in range(100)])
    assert len(vitals.why_not) == 20


def test_a_taken_port_is_an_error(metrics: Metrics) -> None:
    """A worker whose metrics nobody can read says so at its start."""
    port = metrics.serve(0, "127.0.0.1")
    with Metrics() as another, pytest.raises(MetricsUnavailable, match=str(port)):
        another.serve(port, "127.0.0.1")


def test_a_closed_endpoint_lets_go_of_its_port(metrics: Metrics) -> None:
    """After closing, the port is free and no thread is left."""
    port = metrics.serve(0, "127.0.0.1")
    metrics.close()
    with Metrics() as another:
        assert another.serve(port, "127.0.0.1") == port


def test_two_workers_do_not_share_numbers(metrics: Metrics) -> None:
    """Each worker has a registry of its own."""
    with Metrics() as another:
        metrics.mark(True)
        assert value(another, "failshut_marks_total", result="written") is None
