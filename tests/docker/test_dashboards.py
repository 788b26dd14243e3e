"""The dashboards are what Grafana reads, and each of their queries finds something in a real Prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from docker.prometheus_support import DOCKER, Prometheus, Worker, needs_prometheus

DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
SCHEMA = json.loads((DOCKER / "grafana" / "dashboard.schema.json").read_text())


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_what_grafana_reads(path: Path) -> None:
    """By schema; panels have ids of their own and stand beside each other; variables that are used are there."""
    board = read(path)
    jsonschema.validate(board, SCHEMA)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]
        assert not taken & cells(panel), f"{panel['title']} lies over another panel"
        taken |= cells(panel)
        assert [target["refId"] for target in panel["targets"]] == [chr(65 + n) for n in range(len(panel["targets"]))]
    used = set(re.findall(r"\$\{?(\w+)", path.read_text()))
    assert used == {variable["name"] for variable in board["templating"]["list"]}


def test_there_is_one_for_gates_one_for_a_gate_and_one_for_the_monitor() -> None:
    """Each has an address of its own."""
    assert {read(path)["uid"] for path in DASHBOARDS} == {"failshut-gates", "failshut-gate", "failshut-monitor"}


@pytest.mark.slow
@needs_prometheus
def test_every_query_finds_something(tmp_path: Path) -> None:
    """Each is run against a real Prometheus that reads a worker which has used every number once."""
    worker = Worker()
    prometheus = Prometheus(tmp_path, worker.port, "groups: []\n")
    try:
        prometheus.until(lambda: prometheus.query("count_over_time(failshut_gate_open[1m]) > 3"), "the worker is read")
        for path in DASHBOARDS:
            for panel in read(path)["panels"]:
                for target in panel["targets"]:
                    expression = target["expr"].replace("$gate", "payments.refund")
                    assert prometheus.query(expression), f"{path.name}, {panel['title']}: {expression} finds nothing"
    finally:
        worker.kill()
        prometheus.stop()
