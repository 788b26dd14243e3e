"""Envelopes of DSSE, version 1: a payload, its type, and signatures over both.

The ledger's key signs envelopes and checkpoints. One cannot be shown as the other: what is signed of an envelope begins with
`DSSEv1` and a space, and what is signed of a checkpoint with the origin, which has no space in its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from failshut_ledger.errors import BadSignature, Malformed, NoKnownSignature, TooLong
from failshut_ledger.merkle.tiles import LEAF_BYTES_MAX
from failshut_ledger.notes.keys import NOTE, SIGNATURE_BYTES, Signer, Verifier
from failshut_ledger.notes.strict import from_base64, to_base64

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
SIGNATURES_MAX: Final = 8


def signed_bytes(payload: bytes) -> bytes:
    """Return what is signed of an envelope with a statement: the pre-authentication encoding (PAE)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, signers: Sequence[Signer]) -> bytes:
    """Return an envelope: the same bytes for the same payload and keys. A key is named by its name and id."""
    message = signed_bytes(payload)
    signatures = [{"keyid": one.verifier.label, "sig": to_base64(one.sign(message))} for one in signers]
    said = {"payloadType": PAYLOAD_TYPE, "payload": to_base64(payload), "signatures": signatures}
    return json.dumps(said, separators=(",", ":")).encode()


def split_envelope(data: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return payload and signatures of an envelope, nothing verified. Raises Malformed."""
    if len(data) > LEAF_BYTES_MAX:
        raise TooLong(f"an envelope has at most {LEAF_BYTES_MAX} bytes")
    said = read_json(data, "an envelope")
    if set(said) != {"payloadType", "payload", "signatures"} or said["payloadType"] != PAYLOAD_TYPE:
        raise Malformed(f"an envelope holds payload, payloadType {PAYLOAD_TYPE} and signatures")
    payload, signatures = said["payload"], said["signatures"]
    if not isinstance(payload, str) or not isinstance(signatures, list) or not 0 < len(signatures) <= SIGNATURES_MAX:
        raise Malformed(f"an envelope has a payload, and 1 to {SIGNATURES_MAX} signatures")
    found = []
    for one in signatures:
        if not isinstance(one, dict) or set(one) != {"keyid", "sig"} or not all(isinstance(text, str) for text in one.values()):
            raise Malformed("a signature of an envelope holds keyid and sig")
        found.append((one["keyid"], from_base64(one["sig"], "a signature", SIGNATURE_BYTES)))
    return from_base64(payload, "a payload"), found


def open_envelope(data: bytes, verifiers: Iterable[Verifier]) -> tuple[bytes, tuple[Verifier, ...]]:
    """Return the payload of an envelope, and which of these keys have signed it: one at least.

    Raises:
        Malformed: it is no envelope.
        BadSignature: a signature names one of these keys and does not fit.
        NoKnownSignature: none of these keys has signed.
    """
    known = {one.label: one for one in verifiers if one.kind == NOTE}
    payload, signatures = split_envelope(data)
    message, verified = signed_bytes(payload), []
    for name, signature in signatures:
        if name in known:
            if not known[name].fits(message, signature):
                raise BadSignature(f"an envelope's signature by {name} does not fit")
            verified.append(known[name])
    if not verified:
        signed = ", ".join(name[:100] for name, _ in signatures)
        raise NoKnownSignature(f"an envelope is signed by {signed!a}, and none of these keys is trusted")
    return payload, tuple(verified)


def read_json(data: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object: UTF-8, no name twice, no NaN. Raises Malformed."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is not JSON, or holds a name twice") from error
    if not isinstance(found, dict):
        raise Malformed(f"{what} is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
