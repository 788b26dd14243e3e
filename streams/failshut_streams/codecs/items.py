"""What one record of a front-door topic says, as items in order.

A decoder turns a record into a list of these and never raises: what it cannot read is an item too, a `Fault`.
An item's place in the list is its index, and a decision may cite it. So a decoder must always give the same
list for the same record.

Times are whole milliseconds since 1970 (UTC), never later than the record's append time. `time_ms` is None where
the producer claimed no time: the record's append time counts.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from failshut_breakers.evidence.readings import Offsets

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

REASON_CHARS_MAX = 200


class DeadKind(StrEnum):
    """What is wrong with a record that goes to the dead-letter topic, in one word: a label of metrics, so a fixed list."""

    JSON = "json"
    OTLP = "otlp"
    CLOUD_EVENT = "cloud_event"
    MARK = "mark"
    COMMAND = "command"
    SIZE = "size"
    OTHER = "other"


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One finite number of one series."""

    series: str
    value: float
    time_ms: int | None
    instance: str | None


class Beat(msgspec.Struct, frozen=True, gc=False):
    """A service says that it is alive; where it names one, an instance of it."""

    source: str
    time_ms: int | None
    instance: str = ""


class LagPoint(msgspec.Struct, frozen=True):
    """How far a consumer group is in a topic, by partition; and what whoever sampled was told, of the topic or in its place."""

    group: str
    topic: str
    time_ms: int | None
    partitions: dict[int, Offsets]
    topic_id: str = ""
    told: str = ""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How `count` executions of one gate and epoch ended; `lost` outcomes before this one were never sent.

    `total` is how many `guard` has sent for this gate in all, these included.
    """

    gate: str
    epoch: str
    token: str
    outcome: Literal["ok", "failed", "interrupted", "cancelled"]
    count: int
    id: str
    lost: int
    guard: str = ""
    total: int = 0


class Fault(msgspec.Struct, frozen=True, gc=False):
    """Something that is no evidence of health.

    With a series: non-conforming evidence of that series (NaN, infinity, a wrong type, a time that no clock shows).
    Without one: unreadable, so that the record goes to the dead-letter topic as well.

    `time_ms` is what it claims, where that can be read. Live a fault counts from the record's append time all the same; a
    file that is imported has no append times (failshut_replay.sources.files).
    """

    series: str | None
    reason: str
    time_ms: int | None = None
    kind: DeadKind = DeadKind.OTHER
    """Of what is unreadable: what is wrong with it, in one word."""
    instance: str | None = None
    """Whose it is, where it says so in a way that can be read."""


Item: TypeAlias = Sample | Beat | LagPoint | Outcome | Fault


def fault(
    series: str | None,
    reason: object,
    time_ms: int | None = None,
    kind: DeadKind = DeadKind.OTHER,
    instance: str | None = None,
) -> Fault:
    """Return a fault whose reason is safe to print, to sign and to encode, whatever the producer sent.

    >>> fault(None, "bad \\x1b[2J").reason
    'bad ?[2J'
    """
    text = str(reason)[:REASON_CHARS_MAX]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text)
    return Fault(series, text, time_ms, kind, instance)
