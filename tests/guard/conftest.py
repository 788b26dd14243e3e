"""A monitor that does as it is told, and guards that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from guard.standin import FakeClocks, Monitor

from failshut import Configuration, Gate, Guard
from failshut.testing import GateControl, Rehearsal, rehearsal
from failshut_servers import Valkey


@pytest.fixture
def clocks() -> FakeClocks:
    return FakeClocks()


@pytest.fixture
def monitor(store: Valkey, suffix: str) -> Iterator[Monitor]:
    monitor = Monitor(store.url, f"test.{suffix}")
    yield monitor
    monitor.shut_down()


@pytest.fixture
def make_guard(monitor: Monitor) -> Iterator[Callable[..., Guard]]:
    """Guards on the monitor's store and keys; patient with a busy machine unless told otherwise."""
    guards: list[Guard] = []

    def make(**settings: Any) -> Guard:
        usual: dict[str, Any] = {"store_url": monitor.url, "jwks": monitor.jwks, "deadline_ms": 2000}
        guard = Guard(Configuration(**{**usual, **settings}))
        guards.append(guard)
        return guard

    yield make
    for guard in guards:
        guard.close()


@pytest.fixture
def guard(make_guard: Callable[..., Guard]) -> Guard:
    return make_guard()


@pytest.fixture
def gate(guard: Guard, monitor: Monitor) -> Gate:
    return Gate(monitor.gate, guard=guard)


@pytest.fixture
def stage() -> Iterator[Rehearsal]:
    """A rehearsal, for tests of what services' tests use."""
    with rehearsal() as stage:
        yield stage


@pytest.fixture
def control(stage: Rehearsal) -> GateControl:
    """The control of a gate in it, closed."""
    return stage.gate("payments.refund")
