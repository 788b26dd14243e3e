"""OTLP in JSON, point by point: what the fast decoder refuses, and what holds something empty.

Damage costs the point, the metric or the resource that it is in, and no more. Good points are walked as always, so that
the two readers cannot disagree.

To find damage costs ten times what reading costs, so a message has a budget of it (`BAD_POINTS_MAX`, `BAD_HOLDERS_MAX`). Beyond
it a metric's points are read together or not at all. Damage that names no series then ends the reading of the message: the part
before counts, and one more fault says that there was more.
"""

from typing import Any

import msgspec

from failshut_streams.codecs import otlp_json
from failshut_streams.codecs.items import DeadKind
from failshut_streams.codecs.lenient import Unreadable
from failshut_streams.codecs.native import REFUSED
from failshut_streams.codecs.otlp_walk import BAD_HOLDERS_MAX, SUFFIXES, Walk, suffixes_of

# What a holder may have beside the list that is looked for. Anything else in an empty one was meant to be read.
BESIDE = {
    "scopeMetrics": frozenset(("resource", "schemaUrl")),
    "metrics": frozenset(("scope", "schemaUrl")),
    "dataPoints": frozenset(("aggregationTemporality", "isMonotonic")),
}

# Names of an older protocol, or protobuf's own. What stands under them is not read, and that is said.
NOT_READ = ("resource_metrics", "scope_metrics", "instrumentationLibraryMetrics", "instrumentation_library_metrics")


class _Enough(Exception):
    """The budget of damage that names no series is spent."""


def walk_parsed(walk: Walk, message: Any) -> None:
    """Walk a parsed message of which something may be wrong. Raises `Unreadable` where it is no OTLP at all."""
    if not isinstance(message, dict) or not isinstance(message.get("resourceMetrics"), list):
        raise Unreadable("not OTLP metrics: no list of resourceMetrics", DeadKind.OTLP)
    walk.hold(message["resourceMetrics"])
    _not_read(walk, message)
    try:
        _resources(walk, message["resourceMetrics"])
    except _Enough:
        walk.faults(None, (), f"more than {BAD_HOLDERS_MAX} damaged resources, scopes and metrics: the rest is not read")


def _damaged(walk: Walk, why: object) -> None:
    """Add an unreadable element: something that names no series is damaged."""
    if walk.bad_holders_left <= 0:
        raise _Enough
    walk.bad_holders_left -= 1
    walk.faults(None, (), why)


def _resources(walk: Walk, resources: list[Any]) -> None:
    for resource in resources:
        try:
            described = _field(resource, "resource", dict, {})
            walk.resource(msgspec.convert(described, otlp_json.Resource, strict=False).attributes or ())
            scopes = _field(resource, "scopeMetrics", list, [])
            if not _not_read(walk, resource):
                _held(resource, "scopeMetrics")
        except REFUSED as error:
            _damaged(walk, error)
            continue
        walk.hold(scopes)
        for scope in scopes:
            try:
                metrics = _held(scope, "metrics")
            except ValueError as error:
                _damaged(walk, error)
                continue
            walk.hold(metrics)
            for metric in metrics:
                _metric(walk, metric)


def _not_read(walk: Walk, holder: dict[str, Any]) -> bool:
    found = [name for name in NOT_READ if holder.get(name) is not None]
    for name in found:
        walk.faults(None, (), f"{name} is not read: write the name of OTLP 1.0 in lowerCamelCase")
    return bool(found)


def _metric(walk: Walk, metric: Any) -> None:
    """Take a metric of which something may be wrong: its good points are walked, its bad ones are faults."""
    if not isinstance(metric, dict):
        _damaged(walk, "a metric is an object")
        return
    name = metric.get("name")
    if name is None or not isinstance(name, str) or not name:
        name = "" if name is None else name
        if walk.bad_holders_left <= 0:
            raise _Enough
        walk.bad_holders_left -= 1  # its faults name no series
    kind, camel = next(((kind, camel) for kind, camel in _KINDS if metric.get(camel) is not None), ("", ""))
    if not kind:
        walk.faults(name, ("",), "a metric without data")
        return
    body = metric[camel]
    if not isinstance(body, dict) or not isinstance(body.get("dataPoints"), list | None):
        walk.faults(name, SUFFIXES[kind], f"{camel}, or its dataPoints, is of the wrong type")
        return
    try:
        raw = _held(body, "dataPoints")
        empty = {"name": name, camel: {**body, "dataPoints": None}}
        shell = msgspec.convert(empty, otlp_json.Metric, strict=False)
    except REFUSED as error:
        walk.faults(name, SUFFIXES[kind], error)
        return
    walk.bound(len(raw))
    good, bad = _points(kind, raw, walk.bad_points_left)
    data = getattr(shell, kind)
    if good:
        data.data_points = good
        walk.metric(shell)
    _bad_points(walk, name, suffixes_of(kind, data) or SUFFIXES[kind], bad)


def _points(kind: str, raw: list[Any], bad_max: int) -> tuple[list[Any], list[tuple[object, Any]]]:
    """Return the good points, and the others with why; beyond `bad_max` of these the rest is good or bad as a whole."""
    shape = otlp_json.POINTS[kind]
    good: list[Any] = []
    bad: list[tuple[object, Any]] = []
    for place, point in enumerate(raw):
        if len(bad) >= bad_max:
            try:
                return good + msgspec.convert(raw[place:], list[shape], strict=False), bad  # type: ignore[valid-type]
            except REFUSED as error:
                return good, bad + [(error, one) for one in raw[place:]]
        try:
            if not isinstance(point, dict):
                raise ValueError("a point is an object")
            good.append(msgspec.convert(point, shape, strict=False))
        except REFUSED as error:
            bad.append((error, point))
    return good, bad


def _bad_points(walk: Walk, name: object, suffixes: tuple[str, ...], bad: list[tuple[object, Any]]) -> None:
    """Make each bad point a fault, up to a bound for the whole message; a metric's others are one fault together."""
    walk.hold_points(bad)
    told = bad[: walk.bad_points_left]
    walk.bad_points_left -= len(told)
    for reason, point in told:
        walk.faults(name, suffixes, reason, _claim(walk, point))
    if len(told) < len(bad):
        walk.faults(name, suffixes, f"{len(bad) - len(told)} more points that cannot be read")


def _claim(walk: Walk, point: Any) -> int | None:
    """Return the time that a bad point claims, or None where it claims none that can be read."""
    try:
        return walk.time_ms(msgspec.convert(point["timeUnixNano"], int, strict=False))
    except (*REFUSED, KeyError, TypeError):
        return None


def _held(holder: Any, name: str) -> Any:
    """Return the list that a holder is there for. Raises ValueError for another type, or for something else in its place."""
    found = _field(holder, name, list, [])
    if not found:
        others = [key for key, content in holder.items() if content is not None and key != name and key not in BESIDE[name]]
        if others:
            raise ValueError(f"no {name}, but fields that are unknown here: {', '.join(others[:3])}")
    return found


def _field(holder: Any, name: str, shape: type, default: Any) -> Any:
    """Return a field of a parsed object; null and absence are the default. Raises ValueError for another type."""
    if not isinstance(holder, dict):
        raise ValueError(f"expected an object that may have {name}")
    content = holder.get(name)
    if content is None:
        return default
    if not isinstance(content, shape):
        raise ValueError(f"{name} is of the wrong type")
    return content


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


_KINDS = tuple((kind, _camel(kind)) for kind in SUFFIXES)
