"""Damage in OTLP's JSON costs what a budget allows, however little each damaged thing is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from failshut_streams.codecs import Fault, Item, OtlpDecoder, Sample
from failshut_streams.codecs.otlp_walk import BAD_HOLDERS_MAX, BAD_POINTS_MAX

APPEND_MS = 1_772_366_401_000
GOOD = {"asDouble": 1.5}
BAD: dict[str, list[object]] = {"asDouble": []}


def metric(name: str, points: list[Any]) -> dict[str, Any]:
    """A gauge."""
    return {"name": name, "gauge": {"dataPoints": points}}


def resource(*metrics: Any, service: str = "pay") -> dict[str, Any]:
    """Metrics of one service."""
    attributes = [{"key": "service.name", "value": {"stringValue": service}}]
    return {"resource": {"attributes": attributes}, "scopeMetrics": [{"metrics": list(metrics)}]}


def decoded(*resources: Any) -> list[Item]:
    """The items of a message of these."""
    return OtlpDecoder().decode(None, json.dumps({"resourceMetrics": resources}).encode(), (), APPEND_MS)


def samples(items: list[Item]) -> list[str]:
    """The series of the samples among these."""
    return [item.series for item in items if isinstance(item, Sample)]


def faults(items: list[Item]) -> list[Fault]:
    """The faults among these."""
    return [item for item in items if isinstance(item, Fault)]


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the lenient reader tried to make something of, a piece each."""
    tried: list[object] = []
    convert = msgspec.convert

    def counted(thing: Any, *more: Any, **how: Any) -> Any:
        tried.append(thing)
        return convert(thing, *more, **how)

    monkeypatch.setattr(msgspec, "convert", counted)
    return tried


def test_points_beyond_the_budget_are_read_together_or_not_at_all(converted: list[object]) -> None:
    """Up to the bound each damaged point costs itself. Behind it one costs its metric's rest, and other metrics nothing."""
    many = [BAD] * BAD_POINTS_MAX
    items = decoded(
        resource(
            metric("a", [GOOD, *many, GOOD]),
            metric("b", [GOOD] * 20_000),
            metric("c", [GOOD, *[BAD] * 20_000, GOOD]),
            metric("d", [GOOD]),
        )
    )
    assert samples(items) == ["pay/a"] * 2 + ["pay/b"] * 20_000 + ["pay/d"]
    assert [fault.reason for fault in faults(items) if fault.series == "pay/c"] == ["20002 more points that cannot be read"]
    assert len(converted) < 2 * BAD_POINTS_MAX + 100


@pytest.mark.parametrize(
    "damaged", [1, {"scopeMetrics": 1}, {"scopeMetrics": [1]}, resource(1), resource({"gauge": 1}), resource({"name": []})]
)
def test_damage_that_names_no_series_ends_the_reading_of_its_message(damaged: Any) -> None:
    """What stood before it counts, each piece is told up to the bound, and then that there was more."""
    items = decoded(resource(metric("a", [GOOD])), *[damaged] * 5_000, resource(metric("b", [GOOD])))
    assert samples(items) == ["pay/a"]
    told = [fault for fault in faults(items) if fault.series is None or fault.series == "pay/"]
    assert len(told) <= BAD_HOLDERS_MAX + 1
    assert "the rest is not read" in told[-1].reason


def test_damage_that_names_its_series_is_told_to_each() -> None:
    """However many there are: that is what their gates are told by."""
    items = decoded(resource(*[{"name": f"m{number}", "gauge": 1} for number in range(3_000)], metric("good", [GOOD])))
    assert {fault.series for fault in faults(items)} == {f"pay/m{number}" for number in range(3_000)}
    assert samples(items) == ["pay/good"]
