"""Which evidence partition a gate is in: murmur2, as in Kafka's own partitioner.

Source: A. Appleby's MurmurHash2 as in Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2`. It is here and not
in Kafka's client, because a replay must know it without that.
"""

from __future__ import annotations

_M, _MASK = 0x5BD1E995, 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit hash of bytes, unsigned."""
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(gate: str, partitions: int) -> int:
    """Return the evidence partition of a gate, which Kafka's own partitioner chooses for a record with that key.

    >>> partition_of("payments.refund", 4)
    0
    """
    return (murmur2(gate.encode()) & 0x7FFFFFFF) % partitions
