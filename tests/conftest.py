"""Real servers for the tests, started once for a session, and names that no other test uses."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import pytest
import redis as redis_py
from draws import SHARE, draws
from patience import patient

from failshut_servers import Kafka, Redis, Valkey
from failshut_servers import free_port as take_free_port

# Over the bound in pyproject.toml, which stands for a machine that is not busy with something else.
os.environ.setdefault("PYTEST_TIMEOUT", str(patient(180)))

if SHARE != 1:  # a test that names no number of its own tries a share of the hundred that Hypothesis does
    from hypothesis import settings

    settings.register_profile("share", max_examples=draws(100))
    settings.load_profile("share")

AnyStore = TypeVar("AnyStore", Valkey, Redis)

#: A fixture that is a server, and the marker of every test that uses it, also through other fixtures.
SERVERS = {
    **dict.fromkeys(("kafka", "transport_kafka", "own_kafka", "cluster"), "kafka"),
    **dict.fromkeys(("_valkey", "_redis", "server", "servers", "sentinels", "stores"), "store"),
}


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use servers: nobody has to remember it, and `-m "not kafka"` is true."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for marker in sorted({marker for fixture, marker in SERVERS.items() if fixture in used}):
            item.add_marker(marker)
    items[:] = _interleaved(items)


def _interleaved(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with files that wait and files that compute in turn, and quick files last.

    Processes that run tests side by side then share the machine evenly, and none is left alone with a long file at the end.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = {path for path, of in files.items() if any(one.get_closest_marker(name) for one in of for name in ("kafka", "slow"))}
    place: dict[Path, float] = {}
    for kind, upto in ((slow, 0.9), (files.keys() - slow, 1.0)):
        mixed = sorted(kind, key=lambda path: (crc32(path.name.encode()), str(path)))  # so that folders are spread
        place |= {path: index / len(mixed) * upto for index, path in enumerate(mixed)}
    return [item for path in sorted(files, key=lambda path: (place[path], str(path))) for item in files[path]]


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """An embedded Apache Kafka for the whole session.

    A test that stops, pauses or kills a broker takes `Kafka(tmp_path)` for itself.
    """
    with Kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    if not Redis.available():
        pytest.skip("Redis is not installed here (apt-get install redis-server): what Valkey shows stands alone")
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def store(_valkey: Valkey) -> Valkey:
    """An empty Valkey; the same process for all tests, brought back if a test stopped or paused it."""
    return _emptied(_valkey)


@pytest.fixture
def redis_server(_redis: Redis) -> Redis:
    """Debian's Redis, empty; skips, and says so, where it is not installed."""
    return _emptied(_redis)


@pytest.fixture
def suffix() -> str:
    """A few letters that no other test uses, for names of gates, groups and topics."""
    return secrets.token_hex(4)


@pytest.fixture
def topic_name(request: pytest.FixtureRequest, suffix: str) -> Callable[[str], str]:
    """A function that makes a topic's name out of a short one; other tests do not use it."""
    module = Path(str(request.path)).stem.removeprefix("test_").replace("_", "-")
    return lambda name: f"{module}.{name}.{suffix}"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns another free port each time."""
    return take_free_port


def _emptied(server: AnyStore) -> AnyStore:
    if server.running and not server.paused:
        with redis_py.Redis.from_url(server.url, socket_timeout=5) as client:
            client.flushall()
            client.script_flush()
        return server
    server.kill()
    return server.start()
