"""The shapes of native JSON, as producers write it (docs/telemetry.schema.json says the same for humans).

Unknown fields are skipped unread, `attributes` among them. Numbers are JSON numbers: no booleans, no numeric strings.
An integer beyond 2^53 becomes the nearest double. Of a repeated key the last one counts.
"""

from typing import Annotated, Literal

import msgspec

from failshut_breakers.evidence.readings import Offsets
from failshut_streams.codecs.times import Claim

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class SampleWire(msgspec.Struct, tag_field="kind", tag="sample", gc=False):
    """A number of a series; `kind` may be left out."""

    service: str
    metric: str
    value: float
    time: Claim | None = None
    instance: str | None = None
    # Typed so that a CloudEvent with fields of these names is not taken for the sample that it carries.
    specversion: None = None


class BeatWire(msgspec.Struct, tag_field="kind", tag="heartbeat"):
    """A sign of life."""

    service: Text
    time: Claim | None = None
    instance: str | None = None
    specversion: None = None


class LagWire(msgspec.Struct, tag_field="kind", tag="lag"):
    """Offsets of a consumer group in a topic; without partitions, why there are none. In `internal` alone."""

    group: Text
    topic: Text
    partitions: dict[Count, Offsets] = {}
    time: Claim | None = None
    topic_id: Annotated[str, msgspec.Meta(max_length=64)] = ""
    told: Annotated[str, msgspec.Meta(max_length=200)] = ""
    specversion: None = None


class OutcomeWire(msgspec.Struct, tag_field="kind", tag="outcome"):
    """How executions behind a guard ended. In `internal` alone."""

    gate: Text
    epoch: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{16}\Z")]
    outcome: Literal["ok", "failed", "interrupted", "cancelled"]
    count: Count
    id: Text
    token: Annotated[str, msgspec.Meta(max_length=512)] = ""
    lost: Count = 0
    guard: Annotated[str, msgspec.Meta(max_length=64)] = ""
    total: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    instance: str | None = None
    time: Claim | None = None
    specversion: None = None


# A union, though telemetry takes heartbeats alone of these: msgspec lets one tagged struct by itself go without its tag.
OtherWire = BeatWire | LagWire | OutcomeWire
Wire = SampleWire | OtherWire


class CloudWire(msgspec.Struct):
    """A structured CloudEvent whose data are samples: the one shape of it that is worth a fast path."""

    specversion: Literal["1.0"]
    data: list[SampleWire] | SampleWire
    time: Claim | None = None
    datacontenttype: str | None = None
    # An event that carries both is refused here and read by the lenient reader, which says so.
    data_base64: None = None
