"""The monitor's connections to the store: the same rules as a guard's (failshut.store.connection), in an event loop.

Every asyncio client of a worker is made here. A connection asks for the server's role when it is made, and again every two
seconds of use. If the node is no primary, is loading or belongs to a cluster, the connection is closed with an error that names
it. The next try resolves the address again. No command is tried twice, and every wait has a limit.
"""

from __future__ import annotations

import time
from typing import Any

import redis.asyncio as redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import RedisError, ResponseError

from failshut.store.address import StoreAddress
from failshut.store.state import AGE_SECONDS_MAX, RELOOK_SECONDS, WrongStore, judge_hello, wrong_store
from failshut_breakers.store.answers import BoundedAsyncParser


class _Looking:
    """A connection of redis-py that looks whom it talks to. Stands before one of its classes."""

    def __init__(self, *, address: StoreAddress, **options: Any) -> None:
        self._address = address
        self._made_mono = 0.0
        """When this connection was made; 0 while there is none."""
        self._looked_mono = 0.0
        super().__init__(redis_connect_func=_begin, **options)  # type: ignore[call-arg]

    async def connect(self) -> None:
        """Connect if there is no connection, or none that may still be used. Called whenever one is taken from the pool."""
        if self._made_mono:
            now = time.monotonic()
            if now - self._made_mono > AGE_SECONDS_MAX:
                await self.disconnect()
            elif now - self._looked_mono > RELOOK_SECONDS:
                await self._look_again()
        if not self._made_mono and self._address.sentinels:
            self.host, self.port = await primary(self._address, self.socket_timeout)  # type: ignore[attr-defined]
        await super().connect()  # type: ignore[misc]

    async def _look_again(self) -> None:
        """Look whom a pooled connection talks to. One that the server has ended since is made anew, and is no trouble."""
        try:
            await self.look()
        except WrongStore:
            raise
        except (Unconnected, ConnectionError):
            await self.disconnect(nowait=True)

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """Let go of the connection."""
        self._made_mono = 0.0
        await super().disconnect(*args, **options)  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read one answer. Raises WrongStore, and lets go, where it says that this is no place to ask."""
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except RedisError as error:
            wrong = wrong_store(error, self._address.name)
            if wrong is None:
                raise
            await self.disconnect()
            raise wrong from error

    async def look(self) -> None:
        """Ask whom this connection talks to. Raises WrongStore, and lets go, unless it is a primary by itself."""
        self._looked_mono = time.monotonic()
        try:
            await self.send_command("HELLO", check_health=False)  # type: ignore[attr-defined]
            answer = await self.read_response()
        except ResponseError:
            return  # something that knows no HELLO: what it says to commands is judged all the same
        except BaseException:  # a question that was given up on leaves its answer in the way of the next one's
            await self.disconnect(nowait=True)
            raise
        if (wrong := judge_hello(answer, self._address.name)) is not None:
            await self.disconnect()
            raise wrong


async def _begin(connection: Any) -> None:
    """Begin a new connection: log in, choose the database, look."""
    await connection.on_connect()
    connection._made_mono = time.monotonic()
    await connection.look()


class _Plain(_Looking, Connection):
    pass


class _Tls(_Looking, SSLConnection):
    pass


class _Socket(_Looking, UnixDomainSocketConnection):
    pass


def connect(url: str, timeout_s: float, *, connections_max: int) -> redis.Redis:
    """Return a client with no retries and a limit on every wait; it connects when it is first asked.

    Raises:
        AddressError: the address cannot be meant, or a file that it names cannot be used.
    """
    address = StoreAddress.parse(url)
    address.check_files()
    kind: type[Any] = _Tls if address.tls else _Socket if address.path else _Plain
    options: Any = address.options(timeout_s)
    pool = ConnectionPool(
        connection_class=kind,
        parser_class=BoundedAsyncParser,
        max_connections=connections_max,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return redis.Redis.from_pool(pool)


async def primary(address: StoreAddress, timeout_s: float) -> tuple[str, int]:
    """Ask the Sentinels, one after the other, where the primary is.

    Raises:
        redis.exceptions.ConnectionError: none of them says.
    """
    why = "none of them knows it"
    options: Any = address.sentinel_options(timeout_s)
    for host, port in address.sentinels:
        try:
            sentinel: Any
            async with redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **options) as sentinel:
                found: Any = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", address.service)
            if found:
                at, number = found
                return (at.decode() if isinstance(at, bytes) else str(at)), int(number)
        except (RedisError, OSError, ValueError) as error:
            why = f"the last answer was {type(error).__name__}: {error}"
    raise Unconnected(f"the Sentinels of {address.name} do not say where the primary is: {why}")
