"""What a token must be to be believed."""

from __future__ import annotations

import base64
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from guard.standin import POLICY
from hypothesis import given
from hypothesis import strategies as st

from failshut import Cause, Check, Closing, Permit, verify
from failshut.epoch import digits, epoch_of, fence, is_epoch, number_of, term_of
from failshut.permit import ForeignGate
from failshut.signing import (
    TYP_CLOSING,
    TYP_PERMIT,
    BadSignature,
    KeySet,
    SigningKey,
    TokenError,
    UnknownKey,
    UnreadableToken,
    WrongType,
    read_token,
)
from failshut.store import names as store_names

KEY = SigningKey.generate()
INSTALLATION = "i" * 32
KEYS = KEY.key_set().of(INSTALLATION)
PERMIT = Permit(
    installation=INSTALLATION,
    gate="payments.refund",
    epoch=epoch_of(1, 7),
    offset=9,
    partition=3,
    policy=POLICY,
    mode="armed",
    evidence_ms=1_700_000_000_123,
    nbf_ms=1_700_000_000_123,
    exp_ms=1_700_000_003_123,
    ttl_ms=3000,
    readings=(("drift", "ok", "mean 48"),),
    subjects=("agent:*",),
    context={"region": "eu", "environment": "production"},
)
CLOSING = Closing(
    installation=INSTALLATION,
    gate="payments.refund",
    epoch=epoch_of(1, 8),
    offset=8,
    partition=3,
    policy="",
    cause=Cause.NO_POLICY,
    because="no policy names it",
    evidence_ms=1_700_000_000_123,
    breaker="LOCKED",
)


