"""`failshut detectors`: what there is, and whether one keeps the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from console.console_support import Failshut

from failshut_detectors import registry
from failshut_detectors.suite import Promise

FAULTY = """
import time
from failshut_detectors import Alarm, Detector, Kind

class Faulty(Detector):
    '''Speak of values above 60, and look at the clock.'''
    name = "faulty"
    kind = Kind.DRIFT
    def __init__(self, level: float = 60.0) -> None:
        self.level, self.seen, self.at = level, 0, 0.0
    @property
    def ready(self): return self.seen > 10
    def summary(self): return f"{self.seen} values"
    def _feed(self, values, times_ms):
        self.seen += len(values)
        self.at = time.time() * 0
        return [Alarm(index, "high") for index, value in enumerate(values) if value > self.level]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two plug-ins of one package: one that breaks a promise, and one that cannot be loaded."""
    (tmp_path / "faulty_plugin.py").write_text(FAULTY)
    folder = tmp_path / "faulty_plugin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty_plugin\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{registry.GROUP}]\nfaulty = faulty_plugin:Faulty\nabsent = no_such_module:X\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for cached in (registry._plugins, registry._load):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in (registry._plugins, registry._load):
        cached.cache_clear()


def test_every_detector_is_listed_with_what_a_policy_needs(failshut: Failshut) -> None:
    """Name, condition, parameters with their defaults, when it is ready, whether it keeps a budget, what it detects."""
    ended = failshut("detectors", "--json")
    assert ended.status == 0
    rows = {row["name"]: row for row in json.loads(ended.out)["detectors"]}
    assert list(rows) == registry.names()
    adwin = rows["adwin"]
    assert (adwin["condition"], adwin["takes"], adwin["plugin"]) == ("drift", "values", False)
    assert adwin["parameters"]["delta"] == 0.002
    assert adwin["ready_after_records"] == adwin["parameters"]["warm_up"]
    assert adwin["what"].startswith("Detect a change of mean")
    assert rows["cusum"]["false_trips"]
    assert not rows["seasonal_record"]["false_trips"]
    assert rows["fhddm"]["takes"] == "events"
    assert rows["mahalanobis"]["takes"] == "vectors"
    assert all(row["what"] and row["ready_after_records"] for row in rows.values())


def test_the_table_names_them_all(failshut: Failshut) -> None:
    """A person reads the same, with parameters beside their defaults."""
    ended = failshut("detectors")
    assert ended.status == 0
    for name in registry.names():
        assert f"{name} " in ended.out
    assert "delta 0.002" in ended.out


@pytest.mark.usefixtures("plugin")
def test_plug_ins_are_listed_and_refused_ones_named(failshut: Failshut) -> None:
    """What can be used stands in the table; what cannot, below it, with the reason and status 1."""
    ended = failshut("detectors")
    assert ended.status == 1
    assert "faulty (plug-in)" in ended.out
    assert "refused: the plug-in 'absent' cannot be loaded: ModuleNotFoundError" in ended.err
    assert set(json.loads(failshut("detectors", "--json").out)["refused"]) == {"absent"}


@pytest.mark.slow
def test_one_that_keeps_the_contract_is_status_0(failshut: Failshut) -> None:
    """With progress on standard error: a line for each promise."""
    ended = failshut("detectors", "check", "adwin", "--records", 6_000)
    assert ended.status == 0, ended
    assert ended.out.startswith("adwin: good. ")
    assert [line.split(": ")[1] for line in ended.err.splitlines()] == [promise.value for promise in Promise]


@pytest.mark.usefixtures("plugin")
def test_one_that_breaks_it_is_status_1_and_says_which_promise(failshut: Failshut) -> None:
    """The finding names what was seen and where; what rests on it was not tried, and is named too."""
    ended = failshut("detectors", "check", "faulty", "--records", 6_000)
    assert ended.status == 1
    assert "faulty: no clock, no chance: calls time.time while it is fed (stream: steps, seed 1 at record 0)" in ended.out
    assert "not tried" in ended.out
    (finding,) = json.loads(failshut("detectors", "check", "faulty", "--records", 6_000, "--json").out)["findings"]
    assert (finding["promise"], finding["seed"], finding["index"]) == (Promise.CLOCK.value, 1, 0)


def test_no_such_detector_is_wrong_usage(failshut: Failshut) -> None:
    """Status 2, and what there is."""
    ended = failshut("detectors", "check", "nonsense")
    assert ended.status == 2
    assert "no detector is named 'nonsense': there are adwin" in ended.err


@pytest.mark.parametrize("command", [("detectors",), ("detectors", "check")], ids=" ".join)
def test_help_says_what_exit_statuses_mean(failshut: Failshut, command: tuple[str, ...]) -> None:
    """As with every command."""
    ended = failshut(*command, "--help")
    assert ended.status == 0
    assert "Exit status:" in ended.out
