"""Detectors by name: ours, and plug-ins that other packages declare.

A package brings a detector by an entry point in the group `failshut.detectors`, whose name is the detector's own:

    [project.entry-points."failshut.detectors"]
    my_detector = "my_package.detectors:MyDetector"

Its constructor's signature says what a policy may set. Every parameter has a default, is an int, float, bool or str,
and has none of the RESERVED names. Bounds are the constructor's to check, by raising ValueError. A plug-in is code, and
whoever installs it on a worker trusts it. All workers of a group must have the same version. suite/ says whether it
keeps the contract.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from math import isfinite
from typing import Any, get_type_hints

from failshut_detectors.contract import Contract, Detector, VectorDetector
from failshut_detectors.ours import OURS as OURS

GROUP = "failshut.detectors"

RESERVED = frozenset(
    {
        *("action", "adopt", "at_once", "cel", "demand_for", "detector", "every", "false_trips", "name", "over", "rule"),
        *("series", "stale", "unreadable_in_a_row", "votes", "within"),
        *("by", "forget", "instances", "instances_max", "newcomer"),
    }
)
"""Words of a policy's conditions: a detector's parameters stand flat beside them, so none may have such a name."""

COUNT_MAX = 1_000_000
"""The most that a parameter may be that counts records: a detector's memory must stay small."""

_TYPES: dict[object, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}


class DetectorError(ValueError):
    """No such detector, or not with these parameters: what is wrong, and what there is."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a policy may set of a detector."""

    name: str
    type: type
    default: int | float | bool | str


def names() -> list[str]:
    """Return the name of every detector that a policy may ask for, ours first."""
    return [*sorted(OURS), *sorted(_plugins().keys() - OURS.keys())]


def find(name: str) -> type[Contract]:
    """Return a detector's class.

    Raises:
        DetectorError: nothing here has this name, or the plug-in that has cannot be used.
    """
    if name in OURS:
        return OURS[name]
    if name not in _plugins():
        raise DetectorError(f"no detector is named {name!r}: there are {', '.join(names())}")
    return _load(name)


def parameters(cls: type[Contract]) -> dict[str, Parameter]:
    """Return what may be set of a detector, by its constructor's signature. A vector detector's `width` is not set by hand.

    Raises:
        DetectorError: the constructor asks for what a policy cannot give.
    """
    if cls.__init__ is object.__init__:
        return {}
    hints = get_type_hints(cls.__init__)
    found = {}
    for name, declared in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if name == "width" and issubclass(cls, VectorDetector):
            continue
        if name in RESERVED:
            raise DetectorError(f"{cls.name}: parameter {name!r} is a word of policies: give it another name")
        if hints.get(name) not in _TYPES or declared.default is inspect.Parameter.empty:
            raise DetectorError(f"{cls.name}: parameter {name!r} needs a default, and to be an int, float, bool or str")
        found[name] = Parameter(name, hints[name], declared.default)
    return found


def build(name: str, given: Mapping[str, Any], width: int = 0) -> Contract:
    """Return a new detector with these parameters; `width` is the number of metrics of a vector detector.

    Raises:
        DetectorError: there is none of this name, or it cannot have these parameters.
    """
    cls = find(name)
    return construct(cls, checked(cls, given), width)


def checked(cls: type[Contract], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters given, of the types that the detector wants.

    Raises:
        DetectorError: one is unknown, or of another type.
    """
    known = parameters(cls)
    taken = {}
    for name, value in given.items():
        parameter = known.get(name)
        if parameter is None:
            raise DetectorError(f"{cls.name} has no parameter {name!r}: it has {', '.join(known) or 'none'}")
        if not isinstance(value, _TYPES[parameter.type]) or (isinstance(value, bool) and parameter.type is not bool):
            raise DetectorError(f"{cls.name}: {name} is {value!r}, must be of type {parameter.type.__name__}")
        if (
            parameter.type is int
            and isinstance(value, int)
            and abs(value) > COUNT_MAX
            and name != "seed"
            and not name.endswith("_ms")
        ):
            raise DetectorError(f"{cls.name}: {name} is {str(value)[:20]}, may be {COUNT_MAX} at most")
        taken[name] = _finite(cls, name, value) if parameter.type is float else value
    return taken


def construct(cls: type[Contract], given: Mapping[str, Any], width: int = 0) -> Contract:
    """Return a new detector with checked parameters.

    Raises:
        DetectorError: it refuses them, or is for another number of metrics.
    """
    try:
        if issubclass(cls, VectorDetector):
            return cls(width=width, **given)  # type: ignore[call-arg] # every vector detector is told its width
        return cls(**given)
    except (ValueError, ArithmeticError, MemoryError) as error:
        raise DetectorError(f"{cls.name}: {error}") from error


def _finite(cls: type[Contract], name: str, value: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise DetectorError(f"{cls.name}: {name} is not finite")
    return number


def refused() -> dict[str, str]:
    """Return the plug-ins that cannot be used, by name, and why; one that has the name of one of ours is among them."""
    why = {
        name: f"the plug-in {name!r} has the name of one of ours, which is used instead" for name in _plugins() if name in OURS
    }
    for name in _plugins().keys() - OURS.keys():
        try:
            _load(name)
        except DetectorError as error:
            why[name] = str(error)
    return dict(sorted(why.items()))


@cache
def _plugins() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def plugin_versions() -> dict[str, str]:
    """Return name and version of every package that brings a detector: decisions depend on them."""
    found = {}
    for points in _plugins().values():
        found.update({point.dist.name: point.dist.version for point in points if point.dist is not None})
    return dict(sorted(found.items()))


@cache
def _load(name: str) -> type[Contract]:
    points = _plugins()[name]
    if len(points) > 1:
        raise DetectorError(f"several plug-ins are named {name!r}: {', '.join(sorted(point.value for point in points))}")
    try:
        cls = points[0].load()
    except Exception as error:  # a plug-in may fail in any way; the policy that names it is at fault, and nothing else
        raise DetectorError(f"the plug-in {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Detector | VectorDetector)):
        raise DetectorError(f"the plug-in {name!r} is no subclass of Detector, EventDetector or VectorDetector")
    if getattr(cls, "name", None) != name:
        raise DetectorError(f"the plug-in {name!r} calls itself {getattr(cls, 'name', None)!r}")
    if inspect.isabstract(cls):
        raise DetectorError(f"the plug-in {name!r} does not write {', '.join(sorted(cls.__abstractmethods__))}")
    try:
        parameters(cls)
    except NameError as error:
        raise DetectorError(f"the plug-in {name!r} has parameters of a type that is not there: {error}") from error
    return cls
