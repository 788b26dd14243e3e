"""Handing runs over: in order, one batch under way per evidence partition, and nothing after a batch that was lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from failshut_breakers.evidence.records import Run, decode_run
from failshut_streams.router import evidence_writer
from failshut_streams.router.evidence_writer import EvidenceWriter


class _Batch:
    """As many records as a test says fit into one."""

    def __init__(self, size: int) -> None:
        self.values: list[bytes] = []
        self._size = size

    def append(self, *, key: bytes | None, value: bytes, timestamp: int | None) -> object | None:
        if len(self.values) == self._size:
            return None
        self.values.append(value)
        return object()


class _Producer:
    """Notes batches; each is acknowledged, or fails, when the test says so."""

    def __init__(self, batch_size: int = 100) -> None:
        self.sent: list[tuple[int, list[int], asyncio.Future[object]]] = []
        self._batch_size = batch_size

    def create_batch(self) -> _Batch:
        return _Batch(self._batch_size)

    async def send_batch(self, batch: _Batch, topic: str, *, partition: int) -> asyncio.Future[object]:
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.sent.append((partition, [decode_run(value).upto for value in batch.values], answer))
        return answer

    @property
    def places(self) -> list[tuple[int, list[int]]]:
        return [(partition, uptos) for partition, uptos, _ in self.sent]

    async def answer(self, number: int, error: Exception | None = None) -> None:
        answer = self.sent[number][2]
        answer.set_exception(error) if error else answer.set_result(None)
        await _settle()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _run(upto: int) -> Run:
    return Run(2, "id", 2, 1, 0, "router", "telemetry", 0, upto - 1, upto, 0, None, {}, [], b"made")


def _writer(batch_size: int = 100) -> tuple[EvidenceWriter, _Producer]:
    producer: Any = _Producer(batch_size)
    return EvidenceWriter(producer, "evidence"), producer


async def test_what_comes_while_a_batch_is_under_way_goes_with_the_next_in_its_order() -> None:
    """One batch under way per evidence partition; what waits behind it becomes one batch."""
    writer, producer = _writer()
    await writer.write([(0, _run(1))])
    await _settle()
    await writer.write([(0, _run(2)), (1, _run(2))])
    await writer.write([(0, _run(3))])
    await _settle()
    assert producer.places == [(0, [1]), (1, [2])]
    await producer.answer(0)
    assert producer.places[2:] == [(0, [2, 3])]


async def test_a_batch_that_is_too_large_is_split_and_its_parts_follow_each_other() -> None:
    """The second part is sent only when the first is acknowledged."""
    writer, producer = _writer(batch_size=2)
    await writer.write([(0, _run(upto)) for upto in (1, 2, 3)])
    await _settle()
    assert producer.places == [(0, [1, 2])]
    await producer.answer(0)
    assert producer.places == [(0, [1, 2]), (0, [3])]


async def test_a_flush_waits_for_everything_that_was_handed_over_in_every_partition() -> None:
    """And for nothing that came after it began."""
    writer, producer = _writer()
    await writer.write([(0, _run(1)), (1, _run(1))])
    flush = asyncio.create_task(writer.flush())
    await _settle()
    await writer.write([(0, _run(2))])
    await producer.answer(0)
    assert not flush.done()
    await producer.answer(1)
    assert flush.done()
    assert not writer.idle
    await producer.answer(2)
    assert writer.idle


async def test_nothing_follows_a_batch_that_was_lost() -> None:
    """What waited behind it is not sent, a flush and the next write say so, and it stays that way."""
    writer, producer = _writer()
    await writer.write([(0, _run(1))])
    await _settle()
    await writer.write([(0, _run(2))])
    await producer.answer(0, KafkaTimeoutError("the batch has expired"))
    assert producer.places == [(0, [1])]
    for _ in range(2):
        with pytest.raises(KafkaTimeoutError):
            await writer.flush()
        with pytest.raises(KafkaTimeoutError):
            await writer.write([(0, _run(3))])
    await _settle()
    assert producer.places == [(0, [1])]


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound a write returns only when everything is acknowledged."""
    monkeypatch.setattr(evidence_writer, "WAITING_BYTES_MAX", 10)
    writer, producer = _writer()
    write = asyncio.create_task(writer.write([(0, _run(1))]))
    await _settle()
    assert not write.done()
    await producer.answer(0)
    assert write.done()
