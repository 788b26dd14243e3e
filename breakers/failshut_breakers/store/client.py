"""The store: permits, closings and probe tokens in Redis or Valkey, written by compare and swap.

Every write goes through one script that compares (epoch, offset) as zero-padded text. So old authority never wins, even if
somebody writes late, twice, or after a fail-over to a replica that was behind. A lost write is no danger: the permit in the
store expires. A write whose answer was lost is repeated, and the repetition changes nothing.

Absent, refused and unreachable are three results: `written`, `refused` and StoreUnreachable. No driver's exception leaves here.

A fence that no monitor can have written (see write.lua) refuses what opens, and a closing puts it right. One that looks like a
monitor's and is ahead refuses everything: nobody here can know that it is not of a later term. Who is refused is told what
the store holds, and an operator who knows better removes it (`clear_fence`).

A store that others have filled accepts statements all the same. The script may exceed the store's memory, by a few kilobytes
for each gate. Before Redis 7 that is so for closings alone; permits wait there until there is room.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from types import TracebackType
from typing import NamedTuple, Self

import redis.asyncio as redis
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from failshut.seal import Seal
from failshut.store.names import Names, push_message
from failshut.store.state import WrongStore
from failshut_breakers.decisions.permits import Statement
from failshut_breakers.store.connection import connect

SCRIPT = files(__package__).joinpath("write.lua").read_text()
SEAL_SCRIPT = files(__package__).joinpath("seal.lua").read_text()
FLAGS = "#!lua flags=allow-oom\n"
"""Before the script: it is carried out in a store that is full, too. No Lua before Redis 7."""


CLEAR = """
if redis.pcall('HSTRLEN', KEYS[1], 'epoch') ~= #ARGV[1] or redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
"""


class Answer(int):
    """What became of a statement: 1 written, 0 refused. Then `epoch` and `offset` are those that the store holds.

    They are empty where what it holds is no fence of any monitor.
    """

    epoch = offset = ""

    @classmethod
    def of(cls, said: list[bytes]) -> Answer:
        """Read what the script says."""
        answer = cls(said[0] == b"written")
        answer.epoch, answer.offset = (part.decode("ascii", "replace") for part in said[1:3])
        return answer


class Sealed(NamedTuple):
    """What became of a seal: `written`, `older` or `differs`, and the position that stood there; empty where there was none."""

    how: str
    before: str


class StoreUnreachable(Exception):
    """The store did not take a write in time. Permits that stand there expire by themselves."""


class StoreUnfit(Exception):
    """What the address names is no store for permits, and waiting does not make it one: a cluster's node, a Sentinel."""


class Store:
    """Writes statements. One per worker; its timeouts bound every call."""

    def __init__(self, url: str, timeout_s: float = 1.0) -> None:
        self._redis: redis.Redis = connect(url, timeout_s, connections_max=16)
        self._sha = self._seal_sha = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def check(self) -> None:
        """Ask once what kind of store this is. One that does not answer may do so later: it passes.

        Raises:
            StoreUnfit: nothing can ever be written here.
        """
        try:
            await self._redis.ping()
        except WrongStore as error:
            if error.lasting:
                raise StoreUnfit(str(error)) from error
        except (RedisError, OSError, TimeoutError):
            return

    async def write(self, statements: Iterable[tuple[Statement, bytes]]) -> list[Answer]:
        """Write statements with the status that screens show, in order; return for each whether it was taken.

        A statement is refused where the store holds a newer one.

        Raises:
            StoreUnreachable: the store did not answer; some may have been applied.
        """
        pairs = list(statements)
        if not pairs:
            return []
        try:
            return await self._write(pairs)
        except NoScriptError:
            self._sha = ""  # the store was restarted or flushed
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error
        try:
            return await self._write(pairs)
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error

    async def _write(self, pairs: list[tuple[Statement, bytes]]) -> list[Answer]:
        if not self._sha:
            self._sha = await self._load(SCRIPT)
        sets: dict[str, set[str]] = {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for statement, status in pairs:
                gate, names = statement.gate, Names(statement.installation)
                sets.setdefault(names.gates, set()).add(gate)
                pipe.evalsha(
                    self._sha,
                    5,
                    names.fence(gate),
                    names.record(gate),
                    names.probes(gate),
                    names.probed(gate),
                    names.status(gate),
                    statement.epoch,
                    f"{statement.offset:016d}",
                    statement.kind,
                    statement.token,
                    str(statement.exp_ms),
                    statement.probe_epoch,
                    status,
                    names.push,
                    push_message(gate, statement.token),
                    *(statement.tokens or ()),
                )
            for name, gates in sets.items():
                pipe.sadd(name, *sorted(gates))
            answers = await pipe.execute(raise_on_error=False)
        written, named = answers[: len(pairs)], answers[len(pairs) :]
        for answer in written:
            if isinstance(answer, Exception):
                raise answer
        for name, answer in zip(sets, named, strict=True):
            await self._judge_naming(name, answer)
        return [Answer.of(answer) for answer in written]

    async def write_seals(self, seals: Iterable[tuple[Seal, str]]) -> list[Sealed]:
        """Write seals with their tokens; return for each what became of it.

        Raises:
            StoreUnreachable: the store did not answer; some may have been written.
        """
        pairs = list(seals)
        try:
            return await self._write_seals(pairs)
        except NoScriptError:
            self._seal_sha = ""  # the store was restarted or flushed
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error
        try:
            return await self._write_seals(pairs)
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error

    async def _write_seals(self, pairs: list[tuple[Seal, str]]) -> list[Sealed]:
        if not self._seal_sha:
            self._seal_sha = await self._load(SEAL_SCRIPT)
        async with self._redis.pipeline(transaction=False) as pipe:
            for seal, token in pairs:
                names = Names(seal.installation)
                keys = names.seal(seal.partition), names.sealed(seal.partition), names.term
                pipe.evalsha(self._seal_sha, 3, *keys, seal.position, str(seal.term), token, str(seal.kept_ms))
            answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [Sealed(*(part.decode("ascii", "replace") for part in answer)) for answer in answers]

    async def _judge_naming(self, name: str, answer: object) -> None:
        """Write the set of names, for screens. Each write tells it anew: a full store, or another key, costs it alone."""
        if isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE"):
            await self._redis.unlink(name)
        elif isinstance(answer, Exception) and not isinstance(answer, OutOfMemoryError):
            raise answer

    async def _load(self, script: str) -> str:
        try:
            return str(await self._redis.script_load(FLAGS + script))
        except ResponseError:  # a server that knows no flags: another error comes again
            return str(await self._redis.script_load(script))

    async def clear_fence(self, names: Names, gate: str, epoch: str) -> bool:
        """Remove what a gate's fence and record say, if the fence is of that epoch; return whether it was.

        The gate denies until a monitor writes its last decision again, within seconds.

        Raises:
            StoreUnreachable: the store did not answer; it may have been done.
        """
        try:
            done: object = await self._redis.eval(CLEAR, 2, names.fence(gate), names.record(gate), epoch)
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error
        return done == 1


def _unreachable(error: Exception) -> StoreUnreachable:
    return StoreUnreachable(str(error) if isinstance(error, WrongStore) else f"{type(error).__name__}: {error}")
