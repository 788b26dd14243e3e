"""The guard's side of the store: what is read, popped, appended and subscribed to, and nothing that retries.

redis-py retries by default, which turns a refused connection into seconds of waiting. Here every command has
one attempt and one time limit. A connection that failed once is discarded: a late answer on it would be read as
the answer to the next question. Each connection belongs to one thread. Whatever goes wrong is one error,
`Unreachable`, which says whether the command may have been applied.

Whatever is in the store, a read asks for no more bytes than the longest token has. It refuses a longer answer unread. So one
gate's record costs the other gates nothing. With a record its fence is read: what the monitor's last write was. It is not
signed and opens nothing, but a permit below it was put back by somebody else.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import redis

from failshut.epoch import WIDTH, is_epoch
from failshut.lease import Fenced
from failshut.network.address import AddressError
from failshut.seal import HEAD_BYTES, SEAL_BYTES_MAX
from failshut.signing import TOKEN_BYTES_MAX
from failshut.store import names as store_names
from failshut.store.answers import TooLong
from failshut.store.connection import connect
from failshut.store.names import Names
from failshut.store.state import WrongStore

T = TypeVar("T")

#: Gates read in one MULTI.
GATES_PER_READ_MAX: Final = 128
TERM_DIGITS_MAX: Final = 4
_FENCE: Final = ("epoch", "offset", "kind")
_KINDS: Final = ("permit", "closing")


class Unreachable(Exception):
    """The store did not answer in time or not in order. `maybe_applied`: a write may have happened all the same.

    `elsewhere`: what answered is not the store to ask, so whatever else is connected to it must connect anew.
    """

    def __init__(self, text: str, maybe_applied: bool, elsewhere: bool = False) -> None:
        super().__init__(text)
        self.maybe_applied = maybe_applied
        self.elsewhere = elsewhere


class Found(NamedTuple):
    """What lay in the store for a gate: its record (of a longer one the beginning), and its fence if there is one of ours."""

    record: bytes | None
    pttl_ms: int
    """Remaining life: -2: none, -1: for ever."""
    fence: Fenced | None = None


class SealFound(NamedTuple):
    """What lay in the store for an evidence partition. `token` is None where its beginning is known already."""

    head: bytes
    """The beginning of the seal's token; empty where there is none."""
    token: bytes | None
    pttl_ms: int
    """Remaining life: -2: none, -1: for ever."""
    term: int
    """The newest term that the store was told of; 0 where it says none."""


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
    total: int = 0
    """Outcomes of this gate that were sent so far, these included."""


class Store:
    """One connection to the store, made when it is first needed; not for two threads."""

    def __init__(self, url: str, timeout_ms: int) -> None:
        self._url = url
        self._timeout_seconds = timeout_ms / 1000
        self._client: redis.Redis | None = None

    def read(self, names: Names, gates: Sequence[str]) -> list[Found]:
        """Return what the store holds for each gate, at one instant. Raises Unreachable."""

        def ask(client: redis.Redis) -> list[Found]:
            try:
                return _read(client, names, gates, _fenced(client, names, gates))
            except TooLong:  # a fence that grew since it was measured, of one gate: the others keep theirs
                return [_read_alone(client, names, gate) for gate in gates]

        return self._ask(ask)

    def read_seals(self, names: Names, known: Mapping[int, bytes]) -> dict[int, SealFound]:
        """Return the newest seals of evidence partitions. `known` has the beginning of those that need not be sent again.

        Raises Unreachable.
        """

        def ask(client: redis.Redis) -> dict[int, SealFound]:
            heads = _read_seals(client, names, known, HEAD_BYTES)
            changed = {partition: b"" for partition, found in heads.items() if found.head and found.head != known[partition]}
            if not changed:
                return heads
            whole = _read_seals(client, names, changed, SEAL_BYTES_MAX + 1)
            return heads | {
                partition: found._replace(head=found.head[:HEAD_BYTES], token=found.head) for partition, found in whole.items()
            }

        return self._ask(ask)

    def pop_probe(self, names: Names, gate: str) -> str:
        """Return one probe token, or an empty text where none is left. Raises Unreachable."""

        def ask(client: redis.Redis) -> str:
            token: Any = client.rpop(names.probes(gate))
            return token.decode("ascii", "replace") if isinstance(token, bytes) else ""

        return self._ask(ask)

    def append(self, names: Names, outcomes: Sequence[Outcomes], instance: str, guard: str = "") -> list[Outcomes]:
        """Append to the gates' streams of outcomes, in one round trip; return what the store surely did not take.

        `guard` is whose totals the entries carry.

        A stream is its gate's own: one that this service may not write, or that is full, costs no other gate its outcomes.
        Raises Unreachable.
        """

        def ask(client: redis.Redis) -> list[Outcomes]:
            pipeline = client.pipeline(transaction=False)
            for entry in outcomes:
                fields: dict[Any, Any] = {
                    "epoch": entry.epoch,
                    "token": entry.token,
                    "outcome": entry.outcome,
                    "count": entry.count,
                    "instance": instance,
                    "lost": entry.lost,
                    "guard": guard,
                    "total": entry.total,
                }
                pipeline.xadd(names.outcomes(entry.gate), fields, maxlen=store_names.OUTCOMES_MAXLEN, approximate=True)
            answers = pipeline.execute(raise_on_error=False)
            return [entry for entry, answer in zip(outcomes, answers, strict=True) if isinstance(answer, Exception)]

        return self._ask(ask)

    def close(self) -> None:
        """Drop the connection; the next command makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            _close(client)

    def abandon(self) -> None:
        """Let go, in a forked child, of the parent's connection without a word to the server."""
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

    def __init__(self, url: str, timeout_ms: int, channel: str) -> None:
        self._client: Any = None
        self._pubsub: Any = None
        try:
            self._client = connect(url, timeout_ms / 1000, subscribes=True)
            self._pubsub = self._client.pubsub()
            self._pubsub.subscribe(channel)
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
        """Let go, in a forked child, of the parent's subscription without a word to the server."""
        client, self._client, self._pubsub = self._client, None, None
        _let_go(client)

    def close(self) -> None:
        """Drop the subscription and its connection."""
        for part in (self._pubsub, self._client):
            if part is not None:
                _close(part)


