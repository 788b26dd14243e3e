"""What would have happened under another policy: the same front door, the same times, another text in every activation.

A policy of the recording is replaced from the start, in every activation, so that the gate lives under the new one all along.
Evidence was routed under the old policies. So the new policy's series are searched among the readings of all gates of its
partition. If nobody recorded a condition's evidence, the condition says so (`unseen`) instead of closing its gate in silence.

The world does not answer a what-if: probes are not executed and operators do not reset what did not trip then.
`Assumed` replaces both, and is off if a replay is to be identical.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from failshut_breakers.command import Reset
from failshut_breakers.decisions.decision import Breaker, Decision, Kind
from failshut_breakers.evidence.records import (
    Activation,
    Beats,
    Commanded,
    Faults,
    FromMany,
    Lags,
    OutcomeRow,
    Outcomes,
    Reading,
    Run,
    Samples,
    Sent,
    Unreadable,
)
from failshut_breakers.governor import Governor
from failshut_breakers.policy import routes
from failshut_breakers.policy.policy import Policy, PolicyError, gates_named, parse_policy
from failshut_replay.errors import ReplayError
from failshut_replay.recording.manifest import Manifest

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the world would have answered. `probes_pass`: each probe succeeds at the next mark. `reset_after_ms`: an operator
    resets a breaker that only an operator can reset, so long after it tripped; 0 is nobody does."""

    probes_pass: bool = False
    reset_after_ms: int = 0


NOTHING = Assumed()

RETRY_MS = 10_000
"""An operator whose reset was refused tries again after so long: a demand stands until its cause is gone."""


class WhatIf:
    """Other policies for gates of a recording.

    Raises:
        ReplayError: a policy is bad, or for a gate that is not in the recording.
    """

    def __init__(self, manifest: Manifest, policies: Mapping[str, str]) -> None:
        self.texts: dict[str, str] = {}
        self.unseen: dict[str, set[Key]] = {}
        self._keys: dict[str, tuple[Key, ...]] = {}
        for file, text in policies.items():
            try:
                policy = parse_policy(text)
            except PolicyError as error:
                raise ReplayError(f"{file}: {error}") from error
            if policy.gate not in manifest.gates:
                known = ", ".join(manifest.gates) or "none"
                raise ReplayError(f"{file} is a policy for gate {policy.gate}, which is not in the recording; it holds {known}")
            if policy.gate in self.texts:
                raise ReplayError(f"{file} is a second policy for gate {policy.gate}")
            self.texts[policy.gate] = text
            self._keys[policy.gate] = keys_of(policy)
            self.unseen[policy.gate] = {key for condition in policy.conditions for key in routes.keys_of(condition)}

    def apply(self, run: Run) -> Run:
        """Return the run as it would have been."""
        if not self.texts:
            return run
        notices = [self.activation(notice) if isinstance(notice, Activation) else notice for notice in run.notices]
        if not run.readings:
            return run if notices == run.notices else msgspec.structs.replace(run, notices=notices)
        readings = dict(run.readings)
        for gate, keys in self._keys.items():
            mine = list(run.readings.get(gate, ()))
            there = {key_of(reading) for reading in mine}
            for key in keys:
                if key not in there:
                    mine += _elsewhere(run, key)
            self.unseen[gate] -= there | {key_of(reading) for reading in mine}
            if mine:
                readings[gate] = mine
        return msgspec.structs.replace(run, notices=notices, readings=readings)

    def activation(self, notice: Activation) -> Activation:
        """Return an activation as it would have been."""
        files = dict(notice.files)
        for gate, text in self.texts.items():
            held = [file for file, before in files.items() if gate in gates_named(before)]
            for file in held[1:]:
                del files[file]
            files[held[0] if held else f"{gate}.yaml"] = text
        return msgspec.structs.replace(notice, files=files)

    def complaints(self) -> list[str]:
        """Return what the new policies watch and the recording holds nothing of."""
        return [
            f"{gate}: the recording holds nothing of {' '.join(key)}: that condition never had evidence"
            for gate, keys in self.unseen.items()
            for key in sorted(keys)
            if key != ("unreadable",)  # that there was none is how it should be
        ]


