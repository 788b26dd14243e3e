"""What has been vouched for: joins runs, and says how far evidence time has come.

Per front-door partition a coverage knows the position up to which runs join without a hole, and the newest mark
below it. Evidence time is the oldest of those marks over all partitions. Their number is the largest partition
count seen in any mark. So a partition that nobody vouches for holds evidence time back.

A coverage belongs to a routing version. It counts runs that were cut under that version or a newer one. It also
counts older runs whose records were all appended before the activation: they lack nothing that only the new
policy needs. It starts at the newest mark boundary before the activation that the version before has covered.
Append times are compared, never a mark's own time: a writer that was paused puts an old time behind new
records.

A coverage may be forked. If a router reads a gate's policy differently, that gate goes on with a copy that does not
count the router's runs. It rejoins when a router that agrees has written the same evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from failshut_breakers.evidence.boundaries import Boundaries
from failshut_breakers.evidence.records import Run, Term

VERSIONS_KEPT = 256
"""Activations remembered. A run cut under an older routing than these no longer counts."""

BROKER_SKEW_MS = 1_000
"""How far brokers' clocks may be apart: an activation and a telemetry partition may be stamped by two of them."""

PARTITIONS_MAX = 10_000
"""A mark that claims more partitions than this is not believed and stops evidence time."""

CONTROL = "control"
"""The topic of commands and activations. Every router reads it whole, under whatever routing."""

Key = tuple[str, int]


class Refused(NamedTuple):
    """The newest run that a fork did not count: who cut it, under what reading, and how far it would have led."""

    router: str
    made: bytes
    upto: int
    mark_ms: int


class Admission(Enum):
    """What a run is to a coverage."""

    FRESH = "fresh"
    DUPLICATE = "duplicate"
    GAP = "gap"
    OLDER = "older"  # cut under a routing version that may lack what this one needs
    FOREIGN = "foreign"  # of a topic that the term does not know
    DISPUTED = "disputed"  # its router made something else of the policy, or of control


