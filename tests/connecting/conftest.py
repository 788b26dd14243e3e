"""Guards and monitors on stores that are reached in every way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from connecting.places import Authority, Sentinel, started
from guard.standin import Monitor

from failshut import Configuration, Gate, Guard
from failshut_servers import Redis, Valkey


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def guard_of() -> Iterator[Callable[..., Gate]]:
    """A function that puts a guard before a monitor's gate; guards end with the test."""
    guards: list[Guard] = []

    def make(monitor: Monitor, url: str, **settings: Any) -> Gate:
        guard = Guard(Configuration(store_url=url, jwks=monitor.jwks, deadline_ms=2_000, **settings))
        guards.append(guard)
        return Gate(monitor.gate, guard=guard)

    yield make
    for guard in guards:
        guard.close()


@pytest.fixture
def monitor_of(suffix: str) -> Iterator[Callable[[Redis | Valkey], Monitor]]:
    """A function that makes a monitor that writes to a server past all that stands before it."""
    monitors: list[Monitor] = []

    def make(server: Redis | Valkey) -> Monitor:
        monitors.append(Monitor(server.url, f"test.{suffix}"))
        return monitors[-1]

    yield make
    for monitor in monitors:
        monitor.shut_down()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that starts stores with options of their own; they end with the test."""
    running: list[Redis | Valkey] = []

    def start(kind: type[Redis] | type[Valkey], *options: object) -> Redis | Valkey:
        if kind is Redis:
            needs_redis()
        server: Redis | Valkey = started(kind, tmp_path / f"{kind.name}-{len(running)}", *options)
        running.append(server)
        return server

    yield start
    for server in running:
        server.kill()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Callable[..., Sentinel]]:
    """A function that starts Sentinels."""
    running: list[Sentinel] = []

    def start(service: str, primary_port: int, *lines: str) -> Sentinel:
        needs_redis()
        sentinel = Sentinel(tmp_path / f"sentinel-{len(running)}", service, primary_port, *lines).start()
        running.append(sentinel)
        return sentinel

    yield start
    for sentinel in running:
        sentinel.kill()


def needs_redis() -> None:
    """Skip, and say so, where Debian's Redis is not installed: the packaged Valkey knows neither TLS nor Sentinel."""
    if not Redis.available():
        pytest.skip("Redis is not installed here (apt-get install redis-server)")