def token_of(header: dict[str, Any], claims: Any, key: SigningKey = KEY) -> str:
    """A token that is signed well, whatever it says."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = key._private.sign(signed)
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def header(**changes: Any) -> dict[str, Any]:
    return {"alg": "EdDSA", "kid": KEY.kid, "typ": TYP_PERMIT} | changes


def test_a_signed_permit_says_what_was_signed() -> None:
    """Permits and closings survive signing and verifying whole."""
    assert verify(PERMIT.sign(KEY), KEYS, PERMIT.gate) == PERMIT
    assert verify(CLOSING.sign(KEY).encode(), KEYS, CLOSING.gate) == CLOSING


def test_the_same_claims_and_key_give_the_same_bytes() -> None:
    """Two governors that decide the same write the same bytes, in whatever order they learned of the context."""
    other = replace(PERMIT, context={"environment": "production", "region": "eu"})
    assert PERMIT.sign(KEY) == other.sign(SigningKey.from_pem(KEY.to_pem()))
    assert list(PERMIT.claims())[:5] == ["iss", "installation", "jti", "gate", "epoch"]


def test_permits_and_closings_are_signed_in_one_order() -> None:
    """Both begin alike. What each alone says is behind that, and a token has the same bytes whichever version signed it."""
    common = ["iss", "installation", "jti", "gate", "epoch", "offset", "partition", "policy"]
    times = ["evidence_ms", "iat_ms", "nbf_ms", "exp_ms", "iat", "nbf", "exp"]
    asked = ["readings", "subjects", "context", "operations", "in_flight", "ttl_ms"]
    assert list(PERMIT.claims()) == [*common, "mode", *times, *asked]
    assert list(CLOSING.claims()) == [*common, "cause", "because", "evidence_ms", "breaker", "in_flight"]


def test_a_jwt_library_reads_the_token_and_sees_no_more_life_than_there_is() -> None:
    """PyJWT itself verifies a permit; its whole-second times enclose ours."""
    token = PERMIT.sign(KEY)
    claims = jwt.decode(
        token, KEY.public, algorithms=["EdDSA"], options={"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    )
    assert claims["jti"] == "payments.refund:0001099511627783:0000000000000009"
    assert claims["exp"] * 1000 >= claims["exp_ms"] > (claims["exp"] - 1) * 1000
    assert claims["nbf"] * 1000 <= claims["nbf_ms"]
    assert jwt.get_unverified_header(token) == header()


def test_a_token_of_another_gate_is_foreign() -> None:
    """A valid permit opens its own gate alone."""
    with pytest.raises(ForeignGate) as caught:
        verify(PERMIT.sign(KEY), KEYS, "payments.route")
    assert caught.value.cause is Cause.FOREIGN


def test_a_token_of_another_key_is_unknown() -> None:
    """A permit by a key outside the key set proves nothing."""
    with pytest.raises(UnknownKey) as caught:
        verify(PERMIT.sign(SigningKey.generate()), KEYS, PERMIT.gate)
    assert caught.value.cause is Cause.UNVERIFIED


def test_a_token_that_borrows_a_known_kid_is_forged() -> None:
    """Naming our key does not make a signature ours."""
    forged = token_of(header(), PERMIT.claims(), SigningKey.generate())
    with pytest.raises(BadSignature):
        verify(forged, KEYS, PERMIT.gate)


@pytest.mark.parametrize(
    "changed",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": None},
        {"typ": "JWT"},
        {"typ": "failshut-command+jwt"},
        {"typ": None},
        {"kid": None},
        {"kid": ["x"]},
        {"crit": ["exp"]},
        {"jwk": {}},
        {"b64": False},
    ],
    ids=str,
)
def test_a_header_with_anything_but_the_pinned_values_is_refused(changed: dict[str, Any]) -> None:
    """Algorithm and type are pinned, and a header has no room for more, even under a good signature."""
    with pytest.raises(WrongType):
        verify(token_of(header(**changed), PERMIT.claims()), KEYS, PERMIT.gate)


def test_an_unsigned_token_is_refused() -> None:
    """`alg: none` with an empty signature opens nothing."""
    unsigned = jwt.encode(PERMIT.claims(), None, algorithm="none", headers={"kid": KEY.kid, "typ": TYP_PERMIT})  # type: ignore[arg-type]
    with pytest.raises(WrongType):
        verify(unsigned, KEYS, PERMIT.gate)


def test_a_public_key_used_as_a_shared_secret_is_refused() -> None:
    """The classical confusion of algorithms: HMAC with the public key."""
    secret = KEY.key_set().to_dict()["keys"][0]["x"]
    confused = jwt.encode(PERMIT.claims(), secret, algorithm="HS256", headers={"kid": KEY.kid, "typ": TYP_PERMIT})
    with pytest.raises(WrongType):
        verify(confused, KEYS, PERMIT.gate)


def test_a_closing_signed_as_a_permit_is_no_permit() -> None:
    """A type is more than a word: the claims must be that type's."""
    with pytest.raises(UnreadableToken):
        verify(KEY.sign(CLOSING.claims(), TYP_PERMIT), KEYS, CLOSING.gate)
    with pytest.raises(UnreadableToken):
        verify(KEY.sign(PERMIT.claims(), TYP_CLOSING), KEYS, PERMIT.gate)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "somebody"},
        {"jti": "payments.refund:1:1"},
        {"iat_ms": 1},
        {"exp": 9_999_999_999},
        {"exp_ms": 9_999_999_999_999},
        {"exp_ms": 1_700_000_003_124},
        {"exp_ms": "1700000003123"},
        {"exp_ms": 1_700_000_003_123.0},
        {"exp_ms": True},
        {"evidence_ms": 1_800_000_000_000},
        {"nbf_ms": 1_700_000_003_123},
        {"ttl_ms": 0},
        {"ttl_ms": 10**12},
        {"mode": "open"},
        {"installation": "short"},
        {"installation": "with:a:colon:in:it"},
        {"installation": 7},
        {"in_flight": "ignore"},
        {"epoch": "7"},
        {"epoch": "9999999999999999"},
        {"offset": -1},
        {"partition": -1},
        {"policy": ""},
        {"subjects": "agent:*"},
        {"subjects": [1]},
        {"context": []},
        {"context": {"a": 1}},
        {"readings": [["a", "b"]]},
        {"extra": 1},
    ],
    ids=str,
)
def test_claims_that_do_not_agree_are_no_permit(changed: dict[str, Any]) -> None:
    """A signed permit with one claim missing, mistyped, surplus or against the others is unreadable."""
    with pytest.raises(UnreadableToken):
        verify(KEY.sign(PERMIT.claims() | changed, TYP_PERMIT), KEYS, PERMIT.gate)


