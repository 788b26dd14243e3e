"""Decisions: what a governor says about a gate, as values.

A decision is the final state that one evidence record leads to, or a note that something happened that left the
gate as it was. Its bytes are a function of the log: two governors over the same evidence write the same ones. A
reader of the decisions topic drops a second copy by (gate, epoch, offset, kind, origin).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from failshut.cause import Cause
from failshut.epoch import digits
from failshut_breakers.evidence.records import Place


class Kind(StrEnum):
    """What a decision does to the gate."""

    OPEN = "open"  # the gate was closed and a permit is issued
    RENEW = "renew"  # the gate stays open: a permit with a later end
    CLOSE = "close"  # the gate closes, or stays closed for another cause; a record that does not expire
    NOTE = "note"  # nothing is written to the store: a command was refused, the breaker waits


class Breaker(StrEnum):
    """The states of a gate's breaker. Never called open or closed."""

    ARMED = "ARMED"
    TRIPPED = "TRIPPED"
    PROVING = "PROVING"
    LOCKED = "LOCKED"

    @classmethod
    def _missing_(cls, value: object) -> Breaker | None:
        """Read the word of before version 0.2, when LOCKED was HELD: decisions on record may say so until 0.3."""
        return cls.LOCKED if value == "HELD" else None


class Brief(msgspec.Struct, frozen=True, array_like=True):
    """A condition's reading in brief: its name, `holds` | `demands` | `insufficient`, and a few words for a person on call."""

    name: str
    status: str
    text: str


class Result(StrEnum):
    """What became of an operator's command."""

    DONE = "done"
    REFUSED = "refused"


class Answer(msgspec.Struct, frozen=True):
    """The answer to an operator's command that left the gate's state as it was."""

    command: str  # its kind, or "" where the command could not be read
    result: Result
    because: str  # why it is refused, or what it changed


class BypassInForce(msgspec.Struct, frozen=True):
    """The bypass under which a gate is as it is: who gave it (name and key), why, for which conditions, and its end."""

    by: str
    why: str
    conditions: list[str]
    until_ms: int


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision about one gate. Times are whole milliseconds of evidence time, never of a wall clock.

    `answer` and `bypass` alone have a default, and are not written where there is none. All other fields are always written.
    """

    schema: int
    kind: Kind
    installation: str
    gate: str
    epoch: str
    partition: int
    offset: int
    breaker: Breaker
    cause: Cause | None
    because: str
    evidence_ms: int
    policy: str
    mode: str
    exp_ms: int
    ttl_ms: int
    in_flight: str
    origin: Place | None
    readings: list[Brief]
    subjects: list[str]
    operations: list[str]
    context: dict[str, str]
    tokens: int
    probe_epoch: str
    by: str
    answer: Answer | None = None  # of a note: to the command at `origin`
    bypass: BypassInForce | None = None  # of a decision about the gate's state, for as long as one is in force


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Decision)


def encode_decision(decision: Decision) -> bytes:
    """Return the wire form (JSON) of a decision: the same bytes for equal decisions."""
    return _encoder.encode(decision)


def decode_decision(data: bytes) -> Decision:
    """Read a decision.

    Raises:
        ValueError: these bytes are not a decision.
    """
    return _decoder.decode(data)


_OLD_WORDS = (
    ("held by ", "locked by "),
    ("hold refused: ", "lock refused: "),
    ("the breaker is HELD: a hold is reset, never bypassed", "the breaker is LOCKED: a lock is unlocked, never bypassed"),
    (": reset the gate when you trust its evidence", ": unlock the gate when you trust its evidence"),
)
"""What versions before 0.2 said of a lock, and what is said now; of a text, the first that is in it."""


_ANSWERED = b'"answer":'
_BYPASSED = b'"bypass":{'
"""In the bytes of a decision these can only be the fields' names: quotes within a text are escaped."""


def in_present_words(data: bytes) -> bytes:
    """Return a decision on record as this version writes it, or as it is where it says nothing of a lock."""
    if b"HELD" not in data and b"hold" not in data:
        return data
    decision = decode_decision(data)
    because = next((decision.because.replace(old, new, 1) for old, new in _OLD_WORDS if old in decision.because), None)
    return encode_decision(msgspec.structs.replace(decision, because=because or decision.because))


def as_on_record(decisions: list[Decision], recorded: list[bytes]) -> list[Decision]:
    """Return decisions over an evidence record in the form of those on record.

    Before 0.2 these had no field for an answer, and none for the bypass in force.
    """
    if not any(_ANSWERED in data for data in recorded):
        decisions = [msgspec.structs.replace(decision, answer=None) for decision in decisions]
    if not any(_BYPASSED in data for data in recorded):
        decisions = [msgspec.structs.replace(decision, bypass=None) for decision in decisions]
    return decisions


def epoch_text(epoch: int) -> str:
    """Return an epoch as it travels: sixteen digits, so that text compares as numbers do. Raises ValueError out of range."""
    return digits(epoch)