def _elsewhere(run: Run, key: Key) -> list[Reading]:
    for gate in sorted(run.readings):
        found = [reading for reading in run.readings[gate] if key_of(reading) == key]
        if found:
            return found
    if key[0] == "series":  # what was judged by instance alone is a stream as well
        many = _elsewhere(run, ("instances", key[1]))
        return [block for one in many if isinstance(one, FromMany) for block in one.as_one()]
    return []


def keys_of(policy: Policy) -> tuple[Key, ...]:
    """Return what a policy's conditions are fed with that other gates may be fed with as well: all but outcomes."""
    keys = dict.fromkeys(key for condition in policy.conditions for key in routes.keys_of(condition))
    return tuple(key for key in keys if key != ("outcomes",))


def key_of(reading: Reading) -> Key:
    """Return what a reading is of."""
    match reading:
        case Samples() | Faults():
            return ("series", reading.series)
        case FromMany():
            return ("instances", reading.series)
        case Beats():
            return ("source", reading.source)
        case Lags():
            return ("lag", reading.group, reading.topic)
        case Outcomes() | Sent():
            return ("outcomes",)
        case Unreadable():
            return ("unreadable",)
    return ("other",)


class Answers:
    """Plays the world of a what-if for one partition: looks at decisions, and puts answers into later runs."""

    def __init__(self, assumed: Assumed) -> None:
        self.assumed = assumed
        self._probes: dict[str, tuple[str, int]] = {}  # gate -> epoch text, tokens
        self._tripped: dict[str, tuple[int, int]] = {}  # gate -> since, epoch
        self._tried: dict[str, int] = {}  # gate -> when it was last reset, in vain or not
        self.given = 0
        self._installation = ""

    def see(self, decisions: list[Decision], governor: Governor, now_ms: int) -> None:
        """Take note of what asks for an answer."""
        self._installation = governor.installation
        for decision in decisions:
            if decision.tokens and self.assumed.probes_pass:
                self._probes[decision.gate] = (decision.probe_epoch, decision.tokens)
            if decision.kind is Kind.CLOSE:
                since = self._tripped.get(decision.gate, (now_ms, 0))[0]
                self._tripped[decision.gate] = (since, int(decision.epoch))
            elif decision.kind is Kind.OPEN and decision.breaker is Breaker.ARMED:
                self._tripped.pop(decision.gate, None)
            gate = governor.gates.get(decision.gate)
            policy = gate.entry.policy if gate else None
            if (gate and gate.breaker.state is not Breaker.TRIPPED) or (policy and policy.reset.after is not None):
                self._tripped.pop(decision.gate, None)

    def add(self, run: Run) -> Run:
        """Return the run with the answers that are due, at its end."""
        if run.mark is None or not (self._probes or self._tripped):
            return run
        at, added = run.upto - 1, {}
        for gate, (epoch, tokens) in self._probes.items():
            rows = [OutcomeRow(at, 1 + n, run.append_ms, int(epoch), f"{epoch}:{n}", "ok", 1) for n in range(tokens)]
            added[gate] = [Outcomes(rows)]
        self._probes = {}
        for gate, (since_ms, epoch_number) in list(self._tripped.items()):
            due_ms = max(since_ms + self.assumed.reset_after_ms, self._tried.get(gate, 0) + RETRY_MS)
            if self.assumed.reset_after_ms and run.append_ms >= due_ms:
                self._tried[gate] = run.append_ms
                reset = Reset(
                    installation=self._installation,
                    gate=gate,
                    by="assumed",
                    why="an assumed operator resets",
                    id=f"assumed.{run.topic}.{run.partition}.{at}",
                    signed_ms=run.append_ms,
                    epoch=epoch_number,
                )
                commanded = Commanded(at, run.append_ms, reset.model_dump_json(), "assumed")
                added.setdefault(gate, []).append(commanded)  # type: ignore[arg-type]
        self.given += len(added)
        if not added:
            return run
        readings = {**run.readings, **{gate: [*run.readings.get(gate, ()), *more] for gate, more in added.items()}}
        return msgspec.structs.replace(run, readings=readings)
