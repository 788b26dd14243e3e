"""The second reading, of what the fast decoder refuses: slower, and it loses no more than it must.

The fast decoder refuses a whole message for one NaN. Here the message is split first and each element is judged alone,
against the same shapes, so the two readers cannot disagree. A good element counts. A bad one that names its series is a
fault of that series. Only the rest is unreadable.

It tolerates NaN, Infinity, numbers beyond a double (read as infinity) and a byte order mark. It also tolerates control
characters and invalid UTF-8 inside strings: a name that has them is refused, but the element's neighbours are not. What
nests too deep, or is no JSON at all, is unreadable as a whole.
"""

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from failshut_streams.codecs.items import Beat, DeadKind, Fault, Item, LagPoint, Outcome, Sample, fault
from failshut_streams.codecs.names import Instances, SeriesNames, check_name
from failshut_streams.codecs.times import Claim, bounded
from failshut_streams.codecs.wire import BeatWire, LagWire, SampleWire, Wire

OWN_KINDS = ("lag", "outcome")
BOM = b"\xef\xbb\xbf"
# More digits than 64 bits have: a float. It also keeps clear of Python's limit on int(), which would raise.
INT_DIGITS_MAX = 18
# Elements that name no series and cannot be read are items of their own up to here. The others are counted in one more:
# two bytes of junk must not cost what a sample of forty costs.
UNREADABLE_MAX = 1_000
# Every event has one of these.
NAMING = frozenset(("service", "gate", "group", "specversion"))


class Unreadable(Exception):
    """A message that cannot be read as a whole. The text says why, `kind` in one word."""

    def __init__(self, reason: str, kind: DeadKind) -> None:
        super().__init__(reason)
        self.kind = kind


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= INT_DIGITS_MAX else _wide_integer(digits)


def _wide_integer(digits: str) -> int | float:
    number = float(digits)
    return int(digits) if abs(number) <= 2.0**64 else number


def parse(value: bytes) -> Any:
    """Return the JSON value in these bytes. Raises `Unreadable`."""
    try:
        text = value.removeprefix(BOM).decode("utf-8", "surrogateescape")
        return json.loads(text, parse_int=_integer, strict=False)
    except RecursionError:
        raise Unreadable("JSON nests too deep", DeadKind.JSON) from None
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}", DeadKind.JSON) from None


def finish(wire: Wire, names: SeriesNames, instances: Instances, append_ms: int, default_ms: int | None = None) -> Item:
    """Return the item that a well-formed element stands for. Raises ValueError (a bad name, a bad time)."""
    time_ms = default_ms if wire.time is None else bounded(wire.time, append_ms)
    if isinstance(wire, SampleWire):
        if not math.isfinite(wire.value):
            raise ValueError("value is not finite")
        instance = None if wire.instance is None else instances[wire.instance]
        return Sample(names[wire.service, wire.metric], wire.value, time_ms, instance)
    if isinstance(wire, BeatWire):
        instance = "" if wire.instance is None else instances[wire.instance]
        return Beat(check_name("service", wire.service), time_ms, instance)
    if isinstance(wire, LagWire):
        return _lag(wire, time_ms)
    if wire.token:
        check_name("token", wire.token)
    if wire.guard:
        check_name("guard", wire.guard)
    gate, identity = check_name("gate", wire.gate), check_name("id", wire.id)
    return Outcome(gate, wire.epoch, wire.token, wire.outcome, wire.count, identity, wire.lost, wire.guard, wire.total)


def _lag(wire: LagWire, time_ms: int | None) -> LagPoint:
    if not wire.partitions and not wire.told:
        raise ValueError("a lag without partitions")
    for what, text in (("topic_id", wire.topic_id), ("told", wire.told)):
        if text:
            check_name(what, text)
    group, topic = check_name("group", wire.group), check_name("topic", wire.topic)
    return LagPoint(group, topic, time_ms, wire.partitions, wire.topic_id, wire.told)


