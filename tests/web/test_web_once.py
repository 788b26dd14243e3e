"""Keys for one sign-in: each begins one session, in the form or in a link that a person opened, and counts nowhere else."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from gateway.gateway_support import Reply
from guard.standin import Monitor, eventually
from web.web_support import Browser, Served

from failshut_console.web.sign_in import ONCE
from failshut_gateway.access import access_file
from failshut_gateway.access.access_book import Refusal

OPENED = {"Sec_Fetch_Site": "none"}


def one_key(served: Served, role: str = "operator") -> str:
    """A key for one sign-in, made now, which the gateway knows."""
    now_ms = int(time.time() * 1000)
    _, key = access_file.create(
        served.access, now_ms, role=role, subjects=[], gates=["*"], expires_ms=now_ms + 3_600_000, note="Ada", once=True
    )
    eventually(lambda: not isinstance(served.gateway._book.find(key.encode(), signing_in=True), Refusal))
    return key


def opened(browser: Browser, key: str, **headers: str) -> Reply:
    """Open the link, again and again while there were too many tries."""

    def counted() -> Reply | None:
        reply = browser.get(f"{ONCE}{key}", **{**OPENED, **headers})
        return None if reply.status == 429 else reply

    reply: Reply = eventually(counted)
    return reply


def test_a_link_signs_in_once(served: Served) -> None:
    """The first who opens it has a session and lands on the first page; the second gets the field for a key."""
    key, browser = one_key(served), Browser(served)
    reply = opened(browser, key)
    assert (reply.status, reply.headers["location"]) == (303, "/console")
    assert "Ada" in browser.page("/console")
    again = opened(Browser(served), key)
    assert again.status == 403
    assert "set-cookie" not in again.headers
    assert b"This link was used" in again.body
    assert key.encode() not in again.body


def test_the_form_takes_it_once_too(served: Served) -> None:
    """Pasted into the field it is spent as in a link."""
    key = one_key(served)
    assert Browser(served).tried(key).status == 303
    assert Browser(served).tried(key).status == 403
    assert opened(Browser(served), key).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", ""])
def test_another_site_cannot_open_it_for_somebody(served: Served, site: str) -> None:
    """A page that leads there signs nobody in, and does not spend it."""
    key = one_key(served)
    reply = opened(Browser(served), key, Sec_Fetch_Site=site)
    assert reply.status == 403
    assert "set-cookie" not in reply.headers
    assert opened(Browser(served), key).status == 303


def test_it_counts_for_nothing_else(served: Served) -> None:
    """As a bearer it asks nothing and reads nothing, before and after its session began."""
    key = one_key(served)
    assert served.get("/v1/gates", key).status == 403
    assert opened(Browser(served), key).status == 303
    assert served.get("/v1/gates", key).status == 403


def test_a_key_that_lasts_is_not_taken_from_a_link(served: Served) -> None:
    """It would stay in the browser's history."""
    _, key = served.person()
    assert opened(Browser(served), key).status == 403
    assert Browser(served).tried(key).status == 303


def test_a_gateway_that_starts_again_takes_no_key_of_before(monitor: Monitor, tmp_path: Path) -> None:
    """It does not know what was spent: so only keys that were made since count."""
    with Served(monitor, tmp_path / "access.json") as served:
        key = one_key(served)
        assert opened(Browser(served), key).status == 303
        unspent = one_key(served)
    with Served(monitor, tmp_path / "access.json") as served:
        assert opened(Browser(served), key).status == 403
        assert opened(Browser(served), unspent).status == 403
        assert opened(Browser(served), one_key(served)).status == 303


def test_its_session_ends_with_it(served: Served) -> None:
    """Who revokes the key ends what it began."""
    key, browser = one_key(served), Browser(served)
    assert opened(browser, key).status == 303
    access_file.revoke(served.access, int(time.time() * 1000), key[4:12])
    assert eventually(lambda: browser.get("/console").status == 403)


@pytest.mark.parametrize("key", ["", "fsk_" + "0" * 57, "../health", "x" * 250])
def test_what_is_no_key_is_answered_as_a_spent_one(served: Served, key: str) -> None:
    """The field for a key, and nothing else."""
    reply = opened(Browser(served), key)
    assert reply.status == 403
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_audit_stores_no_key(served: Served, caplog: pytest.LogCaptureFixture, method: str) -> None:
    """Whoever asks with the link, and however: the key is not in the lines, spent or not."""
    key = one_key(served)
    with caplog.at_level(logging.INFO):
        served.call(method, f"{ONCE}{key}", "", b"" if method != "GET" else None)
        eventually(lambda: ONCE in caplog.text)
    assert key not in caplog.text
