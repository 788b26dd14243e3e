"""Native JSON and CloudEvents: what the topic `telemetry` holds.

Nearly every record is a sample or a list of samples, so one msgspec decoder reads those and nothing else. For each
sample its loop does a look-up, bounds the time and makes one struct. If that decoder refuses a record, the other kinds
and CloudEvents are tried. Then the lenient reader, which knows all of them, reads it once more. The fast readers are
short cuts and never the last word: they give what the lenient reader would give, or nothing.

Outcomes and lag are no telemetry: they are Failshut's own and count in the topic `internal` alone (internal.py).

Limits: fields that are skipped are not checked (msgspec reads past them), so that invalid UTF-8 in `attributes`
goes unnoticed by design.
"""

import msgspec

from failshut_streams.codecs.items import DeadKind, Fault, Headers, Item, Sample, fault
from failshut_streams.codecs.lenient import LenientReader, Unreadable, finish, is_json
from failshut_streams.codecs.names import NAMES_MAX, Instances, SeriesNames, series_of_key
from failshut_streams.codecs.times import Zoned, bounded
from failshut_streams.codecs.wire import BeatWire, CloudWire, OtherWire, SampleWire

VALUE_BYTES_MAX = 1 << 20
# More than a value of 1 MiB can hold that name a service, a gate or a group. Two bytes of junk are an element, too.
ELEMENTS_MAX = 32_000
# Media types of the structured form. Without a format JSON is what the specification wants every receiver to speak.
CLOUD_EVENTS = "application/cloudevents"
CLOUD_EVENTS_JSON = frozenset((CLOUD_EVENTS, f"{CLOUD_EVENTS}+json", f"{CLOUD_EVENTS}-batch+json", f"{CLOUD_EVENTS}-batch"))

# What a fast reader may raise for bytes that it does not take; UnicodeDecodeError is a ValueError.
REFUSED = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)

_decode_samples = msgspec.json.Decoder(list[SampleWire] | SampleWire).decode
_decode_others = msgspec.json.Decoder(list[OtherWire] | OtherWire).decode
_decode_cloud = msgspec.json.Decoder(CloudWire).decode


