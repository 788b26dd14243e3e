"""Policies: which conditions a gate has, and what each does.

A policy is one YAML document for one gate; a bundle is a signed, versioned set of files with one policy each.
Reading is strict. A fault is an unknown field, detector or unit, a rule that cannot be evaluated, or two
policies for one gate. It names what is wrong and where. A fault closes its gates; the policy that was in force
before is not kept alive in its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from failshut.signing import TOKEN_BYTES_MAX
from failshut_breakers.command import GATE_PATTERN
from failshut_breakers.decisions.permits import longest_permit
from failshut_breakers.policy.conditions import (
    Anomaly,
    ConditionPolicy,
    Conformance,
    CountsAs,
    Drift,
    FailureRate,
    Heartbeat,
    Lag,
    Model,
    Name,
    Unreadable,
    read_condition,
)
from failshut_breakers.policy.form import digest_of_form, named_settings, settings_of
from failshut_breakers.policy.memo import Readings
from failshut_breakers.policy.units import DurationMs, parse_duration_ms
from failshut_breakers.policy.yaml_reader import FieldFault, PolicyError, count_nodes, read_yaml

__all__ = [
    "CANCELS_SINCE",
    "MEANING",
    "NAMED_BY_FORM_SINCE",
    "Anomaly",
    "Bundle",
    "ConditionPolicy",
    "Conformance",
    "Drift",
    "Entry",
    "FailureRate",
    "Heartbeat",
    "Lag",
    "Policy",
    "PolicyBook",
    "PolicyError",
    "Unreadable",
    "digest_of",
    "gates_named",
    "parse_policy",
    "read_bundle",
]

MEANING = 6
"""Which version of docs/policy.md decides.

