"""What a policy may say of each condition.

Reading is strict: an unknown field or unit, or a rule that cannot be evaluated, is a fault that names what is wrong and
where. What concerns detectors is read in detection.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from failshut_breakers.policy.detection import ASKED, Detection, read_detection
from failshut_breakers.policy.expression import Expression
from failshut_breakers.policy.rule import Criterion, Rule
from failshut_breakers.policy.units import DurationMs, parse_duration_ms
from failshut_detectors.contract import Contract, Kind

SERIES_MAX = 32
INSTANCES_MAX = 256
"""Instances that one condition judges at most: each has a state of its own."""
INSTANCES_TIMES, INSTANCES_LEAST = 4, 16
"""Without `instances_max` so many times `instances` are judged, and at least so many."""
EVENTS_KEPT_MAX = 2_000_000
"""Events that the windows of all instances may hold together."""
SERIES_PATTERN = r"^[^/\s][^/]{0,199}/[^\s][^\n]{0,199}$"

Series = Annotated[str, Field(pattern=SERIES_PATTERN)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


def _after(text: object) -> object:
    if text is None or (isinstance(text, int) and not isinstance(text, bool)):
        return text
    match = re.fullmatch(r"\s*after\s+(\S.*)", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r}: say after how long, such as adopt: after 6h"[:200])
    return parse_duration_ms(match[1])


class Model(BaseModel):
    """Every part of a policy: frozen, and without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Condition(Model):
    name: Annotated[str, Field(max_length=200)] = ""
    action: Literal["trip", "lapse"] = "trip"


def _one_or_several(raw: object) -> object:
    several = isinstance(raw, list | tuple)
    names = list(raw) if isinstance(raw, list | tuple) else [raw]
    for name in names[: SERIES_MAX + 1]:
        if not isinstance(name, str) or re.match(SERIES_PATTERN, name) is None:
            raise ValueError(f"{name!r} is no series: write source/metric"[:300])
    if several and not 2 <= len(set(names)) == len(names) <= SERIES_MAX:
        raise ValueError(f"{len(names)} series: two to {SERIES_MAX} different ones are judged together")
    return tuple(names) if several else raw


OneOrSeveral = Annotated[str | tuple[str, ...], BeforeValidator(_one_or_several)]


FLEET = ("instances", "instances_max", "newcomer", "forget")
"""Settings of a condition that judges by instance."""