class LenientReader:
    """Reads one parsed message element by element. Shares the decoder's tables of names."""

    def __init__(self, names: SeriesNames, instances: Instances, elements_max: int) -> None:
        self._names = names
        self._instances = instances
        self._elements_max = elements_max

    def read(self, value: bytes, append_ms: int, default_time: object = None, inside: bool = False) -> list[Item]:
        """Return the items of a message, one for each element at least. Raises `Unreadable`.

        `default_time` is the claim that an enclosing CloudEvent makes for elements that make none themselves;
        `inside` says that there is one, so that no second may follow.
        """
        items: list[Item] = []
        unread = 0
        for element, default, nested in self._elements(parse(value), default_time, inside):
            if unread >= UNREADABLE_MAX and not (isinstance(element, dict) and NAMING.intersection(element)):
                unread += 1
                continue
            item = self._item(element, default, nested, append_ms)
            if type(item) is Fault and item.series is None:
                unread += 1
                if unread > UNREADABLE_MAX:
                    continue
            items.append(item)
        if unread > UNREADABLE_MAX:
            items.append(fault(None, f"{unread - UNREADABLE_MAX} more elements that cannot be read"))
        return items

    def _elements(self, message: Any, default: object, inside: bool) -> Iterator[tuple[Any, object, bool]]:
        """Yield every element, with what surrounds it. A list is counted before it is walked."""
        elements = _listed(message)
        count = self._counted(len(elements))
        for element in elements:
            if inside or not is_cloud_event(element):
                yield element, default, inside
                continue
            try:
                data, time = cloud_event(element)
            except Unreadable as error:
                yield error, None, True
                continue
            inner = _listed(data)
            count = self._counted(count - 1 + len(inner))
            yield from ((one, time, True) for one in inner)

    def _counted(self, elements: int) -> int:
        if elements > self._elements_max:
            raise Unreadable(f"more than {self._elements_max} elements", DeadKind.SIZE)
        return elements

    def _item(self, element: Any, default: object, inside: bool, append_ms: int) -> Item:
        if isinstance(element, Unreadable):
            return fault(None, element, kind=element.kind)
        if not isinstance(element, dict):
            return fault(None, f"an element is an object, not {json_type(element)}")
        if inside and is_cloud_event(element):
            return fault(None, "a CloudEvent inside a CloudEvent", kind=DeadKind.CLOUD_EVENT)
        if default is not None and element.get("time") is None:
            element = {**element, "time": default}
        try:
            kind = element.get("kind", "sample")
            if kind in OWN_KINDS:
                raise ValueError(f"an event of kind {kind} is Failshut's own: it counts in its internal topic alone")
            shape: Any = SampleWire if kind == "sample" else Wire
            wire = msgspec.convert(element, shape, str_keys=True)
            return finish(wire, self._names, self._instances, append_ms)
        # UnicodeError is a ValueError: text with lone surrogates, where msgspec wants UTF-8.
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            return self._fault(element, error, append_ms)

    def _fault(self, element: dict[str, Any], error: Exception, append_ms: int) -> Fault:
        service, metric, instance = element.get("service"), element.get("metric"), element.get("instance")
        series, reason = None, error
        if isinstance(service, str) and isinstance(metric, str):
            try:
                series = self._names[service, metric]
            except ValueError as bad_name:
                reason = bad_name
        try:
            instance = self._instances[instance] if isinstance(instance, str) else None
        except ValueError:
            instance = None  # a name that is none names nobody
        return fault(series, reason, claim_of(element.get("time"), append_ms), instance=instance)


def claim_of(time: object, append_ms: int) -> int | None:
    """Return the time that a faulty element claims, or None where it claims none that can be read."""
    try:
        claim: Claim | None = msgspec.convert(time, Claim | None)
        return None if claim is None else bounded(claim, append_ms)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None


def _listed(message: Any) -> list[Any]:
    return message if isinstance(message, list) else [message]


def is_cloud_event(element: Any) -> bool:
    """Return whether an element is an envelope in the structured form of CloudEvents."""
    return isinstance(element, dict) and element.get("specversion") is not None


def cloud_event(event: dict[str, Any]) -> tuple[Any, object]:
    """Return the data and the claimed time of a structured CloudEvent. Raises `Unreadable`."""
    if event["specversion"] != "1.0":
        raise Unreadable("a CloudEvent of another version than 1.0", DeadKind.CLOUD_EVENT)
    if not is_json(event.get("datacontenttype")):
        raise Unreadable("the data of the CloudEvent are not JSON", DeadKind.CLOUD_EVENT)
    data, encoded = event.get("data"), event.get("data_base64")
    if (data is None) == (encoded is None):
        raise Unreadable("a CloudEvent has either data or data_base64", DeadKind.CLOUD_EVENT)
    if encoded is not None:
        try:
            data = parse(base64.b64decode(encoded, validate=True))
        except (TypeError, ValueError):
            raise Unreadable("data_base64 is not base64", DeadKind.CLOUD_EVENT) from None
    return data, event.get("time")


def is_json(content_type: object) -> bool:
    """Return whether a media type is JSON; none is.

    >>> is_json(None), is_json("application/vnd.x+json; charset=utf-8"), is_json("application/avro")
    (True, True, False)
    """
    if content_type is None:
        return True
    if not isinstance(content_type, str):
        return False
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def json_type(value: object) -> str:
    """Return the name of a parsed value's JSON type."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")
