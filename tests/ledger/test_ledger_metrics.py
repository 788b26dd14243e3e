"""What Prometheus hears of a ledger: numbers that were verified, and none where they cannot be."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from console.console_support import Failshut
from ledger.test_witness_asking import W, asking, folder, policy_of, witnesses, write
from ledger.witness_support import KEY, until
from patience import patient
from prometheus_client.parser import text_string_to_metric_families

from failshut_console.exits import Trouble
from failshut_console.ledger.ledger_metrics import LedgerMetrics, serve_metrics
from failshut_ledger.disk.files import CHECKPOINT, COSIGNED
from failshut_ledger.notes.keys import Signer
from failshut_ledger.notes.policy import parse_policy

__all__ = ["folder"]


def told(metrics: LedgerMetrics) -> dict[str, float]:
    return {
        sample.name.removeprefix("failshut_ledger_") + "".join(sample.labels.values()): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }


def test_it_says_how_far_a_ledger_is_cosigned_and_how_old_that_is(folder: Path, tmp_path: Path) -> None:
    """Leaves, cosigned leaves, the quorum, and each witness; one that never cosigned has no age."""
    with witnesses(tmp_path, 1) as (one,):
        trust = policy_of([one.url, "http://127.0.0.1:1"], 1)
        metrics = LedgerMetrics(folder, parse_policy(trust))
        assert told(metrics) == {
            "readable": 1,
            "leaves": 5,
            "cosigned_leaves": 0,
            "quorum_met": 0,
            "forked": 0,
            "witness_answersw0": 0,
            "witness_answersw1": 0,
        }
        with asking(folder, trust) as asked:
            until(lambda: asked.word() == "cosigned" and asked.cosigned()[0] == 5, "it is cosigned")
            write(folder, 9)
            until(lambda: asked.cosigned()[0] == 9, "what was written is cosigned")
            until(lambda: asked.word() == "cosigned" and asked.word("w1") == "unheard", "both are told of")
    found = told(metrics)
    age_s = found.pop("cosignature_age_secondsw0")
    assert 0 <= age_s < patient(60)
    assert found == {
        "readable": 1,
        "leaves": 9,
        "cosigned_leaves": 9,
        "quorum_met": 1,
        "forked": 0,
        "witness_answersw0": 1,
        "witness_answersw1": 0,
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / CHECKPOINT).unlink(),
        lambda folder: (folder / CHECKPOINT).write_bytes(b"x"),
        lambda folder: (folder / COSIGNED).write_bytes(b"x"),
    ],
)
def test_what_cannot_be_believed_is_no_number(folder: Path, damage: Callable[[Path], None]) -> None:
    """A checkpoint that is gone or changed: readable is 0, and nothing else is said."""
    damage(folder)
    assert told(LedgerMetrics(folder, parse_policy(policy_of(["http://127.0.0.1:1"], 1)))) == {"readable": 0}


def test_a_stranger_key_is_not_believed(folder: Path) -> None:
    """The policy names whose ledger it is."""
    other = f"log {Signer.generate('another').verifier}\nwitness w0 {W[0].verifier} http://127.0.0.1:1\nquorum w0\n".encode()
    assert told(LedgerMetrics(folder, parse_policy(other))) == {"readable": 0}


def test_the_command_answers_prometheus_and_stops(folder: Path, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """`ledger cosign --metrics-port` in the text that Prometheus reads, for as long as it runs."""
    trust, port = tmp_path / "trust.policy", free_port()
    trust.write_bytes(policy_of(["http://127.0.0.1:1"], 1))
    command = [sys.executable, "-m", "failshut_console", "ledger", "cosign", str(folder), "--witnesses", str(trust)]
    process = subprocess.Popen([*command, "--metrics-port", str(port)], stderr=subprocess.DEVNULL)

    def scraped() -> dict[str, float]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=patient(10)) as answer:
                text = answer.read().decode()
        except (OSError, urllib.error.URLError):
            return {}
        return {one.name: one.samples[0].value for one in text_string_to_metric_families(text) if one.samples}

    try:
        until(lambda: scraped().get("failshut_ledger_leaves") == 5, "it answers", 60)
    finally:
        process.terminate()
        assert process.wait(patient(30)) == 0
    assert scraped() == {}


def test_a_port_that_is_taken_is_said(folder: Path, free_port: Callable[[], int]) -> None:
    """Nothing is started, and what to do is said."""
    policy, port = parse_policy(policy_of(["http://127.0.0.1:1"], 1)), free_port()
    end = serve_metrics(folder, policy, "127.0.0.1", port)
    try:
        with pytest.raises(Trouble, match=str(port)):
            serve_metrics(folder, policy, "127.0.0.1", port)
    finally:
        end()


def test_metrics_need_a_policy(failshut: Failshut, folder: Path, tmp_path: Path) -> None:
    """Without one nobody can say who cosigned."""
    (tmp_path / "ledger.key").write_text(f"{KEY.secret()}\n")
    at = ("--broker", "kafka://127.0.0.1:1", "--key", tmp_path / "ledger.key", "--metrics-port", "1")
    told = failshut("ledger", "run", folder, *at)
    assert told.status == 2
    assert "--witnesses" in told.err
