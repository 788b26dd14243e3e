"""What a gate is, in a form that later versions read: its epoch, breaker, closing, lock and tally.

A snapshot holds what conditions remember, as this code, this Python and these libraries have it. Nothing else can read that. If
the log's beginning is gone as well, nobody can judge anew what a gate is. So a snapshot says it a second time, as values of a
wire form that is apart from all classes. Conditions begin without evidence there, and learn from what comes.

The form is some records old, and who wrote it may have tripped a gate since. Nobody can judge that again without memory. So
each gate is TRIPPED, or LOCKED as it was, over all of its conditions: each of them must give news. News counts from the end
that the log had when the other version took over; until that is judged (`settle`) nothing resets. Conditions learn from there
on, too: what was sent before may be the fault.

The form only grows. `FORM` is the version that wrote it. A later reader takes what it knows, and a field that an earlier writer
did not have has the default that closes. A reader refuses a form that is newer than itself.

Limits: what routers told of their readings is not in it, so runs count once each router has told its table again. Coverage goes
on where the newest routing version stood: what an older one had read beyond that is read again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import decode_decision, encode_decision, in_present_words
from failshut_breakers.evidence.coverage import CONTROL
from failshut_breakers.evidence.log import EvidenceLog
from failshut_breakers.evidence.records import Activation, Place, Term
from failshut_breakers.gate.breaker import Breaker, Closing
from failshut_breakers.gate.state import Gate, Wanted
from failshut_breakers.gate.turn import Turn
from failshut_breakers.gate.twins import Spans
from failshut_breakers.governor import TRUST, Governor, Owns
from failshut_breakers.policy.policy import NO_POLICY, Entry

FORM = 1

UNSURE_MS = 1 << 62
"""When a closing was that nobody dates yet: later than any news."""

UNKNOWN = "another version judges the log, and its beginning is gone: what the conditions knew is unknown"


class BadStanding(ValueError):
    """Bytes that do not say what a gate, or a partition, is; or that a newer version wrote."""


class _Closing(msgspec.Struct):
    cause: str
    because: str
    origin: tuple[str, int, int, int] | None
    conditions: list[str]
    at_ms: int


class _Tally(msgspec.Struct):
    per_ms: float
    watched_ms: int
    trips: int
    confirmed: int
    open_epochs: list[int]


class GateStanding(msgspec.Struct):
    """One gate, without what its conditions remember."""

    form: int
    gate: str
    epoch: int
    breaker: str
    closing: _Closing | None
    shown: tuple[str, str, str]  # mode, cause, because
    would: tuple[str, str, str]
    said: bytes  # the last decision about its state; empty if there was none
    permit_ms: int
    waits: str
    fault: str  # why it has no policy, where its policy was taken away
    tallies: dict[str, _Tally]
    taken: dict[str, int]
    taken_ms: int
    reach: list[tuple[str, int, int]]
    shut: list[tuple[int, int]]  # spans of marks (ms) in which it was TRIPPED or LOCKED


class PartitionStanding(msgspec.Struct):
    """What a governor is beside its gates and policies."""

    form: int
    offset: int
    term: int
    term_offset: int
    installation: str
    whole: bool
    routing: int
    covered: list[tuple[str, int, int]]  # by front-door partition: the position up to which its newest coverage has come
    counts: dict[str, int]
    newest_ms: int
    operators: bytes | None  # digest of the keys whose commands count; None if no run of control has said


# --- writing ---


def gate_standing(gate: Gate) -> bytes:
    """Return what a gate is."""
    closing = gate.breaker.closing
    told = GateStanding(
        form=FORM,
        gate=gate.name,
        epoch=gate.epoch,
        breaker=gate.breaker.state.value,
        closing=None if closing is None else _closing_told(closing),
        shown=_wanted_told(gate.shown),
        would=_wanted_told(gate.would),
        said=b"" if gate.said is None else encode_decision(gate.said),
        permit_ms=gate.permit_ms,
        waits=gate.waits,
        fault=gate.entry.fault if gate.entry.policy is None else "",
        tallies={
            name: _Tally(one.per_ms, one.watched_ms, one.trips, one.confirmed, list(one.open_epochs))
            for name, one in gate.tallies.items()
        },
        taken=dict(gate.taken.ids),
        taken_ms=gate.taken.newest_ms,
        reach=[(*place, upto) for place, upto in gate.reach.items()],
        shut=gate.spans.all(),
    )
    return msgspec.msgpack.encode(told)


def partition_standing(governor: Governor) -> bytes:
    """Return what a governor is beside its gates and policies. Before a term was open there is nothing: empty."""
    if not governor.term:
        return b""
    newest = governor.coverages[-1]
    told = PartitionStanding(
        form=FORM,
        offset=governor.offset,
        term=governor.term,
        term_offset=governor.term_offset,
        installation=governor.installation,
        whole=governor.whole,
        routing=governor.book.routing,
        covered=[(*key, position) for key, position in newest.covered.items()],
        counts=dict(newest.counts),
        newest_ms=newest.newest_ms,
        operators=governor.agreement.operators,
    )
    return msgspec.msgpack.encode(told)


def activation_standing(activation: Activation | None) -> bytes:
    """Return what brought the policies in force; empty if there are none."""
    return b"" if activation is None else msgspec.msgpack.encode(activation)


# --- reading ---


def governor_of(
    partition: int, log: EvidenceLog, owns: Owns, frame: bytes, activation: bytes, gates: list[bytes]
) -> Governor | None:
    """Return the governor that goes on from what was written; None where no term was open.

    Raises:
        BadStanding: it cannot be read.
    """
    if not frame:
        return None
    told = _read(frame, PartitionStanding)
    brought = _read(activation, Activation) if activation else None
    starts: dict[str, dict[int, int]] = {}
    for topic, number, position in told.covered:
        starts.setdefault(topic, {})[number] = position
    term = Term(told.term_offset, 0, told.term, log.id, log.partitions, starts, "", told.installation)
    place = Place(CONTROL, 0, max(0, told.routing), 0)
    governor = Governor.resumed(partition, term, owns, told.offset, place, brought)
    governor.term_offset, governor.whole, governor.activation = told.term_offset, told.whole, brought
    (coverage,) = governor.coverages
    coverage.counts.update(told.counts)
    coverage.newest_ms, governor.agreement.operators = told.newest_ms, told.operators
    known: set[str] = set()
    for data in gates:
        one = _read(data, GateStanding)
        if owns(one.gate):
            known.add(one.gate)
            _stand(governor, one, told.newest_ms)
    for name in governor.gates.keys() - known:  # a policy speaks of it and nothing says what it was
        because = f"nothing is known of this gate: {TRUST}"
        governor.gates[name].lock(Cause.TERM, because, place, told.newest_ms, Turn())
    return governor


def settle(governor: Governor) -> None:
    """Let news count from the newest mark on: everything was judged that the former version may have judged.

    Each closing is said again: what the former version said last may have a later epoch than what was said here since.
    """
    governor.unsure_below = 0
    newest_ms, place = governor.coverages[-1].newest_ms, Place(CONTROL, 0, max(0, governor.book.routing), 0)
    for gate in governor.gates.values():
        closing = gate.breaker.closing
        if closing is not None and closing.at_ms == UNSURE_MS:
            gate.begin_anew()  # what was read since the form may be the fault: nothing learns it as normal
            names = {condition.name for condition in gate.conditions}  # a policy may have come since
            gate.breaker.amend(closing=replace(closing, conditions=closing.conditions | names, at_ms=newest_ms))
            governor._wake(gate)
            governor._turn(gate.name).renew(place)


def _breaker_of(told: GateStanding) -> Breaker:
    """Return a breaker that is LOCKED as it was, or TRIPPED. What must give news, `settle` says. Raises ValueError."""
    state = State(told.breaker)
    if told.closing is None:
        if state is not State.ARMED:
            raise BadStanding(f"{told.gate} is {told.breaker} without a closing")
        return Breaker(State.TRIPPED, Closing(Cause.TERM, UNKNOWN, None, at_ms=UNSURE_MS))
    closing = replace(_closing_of(told.closing), at_ms=UNSURE_MS)
    return Breaker(State.LOCKED if state is State.LOCKED else State.TRIPPED, closing)


def _stand(governor: Governor, told: GateStanding, newest_ms: int) -> None:
    """Let a gate be what it was, and closed."""
    gate = governor.gates.get(told.gate)
    if gate is None:  # no policy speaks of it any more, and what it was is still to be answered
        gate = governor.gates[told.gate] = Gate(told.gate)
        governor.waking.stay_awake(told.gate)
        governor.changed.add(told.gate)
        gate.version = governor.book.routing
        gate.entry = Entry(told.gate, "", "", None, told.fault or NO_POLICY)
    elif told.fault and gate.entry.policy is not None:  # its policy was withdrawn since it was activated
        gate.entry = governor.book.entries[told.gate] = replace(gate.entry, policy=None, fault=told.fault)
        gate.conditions, gate.by_key = [], {}
    try:
        gate.breaker = _breaker_of(told)
        gate.shown, gate.would = _wanted_of(told.shown), _wanted_of(told.would)
        gate.said = decode_decision(in_present_words(told.said)) if told.said else None
    except ValueError as error:
        raise BadStanding(f"what {told.gate} is cannot be read: {error}") from error
    gate.epoch, gate.permit_ms, gate.waits = told.epoch, told.permit_ms, told.waits
    gate.taken.ids, gate.taken.newest_ms = dict(told.taken), told.taken_ms
    gate.spans = Spans.of(told.shut)
    gate.spans.note(max(1, newest_ms), newest_ms)
    gate.reach = {(topic, number): upto for topic, number, upto in told.reach}
    for name, tally in gate.tallies.items():
        before = told.tallies.get(name)
        if before is not None and before.per_ms == tally.per_ms:
            tally.watched_ms, tally.trips, tally.confirmed = before.watched_ms, before.trips, before.confirmed
            tally.open_epochs.extend(before.open_epochs)


def _read(data: bytes, kind: Any) -> Any:
    try:
        told = msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise BadStanding(f"it is none: {error}") from error
    if getattr(told, "form", FORM) > FORM:
        raise BadStanding(f"it has form {told.form}, and this version reads up to {FORM}")
    return told


def _closing_told(closing: Closing) -> _Closing:
    at = closing.origin
    origin = None if at is None else (at.topic, at.partition, at.offset, at.index)
    return _Closing(closing.cause.value, closing.because, origin, sorted(closing.conditions), closing.at_ms)


def _closing_of(told: _Closing) -> Closing:
    origin = None if told.origin is None else Place(*told.origin)
    return Closing(Cause(told.cause), told.because, origin, frozenset(told.conditions), told.at_ms)


def _wanted_told(wanted: Wanted) -> tuple[str, str, str]:
    return wanted.mode, "" if wanted.cause is None else wanted.cause.value, wanted.because


def _wanted_of(told: tuple[str, str, str]) -> Wanted:
    mode, cause, because = told
    return Wanted(mode, Cause(cause) if cause else None, because)
