"""Policies: which conditions a gate has, and what each does.

A policy is one YAML document for one gate; a bundle is a signed, versioned set of files with one policy each.
Reading is strict: an unknown field, detector or unit, a rule that cannot be evaluated, or two policies for
one gate is a fault that names what is wrong and where. A fault closes its gates; the policy that was in force
before is not kept alive in its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from failshut_breakers.command import GATE_PATTERN
from failshut_breakers.rule import Rule
from failshut_breakers.units import DurationMs

MAX_CONDITIONS = 64
MAX_POLICY_CHARS = 64_000
MAX_FAULT_CHARS = 1_000
SERIES_PATTERN = r"^[^/\s][^/]{0,199}/[^\s][^\n]{0,199}$"

Series = Annotated[str, Field(pattern=SERIES_PATTERN)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class PolicyError(ValueError):
    """A policy that cannot be used: what is wrong, and where."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Condition(_Model):
    name: Annotated[str, Field(max_length=200)] = ""
    action: Literal["trip", "lapse"] = "trip"


class _OnSeries(_Condition):
    series: Series
    # So many readings in a row that no detector may see (NaN, infinity, a wrong type) are a demand of their own.
    unreadable_in_a_row: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    # A detector speaks of one record; its demand stands this long (evidence time) unless it speaks again.
    demand_for: DurationMs = 10_000

    @model_validator(mode="before")
    @classmethod
    def _not_yet(cls, data: Any) -> Any:
        if isinstance(data, dict) and "false_trips" in data:
            raise ValueError("false_trips is not available in this version: give the detector's own parameters")
        return data


class Drift(_OnSeries):
    """A change of the values themselves."""

    detector: Literal["adwin", "page_hinkley"]
    delta: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] | None = None
    threshold: Annotated[float, Field(gt=0, le=1e300, allow_inf_nan=False)] | None = None
    warm_up: Annotated[int, Field(ge=1, le=1_000_000)] = 30

    @model_validator(mode="after")
    def _parameters_fit(self) -> Drift:
        if self.detector == "adwin" and self.threshold is not None:
            raise ValueError("threshold belongs to page_hinkley; adwin takes delta")
        if self.detector == "adwin" and self.delta is not None and self.delta >= 1:
            raise ValueError("adwin's delta is a probability: above 0, below 1")
        return self


class Conformance(_OnSeries):
    """Events judged by a rule, and a detector that watches how many conform."""

    rule: Rule
    detector: Literal["fhddm"] = "fhddm"
    window: Annotated[int, Field(ge=2, le=100_000)] = 100
    confidence: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    # FHDDM only sees a fall; a stream that never conformed is caught by this share.
    over: Annotated[float, Field(gt=0, lt=1)] = 0.5

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @field_validator("rule", mode="before")
    @classmethod
    def _parse_rule(cls, text: object) -> Rule:
        if not isinstance(text, str):
            raise ValueError('a rule is text, such as "value <= 500"')
        return Rule(text)


class Heartbeat(_Condition):
    """A sign of life: an explicit event of a source, or the mere arrival of a series."""

    source: Name | None = None
    series: Series | None = None
    every: DurationMs = 1_000
    grace: DurationMs
    action: Literal["trip", "lapse"] = "lapse"

    @model_validator(mode="after")
    def _one_of(self) -> Heartbeat:
        if (self.source is None) == (self.series is None):
            raise ValueError("a heartbeat has either a source or a series")
        if self.grace < self.every:
            raise ValueError("grace is shorter than every: the heartbeat would always be missing")
        return self


class Lag(_Condition):
    """A watched consumer group that falls behind."""

    group: Name
    topic: Name
    allowed: Annotated[int, Field(ge=0, lt=2**53)]
    behind: DurationMs
    stale: DurationMs = 10_000


class FailureRate(_Condition):
    """Executions of this gate that fail, as its guards report."""

    window: DurationMs
    at_least: Annotated[int, Field(ge=1, le=1_000_000_000)]
    over: Annotated[float, Field(ge=0, lt=1)]

    @field_validator("window")
    @classmethod
    def _bounded(cls, window: int) -> int:
        if not 1_000 <= window <= 3_600_000:
            raise ValueError("the window is between 1s and 1h")
        return window


