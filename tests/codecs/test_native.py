"""Native JSON: what is read, what is a fault of a series, and what is unreadable."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failshut_streams.codecs import Beat, DeadKind, Fault, Item, NativeDecoder, Sample
from failshut_streams.codecs.lenient import LenientReader, Unreadable
from failshut_streams.codecs.names import Instances, SeriesNames

APPEND_MS = 1_800_000_000_000
GOOD = b'{"service":"refunds","metric":"eur","value":1.5}'
OUTCOME = {
    "kind": "outcome",
    "gate": "payments.refund",
    "epoch": "0001099511627779",
    "token": "1099511627779:2",
    "outcome": "ok",
    "count": 3,
    "id": "i-1",
    "instance": "pod-1",
    "lost": 1,
}
LAG = {"kind": "lag", "group": "g", "topic": "t", "partitions": {"0": [5, 9], "11": [-1, 4]}}


def decode(value: object, key: bytes | None = None) -> list[Item]:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return NativeDecoder().decode(key, raw, (), APPEND_MS)


def sample(value: object = 1.5, **fields: object) -> dict[str, object]:
    return {"service": "refunds", "metric": "eur", "value": value} | fields


def with_value(text: bytes) -> bytes:
    return GOOD.replace(b"1.5", text)


def test_a_sample_and_a_list_of_samples_are_read() -> None:
    """One object is one item; a list is one item for each element, in order."""
    one = Sample("refunds/eur", 1.5, None, None)
    assert decode(GOOD) == [one]
    assert decode([sample(), sample(2), sample(-0.5, instance="pod-1")]) == [
        one,
        Sample("refunds/eur", 2.0, None, None),
        Sample("refunds/eur", -0.5, None, "pod-1"),
    ]
    assert decode([]) == []


def test_a_fault_names_the_instance_that_its_element_names() -> None:
    """Where that is a name; another is nobody's."""
    items = decode([sample("no", instance="pod-1"), sample("no", instance=7), sample("no", instance=""), sample("no")])
    assert [item.instance for item in items if isinstance(item, Fault)] == ["pod-1", None, None, None]


def test_every_kind_is_read_alone_and_mixed() -> None:
    """A heartbeat means the same alone and in a list with samples."""
    beat = {"kind": "heartbeat", "service": "refunds", "instance": "pod-1"}
    assert decode(beat) == [Beat("refunds", None, "pod-1")]
    assert decode([beat, beat]) == [Beat("refunds", None, "pod-1")] * 2
    assert decode([beat, sample(kind="sample"), beat])[1] == Sample("refunds/eur", 1.5, None, None)


@pytest.mark.parametrize("own", [LAG, OUTCOME], ids=["lag", "outcome"])
def test_what_is_failshuts_own_is_no_telemetry(own: dict[str, object]) -> None:
    """Whoever writes telemetry can end no PROVING and hide no lag: such an event is unreadable, its neighbours count."""
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": own}
    for value in (own, event, [own], own | {"service": 5}):
        (item,) = decode(value)
        assert isinstance(item, Fault)
        assert item.series is None
        assert "Failshut's own" in item.reason
    beat = {"kind": "heartbeat", "service": "refunds"}
    found = decode([beat, own, sample()], key=b"refunds/eur")
    assert [type(item) for item in found] == [Beat, Fault, Sample, Fault]
    assert (found[1].series, found[3].series) == (None, "refunds/eur")  # type: ignore[union-attr]


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1" * 5000])
def test_a_number_that_is_not_finite_is_a_fault_of_its_series(text: bytes) -> None:
    """NaN, infinity and what no double holds name their series, alone and inside a list, and blind no neighbour."""
    bad = Fault("refunds/eur", "value is not finite")
    good = Sample("refunds/eur", 1.5, None, None)
    assert decode(with_value(text)) == [bad]
    assert decode(b"[" + GOOD + b"," + with_value(text) + b"," + GOOD + b"]") == [good, bad, good]


@pytest.mark.parametrize("text", [b"true", b'"1.5"', b"null", b"[1]", b"{}"])
def test_a_value_of_another_type_is_a_fault_of_its_series(text: bytes) -> None:
    """Booleans and numeric strings are no numbers."""
    (item,) = decode(with_value(text))
    assert isinstance(item, Fault)
    assert item.series == "refunds/eur"


def test_a_sample_without_value_is_a_fault_of_its_series() -> None:
    """Who names a series and says nothing about it has not said that it is well."""
    assert decode({"service": "refunds", "metric": "eur"})[0].series == "refunds/eur"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"9007199254740993", 9007199254740992.0),
        (b"9223372036854775807", 2.0**63),
        (b"9223372036854775809", 2.0**63),
        (b"123456789012345678901234567890", 123456789012345678901234567890.0),
        (b"1e-400", 0.0),
        (b"-0", 0.0),
    ],
)
def test_a_number_becomes_the_nearest_double(text: bytes, value: float) -> None:
    """Integers past 2^53 too, in the fast reader as in the lenient one."""
    assert decode(with_value(text)) == [Sample("refunds/eur", value, None, None)]
    assert decode(b"[" + with_value(text) + b",0]")[0] == Sample("refunds/eur", value, None, None)


