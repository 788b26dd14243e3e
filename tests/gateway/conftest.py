"""A gateway on a real Valkey, with a monitor that does as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway.gateway_support import Running
from guard.standin import Monitor

from failshut_servers import Valkey


@pytest.fixture
def monitor(store: Valkey, suffix: str) -> Iterator[Monitor]:
    monitor = Monitor(store.url, f"test.{suffix}")
    yield monitor
    monitor.shut_down()


@pytest.fixture
def running(monitor: Monitor, tmp_path: Path) -> Iterator[Running]:
    with Running(monitor, tmp_path / "access.json") as running:
        yield running


@pytest.fixture
def key(running: Running) -> str:
    return running.key()
