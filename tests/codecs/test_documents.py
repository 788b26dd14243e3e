"""docs/telemetry.md and docs/telemetry.schema.json say what the decoder does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from failshut_streams.codecs import Fault, NativeDecoder

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = Draft202012Validator(json.loads((DOCS / "telemetry.schema.json").read_text()))
EXAMPLES = re.findall(r"```json( cloudevent)?\n(.*?)```", (DOCS / "telemetry.md").read_text(), re.DOTALL)
SAMPLE = {"service": "refunds", "metric": "eur", "value": 1}
LAG = {"kind": "lag", "group": "g", "topic": "t", "partitions": {"0": [0, 1]}}
OUTCOME = {"kind": "outcome", "gate": "g", "epoch": "0001099511627779", "outcome": "ok", "count": 1, "id": "i"}


def is_read(value: Any) -> bool:
    items = NativeDecoder().decode(None, json.dumps(value).encode(), (), 1_800_000_000_000)
    return not any(isinstance(item, Fault) for item in items)


def test_the_schema_is_one() -> None:
    """And the page has examples of every kind."""
    Draft202012Validator.check_schema(SCHEMA.schema)
    assert len(EXAMPLES) == 9


@pytest.mark.parametrize(("form", "text"), EXAMPLES)
def test_every_example_on_the_page_is_read(form: str, text: str) -> None:
    """By the decoder without a fault, and by the schema where it is native."""
    value = json.loads(text)
    assert is_read(value)
    assert form or SCHEMA.is_valid(value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [SAMPLE, LAG, OUTCOME],
        SAMPLE | {"time": None, "instance": None, "more": 1},
        SAMPLE | {"value": 2**60},
        SAMPLE | {"time": "2024-02-29t23:59:59.9+14:00"},
        SAMPLE | {"time": 0},
        LAG | {"partitions": {"7": [-1, 0]}},
        OUTCOME | {"lost": 2, "token": "x"},
        {"kind": "heartbeat", "service": "s"},
    ],
)
def test_what_the_schema_admits_is_read(value: Any) -> None:
    """The decoder refuses none of it."""
    assert SCHEMA.is_valid(value)
    assert is_read(value)


@pytest.mark.parametrize(
    "value",
    [
        5,
        None,
        {},
        [SAMPLE, 1],
        SAMPLE | {"service": ""},
        SAMPLE | {"metric": "a\n"},
        SAMPLE | {"service": "x" * 513},
        SAMPLE | {"service": None},
        SAMPLE | {"value": "1"},
        SAMPLE | {"value": True},
        SAMPLE | {"value": None},
        SAMPLE | {"value": 10**400},
        SAMPLE | {"time": True},
        SAMPLE | {"time": "2024-01-01T00:00:00"},
        SAMPLE | {"time": "2024-01-01T00:00:60Z"},
        SAMPLE | {"time": 10**14},
        SAMPLE | {"time": -1},
        SAMPLE | {"instance": 5},
        SAMPLE | {"instance": ""},
        SAMPLE | {"kind": "other"},
        SAMPLE | {"kind": None},
        {"kind": "heartbeat"},
        {"kind": "heartbeat", "service": 5},
        LAG | {"partitions": {}},
        LAG | {"partitions": {"0": [1]}},
        LAG | {"partitions": {"0": [1, 2, 3, 4, 5, 6]}},
        LAG | {"partitions": {"0": [-2, 3]}},
        LAG | {"partitions": {"0": [0, -1]}},
        LAG | {"partitions": {"x": [0, 1]}},
        OUTCOME | {"epoch": "5"},
        OUTCOME | {"epoch": 1099511627779},
        OUTCOME | {"outcome": "fine"},
        OUTCOME | {"count": -1},
        OUTCOME | {"count": 2**31},
        OUTCOME | {"count": True},
    ],
)
def test_what_the_schema_refuses_is_a_fault(value: Any) -> None:
    """The decoder reads none of it either."""
    assert not SCHEMA.is_valid(value)
    assert not is_read(value)