def test_true_is_not_one() -> None:
    """A truth value is equal to 1 in Python, and is no number in a permit."""
    claims = replace(PERMIT, partition=1).claims()
    assert verify(KEY.sign(claims, TYP_PERMIT), KEYS, PERMIT.gate).partition == 1
    with pytest.raises(UnreadableToken):
        verify(KEY.sign(claims | {"partition": True}, TYP_PERMIT), KEYS, PERMIT.gate)


@pytest.mark.parametrize("missing", list(PERMIT.claims()))
def test_a_missing_claim_is_no_permit(missing: str) -> None:
    """Every claim is needed."""
    claims = PERMIT.claims()
    del claims[missing]
    with pytest.raises(UnreadableToken):
        verify(KEY.sign(claims, TYP_PERMIT), KEYS, PERMIT.gate)


@pytest.mark.slow
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_garbage_is_refused_with_a_typed_error(garbage: bytes | str) -> None:
    """Whatever bytes come, the error is a TokenError and nothing else."""
    with pytest.raises(TokenError):
        verify(garbage, KEYS, PERMIT.gate)


@given(st.integers(0, len(PERMIT.sign(KEY)) - 1), st.sampled_from("Aa0-_.=\x00"))
def test_a_damaged_token_never_verifies_as_something_else(position: int, letter: str) -> None:
    """One changed character gives a typed error, or the very same permit."""
    token = PERMIT.sign(KEY)
    damaged = token[:position] + letter + token[position + 1 :]
    try:
        assert verify(damaged, KEYS, PERMIT.gate) == PERMIT
    except TokenError:
        assert damaged != token


def test_deep_nesting_and_great_length_are_refused() -> None:
    """Neither recursion nor size gets past the typed errors."""
    deep = base64.urlsafe_b64encode(b"[" * 40_000).decode()
    for token in (f"{deep}.e30.AA", "a" * 100_000, token_of(header(), 1), token_of(header(), [1])):
        with pytest.raises(TokenError):
            verify(token, KEYS, PERMIT.gate)
    with pytest.raises(TokenError):
        read_token(token_of(header(), {}).replace(".", ".."), KEY.key_set(), TYP_PERMIT)


@given(st.integers(0, 8191), st.integers(0, (1 << 40) - 1))
def test_epochs_compare_as_text(term: int, offset: int) -> None:
    """An epoch is 16 digits below 2**53, and gives back its term and offset."""
    epoch = epoch_of(term, offset)
    assert is_epoch(epoch)
    assert len(epoch) == 16
    assert term_of(epoch) == term
    assert int(epoch) == number_of(term, offset) == term * 2**40 + offset
    assert epoch < fence(epoch, 0) < fence(epoch, 1)
    if offset:
        assert epoch_of(term, offset - 1) < epoch


def test_numbers_that_do_not_fit_are_refused() -> None:
    """Nothing wraps round: beyond 53 bits there is an error."""
    for term, offset in ((-1, 0), (8192, 0), (0, 1 << 40), (0, -1)):
        with pytest.raises(ValueError, match="not between"):
            epoch_of(term, offset)
    with pytest.raises(ValueError, match="53 bits"):
        digits(1 << 53)
    assert not is_epoch("\u0660" * 16)
    assert not is_epoch(7)


