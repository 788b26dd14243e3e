"""A real browser for the console: Debian's Chromium, driven by Playwright. And a wire that can be cut."""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from patience import patient
from web.web_support import Served

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / ".venv-web" / "node_modules" / "axe-core" / "axe.min.js"
WAIT_MS = patient(20) * 1000
WIDTHS = (360, 1280, 2560)
SCHEMES = ("light", "dark")


def chromium_path() -> str:
    """Where Chromium is; skips, and says so, where it or its driver is missing."""
    pytest.importorskip("playwright", reason="Playwright is not here (make browser): what a browser shows was not checked")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not here (apt-get install chromium): what a browser shows was not checked")
    return path


class Seen:
    """A page, and everything that went wrong on it."""

    def __init__(self, page: Any, base: str) -> None:
        self.page, self.base = page, base
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._said)
        page.on("request", lambda request: self.asked.append(request.url))

    def _said(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)

    def sign_in(self, key: str, path: str = "/console") -> None:
        """Sign in, and wait until the page is live where it is one that is."""
        self.go(path)
        self.page.fill("#key", key)
        self.page.click("button")
        self.page.wait_for_selector("main h1")

    def live(self) -> None:
        self.page.wait_for_selector(".pulse.live")

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector) or "")

    def wait(self, selector: str, words: str) -> None:
        """Wait until an element says something."""
        self.page.locator(selector).filter(has_text=words).first.wait_for(state="attached")


class Wire:
    """A relay in front of a gateway. `cut` ends what goes through it, and refuses what comes."""

    def __init__(self, served: Served) -> None:
        self._to = served.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.whole = True
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        self.whole = False
        for one in list(self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._open.clear()

    def mend(self) -> None:
        self.whole = True

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.whole:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(one, other), daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for end in (one, other):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
