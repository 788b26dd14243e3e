"""Five proxies, unmodified, each with its file of docker/proxies: nothing is admitted that should not be."""

from __future__ import annotations

import signal

import pytest
from guard.standin import Monitor, eventually
from patience import within
from proxies.proxy_support import Backend, GatewayProcess, Pretender, Proxy

FORGED = "0009007199254740"
EPOCH = "0001099511627783"


def denied(proxy: Proxy, backend: Backend, path: str = "/") -> bool:
    """Whether the proxy answers 403, and the backend hears nothing."""
    before = len(backend.seen)
    return proxy.get(path).status == 403 and len(backend.seen) == before


def test_an_open_gate_lets_through_with_its_epoch(
    proxy: Proxy, gateway: GatewayProcess, backend: Backend, monitor: Monitor
) -> None:
    """The backend sees the request as it was, the gate's epoch, and nothing of the proxy's key."""
    reply = proxy.get("/orders/7?next=8", "POST", b"12 euros", X_Own="kept")
    assert (reply.status, reply.body) == (200, Backend.WORD)
    method, path, headers = backend.seen[-1]
    assert (method, path) == ("POST", "/orders/7?next=8")
    assert backend.epochs() == [monitor.epoch]
    assert "kept" in [value for name, value in headers if name.lower() == "x-own"]
    assert proxy.key not in str(headers)
    assert not [name for name, _ in headers if name.lower() in ("x-failshut-key", "x-failshut-subject")]


def test_a_closed_gate_is_403_and_opens_again(
    proxy: Proxy, gateway: GatewayProcess, backend: Backend, monitor: Monitor
) -> None:
    """A closing reaches the proxy's clients without a restart, and so does a later permit."""
    monitor.close()
    eventually(lambda: denied(proxy, backend))
    assert all(denied(proxy, backend) for _ in range(5))
    monitor.reopen()
    eventually(lambda: proxy.get().status == 200)
    assert backend.epochs() == [monitor.epoch]


def test_a_stalled_gateway_is_403(proxy: Proxy, gateway: GatewayProcess, backend: Backend) -> None:
    """A gateway that is stopped as a whole answers nobody: the proxy's own time limit denies, and does not hang."""
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        before = len(backend.seen)
        replies = [proxy.get() for _ in range(2)]
        assert [reply.status for reply in replies] == [403, 403]
        assert len(backend.seen) == before
        assert max(reply.seconds for reply in replies) < within(1.0)
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    eventually(lambda: proxy.get().status == 200)


def test_a_killed_gateway_is_403(proxy: Proxy, gateway: GatewayProcess, backend: Backend) -> None:
    """Nobody listens where the proxy asks."""
    gateway.process.kill()
    gateway.process.wait()
    assert all(denied(proxy, backend) for _ in range(3))


@pytest.mark.parametrize("status", ["500 x", "502 x", "503 x", "504 x", "401 x", "404 x", "429 x", "301 x", "407 x"])
def test_any_other_status_is_no_admission(proxy: Proxy, backend: Backend, status: str) -> None:
    """A gateway, or what stands in its place, that answers 5xx, 4xx or a redirection admits nobody, epoch or not."""
    head = f"HTTP/1.1 {status}\r\nx-failshut-epoch: {EPOCH}\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    pretender = Pretender(proxy.ports.gateway, head.encode())
    try:
        backend.seen.clear()
        reply = proxy.get()
        assert pretender.asked
        assert not backend.seen
        assert reply.status == 403 or (proxy.name, status) in PASSED_ON
    finally:
        pretender.close()


#: Denials whose status the proxy hands on as it came. None of them is a 5xx.
PASSED_ON = {("envoy", f"{status} x") for status in (401, 404, 429, 301, 407)}


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n", b"\x16\x03\x01\x02\x00", b"HTTP/1.1 200 OK\r\nx-failshut-ep"]
)
def test_what_is_no_answer_is_no_admission(proxy: Proxy, backend: Backend, answer: bytes) -> None:
    """A connection that ends early, and another protocol at the gateway's address, deny."""
    pretender = Pretender(proxy.ports.gateway, answer)
    try:
        assert denied(proxy, backend)
    finally:
        pretender.close()


