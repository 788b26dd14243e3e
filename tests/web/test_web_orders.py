"""Orders in the console: through to the decision, under the holder's name; and everything that is refused before it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guard.standin import Monitor, eventually
from monitor.harness import Installation, until
from monitor.policies import heartbeat
from monitor.trouble import beating
from web.browsing import Seen, chromium_path
from web.web_support import Browser, Served

from failshut.signing import SigningKey
from failshut_console.web import ordering
from failshut_console.web.ordering import Signing
from failshut_servers import Kafka, Valkey


class Real:
    """What `Served` asks of a monitor, of one whose workers are real."""

    def __init__(self, monitor: Installation) -> None:
        self.url, self.jwks, self._keys = monitor.store_url, monitor.keys.to_dict(), monitor.keys

    def write_jwks(self, path: Path) -> None:
        self._keys.write(path)


def served_by(monitor: Installation, folder: Path) -> Served:
    """A gateway with a console that signs with the operator's key of a real monitor."""
    broker = monitor.config["broker"]
    signing = Signing(broker, monitor.prefix, monitor.operator_key, lambda: monitor.names.installation)
    real: Any = Real(monitor)
    return Served(real, folder / "access.json", broker=broker, prefix=monitor.prefix, signing=signing)


def order(kind: str, gates: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "why": "a test", "gates": gates, "seen_ms": int(time.time() * 1000), **changes}


