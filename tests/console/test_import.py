"""`failshut record --import` as somebody types it: what it says, where, and with which status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from console.console_support import Ended, Failshut

POLICY = """\
gate: pay
permit: {ttl: 30s}
subjects: ["*"]
conditions:
  - conformance: {series: shop/ms, rule: "value <= 500", window: 5, over: 0.5, detector: fhddm}
"""

Record = Callable[..., tuple[Ended, bool]]


@pytest.fixture
def record(failshut: Failshut, tmp_path: Path) -> Record:
    """Import a text under that policy, and say whether there is a recording."""
    (tmp_path / "p.yaml").write_text(POLICY)

    def run(name: str, text: str, *options: str) -> tuple[Ended, bool]:
        (tmp_path / name).write_text(text)
        ended = failshut("record", "-o", "o.parquet", "--import", name, "--policy", "p.yaml", *options, "--force")
        return ended, (tmp_path / "o.parquet").exists()

    return run


def table(*values: str) -> str:
    return "\n".join(["time,value", *(f'{1_772_442_000 + at},"{value}"' for at, value in enumerate(values))])


def test_a_good_file_is_recorded_without_a_word(record: Record) -> None:
    """Nothing on standard error, status 0."""
    ended, there = record("v.csv", table("48", "49.5"), "--series", "shop/ms")
    assert (ended.status, ended.err, there) == (0, "", True)


def test_a_file_that_nobody_understands_is_refused(record: Record) -> None:
    """Decimal commas: status 2, the first value, and no recording; with the option they are numbers."""
    ended, there = record("v.csv", table("48,5", "49,5"), "--series", "shop/ms")
    assert (ended.status, there) == (2, False)
    assert "line 2: '48,5'" in ended.err
    ended, there = record("v.csv", table("48,5", "49,5"), "--series", "shop/ms", "--decimal-comma")
    assert (ended.status, ended.err, there) == (0, "", True)


def test_a_file_of_faults_is_recorded_with_a_word(record: Record) -> None:
    """Booleans are evidence of faults, as they are live; it is said before."""
    ended, there = record("v.csv", table("true", "false"), "--series", "shop/ms")
    assert (ended.status, there) == (0, True)
    assert "all 2 readings are faults, first in line 2: a boolean" in ended.err


def test_a_name_that_no_policy_asks_for_is_said(record: Record) -> None:
    """A recording in which no gate has evidence looks like any other."""
    ended, there = record("v.csv", table("48"), "--series", "shop/seconds")
    assert (ended.status, there) == (0, True)
    assert "no policy asks for any of these readings: they are of shop/seconds" in ended.err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("v.csv", "time,value\n20260302,48\n", "20260302 is not a time"),
        (
            "v.json",
            '{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"a"},"histograms":[[1,{}]]}]}}',
            "native",
        ),
        ("v.json", "[]", "not the answer"),
        ("v.jsonl", '{"resourceMetrics":[', "line 1"),
        ("v.jsonl", "", "holds no readings"),
        ("v.parquet", "PAR1", "cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_taken_is_said_in_a_sentence(record: Record, name: str, text: str, says: str) -> None:
    """Status 2, no traceback, nothing recorded."""
    ended, there = record(name, text, "--series", "shop/ms")
    assert (ended.status, there) == (2, False)
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_a_zone_that_is_none_is_said_in_a_sentence(record: Record) -> None:
    """Unknown, a folder of zones, or a way out of them."""
    for zone in ("Berlin", "Europe", "../x", "Europe/"):
        ended, there = record("v.csv", table("48"), "--series", "shop/ms", "--zone", zone)
        assert (ended.status, there) == (2, False)
        assert "--zone" in ended.err
