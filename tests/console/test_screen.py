"""What a person sees: rows that fit, words that say what is known."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from failshut_console.monitor.gate_views import CLOSED, OPEN, Look, View
from failshut_console.monitor.worker_lines import Worker
from failshut_console.terminal import gate_table

LONG = "drift in amount_eur: mean 48.1 to 97.3 over the last 1,024 records, and then some more words"
VIEWS = (
    View("payments.refund", CLOSED, "TRIPPED", "drift", LONG, admitted=1_204, withheld=37),
    View("payments.route", OPEN, "ARMED", because="3 of 3 conditions hold", life_ms=2_140, admitted=881_000, withheld=0),
    View("a.gate.with.a.very.long.name.that.nobody.should.choose", CLOSED, "ARMED", "lapsed", lapsed=True, because="x"),
)


def drawn(width: int, counts: bool) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False)
    look = Look(10_000, VIEWS, (Worker("w", "failshut", {"telemetry/0": 9_800}),))
    head = gate_table.header("failshut demo", ["00:42", "Kafka 4.3.1, Valkey 9.1.2 (embedded)"], look)
    console.print(gate_table.picture(head, VIEWS, [], width, counts))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("counts", [False, True])
def test_a_gate_is_one_line_and_fits(width: int, counts: bool) -> None:
    """Nothing wraps: header, titles, one line a gate, none wider than the terminal."""
    lines = drawn(width, counts)
    assert len(lines) == 1 + 1 + len(VIEWS)
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_eighty_columns_show_what_matters(width: int) -> None:
    """State, breaker, the permit's life and both counts are whole in 80 columns; the reason may be cut."""
    text = "\n".join(drawn(width, counts=True))
    for word in ("CLOSED", "OPEN", "TRIPPED", "2.1 s", "lapsed", "1,204", "37", "881,000", "drift in"):
        assert word in text
    assert "evidence 0.2 s old" in text


def test_evidence_that_nobody_reports_is_said_so() -> None:
    """Without a worker the header does not show an age."""
    head = gate_table.header("x", [], Look(10_000, (), ()))
    assert "no worker" in head.plain


def test_only_what_changed_is_told_again() -> None:
    """A permit's remaining life is no change; a state, breaker, cause or epoch is."""
    before = {view.gate: view for view in VIEWS}
    renewed = View("payments.route", OPEN, "ARMED", because="3 of 3 conditions hold", life_ms=100)
    assert gate_table.changes(before, [renewed]) == []
    closed = View("payments.route", CLOSED, "ARMED", "lapsed")
    assert gate_table.changes(before, [closed]) == [closed]
