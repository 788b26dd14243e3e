"""Which detector a condition uses, as its policy says.

There are three forms. One detector by name, with its own parameters flat beside it. One with a budget of false trips,
from which its threshold follows. Or several that vote. Every fault of a policy here is found while it is read. The
registry checks names and types, and building the detector once checks bounds. A detector that cannot be built in the
middle of a log would close a gate that nobody was told of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from failshut_breakers.policy.units import parse_duration_ms, parse_frequency_ms
from failshut_detectors.contract import Contract, Kind, VectorDetector
from failshut_detectors.paced import NOMINAL_RECORDS, Paced
from failshut_detectors.registry import DetectorError, Parameter, checked, construct, find, names, parameters
from failshut_detectors.votes import DETECTORS_MAX, Votes

ASKED = ("detector", "votes", "within", "false_trips")
"""Settings of a condition that are read here, with every parameter of a detector."""

_DEFAULTS = {
    (Kind.ANOMALY, False): "local_seasonal",
    (Kind.ANOMALY, True): "mahalanobis",
    (Kind.CONFORMANCE, False): "bernoulli_cusum",
}
_FORMER = {(Kind.ANOMALY, False): "seasonal_record", (Kind.CONFORMANCE, False): "fhddm"}
"""The defaults of before: a policy that names no detector and sets a parameter that only this one has means this one."""
_BUDGETED = "false_trip_budget"

NOTHING: Mapping[str, Any] = MappingProxyType({})

_EXPONENT = re.compile(r"[-+]?\d{1,20}(\.\d{0,20})?[eE][-+]?\d{1,3}", re.ASCII)

Value = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Choice:
    """One detector by name, with those of its parameters that the policy gives."""

    name: str
    given: tuple[tuple[str, Value], ...] = field(compare=False)
    said: tuple[tuple[str, Value], ...] = ()  # of those given, what is not the default, by name

    def build(self, width: int) -> Contract:
        """Return a new one."""
        return construct(find(self.name), dict(self.given), width)


@dataclass(frozen=True, slots=True)
class Detection:
    """What judges the values of a condition. `width` is how many series it judges together, 0 where it is one alone."""

    choices: tuple[Choice, ...]
    width: int = 0
    votes: int = 0  # of several
    within: int = 0  # records
    false_trips: float = 0.0  # one in so many milliseconds; 0 without a budget

    def build(self) -> Contract:
        """Return a new detector, with no evidence yet.

        Raises:
            DetectorError, ValueError: it cannot be had like this.
        """
        if self.votes:
            return Votes([choice.build(self.width) for choice in self.choices], self.votes, self.within)
        (choice,) = self.choices
        if not self.false_trips:
            return choice.build(self.width)
        cls, given = find(choice.name), dict(choice.given)
        if _keeps_time(cls):
            return construct(cls, {**given, "per_ms": self.false_trips}, self.width)
        return Paced(cls, given, self.false_trips, self.width)

    def form(self, kind: Kind) -> list[Any]:
        """Return what is said beyond the defaults, for the form of a policy (form.py)."""
        alone = _unnamed(kind, self.width, self.false_trips) if not self.votes else None
        choices = [["" if choice.name == alone else choice.name, *map(list, choice.said)] for choice in self.choices]
        return [choices, self.votes, self.within, self.false_trips]


def _unnamed(kind: Kind, width: int, false_trips: float) -> str | None:
    """Return the detector of a condition that says nothing of one, but for a budget."""
    return _BUDGETED if false_trips and kind is Kind.DRIFT else _DEFAULTS.get((kind, width > 0))


def read_detection(kind: Kind, asked: Mapping[Any, Any], width: int = 0, shared: Mapping[str, Any] = NOTHING) -> Detection:
    """Read what a condition says of its detector: the settings ASKED, and every parameter.

    `shared` are settings of the condition itself that hold for a detector as well which has such a parameter.

    Raises:
        ValueError: it cannot be had; the message says why, and what there is.
    """
    given = {name: value for name, value in asked.items() if name not in ASKED}
    false_trips = parse_frequency_ms(asked["false_trips"]) if "false_trips" in asked else 0.0
    named = asked.get("detector", _BUDGETED if false_trips and kind is Kind.DRIFT else _default(kind, width, given))
    if isinstance(named, list):
        if false_trips:
            raise ValueError("false_trips and votes do not go together: nobody knows how often several are wrong at once")
        choices = _voters(kind, named, given, width, shared)
        detection = Detection(choices, width, *_votes(asked, len(choices)))
    else:
        for name in ("votes", "within"):
            if name in asked:
                raise ValueError(f"{name} is for several detectors: give detector a list of two to {DETECTORS_MAX}")
        if named is None:
            raise ValueError(f"{kind} needs a detector{_or_budget(kind)}: there are {_list(kind, width)}")
        detection = Detection((_choice(kind, named, given, width, shared),), width, false_trips=false_trips)
        if false_trips:
            _promises(detection.choices[0])
    detection.build()
    return detection


def _default(kind: Kind, width: int, given: Mapping[Any, Any]) -> str | None:
    """Return the detector of a condition that names none."""
    now, former = _DEFAULTS.get((kind, width > 0)), _FORMER.get((kind, width > 0))
    if now is None or former is None:
        return now
    of_former = parameters(find(former)).keys() - parameters(find(now)).keys()
    return former if not of_former.isdisjoint(given) else now


def _choice(kind: Kind, name: object, given: Mapping[Any, Any], width: int, shared: Mapping[str, Any]) -> Choice:
    if not isinstance(name, str):
        raise ValueError(f"a detector is a name, or a list of detectors that vote, not {name!r}"[:200])
    try:
        cls = find(name)
    except DetectorError as error:
        if name in names():
            raise  # a plug-in that cannot be used
        raise ValueError(f"no detector is named {name[:100]!r}: under {kind} there are {_list(kind, width)}") from error
    if cls.kind is not kind:
        raise ValueError(f"{name} stands under {cls.kind}, under {kind} there are {_list(kind, width)}")
    if issubclass(cls, VectorDetector) is not (width > 0):
        wants = "several series together: give series a list" if not width else "one series"
        raise ValueError(f"{name} judges {wants}{'' if not width else f', several are judged by {_list(kind, width)}'}")
    known = parameters(cls)
    whole = {**{key: value for key, value in shared.items() if key in known}, **given}
    taken = {key: _read_value(value, known.get(key)) for key, value in whole.items()}
    values = checked(cls, taken)
    said = sorted((key, value) for key, value in values.items() if value != known[key].default)
    return Choice(name, tuple(values.items()), tuple(said))


def _voters(
    kind: Kind, listed: list[object], given: Mapping[Any, Any], width: int, shared: Mapping[str, Any]
) -> tuple[Choice, ...]:
    alone = [name for name in given if name != "warm_up"]
    if alone:
        raise ValueError(f"{alone[0]!r} stands with its detector where several vote: [adwin, {{cusum: {{arl: 5000}}}}]")
    choices = []
    for item in listed[: DETECTORS_MAX + 1]:  # Votes says how many may be
        name: object = item
        own: object = {}
        if isinstance(item, dict) and len(item) == 1:
            ((name, own),) = item.items()
        if not isinstance(own, dict):
            raise ValueError(f"{name}: its parameters are a mapping")
        choices.append(_choice(kind, name, own, width, {**shared, **given}))
    return tuple(choices)


def _votes(asked: Mapping[Any, Any], voters: int) -> tuple[int, int]:
    for name in ("votes", "within"):
        if name not in asked:
            raise ValueError(
                f"several detectors vote: say how many of the {voters} are needed, and within how many records, "
                "such as votes: 2, within: 100"
            )
        if not isinstance(asked[name], int) or isinstance(asked[name], bool) or asked[name] < 1:
            raise ValueError(f"{name} is {asked[name]!r}, must be a whole number above 0"[:200])
    return asked["votes"], asked["within"]


def _promises(choice: Choice) -> None:
    """Refuse a budget that the detector makes no promise of, or beside a parameter that says the same."""
    cls = find(choice.name)
    said = {*cls.for_false_trips(NOMINAL_RECORDS), *(("per_ms",) if _keeps_time(cls) else ())}
    twice = [name for name, _ in choice.given if name in said]
    if twice:
        raise ValueError(f"{choice.name}: {twice[0]} follows from false_trips: give one of them")


def _keeps_time(cls: type[Contract]) -> bool:
    """Return whether the detector takes a budget in milliseconds and learns the pace by itself."""
    return "per_ms" in parameters(cls)


def _read_value(value: object, parameter: Parameter | None) -> object:
    """Return a value as the detector takes it: durations in milliseconds, and numbers that YAML takes for texts (`1e-6`)."""
    if parameter is None or not isinstance(value, str) or parameter.type is str:
        return value
    if parameter.name.endswith("_ms"):
        return parse_duration_ms(value)
    return float(value) if parameter.type is float and _EXPONENT.fullmatch(value) else value


def _or_budget(kind: Kind) -> str:
    return ", or false_trips, such as 1 per 30d" if kind is Kind.DRIFT else ""


def _list(kind: Kind, width: int) -> str:
    """Return the names of the detectors that may stand here."""
    found = []
    for name in names():
        try:
            cls = find(name)
        except DetectorError:
            continue  # a plug-in that cannot be loaded is none
        if cls.kind is kind and issubclass(cls, VectorDetector) is (width > 0):
            found.append(name)
    return ", ".join(found) or "none"
