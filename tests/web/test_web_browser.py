"""The console in a real browser: what a person sees, hears and types, and what is true when the stream is not."""

from __future__ import annotations

import time
from typing import Any

import pytest
from guard.standin import Monitor, eventually
from web.browsing import AXE, SCHEMES, WIDTHS, Seen, Wire
from web.test_web_once import one_key
from web.web_support import Served, list_gate

from failshut import Cause
from failshut_console.web.sign_in import ONCE
from failshut_gateway.access import access_file
from failshut_servers import Valkey

PLACES = ("/console", "/console/gates/{gate}", "/console/proofs", "/console/health")
READINGS = [["drift:agent/fee", "demands", "mean 48 to 97"], ["heartbeat:agent", "holds", "0.2 s ago"]]


def row(monitor: Monitor) -> str:
    return f'#gates tr:has(a[href="/console/gates/{monitor.gate}"])'


def test_a_closing_is_seen_and_heard(screen: Seen, served: Served, monitor: Monitor) -> None:
    """The row says CLOSED and why, and a screen reader is told, without a reload."""
    monitor.keep_renewing()
    screen.sign_in(served.person()[1])
    screen.wait(f"{row(monitor)} .state", "OPEN")
    screen.wait(f"{row(monitor)} .life", " s")
    monitor.close(Cause.DRIFT, because="mean 48 to 97")
    screen.wait(f"{row(monitor)} .state", "CLOSED")
    screen.wait(f"{row(monitor)} .why", "mean 48 to 97")
    screen.wait("#said[aria-live]", f"{monitor.gate} closed: mean 48 to 97")
    monitor.reopen()
    monitor.keep_renewing()
    screen.wait(f"{row(monitor)} .state", "OPEN")


def test_a_link_out_of_a_terminal_signs_in(chromium: Any, served: Served, monitor: Monitor) -> None:
    """Opened as a person opens it, it leads to the gates; from a page of elsewhere it signs nobody in."""
    monitor.keep_renewing()
    context = chromium.new_context()
    screen = Seen(context.new_page(), f"http://127.0.0.1:{served.port}")
    screen.page.set_content(f'<a id="lure" href="{screen.base}{ONCE}{(key := one_key(served))}">here</a>')
    screen.page.click("#lure")
    screen.page.wait_for_selector('input[name="key"]')
    screen.page.goto(f"{screen.base}{ONCE}{key}")
    screen.wait(f"{row(monitor)} .state", "OPEN")
    assert screen.page.url == f"{screen.base}/console"
    context.close()


def test_one_gate_tells_why_it_is_as_it_is(screen: Seen, served: Served, monitor: Monitor) -> None:
    """Its page has state, cause, breaker and the conditions' readings in words, and follows."""
    list_gate(monitor, breaker="TRIPPED", readings=READINGS, policy="sha256:aa", evidence_ms=int(time.time() * 1000))
    monitor.close(Cause.DRIFT, because="mean 48 to 97")
    screen.sign_in(served.person()[1], f"/console/gates/{monitor.gate}")
    screen.live()
    screen.wait("#now .state", "CLOSED")
    screen.wait("#now .because", "mean 48 to 97")
    screen.wait("#now .readings li.demands", "drift:agent/fee")
    screen.wait("#log", "knows no broker")
    monitor.keep_renewing()
    screen.wait("#now .state", "OPEN")


def test_a_cut_stream_greys_the_page_and_says_since_when(chromium: Any, served: Served, monitor: Monitor) -> None:
    """Without the stream the page says that it is old, and since when, and offers no choice; with it back, all is as before."""
    monitor.keep_renewing()
    wire = Wire(served)
    context = chromium.new_context()
    screen = Seen(context.new_page(), wire.base)
    screen.sign_in(served.person()[1])
    screen.live()
    wire.cut()
    screen.wait("#alarm", "The stream from the gateway is lost. What is shown is as it was at ")
    assert "stale" in screen.page.get_attribute("body", "class")
    screen.wait(".pulse.lost", "not live")
    monitor.close(Cause.LOCK)
    wire.mend()
    screen.live()
    screen.wait(f"{row(monitor)} .state", "CLOSED")
    assert screen.page.locator("#alarm").is_hidden()
    context.close()
    wire.close()


def test_a_store_that_is_away_is_said(screen: Seen, served: Served, store: Valkey) -> None:
    """While nothing can be known the page says so, in the words of the gateway, and is grey."""
    screen.sign_in(served.person()[1])
    screen.live()
    store.pause()
    screen.wait("#alarm", "Nothing can be known now")
    store.resume()
    screen.live()


def test_a_revoked_key_ends_what_is_on_the_screen(screen: Seen, served: Served) -> None:
    """The page says that its session has ended, and a reload is a stranger's."""
    key_id, key = served.person()
    screen.sign_in(key)
    screen.live()
    access_file.revoke(served.access, 2, key_id)
    screen.wait("#alarm", "Your session has ended")
    screen.page.reload()
    assert screen.page.locator("#key").is_visible()
    assert screen.page.locator("#gates").count() == 0


def test_a_stopped_gateway_is_said(screen: Seen, served: Served) -> None:
    """A gateway that ends, ends its sessions, and the page says so."""
    screen.sign_in(served.person()[1])
    screen.live()
    served.gateway.server.should_exit = True
    screen.wait("#alarm", "Your session has ended")


