"""The store: permits, closings and probe tokens in Redis or Valkey, written by compare and swap.

Every write goes through one script that compares (epoch, offset) as zero-padded text, so that old authority never wins, whoever
writes late, twice, or after a fail-over to a replica that knew less. A write that was lost is no danger (the permit that stands
expires); a write whose answer was lost is repeated, and the repetition changes nothing.

Absent, refused and unreachable are three results: `written`, `refused` and StoreUnreachable. No driver's exception leaves here.
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

from failshut.keys import Names, push_message
from failshut_breakers.permits import Statement
from failshut_breakers.store_answers import BoundedAsyncParser

SCRIPT = files("failshut_breakers").joinpath("write.lua").read_text()


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
            protocol=2,
            parser_class=BoundedAsyncParser,
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

    async def write(self, statements: Iterable[tuple[Statement, bytes]]) -> list[bool]:
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

    async def _write(self, pairs: list[tuple[Statement, bytes]]) -> list[bool]:
        if not self._sha:
            self._sha = str(await self._redis.script_load(SCRIPT))
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
            answers = await pipe.execute()
        return [answer[0] == b"written" for answer in answers[: len(pairs)]]
