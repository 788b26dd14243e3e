"""Leaves: what a decision, a command, an activation and a change of keys become, and that others can verify it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from console.decisions import ADA, BYPASS, DRIFT, IN_BYPASS, KEY_ID, control, decision, encoded, refused
from draws import draws
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger.writing import KEY
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import SSlibKey

from failshut.epoch import epoch_of
from failshut_breakers.decisions.decision import Brief, Kind
from failshut_ledger.errors import BadSignature, LedgerError, Malformed, NoKnownSignature
from failshut_ledger.leaves.envelope import PAYLOAD_TYPE, open_envelope, sign_envelope, signed_bytes
from failshut_ledger.leaves.intake import RECENT_MAX, Intake
from failshut_ledger.leaves.statement import (
    Record,
    Statement,
    begin_leaf,
    key_in,
    read_statement,
    record_leaf,
    rotation_leaf,
)
from failshut_ledger.merkle.tiles import LEAF_BYTES_MAX
from failshut_ledger.notes.keys import COSIGNATURE, Signer
from failshut_ledger.notes.position import Position

CLOSED = decision(Kind.CLOSE, 7, **DRIFT)


def recorded(value: bytes, offset: int = 5) -> Record:
    return Record("decisions", 2, offset, 1_772_362_800_123, value)


def told(leaf: bytes) -> Statement:
    """What a leaf says, once its signature was verified."""
    return read_statement(open_envelope(leaf, [KEY.verifier])[0])


def of(value: Any) -> Statement:
    return told(record_leaf(recorded(encoded(value)[0]), KEY))


def test_a_leaf_says_what_was_decided_and_on_what() -> None:
    """Gate, epoch, state, cause, policy, evidence, time and the record itself by digest."""
    statement = of(CLOSED)
    said = statement.predicate
    assert (said["kind"], said["gate"], said["does"], said["state"], said["cause"]) == (
        "decision",
        "pay",
        "close",
        "TRIPPED",
        "drift",
    )
    assert (said["epoch"], said["policy"]) == (epoch_of(1, 7), "sha256:" + "0" * 64)
    assert said["evidence"] == {"topic": "evidence", "partition": 0, "offset": 7}
    assert said["origin"] == {"topic": "telemetry", "partition": 0, "offset": 7, "index": 0}
    assert said["time_ms"] == CLOSED.evidence_ms
    assert said["readings"] == [{"name": "drift:agent/amount", "status": "holds", "text": "mean 48"}]
    assert said["record"] == {"topic": "decisions", "partition": 2, "offset": 5, "time_ms": 1_772_362_800_123}
    assert statement.digest == hashlib.sha256(encoded(CLOSED)[0]).hexdigest()
    assert statement.subject == f"decision/{'i' * 32}/pay/{epoch_of(1, 7)}"


def test_commands_and_activations_are_told_apart() -> None:
    """An operator's command has a name, an activation the key that signed it; evidence has neither."""
    locked = decision(Kind.CLOSE, 8, by=f"{ADA}: a deploy", origin=control(8))
    activated = decision(Kind.CLOSE, 9, by=KEY_ID, origin=control(9))
    found = {of(one).predicate["kind"]: of(one).predicate for one in (CLOSED, locked, activated)}
    assert set(found) == {"decision", "command", "activation"}
    assert found["command"]["by"] == f"{ADA}: a deploy"
    answer = of(refused(10)).predicate
    assert (answer["kind"], answer["answer"]) == (
        "command",
        {"command": "reset", "result": "refused", "because": "the cause persists"},
    )
    assert of(decision(Kind.OPEN, 11, **IN_BYPASS)).predicate["bypass"]["until_ms"] == BYPASS.until_ms
    assert of(decision(Kind.CLOSE, 12, origin=None)).predicate["origin"] is None


def test_a_leaf_is_a_function_of_its_record() -> None:
    """No clock, no chance: the same record and key give the same bytes."""
    one = recorded(encoded(CLOSED)[0])
    assert record_leaf(one, KEY) == record_leaf(one, KEY)
    assert record_leaf(recorded(one.value, 6), KEY) != record_leaf(one, KEY)


