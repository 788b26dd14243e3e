"""Signed notes (C2SP signed-note): a text, an empty line, and lines of signatures.

The text is nothing until `open_note` has verified it. A signature by an unknown key is ignored, which lets keys rotate and
witnesses join. One that names a known key and does not fit refuses the whole note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from failshut_ledger.errors import BadSignature, Malformed, NoKnownSignature, TooLong
from failshut_ledger.notes.cosignature import cosigned_message, time_of
from failshut_ledger.notes.keys import COSIGNATURE, SIGNATURE_BYTES, Signer, Verifier, check_name
from failshut_ledger.notes.strict import from_base64, to_base64

NOTE_BYTES_MAX: Final = 256 * 1024
SIGNATURES_MAX: Final = 64
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class Signature(NamedTuple):
    """A line of a note: the name and id of a key, and what it is said to have made."""

    name: str
    id: int
    data: bytes

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"\u2014 {self.name} {to_base64(self.id.to_bytes(4, 'big') + self.data)}\n"

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Read a line without its newline. Raises Malformed."""
        dash, _, rest = line.partition(" ")
        name, space, text = rest.partition(" ")
        if dash != "\u2014" or not space:
            raise Malformed("a line of a note that is no signature")
        data = from_base64(text, "a signature")
        if len(data) <= 4:
            raise Malformed("a signature without any bytes")
        return cls(check_name(name), int.from_bytes(data[:4], "big"), data[4:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text whose signatures by known keys were verified: `verified` says which keys, in the order of the note."""

    text: str
    signatures: tuple[Signature, ...]
    verified: tuple[Verifier, ...]

    @property
    def data(self) -> bytes:
        """The whole note, as it was read."""
        return (self.text + "\n" + "".join(one.line for one in self.signatures)).encode()

    def time_of(self, verifier: Verifier) -> int:
        """Return when a witness cosigned, in seconds since 1970. Raises KeyError where it did not."""
        for one in self.signatures:
            if (one.name, one.id) == (verifier.name, verifier.id) and verifier in self.verified:
                return time_of(one.data)
        raise KeyError(verifier.label)


def split_note(data: bytes) -> tuple[str, tuple[Signature, ...]]:
    """Return text and signatures of a note, nothing verified. Raises Malformed; TooLong where it is larger than any of ours."""
    if len(data) > NOTE_BYTES_MAX:
        raise TooLong(f"a note has at most {NOTE_BYTES_MAX} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a note is UTF-8") from error
    if _CONTROL.search(whole):
        raise Malformed("a note holds no control characters but newlines")
    text, empty, lines = whole.rpartition("\n\n")
    if not empty or not lines.endswith("\n"):
        raise Malformed("a note is a text, an empty line and lines of signatures")
    parts = lines[:-1].split("\n")
    if len(parts) > SIGNATURES_MAX:
        raise TooLong(f"a note has at most {SIGNATURES_MAX} signatures")
    return text + "\n", tuple(Signature.parse(line) for line in parts)


def open_note(data: bytes, verifiers: Iterable[Verifier]) -> Note:
    """Return a note that at least one of these keys has signed.

    Raises:
        Malformed: it is no note.
        BadSignature: a signature names one of these keys and does not fit, or a key signs twice.
        NoKnownSignature: none of these keys has signed.
    """
    known = {(one.name, one.id): one for one in verifiers}
    text, signatures = split_note(data)
    verified: list[Verifier] = []
    for one in signatures:
        verifier = known.get((one.name, one.id))
        if verifier is None:
            continue
        if verifier in verified or not signature_fits(text, one.data, verifier):
            raise BadSignature(f"a signature by {verifier.label} does not fit")
        verified.append(verifier)
    if not verified:
        raise NoKnownSignature(f"none of {', '.join(one.label for one in known.values()) or 'no keys'} has signed")
    return Note(text, signatures, tuple(verified))


def sign_note(text: str, signers: Sequence[Signer], more: Sequence[Signature] = ()) -> bytes:
    """Return a note: a text that ends with a newline, the signatures of these keys, and others behind them.

    Raises:
        Malformed: the text cannot stand in a note.
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise Malformed("the text of a note ends with a newline and holds no other control character")
    own = [Signature(one.verifier.name, one.verifier.id, one.sign(text.encode())) for one in signers]
    return (text + "\n" + "".join(one.line for one in [*own, *more])).encode()


def signature_fits(text: str, data: bytes, verifier: Verifier) -> bool:
    """Return whether what stands behind a key's id is that key's signature of a note's text."""
    if verifier.kind == COSIGNATURE:
        return len(data) == 8 + SIGNATURE_BYTES and verifier.fits(cosigned_message(text, time_of(data)), data[8:])
    return len(data) == SIGNATURE_BYTES and verifier.fits(text.encode(), data)
