"""A gate lies where Kafka's own partitioner would put a record with its name as key."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as kafkas
from hypothesis import given
from hypothesis import strategies as st

from failshut_breakers.evidence.partition import murmur2, partition_of


@given(st.binary(max_size=200))
def test_the_hash_is_kafkas(data: bytes) -> None:
    """Of any bytes it is the number that Kafka's client finds."""
    assert murmur2(data) == kafkas(data) & 0xFFFFFFFF


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True), st.integers(1, 1000))
def test_a_gate_has_the_partition_of_kafkas_partitioner(gate: str, partitions: int) -> None:
    """A gate's partition is that of a record with its name as key, however many partitions there are."""
    assert partition_of(gate, partitions) == DefaultPartitioner()(gate.encode(), list(range(partitions)), [])