@settings(max_examples=draws(60), deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_decision_is_a_leaf_all_the_same(value: bytes) -> None:
    """A record that cannot be read is on the ledger by its place, its length and its digest."""
    statement = told(record_leaf(recorded(value), KEY))
    assert (statement.predicate["kind"], statement.predicate["bytes"]) == ("unreadable", len(value))
    assert statement.digest == hashlib.sha256(value).hexdigest()
    assert statement.subject == "record/decisions/2/5"


@settings(max_examples=draws(200), deadline=None)
@given(st.data())
def test_no_record_stops_the_ledger(data: st.DataObject) -> None:
    """A decision with any bytes changed, from surrogates to numbers of thirty digits, becomes a leaf that can be read."""
    value = encoded(CLOSED)[0]
    begin = data.draw(st.integers(0, len(value)))
    end = data.draw(st.integers(begin, min(len(value), begin + 20)))
    odd = st.sampled_from([b"9" * 30, b"-1", b"null", rb"\ud800", rb"\u0000", b"\xed\xa0\x80", b"[" * 5000, b'"', b"1e400"])
    changed = value[:begin] + data.draw(st.one_of(odd, st.binary(max_size=8))) + value[end:]
    statement = told(record_leaf(recorded(changed), KEY))
    assert statement.digest == hashlib.sha256(changed).hexdigest()


@pytest.mark.parametrize("number", [b"9" * 30, b"-5"])
def test_odd_numbers_are_no_reason_to_stop(number: bytes) -> None:
    """A time that no clock has is on the ledger as it stood in the topic."""
    value = encoded(CLOSED)[0].replace(str(CLOSED.evidence_ms).encode(), number)
    assert told(record_leaf(recorded(value), KEY)).predicate["time_ms"] == int(number)


@pytest.mark.parametrize(
    "more",
    [
        {"readings": [Brief(f"drift:agent/{number}", "holds", "m" * 200) for number in range(500)]},
        {"because": "\u20ac" * 60_000},
        {"by": "\x1b" * 30_000, "origin": control(1), "bypass": BYPASS},
        {"gate": "g" * 70_000},
    ],
)
def test_a_decision_that_does_not_fit_is_shortened_and_says_so(more: dict[str, Any]) -> None:
    """A leaf fits in its two bytes of length whatever a decision holds, and has the digest of the whole."""
    large = decision(Kind.CLOSE, 7, **{**DRIFT, **more})
    leaf = record_leaf(recorded(encoded(large)[0]), KEY)
    assert len(leaf) <= LEAF_BYTES_MAX
    statement = told(leaf)
    assert statement.predicate["shortened"] is True
    assert statement.predicate["evidence"]["offset"] == 7
    assert statement.digest == hashlib.sha256(encoded(large)[0]).hexdigest()


def outside(signer: Signer) -> SSlibKey:
    """The same public key as securesystemslib knows it."""
    return SSlibKey(signer.verifier.label, "ed25519", "ed25519", {"public": signer.verifier.public.hex()})


def test_securesystemslib_verifies_an_envelope() -> None:
    """A verifier that is not ours accepts a leaf, finds the statement in it, and refuses it under another key or changed."""
    leaf = json.loads(record_leaf(recorded(encoded(CLOSED)[0]), KEY))
    envelope = Envelope.from_dict(leaf)
    assert envelope.verify([outside(KEY)], 1)
    assert envelope.payload_type == PAYLOAD_TYPE
    assert envelope.pae() == signed_bytes(envelope.payload)
    assert json.loads(envelope.payload)["predicate"]["gate"] == "pay"
    with pytest.raises(VerificationError):
        envelope.verify([outside(Signer.generate(KEY.verifier.name))], 1)
    envelope.payload = envelope.payload.replace(b"TRIPPED", b"ARMED  ")
    with pytest.raises(VerificationError):
        envelope.verify([outside(KEY)], 1)


LEAF = record_leaf(recorded(encoded(CLOSED)[0]), KEY)


@settings(max_examples=draws(300), deadline=None)
@given(st.integers(0, len(LEAF) * 8 - 1))
def test_no_changed_bit_of_an_envelope_goes_unseen(bit: int) -> None:
    """A changed bit is refused by a typed error, wherever it is."""
    changed = bytearray(LEAF)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LedgerError):
        read_statement(open_envelope(bytes(changed), [KEY.verifier])[0])