@pytest.mark.parametrize(
    ("claim", "time_ms"),
    [
        (1700000000, 1700000000000),
        (1700000000.25, 1700000000250),
        (1700000000123, 1700000000123),
        (1700000000123.0, 1700000000123),
        (946684800, 946684800000),
        ("2023-11-14T22:13:20Z", 1700000000000),
        ("2023-11-14T23:13:20.123456789+01:00", 1700000000123),
        ("2023-11-14 22:13:20z", 1700000000000),
        (1900000000000, APPEND_MS),
        (1900000000, APPEND_MS),
        ("9999-12-31T23:59:59Z", APPEND_MS),
        (None, None),
    ],
)
def test_a_time_is_read_and_never_later_than_the_append_time(claim: object, time_ms: int | None) -> None:
    """Text with a zone, seconds and milliseconds; a claim of the future is worth the append time."""
    assert decode(sample(time=claim)) == [Sample("refunds/eur", 1.5, time_ms, None)]
    assert decode([sample(time=claim), 0])[0] == Sample("refunds/eur", 1.5, time_ms, None)
    assert decode({"kind": "heartbeat", "service": "s", "time": claim}) == [Beat("s", time_ms)]


@pytest.mark.parametrize(
    "claim",
    [
        True,
        [],
        "yesterday",
        "",
        "1700000000",
        "2023-11-14T22:13:20",
        "2023-11-14",
        "2016-12-31T23:59:60Z",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        -1,
        1_700_000_000_123_456,
        1_700_000_000_123_456_789,
        0,
        4142.047,
        946684799,
        20260302,
        202603020900,
        20260302090000,
        "1970-01-01T01:09:02Z",
        "1999-12-31T23:59:59Z",
        math.inf,
        math.nan,
        10**30,
    ],
)
def test_a_time_that_cannot_be_read_is_a_fault_of_its_series(claim: object) -> None:
    """No zone, before 2000, microseconds, a date without separators, a leap second: never silently "now", never 1970."""
    (item,) = decode(sample(time=claim))
    assert isinstance(item, Fault)
    assert item.series == "refunds/eur"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"not JSON",
        b"\xff\xfe{\x00}\x00",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        GOOD[:-1],
        GOOD + GOOD,
        b"[" + GOOD + b",",
        b"null",
        b"5",
        b'"x"',
        b"{}",
        b'{"service":"","metric":"m","value":1}',
        b'{"service":"a\\u0000","metric":"m","value":1}',
        b'{"service":"\\ud800","metric":"m","value":1}',
        b'{"service":"a\xff","metric":"m","value":1}',
        b'{"service":"' + b"a" * 513 + b'","metric":"m","value":1}',
        b'{"kind":"heartbeat"}',
        b'{"kind":"what"}',
        b'{"kind":7}',
    ],
)
def test_what_names_no_series_is_unreadable_and_a_fault_of_the_keys_series(value: bytes | None) -> None:
    """Every such record gives one unreadable item, and one of the series that its key names."""
    decoder = NativeDecoder()
    (alone,) = decoder.decode(None, value, (), APPEND_MS)
    assert isinstance(alone, Fault)
    assert alone.series is None
    assert alone.reason
    unnamed, named = decoder.decode(b"refunds/eur", value, (), APPEND_MS)
    assert (unnamed, named) == (alone, Fault("refunds/eur", alone.reason))


@pytest.mark.parametrize("key", [b"refunds", b"", b"/eur", b"refunds/", b"\xff/eur", b"a/\x00", None])
def test_a_key_that_is_no_series_adds_nothing(key: bytes | None) -> None:
    """A key may be anything; only `service/metric` names a series."""
    assert decode(b"x", key) == decode(b"x")


def test_the_rest_of_a_message_is_a_fault_of_the_keys_series_once() -> None:
    """Two unreadable elements of a keyed list: two unreadable items, one fault of the series, the others count."""
    items = decode(b"[0," + GOOD + b",[]]", b"refunds/eur")
    assert [getattr(item, "series", "") for item in items] == [None, "refunds/eur", None, "refunds/eur"]
    assert isinstance(items[1], Sample)
    assert isinstance(items[3], Fault)