class _OnSeries(_Condition):
    """Judges the values of a series, or of several together, by a detector; a subclass says of which kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    kind: ClassVar[Kind]
    shared: ClassVar[tuple[str, ...]] = ()
    """Settings of its own that are its detector's as well, where it has such a parameter."""

    series: OneOrSeveral
    detector: Detection
    # So many readings in a row that no detector may see (NaN, infinity, a wrong type) are a demand of their own.
    unreadable_in_a_row: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    # How old its newest reading may be, by the reading's own time. Without it the stream's own pace says so.
    stale: DurationMs | None = None
    # After so long a demand ends by itself, and what is read then is normal. Without it only an operator may say so.
    adopt: Annotated[int | None, BeforeValidator(lambda text: _after(text))] = None

    # Who is judged: the series as one stream, or each instance that sends it.
    by: Literal["instance"] | None = None
    instances: Annotated[int | None, Field(ge=1, le=INSTANCES_MAX)] = None
    instances_max: Annotated[int | None, Field(ge=1, le=INSTANCES_MAX)] = None
    newcomer: DurationMs | None = None
    forget: DurationMs | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """Put what concerns the detector, its own parameters included, where it is read."""
        if not isinstance(data, dict):
            return data
        if "demand_for" in data:  # until 0.2: read, so that an upgrade closes no gate, and without effect
            parse_duration_ms(data["demand_for"])
            data = {name: value for name, value in data.items() if name != "demand_for"}
        if isinstance(data.get("detector"), Detection):
            return data
        own = {name: value for name, value in data.items() if name in cls.model_fields and name not in ASKED}
        asked = {name: value for name, value in data.items() if name not in own}
        series = data.get("series")
        takes_several = "every" in cls.model_fields
        width = min(len(series), SERIES_MAX) if takes_several and isinstance(series, list | tuple) else 0
        shared = {name: own[name] for name in cls.shared if name in own}
        return {**own, "detector": (asked, width, shared)}

    @field_validator("detector", mode="before")
    @classmethod
    def _read_detector(cls, raw: Any) -> Detection:
        if isinstance(raw, Detection):
            return raw
        try:
            return read_detection(cls.kind, *raw)
        except ValueError as error:
            raise ValueError(str(error).replace("; ", ", ")) from error  # which stands between faults

    @model_validator(mode="after")
    def _fleet(self) -> _OnSeries:
        if self.by is None:
            given = [name for name in FLEET if getattr(self, name) is not None]
            if given:
                raise ValueError(f"{given[0]} is of instances: write by: instance beside it")
            return self
        if not isinstance(self.series, str):
            raise ValueError("several series together are not judged by instance: give each a condition of its own")
        if self.false_trips:
            raise ValueError("false_trips is a promise for one stream, and each instance is one: name a detector without it")
        if self.judged_most < self.judged_least:
            raise ValueError("instances_max is below instances: the gate would be closed for ever")
        if self.forget is not None and self.stale is not None and self.forget < self.stale:
            raise ValueError("forget is shorter than stale: an instance would be forgotten before it counts as silent")
        return self

    @property
    def judged_least(self) -> int:
        """So many instances must be judged, where it judges by instance."""
        return self.instances or 1

    @property
    def judged_most(self) -> int:
        """So many instances are judged at most."""
        return self.instances_max or min(INSTANCES_MAX, max(INSTANCES_LEAST, INSTANCES_TIMES * self.judged_least))

    @property
    def of_one(self) -> Self:
        """The same condition for one instance alone, or for a series that is one stream."""
        return self.model_copy(update=dict.fromkeys(("by", *FLEET)))

    @property
    def all_series(self) -> tuple[str, ...]:
        """The series that feed it."""
        return (self.series,) if isinstance(self.series, str) else self.series

    @property
    def false_trips(self) -> float:
        """The time (ms) in which it may be wrong once; 0 without a budget."""
        return self.detector.false_trips

    def build_detector(self) -> Contract:
        """Return its detector, with no evidence yet. It feeds on vectors of `all_series` where there are several."""
        return self.detector.build()


class _OneOrTogether(_OnSeries):
    # Several series send at times of their own: so often a vector is made of what they sent last.
    every: DurationMs | None = None

    @model_validator(mode="after")
    def _paced(self) -> _OneOrTogether:
        if (self.every is None) is (self.detector.width > 0):
            raise ValueError("every says how often several series are judged together, such as 10s: give it with a list alone")
        return self


class Drift(_OneOrTogether):
    """A change of the values themselves that lasts."""

    kind = Kind.DRIFT


class Anomaly(_OneOrTogether):
    """Values such as this stream never had."""

    kind = Kind.ANOMALY


class Conformance(_OnSeries):
    """Events judged by a rule, and a detector that watches how many conform."""

    kind = Kind.CONFORMANCE
    shared = ("window",)

    series: Series
    rule: Annotated[Rule | None, BeforeValidator(lambda text: _criterion(Rule, text))] = None
    cel: Annotated[Expression | None, BeforeValidator(lambda text: _criterion(Expression, text))] = None
    window: Annotated[int, Field(ge=2, le=100_000)] = 100
    # A rule is a limit: more than this share of the window, or as many at once, and it is passed.
    over: Annotated[float, Field(gt=0, lt=1)] = 0.05
    at_once: Annotated[int | None, Field(ge=1, le=100_000)] = None

    @model_validator(mode="after")
    def _one_of(self) -> Conformance:
        if (self.rule is None) == (self.cel is None):
            raise ValueError("conformance is judged by either a rule or a cel expression")
        if self.by is not None and self.window * self.judged_most > EVENTS_KEPT_MAX:
            raise ValueError(f"window times instances_max is above {EVENTS_KEPT_MAX}")
        return self

    @property
    def criterion(self) -> Criterion:
        """What a reading conforms to."""
        criterion = self.rule or self.cel
        assert criterion is not None  # noqa: S101 - `_one_of`
        return criterion


def _criterion(kind: type[Criterion], text: object) -> Criterion:
    if not isinstance(text, str):
        raise ValueError('a rule is text, such as "value <= 500"')
    return kind(text)


