"""Starting where a log's beginning is gone: retention removed it, and an incident of yesterday is to be replayed.

What a governor knew at the first record that is left is known but for one thing. Control holds the policies in force, and
decisions name them by digest. The runs themselves say how far the front door was vouched for. A gate's decisions say whether it
was open, since which epoch, and why not. What is gone is what its detectors remembered.

So conditions start without evidence, and a gate *follows the record* until they have enough of it: the recorded decisions
apply, and are not compared. It decides by itself once the record says that its breaker is armed and its permit stands, and the
replay would hold it open as well. The permit may be from before the recording: its manifest says which decision stood there.
From then on only one thing is unknown: how far back its detectors remember. From there on every decision is compared.

Limits: a detector that remembers further back than the rest of the log reports other numbers ("in other words"). It may
demand elsewhere, which is reported as a difference. After that the gate follows the record again, so the rest is
compared as well. A gate without such a permit follows the record to the end.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from failshut_breakers.conditions import Moment
from failshut_breakers.decisions.decision import Breaker as State
from failshut_breakers.decisions.decision import Decision, Kind, decode_decision
from failshut_breakers.evidence.coverage import CONTROL, Coverage
from failshut_breakers.evidence.records import Activation, Place, Run, Term
from failshut_breakers.gate.state import Gate
from failshut_breakers.governor import Governor, Owns
from failshut_replay.recording.manifest import Activated, Manifest, Start
from failshut_replay.recording.reader import Decided


def begin(partition: int, run: Run, owns: Owns, start: Start, activation: Activation | None, installation: str) -> Governor:
    """Return a governor that begins where a recording does: covered up to there, under the policies then in force.

    `run` is the first one that is left; its log is the governor's.
    """
    positions: dict[str, dict[int, int]] = {}
    for topic, number, position in start.positions:
        positions.setdefault(topic, {})[number] = position
    term = Term(-1, 0, start.term, run.evidence_id, run.evidence_partitions, positions, "", installation)
    return Governor.resumed(partition, term, owns, start.offset - 1, Place(CONTROL, 0, start.routing, 0), activation)


def activation_at(manifest: Manifest, start: Start) -> Activation | None:
    """Return the activation that was in force where a recording begins."""
    found: Activated | None = next((one for one in manifest.policies if one.offset == start.routing), None)
    if found is None:
        return None
    return Activation(found.offset, found.time_ms, found.version, found.files, found.signer, found.fault)


class Follower:
    """Lets the gates of one partition follow the record until they can decide by themselves."""

    def __init__(self, gates: set[str], decided: Decided, standing: Mapping[str, bytes]) -> None:
        self.following = gates
        self.count = 0
        self._decided = decided
        self._standing = {gate: decode_decision(data) for gate, data in standing.items()}

    def take(self, governor: Governor, offset: int, decisions: list[Decision]) -> list[Decision]:
        """Return what counts as decided over a record, of what was decided now; one that follows takes what is on record."""
        recorded = [decode_decision(data) for data in self._decided.at(offset)]
        self._standing |= {decision.gate: decision for decision in recorded if decision.kind is not Kind.NOTE}
        if not self.following:
            return decisions
        followed = [decision for decision in recorded if decision.gate in self.following]
        self.count += len(followed)
        kept = [decision for decision in decisions if decision.gate not in self.following] + followed
        for name in sorted(self.following & self._standing.keys()):
            decision = self._standing[name]
            gate = _armed(governor, decision)
            if gate is None:
                continue
            gate.arm_as_recorded()
            if _agrees(governor, gate, decision, offset):
                gate.go_on_from(msgspec.structs.replace(decision, tokens=0))
                self.following.discard(name)
        return sorted(kept, key=lambda one: one.gate)

    def again(self, gates: set[str]) -> None:
        """Let gates follow the record again behind a record: they decided otherwise there."""
        self.following |= gates


def _armed(governor: Governor, decision: Decision) -> Gate | None:
    """Return the gate of a permit on record that shows its breaker to have been ARMED, under the policy that is known."""
    gate = governor.look(decision.gate)
    if gate is None or decision.kind is Kind.NOTE or decision.breaker is not State.ARMED or decision.mode != "armed":
        return None
    return gate if gate.entry.digest == decision.policy and _coverage(governor, gate) else None


def _agrees(governor: Governor, gate: Gate, decision: Decision, offset: int) -> bool:
    """Return whether the gate would be open now as well; where the permit is of this record, over the same evidence time."""
    coverage = governor.coverage_of(gate)
    wanted = gate.wanted(Moment(coverage.evidence_ms, coverage.newest_ms))
    return wanted.mode == decision.mode and (decision.offset != offset or coverage.evidence_ms == decision.evidence_ms)


def _coverage(governor: Governor, gate: Gate) -> Coverage | None:
    return next((one for one in governor.lanes if one.lane == gate.lane), None)


def differ_in_words(one: Decision, two: Decision) -> bool:
    """Return whether two decisions are the same but for what they say of detectors' numbers."""
    return _plain(one) == _plain(two)


def _plain(decision: Decision) -> Decision:
    readings = [msgspec.structs.replace(brief, text="") for brief in decision.readings]
    return msgspec.structs.replace(decision, because="", readings=readings)
