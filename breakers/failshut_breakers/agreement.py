"""Agreement: whether a router made of control what this governor makes of it.

Two workers may read one activation differently: an older version does not know a detector, a library or a plug-in is
not installed. The router that cannot read a policy feeds its gate nothing, and its marks would vouch for that nothing.
So every run carries a digest of what its router feeds each gate. A gate counts a run only if the router feeds it what
the gate's own policy needs.

A run carries one digest for all gates of its evidence partition. If it is not the governor's own digest, the table that
the router wrote before says which gates differ. The other gates go on counting. A run of control carries another
digest: whose commands its router believed.

Limits: the digest names series, sources and groups, and says nothing of how records are decoded. `RULES` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from failshut_breakers.evidence.records import Feeds, OperatorsNamed, Run
from failshut_breakers.policy.policy import Entry
from failshut_breakers.policy.routes import keys_of

RULES = 1
"""What a router does with a record for whom it feeds. Raised when a router of an older version would forward less."""

CONTROL_RULES = 1
"""What a router makes of control. Raised when a router of an older version would pass over a notice."""

TABLES_KEPT = 64
"""Tables of routers that are remembered; a run under a forgotten one counts for no gate."""

ROUTINGS_KEPT = 256
"""Activations whose own digest is remembered; a run cut under an older one is looked up gate by gate."""

FAULTS_TOLD_MAX = 100
FAULT_CHARS_TOLD_MAX = 200

Table = Mapping[str, bytes]
"""By gate: 8 bytes for what it is fed."""


def feed_of(entry: Entry) -> bytes:
    """Return the digest (8 bytes) of what a gate is fed under an entry that holds a policy.

    Raises:
        ValueError: the entry holds none.
    """
    if entry.policy is None:
        raise ValueError(f"{entry.gate} has no policy: it is fed nothing")
    keys = sorted({key for condition in entry.policy.conditions for key in keys_of(condition)})
    return hashlib.blake2b(msgspec.msgpack.encode((RULES, entry.text, keys)), digest_size=8).digest()


def digest_of_table(table: Table) -> bytes:
    """Return the digest (16 bytes) that a run carries for all gates of its evidence partition."""
    return hashlib.blake2b(msgspec.msgpack.encode(sorted(table.items())), digest_size=16).digest()


def digest_of_control(operators: bytes) -> bytes:
    """Return the digest (16 bytes) that a run of control carries; `operators` is that of the keys that were believed."""
    return hashlib.blake2b(msgspec.msgpack.encode((CONTROL_RULES, operators)), digest_size=16).digest()


def feeds_of(entries: Iterable[Entry]) -> Feeds:
    """Return what a router tells an evidence partition of its gates: what each is fed, and why another is fed nothing."""
    gates: dict[str, bytes] = {}
    faults: dict[str, str] = {}
    for entry in sorted(entries, key=lambda one: one.gate):
        if entry.policy is not None:
            gates[entry.gate] = feed_of(entry)
        elif entry.fault and entry.digest and len(faults) < FAULTS_TOLD_MAX:
            faults[entry.gate] = entry.fault[:FAULT_CHARS_TOLD_MAX]
    return Feeds(gates, faults)


@dataclass
class Agreement:
    """What one governor knows of the readings of routers: a function of the log."""

    own: dict[str, bytes] = field(default_factory=dict)  # by gate that has a policy
    by_routing: dict[int, bytes] = field(default_factory=lambda: {-1: digest_of_table({})})
    told: dict[bytes, Table] = field(default_factory=dict)  # by digest, the oldest first
    faults: dict[str, dict[str, str]] = field(default_factory=dict)  # by router and gate: why it is fed nothing
    operators: bytes | None = None  # digest of the keys whose commands count; None until a run of control has said

    def learn(self, run: Run) -> None:
        """Take note of the table that a router tells, whether or not the run counts."""
        if run.feeds is None:
            return
        _keep(self.told, digest_of_table(run.feeds.gates), run.feeds.gates, TABLES_KEPT)
        _keep(self.faults, run.router, run.feeds.faults, TABLES_KEPT)

    def activated(self, routing: int, entries: Iterable[Entry]) -> None:
        """Take up what an activation made of the gates of this partition."""
        self.own = {entry.gate: feed_of(entry) for entry in entries if entry.policy is not None}
        _keep(self.by_routing, routing, digest_of_table(self.own), ROUTINGS_KEPT)

    def control_agrees(self, run: Run, covered: int) -> bool:
        """Return whether a run of control is what this governor's own router would have written, and follow it if it counts.

        Whose commands count is named by the log itself. What was covered before is not named anew.
        """
        operators = self.operators
        for notice in run.notices:
            if isinstance(notice, OperatorsNamed) and notice.offset >= covered:
                operators = notice.digest
        if operators is None:  # the first run of control that counts, or a recording that begins in the middle
            operators = run.operators
        if run.made != digest_of_control(operators):
            return False
        if run.previous <= covered:
            self.operators = operators
        return True

    def agrees(self, run: Run) -> bool:
        """Return whether a run's router feeds all gates what this governor's policies need."""
        return self.by_routing.get(run.routing) == run.made

    def disputed(self, run: Run, versions: Mapping[str, int]) -> frozenset[str]:
        """Return the gates for which a run does not count, because its router feeds them something else.

        `versions` holds each gate with the routing version from which its evidence counts. A gate whose own policy is at fault
        is closed by it, and needs nobody's agreement.
        """
        if self.agrees(run):
            return frozenset()
        table = self.told.get(run.made)
        if table is None:
            return frozenset(self.own)
        return frozenset(
            gate
            for gate, feed in self.own.items()
            if table.get(gate) != feed or run.routing < versions.get(gate, run.routing + 1)
        )

    def why(self, router: str, made: bytes, gate: str) -> str:
        """Return in words how a router's reading differs for a gate."""
        table = self.told.get(made)
        if table is None:
            return f"worker {router} does not say what it feeds this gate: its version is older, or it read control otherwise"
        if gate in table:
            return f"worker {router} reads this gate's policy differently and feeds it something else: its version is another"
        if fault := self.faults.get(router, {}).get(gate):
            return f"worker {router} cannot read this gate's policy and feeds it nothing: {fault}"
        return f"worker {router} feeds this gate nothing: it knows no policy for it"


class Unquestioned(Agreement):
    """Counts every run: for a replay under other policies than those that routers read. Never for a monitor that runs."""

    def control_agrees(self, run: Run, covered: int) -> bool:
        return True

    def agrees(self, run: Run) -> bool:
        return True


def _keep(kept: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Keep a value as the newest, and no more than so many."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
