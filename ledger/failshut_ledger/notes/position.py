"""How far a ledger has read its topic: one extension line in each of its checkpoints.

    failshut-position/v1 decisions 6Yk3dGk6T0S0b9o1k2J3sA 0:128,1:77

Topic, the topic's id at the broker, and for each partition the offset of the record that comes next. The tree and the
position are signed in one note and replaced in one rename, so neither is ever ahead of the other: a writer that was killed
goes on at the position, without a gap and without a duplicate. A partition that is not named has not been read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from failshut_ledger.errors import Malformed
from failshut_ledger.notes.strict import number

_HEADER: Final = "failshut-position/v1"
PARTITIONS_MAX: Final = 4096
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_TOPIC_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a topic: by partition, the offset of the record that comes next."""

    topic: str
    topic_id: str
    offsets: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _TOPIC.fullmatch(self.topic) or not _TOPIC_ID.fullmatch(self.topic_id):
            raise Malformed(f"no topic is called {self.topic[:80]!r}, or none has the id {self.topic_id[:80]!r}")
        if len(self.offsets) > PARTITIONS_MAX or any(one < 0 for pair in self.offsets.items() for one in pair):
            raise Malformed(f"a position names at most {PARTITIONS_MAX} partitions, and offsets from 0 on")

    @property
    def line(self) -> str:
        """The extension line."""
        places = ",".join(f"{partition}:{offset}" for partition, offset in sorted(self.offsets.items()))
        return f"{_HEADER} {self.topic} {self.topic_id} {places or '-'}"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read an extension line. Raises Malformed for anything but the one form of a position."""
        parts = line.split(" ")
        if len(parts) != 4 or parts[0] != _HEADER or parts[3].count(",") >= PARTITIONS_MAX:
            raise Malformed(f"not a position: {line[:200]!r}")
        offsets = {}
        for pair in parts[3].split(",") if parts[3] != "-" else ():
            partition, _, offset = pair.partition(":")
            offsets[number(partition, "a partition")] = number(offset, "an offset")
        position = cls(parts[1], parts[2], offsets)
        if position.line != line:
            raise Malformed(f"not a position in its one form: {line[:200]!r}")
        return position

    def moved(self, offsets: Mapping[int, int]) -> Position:
        """Return the position with other offsets for some partitions. Raises Malformed where one would go back."""
        if any(offset < self.offsets.get(partition, 0) for partition, offset in offsets.items()):
            raise Malformed("a position never goes back")
        return Position(self.topic, self.topic_id, {**self.offsets, **offsets})

    @staticmethod
    def is_one(line: str) -> bool:
        """Return whether a line says that it is a position."""
        return line.split(" ", 1)[0] == _HEADER
