"""What is news to somebody who is told of closings and openings: each once, told apart by its gate's epoch. Pure.

A governor decides far more than happens, and a standby says the same a second time. A gate's epoch only grows. So what is told
of a gate has a greater epoch than what was told before, and says the other thing. A gate that proves itself is still closed to
most, and counts as closed. An id is the same however often a piece of news is sent: receivers drop the second copy by it.

Limits: a gate that lapses because no monitor lives is closed by nobody's decision. So nothing is told of it here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from failshut_breakers.decisions.decision import Decision, Kind, decode_decision, in_present_words
from failshut_breakers.words import printable
from failshut_console.monitor.decision_log import Said
from failshut_console.monitor.log_entries import who_of
from failshut_console.terminal.times import utc

Event = Literal["closed", "opened"]
EVENTS: Final[tuple[Event, ...]] = ("closed", "opened")
GATES_MAX: Final = 50_000
"""Gates that a book remembers. The one that was heard of least recently gives way, and its next decision is news."""
TEXT_CHARACTERS_MAX: Final = 1_000
"""Of a text that others wrote, so that no receiver refuses a message for its length."""


@dataclass(frozen=True, slots=True)
class News:
    """One closing or opening of a gate.

    `time_ms` is when its decision was written, `closed_ms` of an opening when the gate closed (0: nobody here knows).
    """

    id: str
    installation: str
    gate: str
    event: Event
    epoch: str
    time_ms: int
    cause: str = ""
    meaning: str = ""
    because: str = ""
    breaker: str = ""
    who: str = ""
    why: str = ""
    evidence_ms: int = 0
    policy: str = ""
    closed_ms: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it for a machine."""
        return {**asdict(self), "time": utc(self.time_ms, "milliseconds")}

    @classmethod
    def of_json(cls, said: dict[str, Any]) -> News:
        """Return it from what `as_json` made. Raises TypeError or KeyError for anything else."""
        found = cls(**{one.name: said[one.name] for one in fields(cls)})
        if any(type(getattr(found, one.name)) is not (int if one.name.endswith("_ms") else str) for one in fields(cls)):
            raise TypeError("a field of another type")
        return found


@dataclass(frozen=True, slots=True)
class Known:
    """What a target knows of a gate: the epoch that it was told last, and the closing while it is closed."""

    epoch: str
    closing: News | None = None


@dataclass(slots=True)
class Book:
    """How far one target was told: the topic, the next offset of each partition, and each gate as it was told.

    `take` moves it on. Who keeps it writes it down only after the news were delivered.
    """

    topic_id: str = ""
    offsets: dict[int, int] = field(default_factory=dict)
    gates: OrderedDict[str, Known] = field(default_factory=OrderedDict)
    unreadable: int = 0

    def take(self, said: Said) -> News | None:
        """Take a record of the decisions topic; return the news in it, or None."""
        self.offsets[said.partition] = said.offset + 1
        try:
            decision = decode_decision(in_present_words(said.value or b""))
        except (ValueError, RecursionError):
            self.unreadable += 1
            return None
        if decision.kind not in (Kind.OPEN, Kind.CLOSE):
            return None
        known = self.gates.get(decision.gate)
        if known is not None and decision.epoch < known.epoch:
            return None  # said again, after something later was told
        opens = decision.kind is Kind.OPEN and decision.mode != "proving"
        if known is not None and opens == (known.closing is None):
            self._know(decision.gate, Known(max(known.epoch, decision.epoch), known.closing))
            return None
        if known is None and decision.kind is Kind.OPEN and not opens:
            return None  # it proves itself, and nobody here knows of its closing
        closing = known.closing if known is not None else None
        news = _news(said, decision, "opened" if opens else "closed", closing)
        self._know(decision.gate, Known(decision.epoch, None if opens else news))
        return news

    def closed(self) -> list[News]:
        """Return the closing of each gate that is closed as far as the target was told."""
        return [known.closing for known in self.gates.values() if known.closing is not None]

    def _know(self, gate: str, known: Known) -> None:
        self.gates[gate] = known
        self.gates.move_to_end(gate)
        if len(self.gates) > GATES_MAX:
            self.gates.popitem(last=False)


def _news(said: Said, decision: Decision, event: Event, closing: News | None) -> News:
    who = who_of(decision.by)
    return News(
        id=f"{printable(decision.gate)}@{printable(decision.epoch)}/{event}",
        installation=printable(decision.installation),
        gate=printable(decision.gate),
        event=event,
        epoch=printable(decision.epoch),
        time_ms=said.time_ms,
        cause=decision.cause.value if decision.cause is not None else "",
        meaning=decision.cause.meaning if decision.cause is not None else "",
        because=_short(decision.because),
        breaker=decision.breaker.value,
        who=_short(who.name or who.key),
        why=_short(who.why),
        evidence_ms=decision.evidence_ms,
        policy=printable(decision.policy),
        closed_ms=closing.time_ms if event == "opened" and closing is not None else 0,
    )


def _short(text: str) -> str:
    found = printable(text[:TEXT_CHARACTERS_MAX])
    return found if len(found) <= TEXT_CHARACTERS_MAX else found[: TEXT_CHARACTERS_MAX - 1] + "…"