class NativeDecoder:
    """Decodes records of `telemetry`. One per worker: it keeps the tables of names.

    `bytes_max` bounds a value (after decompression; a larger one is not parsed), `elements_max` a list, `names_max`
    each table of names.
    """

    def __init__(
        self, *, bytes_max: int = VALUE_BYTES_MAX, elements_max: int = ELEMENTS_MAX, names_max: int = NAMES_MAX
    ) -> None:
        self.names = SeriesNames(names_max)
        self.instances = Instances(names_max)
        self._bytes_max = bytes_max
        self._elements_max = elements_max
        self._lenient = LenientReader(self.names, self.instances, elements_max)

    def samples(self, value: bytes) -> list[SampleWire] | None:
        """Return the samples of a value that holds nothing else, names and times not yet looked at; None for any other."""
        if len(value) > self._bytes_max:
            return None
        try:
            wires = _decode_samples(value)
        except REFUSED:
            return None
        if type(wires) is not list:
            return [wires]
        return wires if len(wires) <= self._elements_max else None

    def decode(self, key: bytes | None, value: bytes | None, headers: Headers, append_ms: int) -> list[Item]:
        """Return the items of one record, in order. Never raises; an empty list only for an empty JSON list."""
        if headers or not value or len(value) > self._bytes_max:
            return self._decode_rare(key, value, headers, append_ms)
        try:
            wires = _decode_samples(value)
            if type(wires) is list:
                return self._samples(wires, append_ms, None)
            series, claim, instance = self.names[wires.service, wires.metric], wires.time, wires.instance
            time_ms = None if claim is None else bounded(claim, append_ms)
            return [Sample(series, wires.value, time_ms, None if instance is None else self.instances[instance])]
        except REFUSED:
            return self._decode_refused(key, value, append_ms)

    def _samples(self, wires: list[SampleWire] | SampleWire, append_ms: int, default_ms: int | None) -> list[Item]:
        """Return the fast path. Raises ValueError where a name or a time is bad: then the lenient reader says which."""
        if not isinstance(wires, list):
            wires = [wires]
        elif len(wires) > self._elements_max:
            raise ValueError("too many elements")
        names, instances = self.names, self.instances
        return [
            Sample(
                names[wire.service, wire.metric],
                wire.value,
                default_ms if wire.time is None else bounded(wire.time, append_ms),
                None if wire.instance is None else instances[wire.instance],
            )
            for wire in wires
        ]

    def _decode_refused(self, key: bytes | None, value: bytes, append_ms: int) -> list[Item]:
        """Return what is not samples alone: other kinds, a CloudEvent, or something with a fault in it."""
        try:
            if b'"specversion"' in value:
                event = _decode_cloud(value)
                if not is_json(event.datacontenttype):
                    return unreadable(key, "the data of the CloudEvent are not JSON", DeadKind.CLOUD_EVENT)
                default_ms = None if event.time is None else bounded(event.time, append_ms)
                return self._samples(event.data, append_ms, default_ms)
            wires = _decode_others(value)
            wires = wires if isinstance(wires, list) else [wires]
            if len(wires) <= self._elements_max and all(type(wire) is BeatWire for wire in wires):
                return [finish(wire, self.names, self.instances, append_ms) for wire in wires]
        except REFUSED:
            pass  # not for a short cut
        return self._decode_lenient(key, value, append_ms, None, False)

    def _decode_lenient(
        self, key: bytes | None, value: bytes, append_ms: int, default_time: object, inside: bool
    ) -> list[Item]:
        try:
            items = self._lenient.read(value, append_ms, default_time, inside)
        except Unreadable as error:
            return unreadable(key, error, error.kind)
        return with_key_fault(key, items)

    def _decode_rare(self, key: bytes | None, value: bytes | None, headers: Headers, append_ms: int) -> list[Item]:
        """Return everything that one comparison keeps off the fast path: no value, a giant one, headers."""
        if refusal := refuse_value(value, self._bytes_max):
            return unreadable(key, refusal, DeadKind.SIZE)
        assert value  # noqa: S101  # refuse_value refuses an empty one
        attributes = cloud_attributes(headers)
        media_type = attributes.get("content-type", "").partition(";")[0].strip().lower()
        structured = media_type.startswith(CLOUD_EVENTS)
        if structured and media_type not in CLOUD_EVENTS_JSON:
            return unreadable(key, "a CloudEvent in another format than JSON", DeadKind.CLOUD_EVENT)
        # The content type decides: attributes that a bridge repeats in headers do not make the event binary.
        if structured or "ce_specversion" not in attributes:
            return self.decode(key, value, (), append_ms)
        if attributes["ce_specversion"] != "1.0":
            return unreadable(key, "a CloudEvent of another version than 1.0", DeadKind.CLOUD_EVENT)
        if not is_json(attributes.get("content-type")):
            return unreadable(key, "the data of the CloudEvent are not JSON", DeadKind.CLOUD_EVENT)
        claim = attributes.get("ce_time")
        try:
            default_ms = None if claim is None else bounded(msgspec.convert(claim, Zoned), append_ms)
            return self._samples(_decode_samples(value), append_ms, default_ms)
        except REFUSED:
            return self._decode_lenient(key, value, append_ms, claim, True)


def cloud_attributes(headers: Headers) -> dict[str, str]:
    """Return the headers that CloudEvents' binary mode speaks with, names in lower case. Of a repeated one the last counts."""
    return {
        name.lower(): content.decode("utf-8", "replace")
        for name, content in headers
        if content is not None and name.lower() in ("ce_specversion", "ce_time", "content-type")
    }


def refuse_value(value: bytes | None, bytes_max: int) -> str | None:
    """Return why a value is not even parsed, or None where it is."""
    if value is None:
        return "no value (a tombstone)"
    if not value:
        return "an empty value"
    if len(value) > bytes_max:
        return f"a value of {len(value)} bytes, the limit is {bytes_max}"
    return None


def unreadable(key: bytes | None, reason: object, kind: DeadKind) -> list[Item]:
    """Return the items of a record that cannot be read at all."""
    return with_key_fault(key, [fault(None, reason, kind=kind)])


def with_key_fault(key: bytes | None, items: list[Item]) -> list[Item]:
    """Return the items, and a fault of the series that the record's key names if any of them has no name of its own."""
    for item in items:
        if type(item) is Fault and item.series is None:
            series = series_of_key(key)
            if series is not None:
                items.append(Fault(series, item.reason))
            break
    return items
