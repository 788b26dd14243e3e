"""How the demonstration judges what it saw."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from failshut_breakers.policy.policy import PolicyError, gates_named, parse_policy
from failshut_console.demo.channel import Channel
from failshut_console.demo.conductor import BROKEN_POLICY, Conductor, Result
from failshut_console.demo.troubles import Kind
from failshut_console.exits import Exit, Trouble
from failshut_console.local.state import Runtime, State
from failshut_console.terminal.live import Live

KIND = Kind("lag", "it falls behind", ("a",), ("lag",), 3.0, "ttl", time.monotonic, lambda: None)
GOOD = Result(KIND, "a", closed_s=1.0, cause="lag", slipped=0, back_s=2.0)


@pytest.mark.parametrize(
    ("result", "wrong"),
    [
        (Result(KIND, "a"), "did not close"),
        (Result(KIND, "a", closed_s=3.1, cause="lag", back_s=1.0), "after its bound"),
        (Result(KIND, "a", closed_s=1.0, cause="lag", slipped=1, back_s=1.0), "slipped through"),
        (Result(KIND, "a", closed_s=1.0, cause="lag"), "did not come back"),
    ],
    ids=["never closed", "too late", "slipped", "not back"],
)
def test_whatever_is_missing_ends_with_status_1_and_is_named(
    result: Result, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One miss among good results is status 1, MISSED in its row, and a sentence that says what was missed."""
    assert not result.good
    conductor = Conductor(State(tmp_path), seconds=1, results=[GOOD, result])
    assert conductor._sum_up(Live(enabled=False)) is Exit.REFUSED
    out = capsys.readouterr().out
    assert wrong in out
    assert out.count("MISSED") == 1


def test_a_round_in_which_all_was_seen_ends_with_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every closing in its bound, nothing slipped, all back: status 0."""
    conductor = Conductor(State(tmp_path), seconds=1, results=[GOOD, GOOD])
    assert conductor._sum_up(Live(enabled=False)) is Exit.DONE
    assert "every closing was seen (2)" in capsys.readouterr().out


def test_the_final_table_fits_80_columns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The widest row that the demonstration has fits a terminal of 80 columns."""
    kind = Kind("heartbeat", "", ("payments.refund",), ("bad_policy",), 5.8, "", time.monotonic, lambda: None)
    result = Result(kind, "payments.refund", closed_s=9.25, cause="bad_policy", slipped=12, back_s=13.5)
    Conductor(State(tmp_path), results=[result])._sum_up(Live(enabled=False))
    title, row = capsys.readouterr().out.splitlines()[1:3]
    assert max(len(title), len(row)) <= 80
    assert "…" not in title + row
    assert row.rstrip().endswith("MISSED")


def test_the_broken_policy_is_broken_and_names_its_gate() -> None:
    """The trouble with the policy file is one: the file is invalid and still says which gate it is about."""
    assert gates_named(BROKEN_POLICY) == ["fleet.scale"]
    with pytest.raises(PolicyError):
        parse_policy(BROKEN_POLICY)


def test_a_second_demonstration_leaves_the_first_one_alone(tmp_path: Path) -> None:
    """Its folder is emptied at the start, so a running one must not be emptied under its feet."""
    import os

    state = State(tmp_path)
    state.write_runtime(Runtime(pid=os.getpid()))
    (tmp_path / "kafka").mkdir()
    with pytest.raises(Trouble, match="runs already"):
        Conductor(state).run()
    assert (tmp_path / "kafka").exists()


def test_a_service_that_does_not_answer_ends_the_demonstration() -> None:
    """An order that nobody takes is an error with a reason, not a trouble that was made."""
    channel = Channel({"autoscaler": "fleet.scale"})
    try:
        with pytest.raises(Trouble, match="does not answer"):
            channel.order("autoscaler", True)
    finally:
        channel.close()
