"""A test is marked for the servers that its fixtures are, and is not marked by hand for them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
BY_HAND = re.compile(r"^@pytest\.mark\.(kafka|store)\n(?:@.*\n)*(?:async )?def (test_\w+)\(([^)]*)\)", re.MULTILINE)


@pytest.fixture
def conftest(request: pytest.FixtureRequest) -> Any:
    """tests/conftest.py, as pytest has loaded it."""
    return request.config.pluginmanager.get_plugin(str(TESTS / "conftest.py"))


@pytest.mark.parametrize(
    ("fixtures", "markers"),
    [
        (("store", "_valkey", "suffix"), ["store"]),
        (("redis_server", "_redis"), ["store"]),
        (("broker", "transport_kafka"), ["kafka"]),
        (("rig", "kafka", "store", "_valkey"), ["kafka", "store"]),
        (("tmp_path", "suffix", "free_port"), []),
    ],
)
def test_markers_follow_from_fixtures(conftest: Any, fixtures: tuple[str, ...], markers: list[str]) -> None:
    """Whatever a test uses, also through other fixtures, marks it."""
    found: list[str] = []
    item = SimpleNamespace(
        fixturenames=fixtures, add_marker=found.append, path=Path("test_it.py"), get_closest_marker=lambda name: None
    )
    conftest.pytest_collection_modifyitems([item])
    assert found == markers


def test_the_marker_is_there_when_pytest_selects(request: pytest.FixtureRequest) -> None:
    """No test of this run uses a server without the marker, whatever was selected."""
    servers: dict[str, str] = request.getfixturevalue("conftest").SERVERS
    unmarked = [
        item.nodeid
        for item in request.session.items
        for fixture in getattr(item, "fixturenames", ())
        if fixture in servers and item.get_closest_marker(servers[fixture]) is None
    ]
    assert unmarked == []


def test_nothing_is_marked_twice(conftest: Any) -> None:
    """A marker by hand stands only where no fixture in the test's signature is that server."""
    twice = [
        f"{path.name}: {name}"
        for path in TESTS.rglob("test_*.py")
        for marker, name, arguments in BY_HAND.findall(path.read_text(encoding="utf-8"))
        for argument in re.findall(r"\w+(?=:)", arguments)
        if conftest.SERVERS.get({"store": "_valkey", "redis_server": "_redis"}.get(argument, argument)) == marker
    ]
    assert twice == []