def test_a_200_without_an_epoch_admits_only_where_the_table_says_so(proxy: Proxy, backend: Backend) -> None:
    """Somebody else at the gateway's address. Whoever is let through there has no epoch, the client's own included."""
    pretender = Pretender(proxy.ports.gateway, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    try:
        backend.seen.clear()
        reply = proxy.get(X_Failshut_Epoch=FORGED)
        if proxy.name in ("nginx", "traefik"):
            assert reply.status == 200
            assert backend.epochs() == []
        else:
            assert reply.status == 403
            assert not backend.seen
    finally:
        pretender.close()


#: Spellings that some backend takes for the header.
SPELLINGS = ("X-Failshut-Epoch", "x_failshut_epoch", "X-FAILSHUT_EPOCH", "X_Failshut-Epoch")


def test_a_clients_own_epoch_never_arrives(proxy: Proxy, gateway: GatewayProcess, backend: Backend, monitor: Monitor) -> None:
    """The backend sees the gate's epoch alone, also where it reads an underscore as a dash."""
    for name in SPELLINGS:
        assert proxy.ask("/", {name: FORGED}).status == 200
        assert backend.epochs() == [monitor.epoch], name
    assert FORGED not in str(backend.seen)


def test_a_client_cannot_have_the_epoch_taken_away(
    proxy: Proxy, gateway: GatewayProcess, backend: Backend, monitor: Monitor
) -> None:
    """A client that names our headers as hop-by-hop gets no further than without: the backend sees our epoch, or none."""
    proxy.ask("/", {"Connection": "close, X-Failshut-Epoch, X-Failshut-Key", "X-Failshut-Epoch": FORGED})
    assert not backend.seen or backend.epochs() in ([], [monitor.epoch])


def test_a_client_cannot_ask_for_itself(proxy: Proxy, gateway: GatewayProcess, backend: Backend, monitor: Monitor) -> None:
    """What a client says of key and subject counts for nothing: the proxy asks for the subject in its own file."""
    said = {"X-Failshut-Key": "fsk_x", "X-Failshut-Subject": "agent:other", "Authorization": "Bearer x"}
    assert all(proxy.ask("/", {name: value}).status == 200 for name, value in said.items())
    monitor.issue(subjects=("agent:other",))
    eventually(lambda: denied(proxy, backend))
    assert all(proxy.ask("/", {name: value}).status == 403 for name, value in said.items())
    assert proxy.key not in str(backend.seen)


PATHS = (
    *("/../v1/forward-auth/other.gate", "/../../v1/live", "//", "/a//b", "/a/../b", "/%2e%2e/x", "/a%2f..%2fb"),
    *("/%00", "/a\\b", "/..;/x", "/failshut-asks", "/.", "/%252e%252e/", "/?x=/../../v1/live", "http://other/x", "*"),
)


def test_no_path_leads_around_a_closed_gate(proxy: Proxy, gateway: GatewayProcess, backend: Backend, monitor: Monitor) -> None:
    """Whatever a client's path looks like, it asks for the gate in the file; the backend hears nothing while that is closed."""
    monitor.close()
    eventually(lambda: denied(proxy, backend))
    backend.seen.clear()
    for path in PATHS:
        reply = proxy.raw(path)
        assert not reply.startswith(b"HTTP/1.1 2"), (path, reply)
        assert Backend.WORD not in reply
    assert not backend.seen


def test_the_backends_own_status_stays(proxy: Proxy, gateway: GatewayProcess, backend: Backend) -> None:
    """What the backend answers is not taken for the gateway's trouble."""
    for status in (401, 404, 500, 503):
        backend.status = status
        reply = proxy.get()
        assert (reply.status, reply.body) == (status, Backend.WORD)