@pytest.mark.parametrize("name", ["", "a:b", "a{b}", "a\nb", "a\n", "é", "a b", "-a", "_a", ".a", "a/b", "x" * 129, 7])
def test_a_name_that_could_reach_another_key_is_no_gate(name: Any) -> None:
    """A gate's name becomes part of keys and messages, so it has no room for their punctuation."""
    with pytest.raises(ValueError, match="not a gate's name"):
        store_names.check_gate(name)


def test_all_keys_of_a_gate_lie_in_one_slot() -> None:
    """A cluster finds the same hash tag in every key of a gate."""
    gate = store_names.check_gate("payments.refund")
    names = store_names.Names(INSTALLATION)
    for name in (names.record, names.fence, names.probes, names.probed, names.status, names.outcomes):
        assert "{payments.refund}" in name(gate)


def test_a_permit_warns_of_what_does_not_hold() -> None:
    """Its conditions' words, where they are no part of what an operator bypassed."""
    readings = (("drift:a/x", "demands", "mean 48 to 97"), ("heartbeat:a", "holds", "0.2 s ago"))
    assert replace(PERMIT, readings=readings).warnings == ("drift:a/x: mean 48 to 97",)
    assert replace(PERMIT, readings=readings, mode="bypass").warnings == ()
    assert replace(PERMIT, readings=readings[1:]).warnings == ()


def test_every_cause_has_a_meaning_and_a_check() -> None:
    """No denial leaves a person without a sentence."""
    for cause in Cause:
        assert cause.meaning
        assert Check.of(cause) in Check
    assert Check.of(Cause.DRIFT) is Check.PROOF


def test_keys_are_written_for_their_readers_alone(tmp_path: Path) -> None:
    """A private key is its owner's, a JWKS is everybody's, and both come back the same."""
    KEY.save(tmp_path / "keys" / "signing.pem")
    KEY.write_jwks(tmp_path / "jwks.json")
    assert stat.S_IMODE(os.stat(tmp_path / "keys" / "signing.pem").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "jwks.json").st_mode) == 0o644
    assert SigningKey.load(tmp_path / "keys" / "signing.pem").kid == KEY.kid
    assert KEY.kid in KeySet.load(tmp_path / "jwks.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jwks.json", "keys"]


def test_a_key_shows_its_name_alone() -> None:
    """What a log or a traceback quotes of a private key is its public half's name."""
    assert KEY.kid in repr(KEY)
    assert "PRIVATE" not in repr(KEY)


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        {"keys": []},
        {"keys": {}},
        {"keys": [{}]},
        {"keys": [{"kty": "RSA", "n": "x"}]},
        {"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AA"}]},
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}]},
        {"keys": [{"kty": "OKP", "crv": "Ed25519"}]},
        {"keys": [KEY.key_set().to_dict()["keys"][0] | {"kid": "mine"}]},
        {"keys": [KEY.key_set().to_dict()["keys"][0] | {"d": "secret"}]},
        [],
    ],
    ids=lambda _: "jwks",  # the keys in it are new each time,
)
def test_a_key_set_with_anything_else_is_refused(jwks: Any) -> None:
    """Only Ed25519 public keys under their own thumbprint are read; a doubtful set is no set."""
    with pytest.raises(ValueError, match=r".+"):
        KeySet.from_dict(jwks)


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    """The example of RFC 8037, appendix A.3, gives the thumbprint printed there."""
    entry = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" in KeySet.from_dict({"keys": [entry]})


def test_a_rotation_is_two_keys_for_a_while() -> None:
    """Joined key sets verify what either key signed."""
    other = SigningKey.generate()
    both = KEYS.joined(other.key_set())
    assert len(both) == 2
    assert verify(PERMIT.sign(KEY), both, PERMIT.gate) == verify(PERMIT.sign(other), both, PERMIT.gate)
