"""Keys of issuers: from a file or an address, and whatever an address may do instead of answering."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway.identity_support import JwksServer, jwk, jwks
from guard.standin import eventually
from patience import patient

from failshut_gateway.asking import rates
from failshut_gateway.asking.rates import Rates
from failshut_gateway.identity import issuer_keys
from failshut_gateway.identity.issuer_keys import BYTES_MAX, IssuerKeys, is_address
from failshut_gateway.identity.token_check import read_keys


def test_keys_that_are_no_use_are_left_out() -> None:
    """Secrets, private keys, small ones, keys for encryption, of unknown kinds, without a name."""
    useless = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {**jwk("ec"), "d": "x"},
        jwk("small"),
        jwk("ec", use="enc"),
        jwk("ec", key_ops=["sign"]),
        {**jwk("ec"), "kid": None},
        {"kty": "XYZ", "kid": "x"},
        {**jwk("ec"), "x": "AA"},
        "no key",
    ]
    assert set(read_keys(json.dumps({"keys": [*useless, jwk("ed")]}).encode())) == {"ed"}
    with pytest.raises(ValueError, match="no key"):
        read_keys(json.dumps({"keys": useless}).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": {}}',
        b"<html>",
        b'{"keys": [], "keys": []}',
        b"{" * 100_000,
        json.dumps({"keys": [{}] * 101}).encode(),
    ],
)
def test_what_is_no_key_set_is_refused(content: bytes) -> None:
    """And so is one in which a name stands twice: nobody knows which key it means."""
    with pytest.raises(ValueError, match=r"."):
        read_keys(content)
    with pytest.raises(ValueError, match="one kid"):
        read_keys(json.dumps({"keys": [jwk("ec"), {**jwk("ed"), "kid": "ec"}]}).encode())


def test_a_file_that_cannot_be_read_leaves_no_key(tmp_path: Path) -> None:
    """Torn, missing, too long, a folder, a pipe that nobody writes to: none counts, until it is whole again."""
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks())
    keys = IssuerKeys(str(path))
    assert not keys.keys()
    keys.look()
    assert set(keys.keys()) == {"rsa", "ec", "ed"}
    for content in (jwks()[:-5], b" " * (BYTES_MAX + 1), b""):
        path.write_bytes(content)
        keys.look()
        assert not keys.keys()
        assert keys.why
    path.unlink()
    keys.look()
    assert not keys.keys()
    os.mkfifo(path)
    keys.look()
    assert not keys.keys()
    path.unlink()
    path.write_bytes(jwks("ec"))
    keys.look()
    assert keys.holds("ec")
    assert not keys.why


@pytest.fixture
def server() -> Iterator[JwksServer]:
    server = JwksServer()
    yield server
    server.close()


def hang(file: Any) -> None:
    time.sleep(30)


def trickle(file: Any) -> None:
    file.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(600):
        file.write(b" ")
        file.flush()
        time.sleep(0.05)


def trickle_in_the_head(file: Any) -> None:
    for _ in range(600):
        file.write(b"H")
        file.flush()
        time.sleep(0.05)


LIES: dict[str, dict[str, Any]] = {
    "moved": {"status": 302, "headers": {"location": "file:///etc/passwd"}},
    "an error with keys": {"status": 500},
    "nothing": {"content": b""},
    "a page": {"content": b"<html>sign in</html>"},
    "no end": {"content": b" " * (BYTES_MAX + 1)},
    "compressed": {"headers": {"content-encoding": "gzip"}},
    "shorter than it says": {"headers": {"content-length": "100000"}},
    "hangs": {"misbehave": hang},
    "trickles": {"misbehave": trickle},
    "trickles in its head": {"misbehave": trickle_in_the_head},
}


@pytest.mark.parametrize("lie", LIES)
def test_an_address_that_hangs_or_lies_gives_no_key(server: JwksServer, lie: str) -> None:
    """The former keys count for a while and no longer; without former keys none does. The look ends in time."""
    now = [1_000.0]
    keys = IssuerKeys(server.url, stale_seconds=60.0, answer_seconds_max=0.5, monotonic=lambda: now[0])
    cold = IssuerKeys(server.url, answer_seconds_max=0.5)
    keys.look()
    assert keys.holds("ec")
    for name, value in LIES[lie].items():
        setattr(server, name, value)
    now[0] += 30
    began = time.monotonic()
    keys.look()
    cold.look()
    assert time.monotonic() - began < patient(10), "an answer that trickles for half a minute was waited for"
    assert keys.why
    assert keys.holds("ec")
    assert not cold.keys()
    now[0] += 31
    assert not keys.keys()


def test_an_address_is_safe_on_its_way() -> None:
    """Keys in the clear, from elsewhere than this machine, are refused, and so is a login."""
    for where in ("http://login.example/jwks", "https://a:b@login.example/jwks", "https:///jwks", "https://x/#f"):
        with pytest.raises(ValueError, match=r"."):
            is_address(where)
    assert is_address("https://login.example/jwks")
    assert not is_address("/etc/failshut/jwks.json")


def test_an_unknown_key_has_the_address_asked_sooner(server: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation at the issuer is followed, and tokens of unknown keys ask no more often than the bound."""
    monkeypatch.setattr(issuer_keys, "SOONER_SECONDS", 0.2)
    server.content = jwks("rsa")
    keys = IssuerKeys(server.url, seconds=600.0)
    keys.start()
    try:
        eventually(lambda: keys.holds("rsa"))
        server.content = jwks("ec")
        time.sleep(0.5)
        assert server.asked == 1
        for _ in range(100):
            keys.miss()
        eventually(lambda: keys.holds("ec"))
        assert not keys.holds("rsa")
        assert server.asked <= 3
    finally:
        keys.stop()


# --- how often ---


def test_buckets_that_are_full_again_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound a new caller is refused while all others are busy, and finds room afterwards."""
    monkeypatch.setattr(rates, "BUCKETS_MAX", 2)
    now = [0.0]
    found = Rates(10, lambda: now[0])
    assert found.take("a")
    assert found.take("b")
    assert not found.take("c")
    now[0] = 1.5
    assert found.take("b")
    assert found.take("c")
    assert not found.take("d")