class Heartbeat(_Condition):
    """A sign of life: an explicit event of a source, or the mere arrival of a series."""

    source: Name | None = None
    series: Series | None = None
    every: DurationMs = 1_000
    grace: DurationMs
    instances: Annotated[int, Field(ge=1, le=1_000)] = 1
    action: Literal["trip", "lapse"] = "lapse"

    @model_validator(mode="after")
    def _one_of(self) -> Heartbeat:
        if (self.source is None) == (self.series is None):
            raise ValueError("a heartbeat has either a source or a series")
        if self.instances > 1 and self.source is None:
            raise ValueError("instances are told apart by the heartbeats of a source: give source, not series")
        if self.grace < self.every:
            raise ValueError("grace is shorter than every: the heartbeat would always be missing")
        return self


def _topic(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) is None or name in (".", ".."):
        raise ValueError(
            f"{name!r} is no name that a Kafka topic can have (1 to 249 of A-Z a-z 0-9 . _ -): a condition watches one topic, "
            "patterns are not taken"
        )
    return name


def _group(name: str) -> str:
    if re.search(r"[*?|\\\[\]]|\A\^|\$\Z|\.\+", name) is not None:
        raise ValueError(f"{name!r} looks like a pattern: a condition watches one consumer group, named in full")
    if not name.isprintable() or name != name.strip():
        raise ValueError(f"{name!r} is no name of a consumer group: it has blanks around it, or unprintable characters")
    return name


class Lag(_Condition):
    """A watched consumer group that falls behind."""

    group: Annotated[str, Field(min_length=1, max_length=249), AfterValidator(_group)]
    topic: Annotated[str, AfterValidator(_topic)]
    allowed: Annotated[int, Field(ge=0, lt=2**53)]
    behind: DurationMs
    stale: DurationMs = 10_000
    # Where a group that reads elsewhere is in a partition in which it never committed.
    without_commit: Literal["unknown", "earliest", "latest"] = "unknown"


CountsAs = Literal["failed", "ignored"]
"""What becomes of an execution of which nobody knows whether its action succeeded."""


class FailureRate(_Condition):
    """Executions of this gate that fail, as its guards report."""

    window: DurationMs
    at_least: Annotated[int, Field(ge=1, le=1_000_000_000)]
    over: Annotated[float, Field(ge=0, lt=1)]
    # Ended by somebody else's timeout or cancellation: a dependency that hangs looks like this, and like nothing else.
    interrupted: CountsAs = "failed"
    # Outcomes that did not reach the monitor: a service that fails hardest loses most.
    lost: CountsAs = "failed"
    # More lost ones than this in the window are a demand by themselves.
    lost_at_most: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    # What fewer than `at_least` executions mean while the gate is open for a whole window.
    quiet: Literal["holds", "closes"] = "holds"

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


ConditionPolicy = Drift | Anomaly | Conformance | Heartbeat | Lag | FailureRate | Unreadable

KINDS: dict[str, type[_Condition]] = {
    "drift": Drift,
    "anomaly": Anomaly,
    "conformance": Conformance,
    "heartbeat": Heartbeat,
    "lag": Lag,
    "failure_rate": FailureRate,
    "unreadable": Unreadable,
}


def read_condition(item: object) -> object:
    """Return the condition that an item of a policy's list speaks of.

    Raises:
        ValueError: it speaks of none that there is, or wrongly.
    """
    if isinstance(item, _Condition):
        return item
    if not isinstance(item, dict) or len(item) != 1:
        raise ValueError(f"a condition is one kind with its settings, such as `- heartbeat: {{..}}`, not {item!r}"[:300])
    kind, settings = next(iter(item.items()))
    model = KINDS.get(kind)
    if model is None:
        raise ValueError(f"unknown condition {kind!r}: known are {', '.join(KINDS)}")
    if not isinstance(settings, dict):
        raise ValueError(f"{kind}: its settings are a mapping")
    condition = model.model_validate(settings)
    return condition if condition.name else condition.model_copy(update={"name": _default_name(kind, condition)})


def _default_name(kind: str, condition: _Condition) -> str:
    match condition:
        case Heartbeat():
            return f"{kind}:{condition.source or condition.series}"
        case Drift() | Anomaly() | Conformance():
            first, *more = condition.all_series
            if condition.by:
                return f"{kind}:{first} by {condition.by}"
            return f"{kind}:{first} and {len(more)} more" if more else f"{kind}:{first}"
        case Lag():
            return f"{kind}:{condition.group}/{condition.topic}"
    return kind
