"""From records of the decisions topic to leaves: each decision once, however many governors say it.

A hot standby says what the first governor says, byte for byte. Its copies are left out while the decision is among the newest
ones. That memory is the ledger itself: a writer that starts reads it from the last leaves.

Limits: a copy that comes after `RECENT_MAX` other decisions is a leaf of its own. It says the same, from another place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from failshut_ledger.errors import Malformed
from failshut_ledger.leaves.envelope import split_envelope
from failshut_ledger.leaves.statement import Record, read_statement, record_leaf
from failshut_ledger.notes.keys import Signer

RECENT_MAX: Final = 4096


class Intake:
    """Makes leaves of records, and leaves out copies. `recent` are the last leaves that are in the ledger, in order."""

    def __init__(self, signer: Signer, recent: Iterable[bytes] = ()) -> None:
        self._signer = signer
        self._seen: OrderedDict[str, None] = OrderedDict()
        for leaf in recent:
            try:
                self._new(read_statement(split_envelope(leaf)[0]).digest)
            except Malformed:  # whoever verifies the ledger hears of it; a copy of it is no copy
                continue

    def take(self, records: Iterable[Record]) -> list[bytes]:
        """Return the leaves of these records, in their order."""
        return [record_leaf(record, self._signer) for record in records if self._new(record.digest)]

    def _new(self, digest: str) -> bool:
        if digest in self._seen:
            return False
        self._seen[digest] = None
        if len(self._seen) > RECENT_MAX:
            self._seen.popitem(last=False)
        return True
