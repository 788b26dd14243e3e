"""Each rule of docker/prometheus/ fires over what it is for, over nothing else, and when the numbers themselves are gone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.prometheus_support import RULES, Prometheus, Worker, needs_prometheus

#: What a monitor that is well sends: one gate open, one worker, evidence of now.
WELL = {
    'up{job="failshut",instance="a"}': "1x60",
    'failshut_gate_open{gate="pay"}': "1x60",
    'failshut_gates{state="open"}': "1x60",
    'failshut_owned_partitions{topic="evidence",instance="a"}': "4x60",
    'failshut_evidence_age_seconds{partition="0"}': "0.3x60",
    'failshut_mark_age_seconds{topic="telemetry",partition="0"}': "0.2x60",
    'failshut_marks_total{result="written",instance="a"}': "0+75x60",
    'failshut_marks_total{result="failed",instance="a"}': "0x60",
    "failshut_policies_unread": "0x60",
    "failshut_operators_differ": "0x60",
    'failshut_store_unreachable_total{instance="a"}': "3x60",
    'failshut_refused_by_foreign_fence_total{instance="a"}': "1x60",
    'failshut_refused_by_later_term_total{instance="a"}': "0x60",
    'failshut_refused_by_fence_ahead_total{instance="a"}': "0x60",
    "failshut_seals_differing_total": "0x60",
    "failshut_unsealed_permits": "0x60",
    'failshut_future_evidence_total{instance="a"}': "0x60",
    "failshut_outcomes_lost_total": "5x60",
    'failshut_snapshot_timestamp_seconds{partition="0"}': "0+15x60",
    "failshut_statements_written_total": "0+60x60",
    'failshut_unconfirmed_trips{gate="pay",condition="drift:s/x"}': "1x60",
    'failshut_allowed_false_trips{gate="pay",condition="drift:s/x"}': "2x60",
}

#: Rule: what is different then, and which other rules fire with it.
ILL: dict[str, tuple[dict[str, str], set[str]]] = {
    "FailshutGateClosed": ({'failshut_gate_open{gate="pay"}': "1x10 0x50"}, set()),
    "FailshutGateUngoverned": (
        {'failshut_gate_open{gate="pay"}': "1x10 stale", 'failshut_gate_open{gate="route"}': "1x60"}, set(),
    ),
    "FailshutWorkerDown": (
        {'up{job="failshut",instance="b"}': "1x10 0x50"}, set(),
    ),
    "FailshutWorkersGone": ({'up{job="failshut",instance="a"}': "1x10 0x50"}, {"FailshutWorkerDown"}),
    "FailshutPartitionsUnowned": ({'failshut_owned_partitions{topic="evidence",instance="a"}': "4x10 2x50"}, set()),
    "FailshutEvidenceOld": ({'failshut_evidence_age_seconds{partition="0"}': "0.3x10 11x50"}, set()),
    "FailshutMarkOld": ({'failshut_mark_age_seconds{topic="telemetry",partition="0"}': "0.2x10 11x50"}, set()),
    "FailshutMarksFail": ({'failshut_marks_total{result="failed",instance="a"}': "0+1x60"}, set()),
    "FailshutGap": ({'failshut_gap{topic="telemetry",partition="0"}': "1x60"}, set()),
    "FailshutUnvouched": ({'failshut_unvouched{topic="telemetry",partition="0"}': "1x60"}, set()),
    "FailshutOpenTransaction": (
        {'failshut_open_transaction_age_seconds{topic="telemetry",partition="0"}': "0+15x60"}, set(),
    ),
    "FailshutDisputed": ({'failshut_disputed{gate="pay"}': "1x60"}, set()),
    "FailshutPoliciesUnread": ({"failshut_policies_unread": "1x60"}, set()),
    "FailshutOperatorsDiffer": ({"failshut_operators_differ": "1x60"}, set()),
    "FailshutStoreUnreachable": ({'failshut_store_unreachable_total{instance="a"}': "0+10x60"}, set()),
    "FailshutWritesRefused": ({'failshut_refused_by_fence_ahead_total{instance="a"}': "0+10x60"}, set()),
    "FailshutSealsDiffer": ({"failshut_seals_differing_total": "0x30 1x30"}, set()),
    "FailshutUnsealed": ({"failshut_unsealed_permits": "6x60"}, set()),
    "FailshutClockBehind": ({'failshut_future_evidence_total{instance="a"}': "0+1x60"}, set()),
    "FailshutDeadLetters": ({'failshut_dead_letters_total{topic="telemetry",reason="json"}': "0+1x60"}, set()),
    "FailshutOutcomesLost": ({"failshut_outcomes_lost_total": "5x30 9x30"}, set()),
    "FailshutOutcomesWait": ({'failshut_outcome_move_failures_total{why="other",instance="a"}': "0+2x60"}, set()),
    "FailshutLagUnsampled": ({'failshut_lag_samples_total{result="failed"}': "0+1x60"}, set()),
    "FailshutFalseTrips": ({'failshut_unconfirmed_trips{gate="pay",condition="drift:s/x"}': "3x60"}, set()),
    "FailshutSnapshotOld": ({'failshut_snapshot_timestamp_seconds{partition="0"}': "0+15x20 300x40"}, set()),
    "FailshutLedgerForked": ({'failshut_ledger_forked{instance="l"}': "0x10 1x50"}, set()),
    "FailshutLedgerUnreadable": ({'failshut_ledger_readable{instance="l"}': "1x10 0x50"}, set()),
    "FailshutLedgerUncosigned": ({'failshut_ledger_quorum_met{instance="l"}': "1x10 0x50"}, set()),
    "FailshutCosignatureOld": ({'failshut_ledger_cosignature_age_seconds{instance="l",witness="w"}': "0+15x60"}, set()),
}  # fmt: skip

#: Numbers that are there only while something is wrong, or once something was: their absence is no alarm.
NOW_AND_THEN = {
    "failshut_gap", "failshut_unvouched", "failshut_open_transaction_age_seconds", "failshut_disputed",
    "failshut_dead_letters_total", "failshut_outcome_move_failures_total", "failshut_lag_samples_total",
    "failshut_unconfirmed_trips", "failshut_allowed_false_trips",
    # A ledger is a process of its own, and many have none.
    "failshut_ledger_forked", "failshut_ledger_readable", "failshut_ledger_quorum_met",
    "failshut_ledger_cosignature_age_seconds",
}  # fmt: skip


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


MISSING = [rule["labels"]["signal"] for rule in rules() if rule["alert"] == "FailshutSignalMissing"]


def tried(tmp_path: Path, cases: dict[str, tuple[dict[str, str], set[str]]]) -> None:
    """Have promtool say which rules fire after fifteen minutes of these numbers: exactly those that are named."""
    tests = [
        {
            "name": name,
            "interval": "15s",
            "input_series": [{"series": series, "values": values} for series, values in numbers.items()],
            "promql_expr_test": [
                {
                    "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "14m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(fire)],
                }
            ],
        }
        for name, (numbers, fire) in cases.items()
    ]
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": tests})
    )
    done = subprocess.run(["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_a_monitor_that_is_well_calls_nobody(tmp_path: Path) -> None:
    """No rule fires over counters that stand still, whatever they once counted."""
    tried(tmp_path, {"well": (WELL, set())})


@needs_prometheus
def test_each_rule_fires_over_what_it_is_for(tmp_path: Path) -> None:
    """And over nothing else."""
    assert set(ILL) == {rule["alert"] for rule in rules()} - {"FailshutSignalMissing"}
    tried(tmp_path, {alert: (WELL | more, {alert, *others}) for alert, (more, others) in ILL.items()})


@needs_prometheus
def test_a_signal_that_is_gone_is_an_alarm(tmp_path: Path) -> None:
    """Whoever waits for a bad number never hears of one that nobody sends."""
    cases = {}
    for signal in MISSING:
        left = {series: values for series, values in WELL.items() if not re.match(rf"{signal}(\{{|$)", series)}
        assert left != WELL, f"{signal}: nobody sends it"
        cases[signal] = (left, {"FailshutSignalMissing"})
    tried(tmp_path, cases)


def test_every_number_that_a_rule_reads_has_a_rule_for_its_absence() -> None:
    """Or is one of those that come and go."""
    read = {name for rule in rules() for name in re.findall(r"failshut_\w+", rule["expr"])}
    assert read == {*MISSING, *NOW_AND_THEN}


def test_every_rule_says_what_to_do() -> None:
    """Whoever is called at night reads what is wrong and what to do, and knows whether it can wait."""
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["do"].endswith(".")


@pytest.mark.slow
@needs_prometheus
def test_rules_fire_when_a_real_worker_is_killed(tmp_path: Path) -> None:
    """A real Prometheus reads a worker's endpoint, finds no fault in any rule, and raises the alarm once it is gone."""
    worker = Worker()
    prometheus = Prometheus(tmp_path, worker.port, re.sub(r"for: \w+", "for: 0s", RULES.read_text()))

    def firing() -> set[str]:
        return {found["metric"]["alertname"] for found in prometheus.query('ALERTS{alertstate="firing"}')}

    try:
        prometheus.until(lambda: prometheus.query('up{job="failshut"} == 1'), "the worker is read")
        prometheus.until(lambda: "FailshutGateClosed" in firing(), "the gate that is closed is an alarm")
        assert not {"FailshutWorkerDown", "FailshutWorkersGone", "FailshutGateUngoverned"} & firing()
        worker.kill()
        gone = {"FailshutWorkerDown", "FailshutWorkersGone", "FailshutGateUngoverned", "FailshutSignalMissing"}
        prometheus.until(lambda: gone <= firing(), "nobody heard that it was killed")
        groups = prometheus.ask("rules")["groups"]
        assert [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")] == []
    finally:
        worker.kill()
        prometheus.stop()
