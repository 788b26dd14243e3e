"""One question to a broker, spoken by hand: who is in your cluster?

A health check must not depend on the client whose server it checks, must not retry, and must end in time.
Kafka's metadata request in version 4 is 30 bytes; brokers that are starting, fenced or stopping are not in
its answer.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass

_METADATA, _VERSION, _CORRELATION = 3, 4, 7
_CLIENT = b"failshut-health"
_ANSWER_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a broker says about its cluster."""

    cluster_id: str | None
    node_ids: frozenset[int]


class _Reader:
    """Reads big-endian fields; struct.error or ValueError where the bytes end early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def int32(self) -> int:
        (value,) = struct.unpack_from(">i", self._data, self._at)
        self._at += 4
        return int(value)

    def string(self) -> str | None:
        (length,) = struct.unpack_from(">h", self._data, self._at)
        self._at += 2
        if length < 0:
            return None
        value = self._data[self._at : self._at + length]
        if len(value) != length:
            raise ValueError("the answer ends inside a string")
        self._at += length
        return value.decode()


def brokers(host: str, port: int, *, timeout_seconds: float) -> Answer | None:
    """Ask the broker at host:port; None when it does not answer, or not sensibly, in time."""
    # No topics are asked for, and none may be created by asking.
    body = struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION, len(_CLIENT)) + _CLIENT + struct.pack(">ib", 0, 0)
    deadline = time.monotonic() + timeout_seconds
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            (length,) = struct.unpack(">i", _receive(connection, 4, deadline))
            if not 0 < length <= _ANSWER_BYTES_MAX:
                return None
            return _parse(_receive(connection, length, deadline))
    except (OSError, struct.error, ValueError):
        return None


def _parse(data: bytes) -> Answer:
    reader = _Reader(data)
    if reader.int32() != _CORRELATION:
        raise ValueError("an answer to another question")
    reader.int32()  # throttle time
    nodes = set()
    for _ in range(reader.int32()):
        nodes.add(reader.int32())
        reader.string()  # host
        reader.int32()  # port
        reader.string()  # rack
    return Answer(cluster_id=reader.string(), node_ids=frozenset(nodes))


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(count - len(data))
        if not part:
            raise ValueError("the broker hung up")
        data += part
    return data
