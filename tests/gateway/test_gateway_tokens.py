"""Tokens of issuers: what proves who asks, and everything that looks as if it did."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from gateway.gateway_support import FORWARD, Running
from gateway.identity_support import CONFIGURED, PRIVATE, SETTINGS, claims, jwk, jwks, token
from gateway.test_gateway_executions import Stream, begin, begun
from guard.standin import SUBJECT, Monitor, eventually

from failshut_gateway.identity.identities import Identities
from failshut_gateway.identity.identity_file import BadIdentityFile, Sources, read_sources
from failshut_gateway.identity.proven import BadIdentity, subject_of
from failshut_gateway.identity.token_check import Issuer, check, read_keys

NOW_S = 1_790_000_000
KEYS = read_keys(jwks())


def proves(made: bytes, issuer: Issuer = CONFIGURED, now_s: float = NOW_S) -> str:
    return check(made, issuer, KEYS, now_s * 1000).name


def b64(data: Any) -> bytes:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


# --- a token ---


@pytest.mark.parametrize(("kid", "alg"), [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")])
def test_a_token_of_the_issuer_proves_its_subject(kid: str, alg: str) -> None:
    """Each algorithm that is on by default; a list of audiences that has ours; until a millisecond before its end."""
    assert proves(token(claims(NOW_S), kid, alg)) == "refund-7"
    assert proves(token(claims(NOW_S, aud=["other", "failshut"]), kid, alg, typ="JWT")) == "refund-7"
    assert proves(token(claims(NOW_S), kid, alg), now_s=NOW_S + 599.999) == "refund-7"


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://login.example/"},
    "another audience": {"aud": "failshut2"},
    "a list without ours": {"aud": ["a", "b"]},
    "no audience": {"aud": None},
    "an audience that is no text": {"aud": ["failshut", 7]},
    "expired by a second": {"exp": NOW_S - 1},
    "expired now": {"exp": NOW_S},
    "no end": {"exp": None},
    "an end that is no time": {"exp": "never"},
    "true as an end": {"exp": True},
    "an end without end": {"exp": 1e300},
    "an end next year": {"exp": NOW_S + 366 * 86_400},
    "not yet valid": {"nbf": NOW_S + 60},
    "issued later": {"iat": NOW_S + 60},
    "nobody": {"sub": None},
    "no text": {"sub": 7},
    "bound to a key": {"cnf": {"jkt": "x"}},
}


@pytest.mark.parametrize("wrong", WRONG_CLAIMS)
def test_a_claim_that_is_wrong_proves_nothing(wrong: str) -> None:
    """One wrong claim of a token that is signed well."""
    with pytest.raises(BadIdentity):
        proves(token(claims(NOW_S, **WRONG_CLAIMS[wrong])))


@pytest.mark.parametrize(
    "header",
    [
        *({"kid": None}, {"kid": 7}, {"kid": ""}, {"kid": "../../etc/passwd"}, {"kid": "/dev/null"}, {"kid": "EC"}),
        *({"typ": None}, {"typ": "id+jwt"}, {"typ": "failshut-permit+jwt"}, {"typ": 7}, {"crit": ["exp"], "exp": 1}),
        *({"jku": "https://evil.example"}, {"jwk": {}}, {"x5u": "https://evil.example"}, {"x5c": []}, {"zip": "DEF"}),
    ],
)
def test_a_header_that_is_wrong_proves_nothing(header: dict[str, Any]) -> None:
    """Unknown keys, paths as keys, other types, and whatever leads to another key."""
    head, said = {"alg": "ES256", "typ": "at+jwt", "kid": "ec", **header}, claims(NOW_S)
    head = {name: value for name, value in head.items() if value is not None}
    signed = b64(head) + b"." + b64(said)
    made = signed + b"." + token(said).rsplit(b".", 1)[1]
    with pytest.raises(BadIdentity):
        proves(made)
    if "jku" in header or "x5u" in header or header.get("typ") == "id+jwt":
        with pytest.raises(BadIdentity, match=r"leads elsewhere|type"):
            proves(token(said, **{"kid": "ec", **header}))


def test_no_algorithm_and_another_one_prove_nothing() -> None:
    """None, a public key as a secret, an algorithm of another key, and one that the issuer does not use."""
    said = claims(NOW_S)
    for alg in ("none", "None", "NONE", ""):
        with pytest.raises(BadIdentity, match="another algorithm"):
            proves(b64({"alg": alg, "typ": "at+jwt", "kid": "ec"}) + b"." + b64(said) + b".")
    public = PRIVATE["rsa"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, json.dumps(jwk("rsa")).encode(), b""):
        signed = b64({"alg": "HS256", "typ": "at+jwt", "kid": "rsa"}) + b"." + b64(said)
        with pytest.raises(BadIdentity, match="another algorithm"):
            proves(signed + b"." + b64(hmac.digest(secret, signed, hashlib.sha256)))
    with pytest.raises(BadIdentity, match="not for"):
        proves(_relabelled(said, "RS256", "ec"))
    with pytest.raises(BadIdentity, match="another algorithm"):
        proves(token(said, "rsa", "RS384"))
    with pytest.raises(BadIdentity, match="does not fit"):
        proves(token(said, key=_other_key()))


def _relabelled(said: dict[str, Any], alg: str, kid: str) -> bytes:
    return b64({"alg": alg, "typ": "at+jwt", "kid": kid}) + b"." + b64(said) + b"." + b64(b"x" * 256)


def _other_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    "made",
    [
        *(b"", b"..", b"a.b.c", b"e.e.e", b"eyJ9.e30.x", b"\xff.\xff.\xff", b"ey" * 9_000 + b"..", b"ey.ey"),
        *(b64(b"[]") + b".e30.", b64(b"{" * 5_000) + b".e30.", b64(b'{"alg":"ES256","alg":"none"}') + b".e30."),
    ],
)
def test_bytes_that_are_no_token_prove_nothing(made: bytes) -> None:
    """Whatever is sent, it is BadIdentity and nothing else."""
    with pytest.raises(BadIdentity):
        check(made, CONFIGURED, KEYS, NOW_S * 1000)
    with pytest.raises(BadIdentity):
        Identities(Sources((CONFIGURED,))).by_token(made if made.count(b".") == 2 else made + b"..")


def test_every_changed_letter_is_noticed() -> None:
    """A token with one letter changed, anywhere, proves nothing."""
    made = token(claims(NOW_S), "ed")
    for at in range(len(made)):
        if made[at : at + 1] != b".":
            letter = b"A" if made[at : at + 1] != b"A" else b"Q"
            if at == len(made) - 1 or made[at + 1 : at + 2] == b".":
                continue  # the last letter of a part has bits that mean nothing
            with pytest.raises(BadIdentity):
                proves(made[:at] + letter + made[at + 1 :])


@pytest.mark.parametrize("name", ["*", "refund-*", "refund-?", "", "a\nb", "x" * 600, "other-7", "refund-7\x00"])
def test_a_name_covers_nobody_else(name: str) -> None:
    """A pattern as a name, a name that is none, and one that the issuer may not say."""
    with pytest.raises(BadIdentity):
        subject_of("agent:{name}", name, CONFIGURED.subjects)


# --- the file ---

GOOD = """
[[issuer]]
issuer = "https://login.example"
audience = "failshut"
jwks = "jwks.json"
subject = "agent:{name}"
subjects = ["agent:*"]
gates = ["*"]
"""


@pytest.mark.parametrize(
    "content",
    [
        *("", "x = 1", "[[issuer]]", GOOD + "typo = 1", GOOD + GOOD, GOOD.replace("{name}", "x"), GOOD + 'role = "root"'),
        *(
            GOOD + 'algorithms = ["HS256"]',
            GOOD + 'algorithms = ["none"]',
            GOOD + "algorithms = []",
            GOOD + 'algorithms = "RS256"',
        ),
        *(
            GOOD.replace('["*"]', "[]"),
            GOOD.replace('"jwks.json"', '"http://login.example/x"'),
            GOOD.replace('"failshut"', "7"),
        ),
        *(GOOD + "types = []", GOOD + '[certificates]\nauthority = "x"', "[[issuer]", GOOD.replace('["*"]', '"*"')),
        GOOD + '[certificates]\nauthority = "x"\nname = "cn"\nsubject = "{name}"\nsubjects = ["*"]\ngates = ["*"]',
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(content: str) -> None:
    """A slip, an algorithm of secrets, an issuer twice: no gateway starts with it."""
    assert read_sources(GOOD.encode()).issuers[0].algorithms == ("RS256", "PS256", "ES256", "EdDSA")
    with pytest.raises(BadIdentityFile):
        read_sources(content.encode())


# --- over HTTP ---


@pytest.fixture
def gate(monitor: Monitor) -> str:
    monitor.ttl_ms = 600_000
    monitor.issue()
    return monitor.gate


@pytest.fixture
def issued(monitor: Monitor, tmp_path: Path) -> Iterator[Running]:
    """A gateway that knows the issuer."""
    (tmp_path / "jwks.json").write_bytes(jwks())
    sources = Sources((Issuer(**{**SETTINGS, "jwks": str(tmp_path / "jwks.json")}),))
    with Running(monitor, tmp_path / "access.json", sources=sources) as running:
        eventually(lambda: not any(running.gateway._identities.why().values()))
        yield running


def test_a_token_asks_for_its_own_subject(issued: Running, gate: str, monitor: Monitor) -> None:
    """As a bearer: 200 with the epoch, without a header that names the subject; never for another."""
    bearer = f"Bearer {token(claims()).decode()}"
    for _ in range(2):
        reply = issued.get(FORWARD + gate, Authorization=bearer)
        assert (reply.status, reply.headers["x-failshut-epoch"]) == (200, monitor.epoch)
    assert issued.get(FORWARD + gate, Authorization=bearer, X_Failshut_Subject=SUBJECT).status == 200
    assert issued.get(FORWARD + gate, Authorization=bearer, X_Failshut_Subject="agent:refund-8").status == 403
    question = {
        "subject": {"type": "agent", "id": "refund-7"},
        "action": {"name": "x"},
        "resource": {"type": "gate", "id": gate},
    }
    assert issued.post("/access/v1/evaluation", "", question, Authorization=bearer).json["decision"] is True
    question["subject"]["id"] = "refund-8"
    answer = issued.post("/access/v1/evaluation", "", question, Authorization=bearer).json
    assert (answer["decision"], answer["context"]["failed"]) == (False, "identity")
    assert issued.get("/v1/gates", Authorization=bearer).status == 403


def test_a_token_that_proves_nothing_is_an_empty_403(issued: Running, gate: str) -> None:
    """Expired, of another audience, of another issuer, of nobody, with a pattern for a name: the reply is one and the same."""
    now = time.time()
    bad = [
        token(claims(exp=int(now) - 1)),
        token(claims(aud="x")),
        token(claims(iss="https://evil.example")),
        token(claims(sub="*")),
        token(claims(sub="other-1")),
        token(claims(), kid="ec", typ="id+jwt"),
        b"eyJ.e30.x",
        token(claims()) + b"x",
    ]
    replies = [issued.get(FORWARD + gate, Authorization=f"Bearer {one.decode()}") for one in bad]
    replies.append(issued.get(FORWARD + gate))
    assert {(reply.status, reply.body, tuple(sorted(reply.headers))) for reply in replies} == {
        (403, b"", tuple(sorted(replies[-1].headers)))
    }
    assert issued.gateway._audit.refused["identity"] == len(bad)


def test_without_an_issuer_a_token_proves_nothing(running: Running, gate: str) -> None:
    """By default nobody is known but by an access key."""
    assert running.get(FORWARD + gate, Authorization=f"Bearer {token(claims()).decode()}").status == 403


def test_an_execution_ends_with_its_token(issued: Running, gate: str, tmp_path: Path) -> None:
    """At the token's end, and when its key is withdrawn: whose authorization becomes invalid executes no further."""
    short = f"Bearer {token(claims(exp=int(time.time()) + 6)).decode()}"
    assert begin(issued, gate, "", "", Authorization=short).status in (201, 403)  # an empty header names nobody
    reply = issued.call("POST", f"/v1/gates/{gate}/executions", "", b"", Authorization=short)
    assert reply.status == 201
    path = f"/v1/executions/{reply.json['execution']}"
    assert issued.get(path, Authorization=short).status == 200
    long = f"Bearer {token(claims(sub='long-1')).decode()}"
    assert issued.get(path, Authorization=long).status == 404
    eventually(lambda: issued.get(path, Authorization=short).status == 403)
    eventually(lambda: not len(issued.gateway._executions))
    assert issued.gateway._executions.outcomes["stopped"] >= 1