@dataclass(slots=True)
class Coverage:
    """How far the runs of one routing version (and newer ones) vouch for the front door."""

    version: int
    # Recent routing versions, oldest first, each with a time: an older version's runs from before it are complete.
    chain: tuple[tuple[int, int], ...] = ()
    starts: dict[Key, int] = field(default_factory=dict)  # where covering began; 0 for partitions added later
    covered: dict[Key, int] = field(default_factory=dict)
    appended: dict[Key, int] = field(default_factory=dict)  # append time of the last record that is covered
    marks: dict[Key, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    boundaries: dict[Key, Boundaries] = field(default_factory=dict)
    gaps: dict[Key, int] = field(default_factory=dict)  # where a refused run began
    evidence_ms: int = 0
    newest_ms: int = 0
    fork: int = 0  # 0 for the coverage that every router's runs lead on, else which fork of it
    refused: dict[Key, Refused] = field(default_factory=dict)  # what this fork did not count, until it is told anew

    @property
    def lane(self) -> tuple[int, int]:
        """What a gate names its coverage by: routing version and fork."""
        return self.version, self.fork

    @classmethod
    def of_term(cls, term: Term, version: int) -> Coverage:
        """Return the first coverage of a term, which starts where the term's record says."""
        starts = {(topic, partition): at for topic, parts in term.starts.items() for partition, at in parts.items()}
        counts = {topic: max([1, *(partition + 1 for partition in parts)]) for topic, parts in term.starts.items()}
        return cls(version, ((version, 0),), starts=starts, covered=dict(starts), counts=counts)

    def succeeded_by(self, version: int, activated_ms: int) -> Coverage:
        """Return the coverage of a newer version: it starts where the front door stood before its activation."""
        before_ms = activated_ms - BROKER_SKEW_MS
        chain = (*self.chain[-VERSIONS_KEPT:], (version, before_ms))
        after = Coverage(version, chain, dict(self.starts), dict(self.starts), counts=dict(self.counts))
        for key, boundaries in self.boundaries.items():
            kept = boundaries.copy() if key[0] == CONTROL else boundaries.older_than(before_ms)
            for at in kept:
                # What an operator signed for as lost stays signed for.
                after.covered[key], after.marks[key] = max(at.position, after.starts.get(key, 0)), at.time_ms
            after.boundaries[key] = kept
        for key, position in self.covered.items():
            # Control is read whole by every router, under whatever routing; and where all that is covered was appended
            # before the activation, what the next older run joins is its end, not the mark before it.
            if key[0] == CONTROL or self.appended.get(key, before_ms) < before_ms:
                after.covered[key] = position
                after.appended[key] = self.appended.get(key, 0)
        after.newest_ms = self.newest_ms
        after._reckon()
        return after

    def forked(self, number: int) -> Coverage:
        """Return a copy that goes on by itself."""
        copied = replace(self, fork=number)
        for name in ("starts", "covered", "appended", "marks", "counts", "gaps", "refused"):
            setattr(copied, name, dict(getattr(self, name)))
        copied.boundaries = {key: kept.copy() for key, kept in self.boundaries.items()}
        return copied

    def refuse(self, run: Run) -> None:
        """Take note of a run that does not count here because its router made something else of control."""
        key = (run.topic, run.partition)
        before = self.refused.get(key, Refused("", b"", 0, 0))
        mark_ms = max(before.mark_ms, run.mark.time_ms if run.mark else 0)
        self.refused[key] = Refused(run.router, run.made, max(before.upto, run.upto), mark_ms)

    def held_back_by(self) -> tuple[Refused, int] | None:
        """Return the refused run that holds evidence time back most, and by how many milliseconds; None if none does."""
        latest = max(self.refused.values(), key=lambda one: (one.mark_ms, one.router), default=None)
        return None if latest is None else (latest, max(0, latest.mark_ms - self.evidence_ms))

    def weigh(self, run: Run) -> tuple[Admission, int]:
        """Return what a run is to this coverage, and the first offset that counts, and take no note of it."""
        key = (run.topic, run.partition)
        if run.routing < self.version and run.topic != CONTROL and self._lacks(run):
            return Admission.OLDER, 0
        if run.topic not in self.counts:
            return Admission.FOREIGN, 0
        covered = self.covered.get(key, 0)
        if run.previous > covered:
            return Admission.GAP, 0
        if run.upto <= covered:
            return Admission.DUPLICATE, 0
        return Admission.FRESH, covered

    def owes(self, run: Run) -> bool:
        """Return whether a run that does not count leaves something owed: it would have counted, or goes on from one."""
        admission, _ = self.weigh(run)
        return admission is Admission.FRESH or (admission is Admission.GAP and (run.topic, run.partition) in self.refused)

    def admit(self, run: Run) -> tuple[Admission, int]:
        """Take note of a run; return what it is to this coverage, and the first offset that counts."""
        admission, lo = self.weigh(run)
        if admission is Admission.GAP:
            self.gaps[run.topic, run.partition] = run.previous
        elif admission is Admission.FRESH:
            self.advance(run)
        return admission, lo

    def _lacks(self, run: Run) -> bool:
        """Return whether the run may lack what an activation that its router had not taken up asks for."""
        if run.routing < self.chain[0][0]:
            return True  # cut under a version so old that its successors are forgotten
        return any(version > run.routing and run.append_ms >= before_ms for version, before_ms in self.chain)

    def advance(self, run: Run) -> None:
        """Count a run as covered, with the mark that ends it."""
        key = (run.topic, run.partition)
        self.covered[key] = max(self.covered.get(key, 0), run.upto)
        self.appended[key] = max(self.appended.get(key, 0), run.append_ms)
        self._joined(key)
        mark = run.mark
        if mark is None:
            return
        grown = mark.partitions > self.counts[run.topic]
        if grown:
            self.counts[run.topic] = mark.partitions
        before_ms = self.marks.get(key, 0)
        if mark.time_ms > before_ms:
            self.marks[key] = mark.time_ms
            self.newest_ms = max(self.newest_ms, mark.time_ms)
        self.boundaries.setdefault(key, Boundaries()).add(run.append_ms, mark.time_ms, run.upto)
        if grown or before_ms <= self.evidence_ms:  # only the oldest partition holds evidence time back
            self._reckon()

    def accept_gap(self, topic: str, partition: int, upto: int) -> None:
        """Take an operator's word for what will not be seen."""
        key = (topic, partition)
        self.starts[key] = max(self.starts.get(key, 0), upto)
        self.covered[key] = max(self.covered.get(key, 0), upto)
        self._joined(key)

    def _joined(self, key: Key) -> None:
        """Forget a gap, or a run that was refused, once what it left out is covered."""
        if key in self.gaps and self.covered[key] >= self.gaps[key]:
            del self.gaps[key]
        if key in self.refused and self.covered[key] >= self.refused[key].upto:
            del self.refused[key]

    def same_reach(self, other: Coverage) -> bool:
        """Return whether two coverages have come equally far, so that one of them can go."""
        loose = self.gaps or other.gaps or self.refused or other.refused
        return self.covered == other.covered and self.marks == other.marks and not loose

    def missing(self) -> list[Key]:
        """Return the partitions that hold evidence time back because no mark of theirs is known."""
        return [key for key in self._keys() if key not in self.marks]

    def oldest(self) -> Key | None:
        """Return the partition whose newest mark is the oldest, if all have one."""
        keys = self._keys()
        if not keys or any(key not in self.marks for key in keys):
            return None
        return min(keys, key=lambda key: (self.marks[key], key))

    def _keys(self) -> list[Key]:
        if sum(self.counts.values()) > PARTITIONS_MAX:
            return [("", 0)]  # no such partition: nothing is vouched for
        return [(topic, partition) for topic in sorted(self.counts) for partition in range(self.counts[topic])]

    def _reckon(self) -> None:
        oldest_ms = min((self.marks.get(key, 0) for key in self._keys()), default=0)
        # Evidence time never goes back, not even when a new partition appears: it stands still.
        self.evidence_ms = max(self.evidence_ms, oldest_ms)
