"""Client certificates: mutual TLS that ends at the gateway proves who asks."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from gateway.gateway_support import FORWARD, Running
from gateway.identity_support import Authority
from guard.standin import Monitor
from patience import patient

from failshut_gateway.gateway import Settings
from failshut_gateway.identity.identities import Identities
from failshut_gateway.identity.identity_file import Certificates, Sources
from failshut_gateway.identity.proven import BadIdentity

ME = "spiffe://example/refund-7"
SUBJECT = "agent:spiffe://example/refund-7"


def wanted(authority: Path) -> Certificates:
    return Certificates(
        authority=str(authority), name="uri", subject="agent:{name}", subjects=("agent:spiffe://example/*",), gates=("*",)
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def mutual(monitor: Monitor, tmp_path: Path, authority: Authority) -> Iterator[Running]:
    """A gateway with TLS that takes client certificates of the authority; the gate is open to all agents."""
    monitor.ttl_ms = 600_000
    monitor.issue(subjects=("agent:*",))
    cert, key = authority.certificate("server", "127.0.0.1")
    sources = Sources((), wanted(authority.path))
    with Running(monitor, tmp_path / "access.json", cert=str(cert), key=str(key), sources=sources) as running:
        yield running


def asked(running: Running, authority: Authority, shown: tuple[Path, Path] | None, **headers: str) -> int:
    """The status of forward auth over TLS, with a certificate or without."""
    context = ssl.create_default_context(cafile=str(authority.path))
    if shown is not None:
        context.load_cert_chain(*shown)
    connection = http.client.HTTPSConnection("127.0.0.1", running.port, context=context, timeout=patient(20))
    try:
        connection.request("GET", FORWARD + GATE[0], headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status
    finally:
        connection.close()


GATE: list[str] = []


@pytest.fixture(autouse=True)
def _gate(monitor: Monitor) -> None:
    GATE[:] = [monitor.gate]


def test_a_certificate_asks_for_the_name_in_it(mutual: Running, authority: Authority) -> None:
    """200 for its own subject; 403 for another, for a name that may not be said, for two names, a pattern, and none."""
    mine = authority.certificate("mine", ME)
    assert asked(mutual, authority, mine) == 200
    assert asked(mutual, authority, mine, X_Failshut_Subject=SUBJECT) == 200
    assert asked(mutual, authority, mine, X_Failshut_Subject="agent:spiffe://example/refund-8") == 403
    assert asked(mutual, authority, authority.certificate("other", "spiffe://elsewhere/refund-7")) == 403
    assert asked(mutual, authority, authority.certificate("two", ME, "spiffe://example/refund-8")) == 403
    assert asked(mutual, authority, authority.certificate("star", "spiffe://example/*")) == 403
    assert asked(mutual, authority, authority.certificate("none")) == 403
    assert asked(mutual, authority, authority.certificate("address", "127.0.0.1")) == 403
    assert asked(mutual, authority, None) == 403


def test_another_authority_and_an_end_prove_nothing(mutual: Running, authority: Authority, tmp_path: Path) -> None:
    """TLS itself refuses them: there is no reply at all."""
    (tmp_path / "other").mkdir()
    foreign = Authority(tmp_path / "other", "authority").certificate("mine", ME)  # of the same name, by another key
    expired = authority.certificate("expired", ME, life=timedelta(minutes=-5))
    for shown in (foreign, expired):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            asked(mutual, authority, shown)


def test_a_key_that_is_shown_counts_first(mutual: Running, authority: Authority) -> None:
    """A key works without a certificate, and a bad one is not made good by a certificate."""
    mine, key = authority.certificate("mine", ME), mutual.key()
    assert asked(mutual, authority, None, X_Failshut_Key=key, X_Failshut_Subject="agent:x") == 200
    assert asked(mutual, authority, mine, X_Failshut_Key="fsk_bad") == 403
    assert asked(mutual, authority, mine, X_Forwarded_Client_Cert="URI=spiffe://example/refund-8") == 200


def test_a_certificate_in_a_header_is_nobodys(mutual: Running, authority: Authority) -> None:
    """What somebody writes of a certificate proves nothing: only the connection's own counts."""
    for name in ("X-Forwarded-Client-Cert", "X-SSL-Client-S-DN", "X-Client-Cert", "Failshut-Peer"):
        assert asked(mutual, authority, None, **{name: f"URI={ME}"}) == 403


def test_a_certificate_that_ends_meanwhile_ends_too(authority: Authority) -> None:
    """On a connection that stays open its end is looked at with each request."""
    peer = {
        "subjectAltName": (("URI", ME),),
        "notBefore": "Jan  5 00:00:00 2026 GMT",
        "notAfter": "Jan  6 00:00:00 2026 GMT",
    }
    now = [1_767_600_000.0]
    known = Identities(Sources((), wanted(authority.path)), wall=lambda: now[0])
    proven = known.by_certificate(peer)
    assert (proven.only_subject, known.counts(proven)) == (SUBJECT, True)
    now[0] += 86_400
    assert not known.counts(proven)
    with pytest.raises(BadIdentity, match="expired"):
        known.by_certificate(peer)
    with pytest.raises(BadIdentity, match="its times"):
        known.by_certificate({"subjectAltName": (("URI", ME),)})
    with pytest.raises(BadIdentity, match="counts here"):
        Identities(Sources()).by_certificate(peer)


def test_certificates_need_tls_that_ends_here(authority: Authority, tmp_path: Path) -> None:
    """Without it no connection would have a certificate, and somebody might think that one does."""
    from failshut import Configuration

    with pytest.raises(ValueError, match="TLS"):
        Settings(guard=Configuration(), access=tmp_path / "a.json", sources=Sources((), wanted(authority.path)))
