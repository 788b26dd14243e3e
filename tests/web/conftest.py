"""A gateway with its console, on a real Valkey, with a monitor that does as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guard.standin import Monitor
from web.browsing import Seen, chromium_path
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A Chromium for the tests of a file. Playwright's loop ends with it: files of asynchronous tests may follow."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, chromium_sandbox=False, args=["--host-resolver-rules=MAP gates.example 127.0.0.1"]
        )
        yield browser
        browser.close()


@pytest.fixture
def screen(chromium: Any, served: Served) -> Iterator[Seen]:
    """A page of a browser of its own. Whatever went wrong on it fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    seen = Seen(context.new_page(), f"http://127.0.0.1:{served.port}")
    yield seen
    context.close()
    assert seen.wrong == []
