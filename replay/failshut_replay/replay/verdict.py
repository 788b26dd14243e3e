"""Whether a replay decides what is on record, byte for byte, and where it first does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from failshut_breakers.decisions.decision import (
    Decision,
    Kind,
    as_on_record,
    decode_decision,
    encode_decision,
    in_present_words,
)
from failshut_breakers.decisions.permits import lives_by_seals
from failshut_breakers.policy.policy import CANCELS_SINCE, MEANING, PolicyError, policy_files
from failshut_replay.recording.manifest import Activated, versions
from failshut_replay.recording.reader import Decided, Recording
from failshut_replay.replay.replay import Replay, Step, paced
from failshut_replay.replay.resume import differ_in_words
from failshut_replay.times import iso


@dataclass(slots=True)
class Verdict:
    """Whether a replay decided what is on record. `difference` is empty where it did."""

    decisions: int = 0  # compared
    records: int = 0
    samples: int = 0
    difference: str = ""
    fields: list[tuple[str, str, str]] = field(default_factory=list)  # what differs: field, on record, now
    meaning: tuple[int, int] = (MEANING, MEANING)  # of policies, then and now
    finished: int = 0  # on record as letting work finish, where the policy says nothing and now cancels
    renewals: int = 0  # on record from before seals renewed permits, and not compared
    undecided: int = 0  # decided by the replay after the last one on record: the monitor had not come so far
    made_by: dict[str, tuple[str, str]] = field(default_factory=dict)  # versions that differ: then and now
    # Of a recording that begins in the middle of its log alone:
    followed: int = 0  # taken from the record until the gate's conditions had enough evidence, and not compared
    in_other_words: int = 0  # of those compared: the same decision, with other numbers of detectors in its words
    compared_from: dict[str, int] = field(default_factory=dict)  # by gate: when it began to decide by itself
    never_compared: list[str] = field(default_factory=list)
    differences: int = 0  # records over which they differ; elsewhere the first one ends the comparison

    @property
    def identical(self) -> bool:
        """Whether all decisions that were compared were taken again, and no others, and each gate was compared.

        They are the same byte for byte, but for the field that `finished` is about.
        """
        return not (self.difference or self.in_other_words or self.never_compared)

    @property
    def same(self) -> bool:
        """Whether they are the same but for the numbers of detectors that remember further back than the recording."""
        return not (self.difference or self.never_compared)

    def told(self) -> str:
        """Return it in a sentence or two."""
        if self.difference:
            many = f", {self.differences} times among {self.decisions} decisions" if self.differences else ""
            said = f"The replay does not decide what is on record{many}. First difference: {self.difference}."
            if self.meaning[0] != self.meaning[1]:
                said += (
                    f" Policies meant something else when it was recorded (meaning {self.meaning[0]} of docs/policy.md, now "
                    f"{self.meaning[1]}): from there on the rules differ, and not the evidence."
                )
        elif self.never_compared:
            gates = ", ".join(self.never_compared)
            said = f"{gates} could not be compared: at no moment was it open on record and in the replay as well."
        elif self.in_other_words:
            said = (
                f"The replay takes the decisions on record: {self.decisions - self.in_other_words} byte for byte, and "
                f"{self.in_other_words} with other numbers in their words, of detectors that remember further back than this."
            )
        else:
            same = f"byte for byte but for `in_flight` in {self.finished}" if self.finished else "byte for byte"
            said = f"The replay decides what is on record: {self.decisions} decisions, {same}."
        if self.finished:
            said += (
                f" {self.finished} decisions on record let running work finish, and now cancel it: since version 0.2 a policy "
                "without `in_flight` cancels."
            )
        if self.renewals:
            said += f" {self.renewals} renewals of permits are on record besides: seals take their place since version 0.2."
        if not (self.followed or self.compared_from):
            return said
        since = "; ".join(f"{gate} is compared from {iso(at_ms)} on" for gate, at_ms in sorted(self.compared_from.items()))
        return f"{said} The log's beginning is not in it: {self.followed} decisions were not compared; {since or 'none was'}."


def check(recording: Recording, on_step: Callable[[Step], None] = lambda step: None, speed: float = 0) -> Verdict:
    """Replay a recording and compare with what is on record; stops at the first difference.

    Raises:
        RecordingError: the recording is not as it was made.
    """
    manifest, now = recording.manifest, versions()
    verdict = Verdict(
        made_by={name: (made, now.get(name, "")) for name, made in manifest.made_by.items() if now.get(name) != made}
    )
    verdict.meaning = (manifest.meaning, MEANING)
    silent = _silent(manifest.policies) if manifest.meaning < CANCELS_SINCE else frozenset()
    expected = {partition: Decided(recording, partition) for partition in manifest.partitions}
    replay = Replay(recording)
    waiting = {gate for gate, partition in manifest.gates.items() if manifest.start(partition)}
    for step in paced(replay, speed):
        on_step(step)
        if not manifest.sealed:
            step = step._replace(decisions=[one for one in step.decisions if not _seals_renew(one)])
        if step.offset > manifest.decided(step.partition):
            verdict.undecided += len(step.decisions)
            continue
        follower = replay.followers.get(step.partition)
        # Where policies meant something else, other words are no news: what is told is where it decides otherwise.
        in_words = follower is not None or manifest.meaning != MEANING
        recorded = expected[step.partition].at(step.offset)
        if not manifest.sealed:
            kept = [data for data in recorded if b'"renew"' not in data or not _seals_renew(decode_decision(data))]
            verdict.renewals += len(recorded) - len(kept)
            recorded = kept
        if silent:
            recorded = _cancelling(verdict, recorded, silent)
        differing = _compare(verdict, step, recorded, in_words)
        verdict.decisions += len(step.decisions)
        if differing and follower is None:
            break
        if differing and follower is not None:
            verdict.differences += 1
            follower.again(differing)
        for gate in sorted(waiting - replay.following) if waiting else ():
            waiting.discard(gate)
            verdict.compared_from[gate] = step.time_ms
    verdict.records, verdict.samples, verdict.never_compared = replay.records, replay.samples, sorted(waiting)
    verdict.followed = sum(follower.count for follower in replay.followers.values())
    verdict.decisions -= verdict.followed
    if not verdict.difference:
        for partition, stream in expected.items():
            left = stream.next()
            if left is not None:
                verdict.difference = f"a decision over evidence {partition}/{left.offset} is on record, and no such evidence is"
    if not verdict.difference and manifest.differing:
        verdict.difference = f"two governors are on record with different decisions: {manifest.differing[0]}"
    return verdict


def _seals_renew(decision: Decision) -> bool:
    """Return whether a decision renews a permit that seals renew since version 0.2."""
    return decision.kind is Kind.RENEW and lives_by_seals(decision.mode)


def _silent(activations: list[Activated]) -> frozenset[str]:
    """Return the digests of the policies that say nothing of `in_flight`."""
    digests: set[str] = set()
    for text in {text for one in activations for text in one.files.values()}:
        try:
            policy = policy_files.of(text)
        except PolicyError:
            continue
        if "in_flight" not in policy.model_fields_set:
            digests.add(policy.digest)
    return frozenset(digests)


def _cancelling(verdict: Verdict, recorded: list[bytes], silent: frozenset[str]) -> list[bytes]:
    """Return decisions on record with the present default of `in_flight`, and count those that had the former one."""
    present: list[bytes] = []
    for data in recorded:
        if b'"finish"' in data:
            decision = decode_decision(data)
            if decision.in_flight == "finish" and decision.policy in silent:
                verdict.finished += 1
                data = data.replace(b'"in_flight":"finish"', b'"in_flight":"cancel"', 1)
        present.append(data)
    return present


def _compare(verdict: Verdict, step: Step, recorded: list[bytes], in_words: bool) -> set[str]:
    """Compare what was decided over a record; return the gates that differ, and put the first difference in words.

    With `in_words`, other words alone are counted, and are no difference.
    """
    if recorded == [encode_decision(decision) for decision in step.decisions]:
        return set()
    decisions = as_on_record(step.decisions, recorded)
    taken = [encode_decision(decision) for decision in decisions]
    recorded = [in_present_words(data) for data in recorded]
    if recorded == taken:
        return set()
    if in_words and len(recorded) == len(taken):
        pairs = [(decode_decision(one), two) for one, data, two in zip(recorded, taken, decisions, strict=True) if one != data]
        if all(differ_in_words(one, two) for one, two in pairs):
            verdict.in_other_words += len(pairs)
            return set()
    differing = {decode_decision(data).gate for data in {*recorded} ^ {*taken}}
    if not verdict.difference:
        _tell_first(verdict, step, recorded, taken)
    return differing


def _tell_first(verdict: Verdict, step: Step, recorded: list[bytes], taken: list[bytes]) -> None:
    at = next(
        (n for n, (one, two) in enumerate(zip(recorded, taken, strict=False)) if one != two), min(len(recorded), len(taken))
    )
    before = decode_decision(recorded[at]) if at < len(recorded) else None
    now = decode_decision(taken[at]) if at < len(taken) else None
    where = f"evidence {step.partition}/{step.offset} ({step.run.topic}/{step.run.partition} up to {step.run.upto})"
    if before is None and now is not None:
        verdict.difference = f"{where}: nothing more is on record, and now {said(now)}"
    elif now is None and before is not None:
        verdict.difference = f"{where}: on record is {said(before)}, and now nothing is decided"
    elif before is not None and now is not None:
        verdict.fields = [
            (name, shown(getattr(before, name)), shown(getattr(now, name)))
            for name in before.__struct_fields__
            if getattr(before, name) != getattr(now, name)
        ]
        names = ", ".join(name for name, _, _ in verdict.fields) or "its bytes alone"
        verdict.difference = f"{where}: on record is {said(before)}, and now {said(now)}: it differs in {names}"


def said(decision: Decision) -> str:
    """Return a decision in a few words."""
    verb = {Kind.OPEN: "opens", Kind.RENEW: "stays open", Kind.CLOSE: "closes", Kind.NOTE: "is noted"}[decision.kind]
    over = f" over {decision.cause}" if decision.cause else ""
    return f"{decision.gate} {verb}{over} ({decision.breaker}: {decision.because})"


def shown(value: object) -> str:
    """Return a field of a decision as it travels, cut short."""
    return msgspec.json.encode(value).decode()[:300]