def test_envelopes_of_strangers_are_refused() -> None:
    """Unknown keys are none; a known name over another's signature is a bad one; a witness's key signs no envelope."""
    with pytest.raises(NoKnownSignature):
        open_envelope(LEAF, [Signer.generate("ledger.example/test").verifier])
    with pytest.raises(NoKnownSignature):
        open_envelope(LEAF, [Signer.generate("ledger.example/test", COSIGNATURE).verifier])
    said = json.loads(LEAF)
    said["signatures"][0]["sig"] = json.loads(sign_envelope(b"{}", [KEY]))["signatures"][0]["sig"]
    with pytest.raises(BadSignature):
        open_envelope(json.dumps(said).encode(), [KEY.verifier])


@pytest.mark.parametrize(
    "changes",
    [
        {"payloadType": "text/plain"},
        {"payload": 1},
        {"payload": "e30"},
        {"signatures": []},
        {"signatures": [{"keyid": "a"}]},
        {"signatures": [{"keyid": "a", "sig": "AAAA"}]},
        {"signatures": [{"keyid": "a", "sig": 1}]},
        {"signatures": [json.loads(LEAF)["signatures"][0]] * 9},
        {"more": 1},
    ],
)
def test_what_is_no_envelope_is_refused(changes: dict[str, Any]) -> None:
    """Another type, another form, no signature or too many."""
    with pytest.raises(Malformed):
        open_envelope(json.dumps(json.loads(LEAF) | changes).encode(), [KEY.verifier])


@pytest.mark.parametrize("wrong", [b"", b"[]", b"{", b"\xff", b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 100_000, b"x" * 70_000])
def test_what_is_no_json_object_is_refused(wrong: bytes) -> None:
    """Neither as an envelope nor as a statement."""
    for read in (lambda: open_envelope(wrong, [KEY.verifier]), lambda: read_statement(wrong)):
        with pytest.raises(Malformed):
            read()


@pytest.mark.parametrize(
    "changes",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "urn:failshut:decision:2"},
        {"predicate": []},
        {"predicate": {}},
        {"subject": []},
        {"subject": [{"name": "n", "digest": {"sha256": "0" * 63}}]},
        {"subject": [{"name": "n", "digest": {"sha256": "0" * 64}}] * 2},
        {"more": 1},
    ],
)
def test_what_is_no_statement_of_ours_is_refused(changes: dict[str, Any]) -> None:
    """Another version, another type, no subject or two."""
    payload, _ = open_envelope(LEAF, [KEY.verifier])
    with pytest.raises(Malformed):
        read_statement(json.dumps(json.loads(payload) | changes).encode())


def test_a_ledger_begins_with_its_key_and_hands_over_by_both() -> None:
    """The first leaf names the key and the place in the topic; a change is signed by the old key and the new one."""
    first = told(begin_leaf(KEY, Position("decisions", "id", {1: 4, 0: 9}), 1_000))
    assert key_in(first) == KEY.verifier
    assert (first.predicate["kind"], first.predicate["offsets"]) == ("begin", {"0": 9, "1": 4})
    new = Signer.generate(KEY.verifier.name)
    leaf = rotation_leaf(KEY, new, 2_000)
    payload, signed = open_envelope(leaf, [KEY.verifier, new.verifier])
    assert signed == (KEY.verifier, new.verifier)
    assert key_in(read_statement(payload)) == new.verifier
    assert read_statement(payload).predicate["replaces"] == str(KEY.verifier)
    assert key_in(of(CLOSED)) is None
    for wrong in (KEY, Signer.generate("another.example")):
        with pytest.raises(Malformed):
            rotation_leaf(KEY, wrong, 2_000)


def test_copies_of_a_standby_are_left_out() -> None:
    """What two governors say alike is one leaf, also if a writer was started between; another decision is another leaf."""
    values = encoded(CLOSED, decision(Kind.OPEN, 8))
    intake = Intake(KEY)
    leaves = intake.take([recorded(values[0], 1), recorded(values[0], 2), recorded(values[1], 3)])
    assert [told(leaf).predicate["record"]["offset"] for leaf in leaves] == [1, 3]
    again = Intake(KEY, [b"what is no leaf", *leaves])
    assert again.take([recorded(values[1], 4)]) == []
    assert len(again.take([recorded(b"other", 5)])) == 1


def test_what_is_remembered_is_bounded() -> None:
    """A copy that comes after very many others is a leaf once more."""
    intake = Intake(KEY)
    intake.take([recorded(b"first", 0)])
    intake.take(recorded(str(number).encode(), number) for number in range(RECENT_MAX))
    assert len(intake.take([recorded(b"first", 9_999)])) == 1
