"""The console's door: a stranger gets a field for a key and nothing else, and a session ends everywhere at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gateway.gateway_support import Reply
from guard.standin import Monitor, eventually
from web.web_support import Browser, Served, awaited

from failshut_console.web.sessions import IDLE_SECONDS, LIFE_SECONDS, SESSIONS_MAX, SESSIONS_OF_KEY_MAX, Sessions, TooMany
from failshut_console.web.sign_in import TRIES_PER_SECOND
from failshut_gateway.access import access_file
from failshut_gateway.access.grant import Grant

PATHS = (
    *("/console", "/console/", "/console/gates/payments.refund", "/console/gates/payments.refund/decisions", "/console/proofs"),
    *("/console/health", "/console/stream", "/console/session", "/console/assets/console.js", "/console/no/such/place"),
)


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_gets_a_field_for_a_key_and_nothing_else(served: Served, path: str) -> None:
    """Every path of the console answers 403 with the same page, whether there is something or not."""
    reply = served.get(path)
    page = re.sub(r'name="next" value="[^"]*"', "", reply.body.decode())
    usual = re.sub(r'name="next" value="[^"]*"', "", served.get("/console/elsewhere").body.decode())
    assert (reply.status, page) == (403, usual)
    assert "Failshut" not in page
    assert "payments" not in page
    assert "script" not in page


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE", "OPTIONS"])
def test_a_stranger_who_sends_something_gets_nothing(served: Served, method: str) -> None:
    """Whatever is no GET is an empty 403 for a stranger."""
    reply = served.call(method, "/console/orders", "", b"" if method == "HEAD" else b"{}")
    assert (reply.status, reply.body) == (403, b"")


def test_a_key_is_exchanged_for_a_session(served: Served) -> None:
    """The form's answer is a cookie that no script reads and no other site sends, and the way to where one wanted to go."""
    _, key = served.person()
    browser = Browser(served)
    reply = browser.sign_in(key, "/console/health")
    assert (reply.status, reply.headers["location"]) == (303, "/console/health")
    said = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in said.split(";")}
    assert key not in said
    assert "Ada" in browser.page("/console/health")


@pytest.mark.parametrize(
    "where", ["//elsewhere.example/console", "https://elsewhere.example", "/v1/gates", "/console/../v1", "/console\\x"]
)
def test_a_session_leads_nowhere_else(served: Served, where: str) -> None:
    """After signing in one is on a page of the console, whatever the form said."""
    _, key = served.person()
    assert Browser(served).sign_in(key, where).headers["location"] == "/console"


def test_over_tls_the_cookie_is_this_hosts_alone(monitor: Monitor, tmp_path: Path) -> None:
    """Where callers come over TLS the cookie has the name and the marks with which browsers refuse it from elsewhere."""
    with Served(monitor, tmp_path / "access.json", url="https://gates.example", plain=True) as served:
        _, key = served.person()
        said = Browser(served).sign_in(key).headers["set-cookie"]
    assert said.startswith("__Host-failshut=")
    assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in said.split(";")}


def refused(reply: Reply) -> bool:
    return reply.status == 403 and "set-cookie" not in reply.headers


def test_what_is_no_persons_key_gives_no_session(served: Served) -> None:
    """An unknown key, a service's, an empty one and a revoked one are answered alike."""
    key_id, revoked = served.person()
    access_file.revoke(served.access, 2, key_id)
    eventually(lambda: served.gateway._book.find(revoked.encode()) == "revoked_key")
    replies = []
    for key in (served.key(), revoked, "fsk_" + "0" * 57, ""):
        replies.append(Browser(served).tried(key))
    assert all(map(refused, replies))
    assert len({reply.body for reply in replies}) == 1


def test_tries_are_bounded(served: Served) -> None:
    """More tries of one address than a second allows are 429, also with the right key, until a second has passed."""
    _, key = served.person()
    wrong = [Browser(served).sign_in("fsk_" + "0" * 57).status for _ in range(TRIES_PER_SECOND * 20)]
    assert 429 in wrong
    assert set(wrong) == {403, 429}
    assert eventually(lambda: Browser(served).sign_in(key).status == 303)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "", "Origin": "http://elsewhere.example"},
        {"Sec_Fetch_Site": "", "Origin": "null"},
        {"Sec_Fetch_Site": ""},
    ],
)
def test_another_site_cannot_sign_anybody_in(served: Served, headers: dict[str, str]) -> None:
    """A form that comes from elsewhere, or does not say from where, is refused: nobody is signed in as somebody else."""
    _, key = served.person()
    reply = Browser(served).sign_in(key, **headers)
    assert (reply.status, reply.body) == (403, b"")


def test_a_browser_without_fetch_metadata_says_its_origin(served: Served) -> None:
    """An older browser's form counts by its origin."""
    _, key = served.person()
    reply = Browser(served).sign_in(key, Sec_Fetch_Site="", Origin=f"http://127.0.0.1:{served.port}")
    assert reply.status == 303


def test_a_link_from_elsewhere_loads_itself_once_more(served: Served) -> None:
    """A strict cookie is not sent with a link from elsewhere: the page comes back to itself, once, and then it is."""
    first = served.get("/console/health", Sec_Fetch_Site="cross-site").body
    assert b'http-equiv="refresh"' in first
    assert b'http-equiv="refresh"' not in served.get("/console/health", Sec_Fetch_Site="same-origin").body