def test_a_withdrawn_key_proves_nothing_any_more(issued: Running, gate: str, tmp_path: Path) -> None:
    """Also for a token that was verified before, and for what runs under it."""
    bearer = f"Bearer {token(claims(), 'ec').decode()}"
    assert issued.get(FORWARD + gate, Authorization=bearer).status == 200
    assert issued.call("POST", f"/v1/gates/{gate}/executions", "", b"", Authorization=bearer).status == 201
    (tmp_path / "jwks.json").write_bytes(jwks("rsa"))
    eventually(lambda: issued.get(FORWARD + gate, Authorization=bearer).status == 403)
    eventually(lambda: not len(issued.gateway._executions))
    assert issued.get(FORWARD + gate, Authorization=f"Bearer {token(claims(), 'rsa').decode()}").status == 200


def test_many_subjects_of_an_issuer_take_no_room(issued: Running, gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that they bring in count for the issuer; their last uses are in no file."""
    from failshut_gateway.asking import asker

    monkeypatch.setattr(asker, "GATES_OF_KEY_MAX", 3)
    for number in range(5):
        bearer = f"Bearer {token(claims(sub=f'refund-{number}')).decode()}"
        issued.get(f"{FORWARD}no.such-{number}", Authorization=bearer)
    assert len(issued.gateway._forward_auth._asker._gates) == 3
    assert not issued.gateway._uses._seen
    assert issued.asked(gate, issued.key()).status == 200


# --- the four sentences ---


@pytest.mark.parametrize("trouble", ["authorization", "conditions", "proof", "integrity"])
def test_what_runs_stops_when(running: Running, gate: str, key: str, monitor: Monitor, trouble: str) -> None:
    """Authorization becomes invalid, conditions drift, proof cannot be verified, integrity fails: running executions stop."""
    from failshut_gateway.access import access_file

    stream = Stream(running, begun(running, gate, key), key)
    if trouble == "authorization":
        access_file.revoke(running.access, 1, key[4:12])
    elif trouble == "conditions":
        monitor.close()
    elif trouble == "proof":
        monitor.client.delete(monitor.names.record(gate))
    else:
        monitor.client.set(monitor.names.record(gate), b"eyJhbGciOiJub25lIn0.e30.", px=600_000)
    (end,) = [data for name, data in stream.events() if name == "end"]
    expected = {"authorization": "identity", "conditions": "proof", "proof": "proof", "integrity": "proof"}
    assert (end["outcome"], end["failed"]) == ("stopped", expected[trouble])
    stream.close()
