"""The store: permits, closings and probe tokens in Redis or Valkey, written by compare and swap.

Every write goes through one script that compares (epoch, offset) as zero-padded text, so that old authority never wins, whoever
writes late, twice, or after a fail-over to a replica that knew less. A write that was lost is no danger (the permit that stands
expires); a write whose answer was lost is repeated, and the repetition changes nothing.

Absent, refused and unreachable are three results: `written`, `refused` and StoreUnreachable. No driver's exception leaves here.

A fence that no monitor can have written (see write.lua) refuses what opens, and a closing puts it right. One that looks like a
monitor's and is ahead refuses everything: nobody here can know that it is not of a later term. Who is refused is told what
the store holds, and an operator who knows better removes it (`clear_fence`).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from types import TracebackType
from typing import Self

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from failshut import keys
from failshut_breakers.permits import Statement

SCRIPT = files("failshut_breakers").joinpath("write.lua").read_text()


CLEAR = """
local fence = redis.pcall('HGET', KEYS[1], 'epoch')
if type(fence) ~= 'string' or fence ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
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


class StoreUnreachable(Exception):
    """The store did not take a write in time. Permits that stand there expire by themselves."""


class Store:
    """Writes statements. One per worker; its timeouts bound every call."""

    def __init__(self, url: str, timeout_s: float = 1.0) -> None:
        self._redis: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=16,
        )
        self._sha = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

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
            raise StoreUnreachable(f"{type(error).__name__}: {error}") from error
        try:
            return await self._write(pairs)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnreachable(f"{type(error).__name__}: {error}") from error

    async def _write(self, pairs: list[tuple[Statement, bytes]]) -> list[Answer]:
        if not self._sha:
            self._sha = str(await self._redis.script_load(SCRIPT))
        async with self._redis.pipeline(transaction=False) as pipe:
            for statement, status in pairs:
                gate = statement.gate
                pipe.evalsha(
                    self._sha,
                    5,
                    keys.fence(gate),
                    keys.record(gate),
                    keys.probes(gate),
                    keys.probed(gate),
                    keys.status(gate),
                    statement.epoch,
                    f"{statement.offset:016d}",
                    statement.kind,
                    statement.token,
                    str(statement.exp_ms),
                    str(statement.tokens),
                    statement.probe_epoch,
                    status,
                    keys.PUSH,
                    keys.push_message(gate, statement.token),
                )
            pipe.sadd(keys.GATES, *sorted({statement.gate for statement, _ in pairs}))
            answers = await pipe.execute()
        return [Answer.of(answer) for answer in answers[:-1]]

    async def clear_fence(self, gate: str, epoch: str) -> bool:
        """Remove what a gate's fence and record say, if the fence is of that epoch; return whether it was.

        The gate denies until a monitor writes its last decision again, within seconds.

        Raises:
            StoreUnreachable: the store did not answer; it may have been done.
        """
        try:
            done: object = await self._redis.eval(CLEAR, 2, keys.fence(gate), keys.record(gate), epoch)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnreachable(f"{type(error).__name__}: {error}") from error
        return done == 1