1: demands ended with time, absence was a vote, resets needed no news (0.1). 2: a policy without `in_flight` let work finish
(before 0.2 was released). 3: it cancels. 4: a policy is named by what it says, no longer by the bytes of its file; an
activation of the same in other words changes nothing. `anomaly` and `conformance` without a detector use local_seasonal and
bernoulli_cusum, not seasonal_record and fhddm; detectors go on judging after an alarm. 5: a later closing keeps
among its conditions those that can give no news by themselves; a reset asks bypassed conditions, too; unreadable records count
that lie within the window of each other, in whatever order they come; every heartbeat is judged at marks; what tripped for
want of executions is no demand while a bypass keeps the gate open. 6: a condition that an edit changes goes on from what its
predecessor counted, reads it once, and is judged at the edit.
"""

CANCELS_SINCE = 3
"""The meaning from which on a policy without `in_flight` cancels."""

NAMED_BY_FORM_SINCE = 4
"""The meaning from which on decisions name a policy by what it says."""

CONDITIONS_MAX = 64
POLICY_CHARS_MAX = 64_000
FAULT_CHARS_MAX = 1_000
FAULTS_MAX = 5
"""Faults of one policy, or of one condition, that are told."""

BUNDLE_NODES_MAX = 150_000
"""Values in all files of a bundle. Reading more takes longer than permits live."""

NEW_GATES_MAX = 16
"""Gates without a policy so far that a file which cannot be read is taken to speak of."""

UNTRUSTED_CHARS_MAX = 1024 * 1024
"""Of a bundle that nobody known has signed so much is looked through for the gates that it names."""


class PermitPolicy(Model):
    """How long a permit lives beyond its evidence."""

    ttl: DurationMs

    @field_validator("ttl")
    @classmethod
    def _bounded(cls, ttl: int) -> int:
        if not 1_000 <= ttl <= 3_600_000:
            raise ValueError("a permit's ttl is between 1s and 1h")
        return ttl


class ResetPolicy(Model):
    """How a tripped breaker may prove itself. Without `after` only an operator resets it."""

    after: DurationMs | None = None
    probes: Annotated[int, Field(ge=0, le=10_000)] = 5
    deadline: DurationMs = 60_000
    # A probe that somebody else's timeout or cancellation ended: it did not show that the action works.
    interrupted: CountsAs = "failed"


LEARN_MS = 86_400_000
LEARN_MS_MAX = 30 * LEARN_MS


def _from(text: object) -> object:
    if text is None or text == "nothing":
        return None
    since = text if isinstance(text, int) and not isinstance(text, bool) else parse_duration_ms(text)
    if since > LEARN_MS_MAX:
        raise ValueError("a condition learns from 30d at most")
    return since


class LearnPolicy(Model):
    """From how far back a new condition learns, of what Kafka still holds. With `from: nothing` it learns from news alone."""

    since: Annotated[int | None, Field(alias="from"), BeforeValidator(_from)] = LEARN_MS


class Policy(Model):
    """One gate's policy, validated."""

    gate: Annotated[str, Field(pattern=GATE_PATTERN)]
    permit: PermitPolicy
    subjects: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    operations: Annotated[tuple[Name, ...], Field(max_length=100)] = ("*",)
    context: dict[Name, str] = Field(default_factory=dict, max_length=50)
    conditions: Annotated[tuple[ConditionPolicy, ...], Field(min_length=1, max_length=CONDITIONS_MAX)]
    trip_on: str = "any"
    reset: ResetPolicy = ResetPolicy()
    learn: LearnPolicy = LearnPolicy()
    # In shadow a gate decides, says so, and withholds nothing by its own judgement. With warn its permits say so as well.
    mode: Literal["enforce", "warn", "shadow"] = "enforce"
    in_flight: Literal["cancel", "finish"] = "cancel"

    @field_validator("conditions", mode="before")
    @classmethod
    def _by_kind(cls, raw: object) -> object:
        if not isinstance(raw, list | tuple):
            raise ValueError("conditions is a list")
        return [read_condition(item) for item in raw]

    @model_validator(mode="after")
    def _whole(self) -> Policy:
        names = [condition.name for condition in self.conditions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two conditions are named {twice[0]!r}: give one a name of its own")
        _ = self.demands_to_trip
        size = longest_permit(self.subjects, self.operations, self.context, names)
        if size > TOKEN_BYTES_MAX:
            raise ValueError(
                f"a permit of this policy would have up to {size} bytes and guards read {TOKEN_BYTES_MAX}, so the gate would "
                "never open: shorten subjects, operations, context, or the names of conditions"
            )
        return self

    @property
    def tripping(self) -> tuple[str, ...]:
        """Names of the conditions whose demands trip the breaker."""
        return tuple(condition.name for condition in self.conditions if condition.action == "trip")

    @cached_property  # a gate asks several times for each record
    def demands_to_trip(self) -> int:
        """How many demands at once trip the breaker.

        Raises:
            ValueError: trip_on says what cannot be.
        """
        total = len(self.tripping)
        if self.trip_on == "any":
            return 1
        if self.trip_on == "all":
            return max(1, total)
        match = re.fullmatch(r"\s*(\d+)\s+of\s+(\d+)\s*", self.trip_on)
        if match is None:
            raise FieldFault("trip_on", f"{self.trip_on!r}: say any, all, or such as '2 of 3'")
        wanted, of = int(match[1]), int(match[2])
        if of != total or not 1 <= wanted <= of:
            raise FieldFault("trip_on", f"{self.trip_on!r}: the policy has {total} conditions whose demand trips")
        return wanted

    @property
    def in_shadow(self) -> bool:
        """Whether what it decides is said, and not done."""
        return self.mode != "enforce"

    @cached_property
    def digest(self) -> str:
        """The digest (`sha256:...`) by which permits and decisions name what it says."""
        form = settings_of(self, without=("conditions", "trip_on", "subjects", "operations"))
        form["subjects"], form["operations"] = sorted(set(self.subjects)), sorted(set(self.operations))
        form["trips"] = self.demands_to_trip
        form["conditions"] = [named_settings(one) for one in sorted(self.conditions, key=lambda one: one.name)]
        return digest_of_form(form)


def parse_policy(text: str) -> Policy:
    """Read one policy.

    Raises:
        PolicyError: it cannot be used; the message says where and why.
    """
    raw = read_mapping(text)
    try:
        return Policy.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [f"{'.'.join(str(part) for part in fault['loc']) or 'policy'}: {fault['msg']}" for fault in faults[:FAULTS_MAX]]
        words = "; ".join(lines).replace("Value error, ", "")[:FAULT_CHARS_MAX]
        # A fault is written to the log: what is no Unicode there would stop the worker.
        raise PolicyError(words.encode("utf-8", "backslashreplace").decode()) from error
    except RecursionError as error:
        raise PolicyError("nested too deeply") from error


def read_mapping(text: str) -> dict[str, object]:
    """Return what a policy's text says, before it is held to be one.

    Raises:
        PolicyError: it is too long, no YAML, or no mapping.
    """
    if len(text) > POLICY_CHARS_MAX:
        raise PolicyError(f"a policy of {len(text)} characters; at most {POLICY_CHARS_MAX}")
    raw = read_yaml(text)
    if not isinstance(raw, dict):
        raise PolicyError("not a policy: expected a mapping with `gate`, `permit` and `conditions`")
    return raw


def digest_of(text: str) -> str:
    """Return the digest of a policy's text, by which decisions name one that cannot be read."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_GATE_NAMED = re.compile(
    r"""(?:^|[{,])[ \t]*["']?gate["']?[ \t]*:[ \t]*["']?([A-Za-z0-9][A-Za-z0-9._-]{0,127})(?=["'\s,}]|$)""", re.M
)


def gates_named(text: str) -> list[str]:
    """Return the gates that a text speaks of, even where it is not a policy: whom its fault concerns."""
    return _GATE_NAMED.findall(text)


def gates_in_force(files: Mapping[str, str], entries: Mapping[str, Entry]) -> list[str]:
    """Return the gates with a policy in force that untrusted files speak of. It costs no more than a look through them."""
    named: set[str] = set()
    left = UNTRUSTED_CHARS_MAX
    for file in sorted(files):
        text = files[file][: min(left, POLICY_CHARS_MAX)]
        left -= len(text)
        named.update(gate for gate in gates_named(text) if gate in entries and entries[gate].policy is not None)
    return sorted(named)


#: Policies by the digest of their text: a policy is frozen, and one of them serves all who read the same text.
policy_files = Readings(parse_policy, digest_of)
_node_counts = Readings(count_nodes, digest_of)


def nodes_of(files: Mapping[str, str]) -> int:
    """Return how many values the files of a bundle have; at the bound it stops counting. What is no policy counts as none."""
    nodes = 0
    for file in sorted(files):
        if len(files[file]) <= POLICY_CHARS_MAX and nodes <= BUNDLE_NODES_MAX:
            try:
                nodes += _node_counts.of(files[file])
            except PolicyError:
                continue
    return nodes


def prepare(files: Mapping[str, str]) -> None:
    """Read files that are about to be activated, so that taking them up costs little. May be called in any thread."""
    if nodes_of(files) <= BUNDLE_NODES_MAX:
        policy_files.prepare(files[file] for file in sorted(files))


@dataclass(frozen=True)
class Entry:
    """What a bundle says of one gate: a policy, or why there is none."""

    gate: str
    file: str
    digest: str  # of what the policy says, or of a text that cannot be read
    policy: Policy | None
    fault: str
    text: str = ""  # digest of the file's text: by it routers and governors know that they read the same

    def says_the_same_as(self, other: Entry | None) -> bool:
        """Return whether another entry has a policy, and it says the same; without policies whether they are equal."""
        if self.policy is None or other is None or other.policy is None:
            return self == other
        return self.digest == other.digest


@dataclass(frozen=True)
class Bundle:
    """A policy bundle as read: every gate that it speaks of has exactly one entry."""

    version: int
    entries: Mapping[str, Entry] = field(default_factory=dict)


def read_bundle(version: int, files: Mapping[str, str], before: Mapping[str, Entry]) -> Bundle:
    """Read a bundle. Never raises: each fault stands in the entry of the gates that it concerns.

    A file that cannot be read concerns the gates that it held in `before`, those that it names there, and a few others.
    """
    entries: dict[str, Entry] = {}

    def add(gate: str, entry: Entry) -> None:
        other = entries.get(gate)
        if other is not None and other.file != entry.file:
            fault = f"two policies for one gate: {other.file} and {entry.file}"
            entry = Entry(gate, entry.file, entry.digest, None, fault, entry.text)
        entries[gate] = entry

    for file in sorted(files):
        text = files[file]
        digest = digest_of(text)
        try:
            policy = policy_files.of(text)
        except PolicyError as error:
            spoken_of = list(dict.fromkeys(gates_named(text)))
            named = {gate for gate in spoken_of if gate in before} | {g for g, entry in before.items() if entry.file == file}
            named.update([gate for gate in spoken_of if gate not in before][:NEW_GATES_MAX])
            for gate in sorted(named):
                add(gate, Entry(gate, file, digest, None, f"{file}: {error}", digest))
        else:
            add(policy.gate, Entry(policy.gate, file, policy.digest, policy, "", digest))
    return Bundle(version, entries)


NO_POLICY = "no policy speaks of this gate any more"
"""Said by one bundle; the next that does not speak of the gate either leaves nothing of it."""


class PolicyBook:
    """Which policy each gate has now: a function of the activations in the log, kept alike by routers and governors."""

    def __init__(self) -> None:
        self.version = 0
        self.routing = -1  # control offset of the newest activation that was applied
        self.entries: dict[str, Entry] = {}

    def apply(self, offset: int, version: int, files: Mapping[str, str], fault: str) -> tuple[str, set[str]]:
        """Take an activation; return why it was refused ("" if it was not) and the gates for which it says something else.

        An activation that must not be trusted (`fault`) closes the gates in force that it names. It changes nothing else: no
        version, no routing, no gate that no policy speaks of.
        """
        if fault:
            named = gates_in_force(files, self.entries)
            for gate in named:
                self.entries[gate] = replace(self.entries[gate], policy=None, fault=fault)
            return ("" if named else f"{fault}; it names no gate that has a policy"), set(named)
        if version <= self.version:
            return f"version {version} is not above version {self.version}, which is in force", set()
        if nodes_of(files) > BUNDLE_NODES_MAX:
            return (
                f"it has more than {BUNDLE_NODES_MAX} values in all: use fewer conditions, or fewer gates for each monitor",
                set(),
            )
        after = dict(read_bundle(version, files, self.entries).entries)
        for gate in self.entries.keys() - after.keys():
            if self.entries[gate].fault != NO_POLICY:
                after[gate] = Entry(gate, "", "", None, NO_POLICY)
        # Where control was replaced, offsets began again: what every gate counts from is no longer a place in it.
        anew = offset <= self.routing
        changed = {gate for gate, entry in after.items() if anew or not entry.says_the_same_as(self.entries.get(gate))}
        self.version, self.routing, self.entries = version, offset, after
        return "", changed