def test_a_wrong_key_is_told_apart_from_nothing(screen: Seen, served: Served) -> None:
    """The field says that the key does not count, and takes another."""
    screen.go("/console/health")
    screen.page.fill("#key", "fsk_" + "0" * 57)
    screen.page.click("button")
    screen.wait("[role=alert]", "does not count")
    eventually(lambda: served.gateway._audit.refused["unknown_key"] + served.gateway._audit.refused["malformed_key"])
    screen.page.fill("#key", served.person()[1])
    screen.page.click("button")
    screen.wait("h1", "Health")


def test_the_keyboard_is_enough(screen: Seen, served: Served, monitor: Monitor) -> None:
    """`/` filters, arrows choose, Enter looks, `p` pauses and says so."""
    for name in ("alpha.one", "alpha.two", "beta.one"):
        list_gate(monitor, name)
    screen.sign_in(served.person()[1])
    screen.live()
    keyboard = screen.page.keyboard
    keyboard.press("/")
    keyboard.type("alpha")
    eventually(lambda: screen.page.locator("#gates tbody tr").count() == 2)
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    assert screen.page.evaluate("document.activeElement.textContent") == "alpha.two"
    keyboard.press("p")
    screen.wait("#summary", "paused at ")
    list_gate(monitor, "alpha.three")
    keyboard.press("p")
    eventually(lambda: screen.page.locator("#gates tbody tr").count() == 3)
    screen.page.locator('a[href="/console/gates/alpha.one"]').focus()
    keyboard.press("Enter")
    screen.wait("h1", "alpha.one")


def test_many_gates_are_filtered_and_counted(screen: Seen, served: Served, monitor: Monitor) -> None:
    """Of very many gates a part is drawn, the rest is counted, and the filter finds each."""
    monitor.client.sadd(monitor.names.gates, *(f"family.member-{number:05}" for number in range(3_000)))
    screen.sign_in(served.person()[1])
    screen.live()
    screen.wait("#more", "more gates")
    screen.page.fill("#find", "member-02718")
    eventually(lambda: screen.page.locator("#gates tbody tr").count() == 1)
    screen.page.fill("#find", "no such gate")
    screen.wait("#none", "No gate fits the filter")


def test_the_first_use_is_told_what_to_do(screen: Seen, served: Served, monitor: Monitor) -> None:
    """Without any gate the page says when one will appear."""
    monitor.client.delete(monitor.names.gates)
    screen.sign_in(served.person()[1])
    screen.live()
    screen.wait("#none", "failshut policy activate")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_place_is_accessible_and_fits(chromium: Any, served: Served, monitor: Monitor, scheme: str, width: int) -> None:
    """axe-core finds nothing, nothing is wider than the screen, and no request leaves the host."""
    if not AXE.exists():
        pytest.skip("axe-core is not here (make browser): accessibility was not checked")
    list_gate(monitor, breaker="TRIPPED", readings=READINGS, policy="sha256:aa", evidence_ms=int(time.time() * 1000))
    list_gate(monitor, "an.open-gate-with-a-long-name.that-has.no-room-on-a-small-screen")
    monitor.close(Cause.DRIFT, because="mean 48 to 97")
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    screen = Seen(context.new_page(), f"http://127.0.0.1:{served.port}")
    key = served.person()[1]
    screen.go("/console")
    found = {"the door": axe(screen)}
    screen.sign_in(key)
    for place in PLACES:
        screen.go(place.format(gate=monitor.gate))
        if "proofs" not in place:
            screen.live()
        found[place] = axe(screen)
        wide = screen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, (place, wide)
    assert found == {place: [] for place in found}
    assert all(url.startswith((screen.base, "data:")) for url in screen.asked), screen.asked
    assert screen.wrong == []
    context.close()


def axe(screen: Seen) -> list[str]:
    """What axe-core has against a page. It is evaluated from outside: the page's own policy refuses every other script."""
    screen.page.evaluate(AXE.read_text(encoding="utf-8"))
    violations = screen.page.evaluate("axe.run().then((found) => found.violations)")
    return [f"{one['id']}: {node['html'][:200]}" for one in violations for node in one["nodes"]]


def test_a_stranger_script_does_not_run(screen: Seen, served: Served) -> None:
    """A script that somebody writes into the page is refused by the page's policy."""
    screen.sign_in(served.person()[1])
    screen.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert screen.page.evaluate("window.ran") is None
    assert eventually(lambda: any("Content Security Policy" in one for one in screen.wrong))
    screen.wrong.clear()


def test_a_printed_list_has_no_controls(screen: Seen, served: Served) -> None:
    """What is printed is the state, and nothing that one could press."""
    screen.sign_in(served.person()[1])
    screen.live()
    screen.page.emulate_media(media="print")
    assert screen.page.locator("#tools").is_hidden()
    assert screen.page.locator("#gates").is_visible()


def test_who_wants_no_motion_gets_none(screen: Seen, served: Served) -> None:
    """The bar of a permit's life jumps instead of gliding."""
    screen.page.emulate_media(reduced_motion="reduce")
    screen.sign_in(served.person()[1])
    screen.live()
    screen.page.locator(".track i").first.wait_for(state="attached")
    assert screen.page.evaluate("getComputedStyle(document.querySelector('.track i')).transitionDuration") == "0s"