class Unreadable(_Condition):
    """Records on the topics that feed this gate which cannot be read at all."""

    at_least: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    window: DurationMs = 60_000


ConditionPolicy = Drift | Conformance | Heartbeat | Lag | FailureRate | Unreadable

_KINDS: dict[str, type[_Condition]] = {
    "drift": Drift,
    "conformance": Conformance,
    "heartbeat": Heartbeat,
    "lag": Lag,
    "failure_rate": FailureRate,
    "unreadable": Unreadable,
}


class PermitPolicy(_Model):
    """How long a permit lives beyond its evidence."""

    ttl: DurationMs

    @field_validator("ttl")
    @classmethod
    def _bounded(cls, ttl: int) -> int:
        if not 1_000 <= ttl <= 3_600_000:
            raise ValueError("a permit's ttl is between 1s and 1h")
        return ttl


class ResetPolicy(_Model):
    """How a tripped breaker may prove itself. Without `after` only an operator resets it."""

    after: DurationMs | None = None
    probes: Annotated[int, Field(ge=0, le=10_000)] = 5
    deadline: DurationMs = 60_000


class Policy(_Model):
    """One gate's policy, validated."""

    gate: Annotated[str, Field(pattern=GATE_PATTERN)]
    permit: PermitPolicy
    subjects: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    operations: Annotated[tuple[Name, ...], Field(max_length=100)] = ("*",)
    context: Annotated[dict[Name, str], Field(max_length=50)] = {}
    conditions: Annotated[tuple[ConditionPolicy, ...], Field(min_length=1, max_length=MAX_CONDITIONS)]
    trip_on: str = "any"
    reset: ResetPolicy = ResetPolicy()
    in_flight: Literal["cancel", "finish"] = "finish"

    @field_validator("conditions", mode="before")
    @classmethod
    def _by_kind(cls, raw: object) -> object:
        if not isinstance(raw, list | tuple):
            raise ValueError("conditions is a list")
        return [_read_condition(item) for item in raw]

    @model_validator(mode="after")
    def _whole(self) -> Policy:
        names = [condition.name for condition in self.conditions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two conditions are named {twice[0]!r}: give one a name of its own")
        _ = self.demands_to_trip
        return self

    @property
    def tripping(self) -> tuple[str, ...]:
        """Names of the conditions whose demands trip the breaker."""
        return tuple(condition.name for condition in self.conditions if condition.action == "trip")

    @property
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
            raise ValueError(f"trip_on: {self.trip_on!r}: say any, all, or such as '2 of 3'")
        wanted, of = int(match[1]), int(match[2])
        if of != total or not 1 <= wanted <= of:
            raise ValueError(f"trip_on: {self.trip_on!r}: the policy has {total} conditions whose demand trips")
        return wanted


def _read_condition(item: object) -> object:
    if isinstance(item, _Condition):
        return item
    if not isinstance(item, dict) or len(item) != 1:
        raise ValueError(f"a condition is one kind with its settings, such as `- heartbeat: {{..}}`, not {item!r}"[:300])
    kind, settings = next(iter(item.items()))
    model = _KINDS.get(kind)
    if model is None:
        raise ValueError(f"unknown condition {kind!r}: known are {', '.join(_KINDS)}")
    if not isinstance(settings, dict):
        raise ValueError(f"{kind}: its settings are a mapping")
    condition = model.model_validate(settings)
    return condition if condition.name else condition.model_copy(update={"name": _default_name(kind, condition)})


def _default_name(kind: str, condition: _Condition) -> str:
    match condition:
        case Heartbeat():
            return f"{kind}:{condition.source or condition.series}"
        case Drift() | Conformance():
            return f"{kind}:{condition.series}"
        case Lag():
            return f"{kind}:{condition.group}/{condition.topic}"
    return kind


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which the second would silently win, and aliases, which grow without a bound."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise PolicyError(f"line {line}: aliases are not taken: write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise PolicyError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_policy(text: str) -> Policy:
    """Read one policy.

    Raises:
        PolicyError: it cannot be used; the message says where and why.
    """
    if len(text) > MAX_POLICY_CHARS:
        raise PolicyError(f"a policy of {len(text)} characters; at most {MAX_POLICY_CHARS}")
    try:
        raw = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader's subclass
    except PolicyError:
        raise
    except Exception as error:  # tags and dates raise whatever they like
        raise PolicyError("not YAML: " + " ".join(str(error).split())[:300]) from error
    if not isinstance(raw, dict):
        raise PolicyError("not a policy: expected a mapping with `gate`, `permit` and `conditions`")
    try:
        return Policy.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [f"{'.'.join(str(part) for part in fault['loc']) or 'policy'}: {fault['msg']}" for fault in faults[:5]]
        words = "; ".join(lines).replace("Value error, ", "")[:MAX_FAULT_CHARS]
        # A fault is written to the log: what is no Unicode there would stop the worker.
        raise PolicyError(words.encode("utf-8", "backslashreplace").decode()) from error
    except RecursionError as error:
        raise PolicyError("nested too deeply") from error


def digest_of(text: str) -> str:
    """Return the digest by which permits and decisions name a policy document."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_GATE_NAMED = re.compile(
    r"""(?:^|[{,])[ \t]*["']?gate["']?[ \t]*:[ \t]*["']?([A-Za-z0-9][A-Za-z0-9._-]{0,127})(?=["'\s,}]|$)""", re.M
)


def gates_named(text: str) -> list[str]:
    """Return the gates that a text speaks of, even where it is not a policy: whom its fault concerns."""
    return _GATE_NAMED.findall(text)


@dataclass(frozen=True)
class Entry:
    """What a bundle says of one gate: a policy, or why there is none."""

    gate: str
    file: str
    digest: str
    policy: Policy | None
    fault: str


@dataclass(frozen=True)
class Bundle:
    """A policy bundle as read: every gate that it speaks of has exactly one entry."""

    version: int
    entries: Mapping[str, Entry] = field(default_factory=dict)


def read_bundle(version: int, files: Mapping[str, str], before: Mapping[str, Entry]) -> Bundle:
    """Read a bundle. Never raises: each fault stands in the entry of the gates that it concerns.

    A file that cannot be read concerns the gates that it names and those that it held in `before`.
    """
    entries: dict[str, Entry] = {}

    def add(gate: str, entry: Entry) -> None:
        other = entries.get(gate)
        if other is not None and other.file != entry.file:
            fault = f"two policies for one gate: {other.file} and {entry.file}"
            entry = Entry(gate, entry.file, entry.digest, None, fault)
        entries[gate] = entry

    for file in sorted(files):
        text = files[file]
        digest = digest_of(text)
        try:
            policy = parse_policy(text)
        except PolicyError as error:
            named = set(gates_named(text)) | {gate for gate, entry in before.items() if entry.file == file}
            for gate in sorted(named):
                add(gate, Entry(gate, file, digest, None, f"{file}: {error}"))
        else:
            add(policy.gate, Entry(policy.gate, file, digest, policy, ""))
    return Bundle(version, entries)


NO_POLICY = "no policy speaks of this gate any more"


class PolicyBook:
    """Which policy each gate has now: a function of the activations in the log, kept alike by routers and governors."""

    def __init__(self) -> None:
        self.version = 0
        self.routing = -1  # control offset of the newest activation that was applied
        self.entries: dict[str, Entry] = {}

    def apply(self, offset: int, version: int, files: Mapping[str, str], fault: str) -> tuple[str, set[str]]:
        """Take an activation; return why it was refused ("" if it was not) and the gates whose entry changed.

        An activation that must not be trusted (`fault`) closes the gates that it concerns and replaces nothing else.
        """
        bundle = read_bundle(version, files, self.entries)
        if fault:
            changed = set(bundle.entries)
            for gate, entry in bundle.entries.items():
                self.entries[gate] = Entry(gate, entry.file, entry.digest, None, fault)
            self.routing = offset if changed else self.routing
            return ("" if changed else f"{fault}; it names no gate"), changed
        if version <= self.version:
            return f"version {version} is not above version {self.version}, which is in force", set()
        after = dict(bundle.entries)
        for gate in self.entries.keys() - after.keys():
            after[gate] = Entry(gate, "", "", None, NO_POLICY)
        # Where control was replaced, offsets began again: what every gate counts from is no longer a place in it.
        replaced = offset <= self.routing
        changed = {gate for gate, entry in after.items() if replaced or self.entries.get(gate) != entry}
        self.version, self.routing, self.entries = version, offset, after
        return "", changed
