"""Segments: in what pieces a topic lies on a broker's disk, and so how soon anything is taken away.

Kafka deletes whole segments, and compacts all but the newest. Its own sizes (1 GiB, a week) suit neither a quiet topic nor a
compacted one. A quiet topic would keep records for twice its retention. A compacted one would keep every snapshot of a day, and
a worker that starts reads all of them.

Another size is no danger: it costs disk, and time at a start. So a topic that has another is named in a warning, with the words
that mend it, and nothing stops. Smaller than here is as good.

Limits: a segment must have room for the largest batch, else the broker refuses that batch. So sizes are at least twice that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_MIB = 1024 * 1024

CHANGELOG: Final[Mapping[str, str]] = {
    "segment.bytes": str(32 * _MIB),
    "segment.ms": str(5 * _MINUTE_MS),
    "min.cleanable.dirty.ratio": "0.1",
}
"""Snapshots, of which the newest of each evidence partition counts."""

CONTROL: Final[Mapping[str, str]] = {
    "segment.bytes": str(16 * _MIB),
    "segment.ms": str(_HOUR_MS),
    "min.cleanable.dirty.ratio": "0.1",
}
"""Commands, and marks, of which the newest counts. Compaction leaves the newest segment alone: closed every hour, a fresh
router reads no week of marks."""

RETAINED: Final[Mapping[str, str]] = {"segment.ms": str(24 * _HOUR_MS)}
"""What is deleted when its retention is over, and is there a day longer at most."""

_MEANING: Final[Mapping[bool, str]] = {
    True: "what newer records replace stays on disk for longer, and a worker that starts reads it",
    False: "records stay on disk for longer than their retention says",
}


def remarks_on(name: str, settings: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return what is larger than it should be in a topic's settings, in sentences; nothing if all is well."""
    meaning = _MEANING["min.cleanable.dirty.ratio" in wanted]
    return [
        f"topic {name} has {key}={settings[key]}: {meaning}. Run kafka-configs --alter --topic {name} --add-config {key}={most}"
        for key, most in wanted.items()
        if key in settings and float(settings[key]) > float(most)
    ]
