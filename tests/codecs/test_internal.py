"""What Failshut itself measures is read in its own topic, and nothing else is."""

from __future__ import annotations

import json

import pytest

from failshut_breakers.evidence.records import Offsets
from failshut_streams.codecs import Fault, InternalDecoder, Item, LagPoint, Outcome

APPEND_MS = 1_800_000_000_000
LAG = {"kind": "lag", "group": "g", "topic": "t", "partitions": {"0": [5, 9], "11": [-1, 4]}}
OUTCOME = {
    "kind": "outcome",
    "gate": "payments.refund",
    "epoch": "0001099511627779",
    "token": "0001099511627779:2",
    "outcome": "ok",
    "count": 3,
    "id": "i-1",
    "instance": "pod-1",
    "lost": 1,
}


def decode(value: object, key: bytes | None = None) -> list[Item]:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return InternalDecoder().decode(key, raw, (), APPEND_MS)


def test_outcomes_and_lag_are_read() -> None:
    """One event a record; times are bounded by the append time, as everywhere."""
    assert decode(LAG | {"time": APPEND_MS + 5}) == [LagPoint("g", "t", APPEND_MS, {0: Offsets(5, 9), 11: Offsets(-1, 4)})]
    expected = Outcome("payments.refund", "0001099511627779", "0001099511627779:2", "ok", 3, "i-1", 1)
    assert decode(OUTCOME) == [expected]


def test_a_lag_may_say_more_and_may_say_why_it_says_nothing() -> None:
    """The log's start, the last stable offset and what is readable where they were measured; or what the sampler was told."""
    more = {"kind": "lag", "group": "g", "topic": "t", "topic_id": "abc", "partitions": {"0": [5, 9, 2], "1": [-1, 4, 1, 3, 2]}}
    assert decode(more) == [LagPoint("g", "t", None, {0: Offsets(5, 9, 2), 1: Offsets(-1, 4, 1, 3, 2)}, "abc")]
    told = {"kind": "lag", "group": "g", "topic": "t", "told": "no such topic"}
    assert decode(told) == [LagPoint("g", "t", None, {}, "", "no such topic")]


@pytest.mark.parametrize(
    "value",
    [
        LAG | {"partitions": {"0": [0, 1, -1]}},
        LAG | {"partitions": {"0": [1, 2, 3, 4, 5, 6]}},
        {"kind": "lag", "group": "g", "topic": "t"},
        {"kind": "lag", "group": "g", "topic": "t", "told": ""},
        {"kind": "lag", "group": "g", "topic": "t", "told": "\x1b[2J"},
        None,
        b"",
        b"garbage",
        b"[]",
        [LAG],
        {"service": "a", "metric": "b", "value": 1},
        {"kind": "heartbeat", "service": "a"},
        LAG | {"partitions": {}},
        LAG | {"partitions": {"-1": [0, 0]}},
        LAG | {"partitions": {"0": [-2, 0]}},
        LAG | {"partitions": {"0": [0]}},
        LAG | {"partitions": {"x": [0, 1]}},
        LAG | {"group": "a\n"},
        OUTCOME | {"outcome": "fine"},
        OUTCOME | {"epoch": "7"},
        OUTCOME | {"epoch": "0001099511627779\n"},
        OUTCOME | {"count": -1},
        OUTCOME | {"count": 2**31},
        OUTCOME | {"gate": ""},
        OUTCOME | {"specversion": "1.0"},
        b"[" * 200_000,
        b" " * (1 << 20) + b"{}",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_anything_else_is_unreadable(value: object) -> None:
    """It feeds no gate as what it claims to be; and there is no short cut past this."""
    raw = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    (item,) = InternalDecoder().decode(None, raw, (), APPEND_MS)
    assert isinstance(item, Fault)
    assert item.series is None
    assert InternalDecoder().samples(raw or b"") is None
