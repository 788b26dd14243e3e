"""Each of the five proxies, started once for its tests, with a gateway of each test's own behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from guard.standin import Monitor, eventually
from proxies.proxy_support import GATE, NAMES, SUBJECT, Backend, GatewayProcess, Proxy, all_ports

from failshut_gateway.access import access_file
from failshut_servers import Valkey


@pytest.fixture(scope="session")
def access(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of keys, and the key of every proxy: it names one subject and one gate."""
    path = tmp_path_factory.mktemp("access") / "access.json"
    now_ms = int(time.time() * 1000)
    _, key = access_file.create(path, now_ms, role="service", subjects=[SUBJECT], gates=[GATE], expires_ms=now_ms + 3_600_000)
    return path, key


@pytest.fixture(scope="session")
def _backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.close()


@pytest.fixture
def backend(_backend: Backend) -> Backend:
    """The backend, with nothing noted yet."""
    _backend.seen.clear()
    _backend.status = 200
    return _backend


@pytest.fixture(scope="module", params=NAMES)
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _backend: Backend, access: tuple[Path, str]
) -> Iterator[Proxy]:
    """One of the proxies, with its file of docker/proxies."""
    folder = tmp_path_factory.mktemp(request.param)
    proxy = Proxy(request.param, folder, all_ports(_backend.port), access[1])
    yield proxy
    proxy.stop()


@pytest.fixture
def monitor(store: Valkey) -> Iterator[Monitor]:
    """The monitor of the gate; its permit is good for as long as a test takes."""
    monitor = Monitor(store.url, GATE)
    monitor.ttl_ms = 600_000
    monitor.issue()
    yield monitor
    monitor.shut_down()


@pytest.fixture
def gateway(
    proxy: Proxy, monitor: Monitor, access: tuple[Path, str], tmp_path: Path, backend: Backend
) -> Iterator[GatewayProcess]:
    """A gateway where the proxy asks, of an open gate: requests come through."""
    monitor.write_jwks(tmp_path / "jwks.json")
    gateway = GatewayProcess(tmp_path, monitor.url, proxy.ports.gateway, access[0])
    try:
        eventually(lambda: proxy.get().status == 200)
        backend.seen.clear()
        yield gateway
    finally:
        gateway.stop()