def _fenced(client: redis.Redis, names: Names, gates: Sequence[str]) -> frozenset[str]:
    """Return the gates whose fence has the length of one of ours, and so may be asked for."""
    pipeline = client.pipeline(transaction=True)
    for gate in gates:
        for name in _FENCE:
            pipeline.hstrlen(names.fence(gate), name)
    lengths = pipeline.execute(raise_on_error=False)
    return frozenset(
        gate for at, gate in enumerate(gates) if lengths[3 * at : 3 * at + 3] in ([WIDTH, WIDTH, len(kind)] for kind in _KINDS)
    )


def _read(client: redis.Redis, names: Names, gates: Sequence[str], fenced: frozenset[str]) -> list[Found]:
    pipeline = client.pipeline(transaction=True)
    for gate in gates:
        pipeline.getrange(names.record(gate), 0, TOKEN_BYTES_MAX)  # one byte more than a token may have
        pipeline.pttl(names.record(gate))
        if gate in fenced:
            pipeline.hmget(names.fence(gate), _FENCE)
    answers = iter(pipeline.execute(raise_on_error=False))
    found = []
    for gate in gates:
        record, pttl = next(answers), next(answers)
        found.append(_found(record, pttl, next(answers) if gate in fenced else None))
    return found


def _read_alone(client: redis.Redis, names: Names, gate: str) -> Found:
    """Return one gate, without its fence where that grows again: who writes such a thing can take it away as well."""
    try:
        return _read(client, names, [gate], _fenced(client, names, [gate]))[0]
    except TooLong:
        return _read(client, names, [gate], frozenset())[0]


def _read_seals(client: redis.Redis, names: Names, partitions: Iterable[int], bytes_max: int) -> dict[int, SealFound]:
    """So many bytes of each partition's seal."""
    pipeline = client.pipeline(transaction=True)
    pipeline.getrange(names.term, 0, TERM_DIGITS_MAX)
    for partition in partitions:
        pipeline.getrange(names.seal(partition), 0, bytes_max - 1)
        pipeline.pttl(names.seal(partition))
    term, *answers = pipeline.execute(raise_on_error=False)
    digits = term.decode("ascii", "replace") if isinstance(term, bytes) else ""
    told = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= TERM_DIGITS_MAX else 0
    found = {}
    for partition, head, pttl in zip(partitions, answers[::2], answers[1::2], strict=True):
        if isinstance(head, Exception):  # a key of another type is garbage, and verifies as such
            head, pttl = b"?", 0
        if not isinstance(head, bytes) or not isinstance(pttl, int):
            raise redis.ResponseError("an answer of another type than was asked for")
        found[partition] = SealFound(head, None, pttl, told)
    return found


def _found(record: Any, pttl: Any, fence: Any) -> Found:
    """Return one gate's answers; an error, such as a key of another type, is garbage and verifies as such."""
    if isinstance(record, Exception):
        return Found(b"", 0)
    if not isinstance(record, bytes):
        raise redis.ResponseError("an answer of another type than was asked for")
    if not isinstance(pttl, int):
        raise redis.ResponseError("no remaining life in the answer")
    return Found(None if pttl == -2 else record, pttl, _fence(fence))


def _fence(fields: Any) -> Fenced | None:
    """Return the fence in an answer; None for what no monitor can have written."""
    if not isinstance(fields, list) or not all(isinstance(field, bytes) for field in fields):
        return None
    epoch, offset, kind = (field.decode("ascii", "replace") for field in fields)
    return Fenced(epoch, offset, kind == "closing") if is_epoch(epoch) and is_epoch(offset) and kind in _KINDS else None


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
