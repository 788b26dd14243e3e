"""What Failshut itself measures: the topic `internal`, with outcomes of guards and lag of consumer groups.

An outcome ends a PROVING and a lag sample clears a lagging group, so neither may come from whoever can write
telemetry. Both come through a topic that only Failshut may write, and are no events anywhere else. Here, in turn,
nothing else counts: a sample or a heartbeat in this topic is unreadable.

Limits: who may write the topic is the broker's ACL to say. There is no lenient reading: its writers are this code.
"""

import msgspec

from failshut_streams.codecs.items import DeadKind, Headers, Item
from failshut_streams.codecs.lenient import finish
from failshut_streams.codecs.names import NAMES_MAX, Instances, SeriesNames
from failshut_streams.codecs.native import REFUSED, VALUE_BYTES_MAX, refuse_value, unreadable
from failshut_streams.codecs.wire import LagWire, OutcomeWire, SampleWire

_decode = msgspec.json.Decoder(LagWire | OutcomeWire).decode


class InternalDecoder:
    """Decodes records of `internal`: one event each."""

    def __init__(self, *, bytes_max: int = VALUE_BYTES_MAX, names_max: int = NAMES_MAX) -> None:
        self.names = SeriesNames(names_max)
        self._instances = Instances(names_max)
        self._bytes_max = bytes_max

    def samples(self, value: bytes) -> list[SampleWire] | None:
        """Return None: there are none."""
        return None

    def decode(self, key: bytes | None, value: bytes | None, headers: Headers, append_ms: int) -> list[Item]:
        """Return the one item of a record. Never raises."""
        if refusal := refuse_value(value, self._bytes_max):
            return unreadable(key, refusal, DeadKind.SIZE)
        assert value  # noqa: S101  # refuse_value refuses an empty one
        try:
            return [finish(_decode(value), self.names, self._instances, append_ms)]
        except REFUSED as error:
            return unreadable(key, f"no event of Failshut's own: {error}", DeadKind.OTHER)
