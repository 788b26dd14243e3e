"""The guard's side of the store: what is read, popped, appended and subscribed to, and nothing that retries.

redis-py retries by default, which turns a refused connection into seconds of stall; here every command has
one attempt and one time limit, and a connection that failed once is thrown away, because a late answer on
it would be taken for the answer to the next question. Each connection belongs to one thread. Whatever goes
wrong is one error, `Unreachable`, which says whether the command may have been applied.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import redis

from failshut import keys
from failshut.address import AddressError
from failshut.connection import connect
from failshut.store_state import WrongStore

T = TypeVar("T")

#: Gates read in one MULTI.
GATES_PER_READ_MAX: Final = 128


class Unreachable(Exception):
    """The store did not answer in time or not in order. `maybe_applied`: a write may have happened all the same.

    `elsewhere`: what answered is not the store to ask, so whatever else is connected to it must connect anew.
    """

    def __init__(self, text: str, maybe_applied: bool, elsewhere: bool = False) -> None:
        super().__init__(text)
        self.maybe_applied = maybe_applied
        self.elsewhere = elsewhere


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Executions of one gate that ended alike, as one entry of the stream."""

    gate: str
    epoch: str
    token: str
    outcome: str
    count: int
    lost: int
    """Outcomes of this gate that were dropped since the last entry that arrived."""


class Store:
    """One connection to the store, made when it is first needed; not for two threads."""

    def __init__(self, url: str, timeout_ms: int) -> None:
        self._url = url
        self._timeout_seconds = timeout_ms / 1000
        self._client: redis.Redis | None = None

    def read(self, gates: Sequence[str]) -> list[tuple[bytes | None, int]]:
        """Record and remaining life in ms (-2: none, -1: for ever) of each gate, at one instant. Raises Unreachable."""

        def ask(client: redis.Redis) -> list[tuple[bytes | None, int]]:
            pipeline = client.pipeline(transaction=True)
            for gate in gates:
                pipeline.get(keys.record(gate))
                pipeline.pttl(keys.record(gate))
            answers = pipeline.execute(raise_on_error=False)
            return [_record(answers[2 * i], answers[2 * i + 1]) for i in range(len(gates))]

        return self._ask(ask)

    def pop_probe(self, gate: str) -> str:
        """One probe token, or an empty text where none is left. Raises Unreachable."""

        def ask(client: redis.Redis) -> str:
            token: Any = client.rpop(keys.probes(gate))
            return token.decode("ascii", "replace") if isinstance(token, bytes) else ""

        return self._ask(ask)

    def append(self, outcomes: Iterable[Outcomes], instance: str) -> None:
        """Append to the stream of outcomes, in one round trip. Raises Unreachable."""

        def ask(client: redis.Redis) -> None:
            pipeline = client.pipeline(transaction=True)  # all or none, so that a failure is not half counted
            for entry in outcomes:
                fields: dict[Any, Any] = {
                    "gate": entry.gate,
                    "epoch": entry.epoch,
                    "token": entry.token,
                    "outcome": entry.outcome,
                    "count": entry.count,
                    "instance": instance,
                    "lost": entry.lost,
                }
                pipeline.xadd(keys.OUTCOMES, fields, maxlen=keys.OUTCOMES_MAXLEN, approximate=True)
            pipeline.execute()

        self._ask(ask)

    def close(self) -> None:
        """Drop the connection; the next command makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            _close(client)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection without a word to the server."""
        client, self._client = self._client, None
        _let_go(client)

    def _ask(self, question: Callable[[redis.Redis], T]) -> T:
        connected = self._client is not None
        try:
            if self._client is None:
                self._client = connect(self._url, self._timeout_seconds)
                self._client.ping()
                connected = True
            return question(self._client)
        except (redis.RedisError, OSError, ValueError, IndexError) as error:
            self.close()
            wrong = isinstance(error, WrongStore)  # it was refused as a whole
            raise Unreachable(_text(error), maybe_applied=connected and not wrong, elsewhere=wrong) from error


class Subscription:
    """The subscription to pushed closings, on a connection of its own; not for two threads."""

    def __init__(self, url: str, timeout_ms: int) -> None:
        self._client: Any = None
        self._pubsub: Any = None
        try:
            self._client = connect(url, timeout_ms / 1000, subscribes=True)
            self._pubsub = self._client.pubsub()
            self._pubsub.subscribe(keys.PUSH)
            answer = self._pubsub.get_message(timeout=timeout_ms / 1000)
            if answer is None or answer.get("type") != "subscribe":
                raise redis.ConnectionError("no answer to a subscription")
        except (redis.RedisError, OSError, ValueError) as error:
            self.close()
            raise Unreachable(_text(error), maybe_applied=False) from error

    def next(self, seconds: float) -> tuple[bool, bytes]:
        """Wait for a message: whether anything came, a pong included, and the push, empty if it was none.

        Raises Unreachable.
        """
        try:
            message = self._pubsub.get_message(timeout=seconds)
        except (redis.RedisError, OSError, ValueError) as error:
            raise Unreachable(_text(error), maybe_applied=False) from error
        if message is None:
            return False, b""
        data = message.get("data")
        return True, data if message.get("type") == "message" and isinstance(data, bytes) else b""

    def ping(self) -> None:
        """Ask for a sign of life. Raises Unreachable."""
        try:
            self._pubsub.ping()
        except (redis.RedisError, OSError) as error:
            raise Unreachable(_text(error), maybe_applied=False) from error

    def abandon(self) -> None:
        """In a forked child: let go of the parent's subscription without a word to the server."""
        client, self._client, self._pubsub = self._client, None, None
        _let_go(client)

    def close(self) -> None:
        """Drop the subscription and its connection."""
        for part in (self._pubsub, self._client):
            if part is not None:
                _close(part)


def _record(record: Any, pttl: Any) -> tuple[bytes | None, int]:
    """One gate's answers; an error, such as a key of another type, is garbage and verifies as such."""
    if isinstance(record, Exception):
        return b"", 0
    if record is not None and not isinstance(record, bytes):
        raise redis.ResponseError("an answer of another type than was asked for")
    if not isinstance(pttl, int):
        raise redis.ResponseError("no remaining life in the answer")
    return record, pttl


def _close(part: Any) -> None:
    try:
        part.close()
    except (redis.RedisError, OSError):
        pass  # it is thrown away for having failed


def _let_go(client: Any) -> None:
    """Close inherited sockets in this process only.

    redis-py's own ways take locks that another thread may have held at the fork, so this goes past them. Where a future
    version keeps its connections elsewhere, the descriptors stay open in the child and nothing else changes.
    """
    pool = getattr(client, "connection_pool", None)
    for place in ("_available_connections", "_in_use_connections"):
        for connection in list(getattr(pool, place, ())):
            inherited = getattr(connection, "_sock", None)
            if isinstance(inherited, socket.socket):
                try:
                    inherited.close()
                except OSError:
                    pass  # it was gone already


def _text(error: Exception) -> str:
    if isinstance(error, WrongStore | AddressError):
        return str(error)[:300]
    return f"the store cannot be reached: {type(error).__name__}: {error}"[:300]