def test_a_giant_value_is_refused_unread() -> None:
    """Beyond the limit not even good JSON counts; at the limit it does."""
    decoder = NativeDecoder(bytes_max=len(GOOD))
    assert isinstance(decoder.decode(None, GOOD, (), APPEND_MS)[0], Sample)
    (item,) = decoder.decode(None, GOOD + b" ", (), APPEND_MS)
    assert item == Fault(None, f"a value of {len(GOOD) + 1} bytes, the limit is {len(GOOD)}", kind=DeadKind.SIZE)
    assert NativeDecoder().decode(None, b"[" * 2_000_000, (), APPEND_MS)[0].reason.startswith("a value of 2000000")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "element",
    [GOOD, b"0", b'{"kind":"heartbeat","service":"s"}'],
)
def test_a_list_beyond_its_limit_is_unreadable_as_a_whole(element: bytes) -> None:
    """Good or bad elements, samples or others: one more than the limit and there is one item."""
    decoder = NativeDecoder(elements_max=3)
    assert len(decoder.decode(None, b"[" + b",".join([element] * 3) + b"]", (), APPEND_MS)) == 3
    assert decoder.decode(None, b"[" + b",".join([element] * 4) + b"]", (), APPEND_MS) == [
        Fault(None, "more than 3 elements", kind=DeadKind.SIZE)
    ]


def test_of_a_repeated_key_the_last_counts() -> None:
    """In the fast reader and in the lenient one alike."""
    twice = b'{"service":"a","service":"refunds","metric":"eur","value":%s,"value":%s}'
    assert decode(twice % (b"9", b"1.5")) == [Sample("refunds/eur", 1.5, None, None)]
    assert decode(twice % (b"NaN", b"1.5")) == [Sample("refunds/eur", 1.5, None, None)]
    assert decode(twice % (b"1.5", b"NaN")) == [Fault("refunds/eur", "value is not finite")]


def test_a_byte_order_mark_is_skipped() -> None:
    """Some producers write one."""
    assert decode(b"\xef\xbb\xbf" + GOOD) == decode(GOOD)


def test_invalid_text_costs_its_own_element_alone() -> None:
    """The neighbours of a damaged name count, and damage in a field that nobody reads costs nothing."""
    damaged = b'{"service":"\xff","metric":"eur","value":1}'
    assert [type(item) for item in decode(b"[" + GOOD + b"," + damaged + b"]")] == [Sample, Fault]
    for unread in (b"\xff", b"\n", b"\x00"):
        element = GOOD[:-1] + b',"attributes":{"a":"' + unread + b'"}}'
        assert decode(element) == decode(GOOD)
        assert decode(b"[" + element + b"," + with_value(b"NaN") + b"]")[0] == decode(GOOD)[0]


def test_an_instance_is_printable_text() -> None:
    """Another type or a control character is a fault of the series."""
    for instance in (5, "a\nb", "", "x" * 513):
        (item,) = decode(sample(instance=instance))
        assert isinstance(item, Fault)
        assert item.series == "refunds/eur"


def test_a_slash_in_a_service_cannot_pass_for_another_series() -> None:
    """a/b + c and a + b/c are two series; so is a service that is named like the escape."""
    pairs = [("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c")]
    items = decode([{"service": service, "metric": metric, "value": 1} for service, metric in pairs])
    assert [item.series for item in items] == ["a%2Fb/c", "a/b/c", "a%252Fb/c"]  # type: ignore[union-attr]


def test_the_tables_of_names_are_bounded() -> None:
    """A producer that makes up names does not grow the decoder, and still gets its items."""
    decoder = NativeDecoder(names_max=10)
    for number in range(100):
        value = json.dumps({"service": f"s{number}", "metric": "m", "value": 1, "instance": f"i{number}"})
        assert decoder.decode(None, value.encode(), (), APPEND_MS) == [Sample(f"s{number}/m", 1.0, None, f"i{number}")]
    assert len(decoder.names) <= 10
    assert len(decoder.instances) <= 10
    assert decoder.names.cleared == 9


def test_a_reason_is_short_and_printable() -> None:
    """What a producer writes does not reach a terminal or a signed record as it stands."""
    (item,) = decode(json.dumps(OUTCOME | {"kind": "\x1b[2J" + "x" * 1000}).encode())
    assert isinstance(item, Fault)
    assert item.reason.isprintable()
    assert len(item.reason) <= 200


# Properties

names = st.text(max_size=6) | st.sampled_from(["refunds", "a/b", "\ud800", ""])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))
times = st.none() | st.integers() | st.floats() | st.sampled_from(["2024-01-01T00:00:00Z", "x"]) | trees
events = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["sample", "heartbeat", "lag", "outcome", "what"]) | leaves,
        "service": names | leaves,
        "metric": names | leaves,
        "value": st.floats() | st.integers() | trees,
        "time": times,
        "instance": names | leaves,
        "attributes": trees,
        "group": names,
        "topic": names,
        "partitions": st.dictionaries(st.sampled_from(["0", "1", "x", "-1"]), st.lists(st.integers(-2, 9), max_size=3)) | trees,
        "gate": names,
        "epoch": st.sampled_from(["0001099511627779", "7", ""]) | leaves,
        "token": names,
        "outcome": st.sampled_from(["ok", "failed", "cancelled", "x"]),
        "count": st.integers() | leaves,
        "id": names,
        "lost": st.integers() | leaves,
        "specversion": st.sampled_from(["1.0", "0.3", None]) | leaves,
        "data": trees,
        "data_base64": names,
        "datacontenttype": st.sampled_from(["application/json", "text/plain"]) | leaves,
    },
)
elements = events | trees