# Long: one story of one running monitor, told in its order.
async def test_an_order_is_answered_by_the_decision_that_it_led_to(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """Lock and unlock are done under the holder's name; another closing's epoch is refused; all of it is on the page."""
    policies = {"a.yaml": heartbeat("pay", grace="30s"), "b.yaml": heartbeat("ship", grace="30s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        monitor.worker()
        await monitor.opened("pay")
        await monitor.opened("ship")
        with served_by(monitor, tmp_path) as served:
            browser = await asyncio.to_thread(served.signed_in, "operator")
            said = await asyncio.to_thread(browser.order, order("lock", {"pay": ""}))
            (answer,) = said.json["answers"]
            assert (answer["result"], answer["state"], answer["breaker"]) == ("done", "CLOSED", "LOCKED"), answer
            locked = await monitor.closed("pay", "lock")
            assert locked.by.startswith("Ada (access key ")
            assert ": a test" in locked.by

            said = await asyncio.to_thread(browser.order, order("unlock", {"pay": "7"}))
            assert said.json["answers"][0]["result"] == "refused"
            assert not monitor.open("pay")
            said = await asyncio.to_thread(browser.order, order("unlock", {"pay": locked.epoch}))
            assert said.json["answers"][0]["result"] == "done", said.json
            await monitor.opened("pay")

            both = order("lock", {"pay": "", "ship": ""}, count=2)
            said = await asyncio.to_thread(browser.order, both)
            assert [one["result"] for one in said.json["answers"]] == ["done", "done"]
            await monitor.closed("ship", "lock")

            log = (await asyncio.to_thread(browser.get, "/console/gates/pay/decisions?hours=1")).json
            assert log["trouble"] == ""
            whats = [entry["what"] for entry in log["entries"]]
            assert whats[0] == "locked"
            assert {"locked", "refused", "opened"} <= set(whats)
            assert {"Ada"} <= {entry["who"].partition(" (")[0] for entry in log["entries"]}
            policy = (await asyncio.to_thread(browser.get, "/console/gates/pay/policy")).json
            assert policy["trouble"] == ""
            assert (policy["text"], policy["file"]) == (policies["a.yaml"], "a.yaml")


async def test_a_person_locks_a_gate_and_sees_what_became_of_it(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str
) -> None:
    """In a browser: what will happen is said, a reason is asked for, and the answer is the decision; the log shows it."""
    chromium_path()
    policies = {"a.yaml": heartbeat("pay", grace="30s")}
    async with Installation(kafka, store, tmp_path, f"{suffix}.", policies) as monitor, beating(monitor, "agent"):
        monitor.worker()
        await monitor.opened("pay")
        with served_by(monitor, tmp_path) as served:
            key = served.person("operator")[1]
            assert await asyncio.to_thread(click_through, f"http://127.0.0.1:{served.port}", key) == []
        assert monitor.open("pay")


def click_through(base: str, key: str) -> list[str]:
    """Lock the gate and unlock it, by mouse and keyboard; return what went wrong on the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), chromium_sandbox=False)
        screen = Seen(browser.new_page(), base)
        screen.sign_in(key, "/console/gates/pay")
        for verb, state in (("Lock", "CLOSED"), ("Unlock", "OPEN")):
            screen.page.get_by_role("button", name=f"{verb} ...", exact=True).click()
            screen.wait("dialog h2", f"{verb} pay")
            screen.page.keyboard.type("a drill")
            screen.page.keyboard.press("Enter")
            screen.wait("dialog .answers", "Done: pay.")
            screen.page.keyboard.press("Enter")
            screen.wait("#now .state", state)
        screen.wait("#log .by", "a drill")
        screen.wait("#policy pre", "heartbeat")
        browser.close()
        return screen.wrong


async def test_without_an_answer_the_console_says_that_it_does_not_know(
    kafka: Kafka, store: Valkey, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No governor runs: the order is on the log, and nobody knows what will become of it."""
    monkeypatch.setattr(ordering, "WAIT_SECONDS", 1.0)
    async with Installation(kafka, store, tmp_path, f"{suffix}.", {"a.yaml": heartbeat("pay")}) as monitor:
        with served_by(monitor, tmp_path) as served:
            browser = await asyncio.to_thread(served.signed_in, "operator")
            said = await asyncio.to_thread(browser.order, order("lock", {"pay": ""}))
            (answer,) = said.json["answers"]
            assert answer["result"] == "unknown"
            assert "is on the log" in answer["because"]
        monitor.worker()
        await until(lambda: any(one.cause == "lock" for one in monitor.of("pay")), "it counts once a governor runs")


@pytest.fixture
def signing(monitor: Monitor, tmp_path: Path) -> Iterator[Served]:
    """A console that may sign, and whose broker is not there."""
    signs = Signing("kafka://127.0.0.1:1", "", SigningKey.generate(), lambda: monitor.installation)
    with Served(monitor, tmp_path / "access.json", signing=signs) as served:
        yield served


def test_a_viewer_commands_nothing(signing: Served, monitor: Monitor) -> None:
    """A viewer's order is an empty 403, and its pages offer none and say why."""
    browser = signing.signed_in("viewer")
    reply = browser.order(order("lock", {monitor.gate: ""}))
    assert (reply.status, reply.body) == (403, b"")
    page = browser.page("/console")
    assert "its role is viewer" in page
    assert "&#34;may_order&#34;: false" in page


def test_a_gateway_without_an_operators_key_commands_nothing(served: Served, monitor: Monitor) -> None:
    """It says so, on the page and to an order, and sends nothing."""
    browser = served.signed_in("operator")
    assert "holds no operator&#39;s key" in browser.page("/console")
    reply = browser.order(order("lock", {monitor.gate: ""}))
    assert reply.status == 409
    assert "holds no operator's key" in reply.json["refused"]


BAD: dict[str, dict[str, Any]] = {
    "no such order": {"kind": "hold"},
    "no reason": {"why": "  "},
    "a reason of two lines": {"why": "a\nb"},
    "a long reason": {"why": "x" * 501},
    "what was seen is old": {"seen_ms": 1},
    "what was seen is of the future": {"seen_ms": int(time.time() * 1000) + 3_600_000},
    "no gate": {"gates": {}},
    "too many gates": {"gates": {f"test.{number}": "" for number in range(51)}, "count": 51},
    "a gate of others": {"gates": {"secret.gate": ""}},
    "what is no gate": {"gates": {"test. no gate": ""}},
    "a number that is not that of the gates": {"gates": {"test.a": "", "test.b": ""}, "count": 3},
    "an answer to no closing": {"kind": "unlock"},
    "an epoch that is no number": {"kind": "unlock", "gates": {"test.a": "x"}},
    "a bypass of nothing": {"kind": "bypass", "gates": {"test.a": "7"}, "minutes": 5},
    "a bypass without an end": {"kind": "bypass", "gates": {"test.a": "7"}, "conditions": ["x"]},
    "a bypass of two gates": {
        "kind": "bypass",
        "gates": {"test.a": "7", "test.b": "7"},
        "count": 2,
        "conditions": ["x"],
        "minutes": 5,
    },
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_meant_is_not_sent(signing: Served, name: str) -> None:
    """The order is refused in words, and no line of the audit says that it was given."""
    browser = signing.signed_in("operator", gates=["test.*"])
    reply = browser.order({**order("lock", {"test.a": ""}), **BAD[name]})
    assert reply.status == 409
    assert reply.json["answers"] == []
    assert reply.json["refused"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"kind": "lock", "kind": "lock"}', b"\xff", b"x" * 40_000])
def test_what_is_no_order_is_an_empty_refusal(signing: Served, body: bytes) -> None:
    """A body that is no strict JSON, or too long, is a 403 without a word; an odd document is refused in words."""
    reply = signing.signed_in("operator").order(body)
    assert (reply.status, reply.body) == (403, b"") or (reply.status == 409 and body == b"[]")


def test_a_broker_that_is_not_there_is_not_known(signing: Served, monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is that nobody knows whether the order counts; the audit has the order, its holder and its reason."""
    browser: Browser = signing.signed_in("operator")
    reply = browser.order(order("lock", {monitor.gate: ""}))
    (answer,) = reply.json["answers"]
    assert answer["result"] == "unknown"
    assert "does not answer" in answer["because"]

    def said() -> list[str]:
        return [record.getMessage() for record in list(caplog.records) if '"event": "order"' in record.getMessage()]

    lines: list[str] = eventually(said)  # a thread writes them
    assert len(lines) == 1
    assert all(word in lines[0] for word in ('"holder": "Ada"', '"why": "a test"', '"kind": "lock"', monitor.gate))
