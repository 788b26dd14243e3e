"""How what a worker writes is compressed, and what becomes of a broker that takes no such batch.

Nearly all of evidence and decisions says the same again and again: names, ids, a digest, times that follow each other. A
producer compresses a batch at a time, so a batch of one short record gains little and a burst of marks gains most. What was
compared, on what, is in docs/sizing.md.

Every broker that Failshut runs on takes each of these codecs. One that speaks Kafka's protocol and is none may refuse. Then the
batch fails, the worker stops with the name of the setting, and its gates lapse: closed, and not in silence. Readers need no
setting: a batch says how it is compressed, and topics hold batches of several codecs side by side.

Limits: marks stay as they are, because a batch holds one of them. A snapshot is compressed by itself.
"""

from __future__ import annotations

from typing import Final, Literal

from aiokafka import errors

Codec = Literal["zstd", "lz4", "gzip", "none"]

CODEC: Final[Codec] = "zstd"
"""What workers compress with unless they are told otherwise."""

COMMANDS_CODEC: Final = "gzip"
"""What operators' tools compress commands with: they have no such setting, and no broker lacks this one."""


class CodecRefused(errors.BrokerResponseError):  # type: ignore[misc]
    """The broker takes no batch that is compressed like this. aiokafka knows no name for it, and says "unknown"."""

    errno = 76
    message = "UNSUPPORTED_COMPRESSION_TYPE"
    description = "The broker does not take batches of this codec: run workers with another --compression, for example none"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(arguments or (self.description,)))


def compression_type(codec: Codec) -> str | None:
    """Return a codec as aiokafka's producer wants it named."""
    return None if codec == "none" else codec


errors.kafka_errors.setdefault(CodecRefused.errno, CodecRefused)