def test_signing_out_ends_the_session_in_every_tab(served: Served) -> None:
    """A stream of the session ends with `over`, and its cookie opens nothing any more."""
    browser = served.signed_in()
    kept = dict(browser.cookies)
    csrf = browser.csrf
    with browser.stream() as events:
        next(events)
        assert browser.post("/console/sign-out", {"csrf": csrf}).status == 303
        assert [event.name for event in events][-1] == "over"
    browser.cookies = kept
    assert browser.get("/console").status == 403


def test_signing_out_everywhere_ends_every_session_of_the_key(served: Served) -> None:
    """Other browsers with the same key are out as well; those with another key are not."""
    _, key = served.person()
    browsers = [Browser(served) for _ in range(2)]
    for browser in browsers:
        assert browser.tried(key).status == 303
    other = served.signed_in()
    browsers[0].post("/console/sign-out", {"csrf": browsers[0].csrf, "all": "1"})
    assert [browser.get("/console").status for browser in (*browsers, other)] == [403, 403, 200]


def test_a_revoked_key_ends_its_sessions(served: Served) -> None:
    """A stream ends, and pages are a stranger's, once the file says that the key is revoked."""
    key_id, key = served.person()
    browser = Browser(served)
    browser.sign_in(key)
    with browser.stream() as events:
        next(events)
        access_file.revoke(served.access, 2, key_id)
        assert awaited(events, lambda event: event.name == "over")
    assert browser.get("/console").status == 403
    assert len(served.console.sessions) == 0


def test_without_its_token_nothing_that_is_sent_counts(served: Served) -> None:
    """A form or an order with a cookie alone, another session's token, or from another site, is an empty 403."""
    browser, other = served.signed_in("operator"), served.signed_in("operator")
    csrf = browser.csrf
    for wrong in ("", other.csrf):
        assert browser.post("/console/sign-out", {"csrf": wrong}).status == 403
        assert browser.order({"kind": "lock"}, wrong).status == 403
    assert browser.post("/console/sign-out", {"csrf": csrf}, Sec_Fetch_Site="cross-site").status == 403
    assert browser.order({"kind": "lock"}, csrf, Sec_Fetch_Site="same-site").status == 403
    assert browser.get("/console").status == 200


def test_two_cookies_or_headers_of_one_name_are_no_session(served: Served) -> None:
    """Of two, nobody can tell which one counts."""
    browser = served.signed_in()
    token = browser.cookies["failshut"]
    assert served.get("/console", Cookie=f"failshut={token}; failshut={token}").status == 403
    head = f"GET /console HTTP/1.1\r\nHost: x\r\nCookie: failshut={token}\r\nCookie: a=b\r\nConnection: close\r\n\r\n"
    assert served.raw(head.encode()).startswith(b"HTTP/1.1 403")


def test_every_reply_keeps_strangers_scripts_out(served: Served) -> None:
    """Pages run the console's own script alone, stand in no frame, and are not kept; and hold no script of their own."""
    browser = served.signed_in()
    for path in ("/console", "/console/health", "/console/proofs", "/console/gates/a.b", "/console/nowhere"):
        reply = browser.get(path)
        csp = reply.headers["content-security-policy"]
        assert "script-src 'self'" in csp
        assert "unsafe" not in csp
        assert "default-src 'none'" in csp
        assert "frame-ancestors 'none'" in csp
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        text = reply.body.decode()
        assert not re.search(r"<script(?![^>]* src=)|<style| style=|\son\w+=", text)
        assert "http://" not in text
        assert "https://" not in text


def test_the_gateways_other_paths_are_as_before(served: Served) -> None:
    """The console's cookie opens no route of the gateway, and a service's key no page of the console."""
    browser = served.signed_in()
    assert browser.get("/v1/gates").status == 403
    assert served.get("/console", served.key()).status == 403
    assert served.get("/v1/gates", served.key(role="viewer", subjects=[])).status == 200
    assert served.get("/v1/live").status == 204


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def grant(key_id: str) -> Grant:
    return Grant(id=key_id, digest=bytes(32), role="viewer", subjects=(), gates=("*",), created_ms=1, expires_ms=2)


def test_a_session_lives_for_a_while() -> None:
    """It ends after its life, used or not, and after some idle minutes; a stream keeps it from being idle, not for ever."""
    clock = Clock()
    sessions = Sessions(lambda _: True, clock)
    token, _ = sessions.begin(grant("a" * 8))
    clock.now += IDLE_SECONDS - 1
    assert sessions.find(token) is not None
    clock.now += IDLE_SECONDS + 1
    assert sessions.find(token) is None
    token, session = sessions.begin(grant("a" * 8))
    assert sessions.take_stream(session)
    clock.now += IDLE_SECONDS + 1
    assert sessions.lives(session)
    clock.now += LIFE_SECONDS
    assert not sessions.lives(session)
    assert session.over.is_set()


def test_sessions_are_bounded() -> None:
    """One key's oldest session gives way to its newest; and nobody's key crowds out another's beyond the bound of all."""
    sessions = Sessions(lambda _: True, Clock())
    tokens = [sessions.begin(grant("a" * 8))[0] for _ in range(SESSIONS_OF_KEY_MAX + 1)]
    assert sessions.find(tokens[0]) is None
    assert all(sessions.find(token) for token in tokens[1:])
    for number in range(SESSIONS_MAX):
        try:
            sessions.begin(grant(f"{number:08}"))
        except TooMany:
            break
    assert len(sessions) == SESSIONS_MAX
    with pytest.raises(TooMany):
        sessions.begin(grant("z" * 8))
