"""Types that all readers of the front door share: the broker's time, dead records, the partition of a gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from failshut_streams.codecs import DeadKind
from failshut_streams.transport import Record

APPEND_TIME = 1
"""Kafka's timestamp type of a record whose time is the broker's append time."""


class DeadRecord(NamedTuple):
    """A record that goes to the dead-letter topic, with the reason as a text for people and as one word."""

    record: Record
    reason: str
    kind: DeadKind


PartitionOf = Callable[[str], int]
