"""What a decision says happened to a gate: the entries of `failshut log`. Pure.

A governor decides far more than happens. It renews permits, and a second governor, or one that judges old evidence again, says
the same a second time. `Digest` leaves out both. It remembers what it saw of each gate, because the same decision means
something else after another one: a closing of a closed gate only says another cause.

Limits: both memories are bounded, so a decision that is said again after very many others is news once more. What stands in the
topic is shown as it stands: no signature covers it, and Kafka's ACL says who writes there.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from failshut.cause import Cause
from failshut_breakers.decisions.decision import Decision, Kind, Result, decode_decision, in_present_words
from failshut_breakers.gate import step
from failshut_breakers.words import printable
from failshut_console.terminal.times import utc
from failshut_streams.kafka.topics import CONTROL

OPENED, CLOSED, STILL_CLOSED, LOCKED = "opened", "closed", "still closed", "locked"
PROBING, BYPASSED, BYPASS_ENDED = "probing", "bypassed", "bypass ended"
ACTIVATED: Final = "policy activated"
WOULD_CLOSE, WOULD_OPEN = "would close", "would open"
REFUSED, ACCEPTED, CONFIRMED, WAITS = "refused", "accepted", "confirmed", "waits"

SEEN_MAX = 50_000
"""Decisions, and gates, that are remembered."""

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_SIGNED = re.compile(r" \(([A-Za-z0-9_-]{12})\)(?:: |$)")


class Who(NamedTuple):
    """Whose word it was: a name, the beginning of the key that signed, and the reason; each empty where nobody said."""

    name: str
    key: str
    why: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a gate. `time_ms` is when its decision was written; `evidence_ms` up to when was judged."""

    time_ms: int
    gate: str
    what: str
    state: str  # OPEN or CLOSED; empty where it says nothing about that
    breaker: str
    mode: str
    cause: str
    because: str
    who: str
    key: str
    why: str
    epoch: str
    evidence_partition: int
    evidence_offset: int
    evidence_ms: int
    origin: tuple[str, int, int, int] | None  # topic, partition, offset and index at the front door
    policy: str
    readings: tuple[tuple[str, str, str], ...]
    bypass: tuple[str, str, tuple[str, ...], int] | None  # by, why, conditions, until_ms

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        said = asdict(self)
        said["time"] = utc(self.time_ms, "milliseconds")
        if self.origin is not None:
            said["origin"] = dict(zip(("topic", "partition", "offset", "index"), self.origin, strict=True))
        if self.bypass is not None:
            said["bypass"] = dict(zip(("by", "why", "conditions", "until_ms"), self.bypass, strict=True))
        return said


def who_of(by: str) -> Who:
    """Return whose word a decision names: `name (key): why`, or a key alone.

    A name or a reason may hold what looks like a key. Then nobody can tell them apart, and all of it is shown as the name.

    >>> who_of("ada (0123456789ab): a deploy")
    Who(name='ada', key='0123456789ab', why='a deploy')
    """
    if _KEY_ID.fullmatch(by):
        return Who("", by[:12], "")
    found = list(_SIGNED.finditer(by))
    if len(found) != 1:
        return Who(by, "", "")
    return Who(by[: found[0].start()], found[0][1], by[found[0].end() :])


class _Before(NamedTuple):
    """What is known of a gate from the decision before."""

    is_open: bool
    mode: str


