"""Which evidence log something belongs to, as one value.

Offsets mean something in one log alone: a topic that was deleted and made again has another id, and with another number of
partitions gates are in other ones. So terms, runs, snapshots and governors are compared by this value before any offset is.
"""

from __future__ import annotations

from typing import NamedTuple


class EvidenceLog(NamedTuple):
    """An evidence topic: its id, as the broker names it, and its number of partitions.

    >>> f"it is of {EvidenceLog('mI5Q', 4)}"
    'it is of topic mI5Q with 4 partitions'
    """

    id: str
    partitions: int

    def __str__(self) -> str:
        return f"topic {self.id} with {self.partitions} partitions"
