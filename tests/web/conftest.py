"""A gateway with its console, on a real Valkey, with a monitor that does as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from guard.standin import Monitor
from web.web_support import Served, list_gate

from failshut_servers import Valkey


@pytest.fixture
def monitor(store: Valkey, suffix: str) -> Iterator[Monitor]:
    monitor = Monitor(store.url, f"test.{suffix}")
    list_gate(monitor)
    yield monitor
    monitor.shut_down()


@pytest.fixture
def served(monitor: Monitor, tmp_path: Path) -> Iterator[Served]:
    with Served(monitor, tmp_path / "access.json") as served:
        yield served