class Digest:
    """Takes decisions in the order of the log and returns what happened. One for each reading."""

    def __init__(self) -> None:
        self.unreadable = 0  # records that are no decision
        self.again = 0  # decisions that were said a second time
        self._seen: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self._before: OrderedDict[str, _Before] = OrderedDict()

    def take(self, time_ms: int, value: bytes | None) -> Entry | None:
        """Take a record of the decisions topic; return what happened, or None where it is no news."""
        try:
            decision = decode_decision(in_present_words(value or b""))
        except (ValueError, RecursionError):
            self.unreadable += 1
            return None
        if decision.kind is Kind.RENEW:
            self._know(decision)
            return None
        # What two governors say of one record is the same decision: see decision.py.
        if not _noted(self._seen, (decision.gate, decision.epoch, decision.offset, decision.kind, decision.origin), None):
            self.again += 1
            return None
        entry = _entry(time_ms, decision, self._before.get(decision.gate))
        self._know(decision)
        return entry

    def _know(self, decision: Decision) -> None:
        if decision.kind is not Kind.NOTE:
            self._before.pop(decision.gate, None)
            _noted(self._before, decision.gate, _Before(decision.kind is not Kind.CLOSE, decision.mode))


def _noted(memory: OrderedDict[Any, Any], key: Any, value: Any) -> bool:
    """Remember something for as long as there is room; return whether it was new."""
    if key in memory:
        memory.move_to_end(key)
        return False
    memory[key] = value
    if len(memory) > SEEN_MAX:
        memory.popitem(last=False)
    return True


def _entry(time_ms: int, decision: Decision, before: _Before | None) -> Entry:
    bypass, origin = decision.bypass, decision.origin
    who = who_of(decision.by)
    if not decision.by and bypass is not None and decision.mode == "bypass":
        who = who_of(bypass.by)._replace(why=bypass.why)
    return Entry(
        time_ms=time_ms,
        gate=printable(decision.gate),
        what=_what(decision, before),
        state={Kind.OPEN: "OPEN", Kind.CLOSE: "CLOSED"}.get(decision.kind, ""),
        breaker=decision.breaker.value,
        mode=printable(decision.mode),
        cause=decision.cause.value if decision.cause is not None else "",
        because=printable(decision.because),
        who=printable(who.name),
        key=who.key,
        why=printable(who.why),
        epoch=printable(decision.epoch),
        evidence_partition=decision.partition,
        evidence_offset=decision.offset,
        evidence_ms=decision.evidence_ms,
        origin=(printable(origin.topic), origin.partition, origin.offset, origin.index) if origin is not None else None,
        policy=printable(decision.policy),
        readings=tuple((printable(one.name), printable(one.status), printable(one.text)) for one in decision.readings),
        bypass=(printable(bypass.by), printable(bypass.why), tuple(map(printable, bypass.conditions)), bypass.until_ms)
        if bypass is not None
        else None,
    )


def _what(decision: Decision, before: _Before | None) -> str:
    if decision.kind is Kind.NOTE:
        answer = decision.answer
        if answer is None and decision.because.startswith((step.WOULD_CLOSE, step.WOULD_OPEN)):
            return WOULD_CLOSE if decision.because.startswith(step.WOULD_CLOSE) else WOULD_OPEN
        if answer is None:
            # Before 0.2 a refusal stood in the words alone.
            return REFUSED if " refused: " in decision.because else WAITS
        if answer.result is Result.REFUSED:
            return REFUSED
        return {"accept": ACCEPTED, "confirm": CONFIRMED}.get(answer.command, printable(answer.command))
    if _activated(decision):
        return ACTIVATED
    if decision.kind is Kind.CLOSE:
        return _closed(decision, before)
    if decision.mode in ("bypass", "proving"):
        return BYPASSED if decision.mode == "bypass" else PROBING
    return BYPASS_ENDED if before is not None and before.mode == "bypass" else OPENED


def _closed(decision: Decision, before: _Before | None) -> str:
    if decision.cause is Cause.BYPASS_ENDED and (before is None or before.mode == "bypass"):
        return BYPASS_ENDED
    if decision.breaker.value == "LOCKED":
        return LOCKED
    return CLOSED if before is None or before.is_open else STILL_CLOSED


def _activated(decision: Decision) -> bool:
    """Return whether an activation led to it: a governor names it by its key alone, and an order by a name as well."""
    return decision.origin is not None and decision.origin.topic == CONTROL and _KEY_ID.fullmatch(decision.by) is not None