def check_items(items: list[Item]) -> None:
    """What every item keeps, whatever came in."""
    for item in items:
        assert isinstance(item, Sample | Beat | Fault)
        for field in item.__struct_fields__:
            content = getattr(item, field)
            if isinstance(content, str):
                content.encode()
                assert content.isprintable()
        if isinstance(item, Sample):
            assert type(item.value) is float
            assert math.isfinite(item.value)
        time_ms = getattr(item, "time_ms", None)
        assert time_ms is None or 0 <= time_ms <= APPEND_MS


def dumps(value: object) -> bytes:
    return json.dumps(value).encode()


@given(st.binary(max_size=200), st.none() | st.binary(max_size=20), st.integers(0, 2**53))
def test_no_bytes_make_the_decoder_raise(value: bytes, key: bytes | None, append_ms: int) -> None:
    """Whatever stands in a record, there is a list of items, and only an empty list has none."""
    items = NativeDecoder().decode(key, value, (), append_ms)
    assert items or json.loads(value) == []


@pytest.mark.slow
@given(elements.map(dumps), st.data())
def test_no_damage_to_json_makes_the_decoder_raise(value: bytes, data: st.DataObject) -> None:
    """Bytes changed, cut and inserted at any place."""
    place = data.draw(st.integers(0, len(value)))
    damaged = value[:place] + data.draw(st.binary(max_size=4)) + value[place + data.draw(st.integers(0, 4)) :]
    check_items(NativeDecoder().decode(None, damaged, (), APPEND_MS))


def is_plain(element: object) -> bool:
    return not (isinstance(element, dict) and element.get("specversion") is not None)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(elements.filter(is_plain), max_size=6))
def test_every_element_is_one_item_and_the_same_one_as_alone(message: list[object]) -> None:
    """An element means in a list what it means alone: no neighbour changes or hides it."""
    items = NativeDecoder().decode(None, dumps(message), (), APPEND_MS)
    check_items(items)
    assert len(items) == len(message)
    for element, item in zip(message, items, strict=True):
        if not isinstance(element, list):
            assert NativeDecoder().decode(None, dumps(element), (), APPEND_MS) == [item]


@pytest.mark.slow
@settings(max_examples=150)
@given(elements | st.lists(elements, max_size=4))
def test_the_fast_readers_give_what_the_lenient_one_gives(message: object) -> None:
    """The short cuts never decide anything: the lenient reader alone comes to the same items."""
    value = dumps(message)
    reader = LenientReader(SeriesNames(), Instances(), 100)
    try:
        expected = reader.read(value, APPEND_MS)
    except Unreadable as error:
        expected = [Fault(None, str(error), kind=error.kind)]
    assert NativeDecoder().decode(None, value, (), APPEND_MS) == expected


def test_a_flood_of_junk_is_told_and_counted() -> None:
    """A thousand unreadable elements are items of their own, the others one more; what can be read among them counts."""
    items = decode([0] * 1_500 + [sample()] + [{}] * 500 + [sample(value=None)])
    assert len(items) == 1_000 + 1 + 1 + 1
    assert items[1_000] == Sample("refunds/eur", 1.5, None, None)
    assert [getattr(item, "series", 0) for item in items[1_001:]] == ["refunds/eur", None]
    assert items[-1] == Fault(None, "1000 more elements that cannot be read")


def test_lists_inside_events_are_counted_before_they_are_walked() -> None:
    """An envelope is no way around the bound on elements."""
    event = {"specversion": "1.0", "data": [0, 0]}
    decoder = NativeDecoder(elements_max=3)
    assert decoder.decode(None, json.dumps([event, event]).encode(), (), APPEND_MS) == [
        Fault(None, "more than 3 elements", kind=DeadKind.SIZE)
    ]


def test_a_fault_keeps_the_time_that_it_claims() -> None:
    """Where it can be read, and never later than the append time; live, it counts from the append time all the same."""
    claims = [(1700000000, 1700000000000), (None, None), ("x", None), (2**62, None), ("2099-01-01T00:00:00Z", APPEND_MS)]
    for claim, time_ms in claims:
        (item,) = decode(sample(value=None, time=claim))
        assert isinstance(item, Fault)
        assert item.time_ms == time_ms
