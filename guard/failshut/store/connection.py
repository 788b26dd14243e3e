"""The guard's connections to the store: where they lead, what is refused at their beginning, when they are made again.

Every client of the guard and of the screens is made here. A connection asks for the server's role when it is made, and again
every two seconds of use. If the server is a replica or a cluster, the connection is closed with an error that names it
(`WrongStore`). No command is tried twice, every wait has a limit. Behind Sentinels, the primary's address is asked for before
each connection, over connections that end with the question. So a fork inherits none of them, and none outlives a fail-over.
"""

from __future__ import annotations

import time
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from failshut.store.address import StoreAddress
from failshut.store.answers import BoundedParser
from failshut.store.state import AGE_SECONDS_MAX, RELOOK_SECONDS, WrongStore, judge_hello, wrong_store

CONNECTIONS_MAX: Final = 2


class _Looking:
    """A connection of redis-py that looks whom it talks to. Stands before one of its classes."""

    def __init__(self, *, address: StoreAddress, subscribes: bool = False, **options: Any) -> None:
        self._address = address
        self._subscribes = subscribes
        """Between a subscription's messages no question can be asked."""
        self._made_mono = 0.0
        """When this connection was made; 0 while there is none."""
        self._looked_mono = 0.0
        super().__init__(redis_connect_func=_begin, **options)  # type: ignore[call-arg]

    def connect(self) -> None:
        """Connect if there is no connection, or none that may still be used. Called whenever one is taken from the pool."""
        if self._made_mono and not self._subscribes:
            now = time.monotonic()
            if now - self._made_mono > AGE_SECONDS_MAX:
                self.disconnect()
            elif now - self._looked_mono > RELOOK_SECONDS:
                self._look_again()
        if not self._made_mono and self._address.sentinels:
            self.host, self.port = primary(self._address, self.socket_timeout)  # type: ignore[attr-defined]
        super().connect()  # type: ignore[misc]

    def _look_again(self) -> None:
        """Look whom a pooled connection talks to. One that the server has ended since is made anew, and is no trouble."""
        try:
            self.look()
        except WrongStore:
            raise
        except (redis.ConnectionError, ConnectionError):
            self.disconnect()

    def disconnect(self, *args: Any, **options: Any) -> None:
        """Let go of the connection."""
        self._made_mono = 0.0
        super().disconnect(*args, **options)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read one answer. Raises WrongStore, and lets go, where it says that this is no place to ask."""
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            wrong = wrong_store(error, self._address.name)
            if wrong is None:
                raise
            self.disconnect()
            raise wrong from error

    def look(self) -> None:
        """Ask whom this connection talks to. Raises WrongStore, and lets go, unless it is a primary by itself."""
        self._looked_mono = time.monotonic()
        try:
            self.send_command("HELLO", check_health=False)  # type: ignore[attr-defined]
            answer = self.read_response()
        except redis.ResponseError:
            return  # something that knows no HELLO: what it says to commands is judged all the same
        except (redis.RedisError, OSError):
            self.disconnect()
            raise
        if (wrong := judge_hello(answer, self._address.name)) is not None:
            self.disconnect()
            raise wrong


def _begin(connection: Any) -> None:
    """Begin a new connection: log in, choose the database, look."""
    connection.on_connect()
    connection._made_mono = time.monotonic()
    connection.look()


class _Plain(_Looking, Connection):
    pass


class _Tls(_Looking, SSLConnection):
    pass


class _Socket(_Looking, UnixDomainSocketConnection):
    pass


def connect(url: str, timeout_seconds: float, *, subscribes: bool = False) -> redis.Redis:
    """Return a client with no retries and a limit on every wait. Raises ValueError for an address that cannot be meant."""
    address = StoreAddress.parse(url)
    address.check_files()
    kind: type[Any] = _Tls if address.tls else _Socket if address.path else _Plain
    options: Any = address.options(timeout_seconds)
    pool = redis.ConnectionPool(
        connection_class=kind,
        parser_class=BoundedParser,
        max_connections=CONNECTIONS_MAX,
        retry=Retry(NoBackoff(), 0),
        subscribes=subscribes,
        **options,
    )
    return redis.Redis.from_pool(pool)  # closing the client closes the pool


def primary(address: StoreAddress, timeout_seconds: float) -> tuple[str, int]:
    """Ask the Sentinels, one after the other, where the primary is.

    Raises:
        redis.ConnectionError: none of them says.
    """
    why = "none of them knows it"
    options: Any = address.sentinel_options(timeout_seconds)
    for host, port in address.sentinels:
        try:
            with redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **options) as sentinel:
                found: Any = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", address.service)
            if found:
                return _place(found)
        except (redis.RedisError, OSError, ValueError) as error:
            why = f"the last answer was {type(error).__name__}: {error}"
    raise redis.ConnectionError(f"the Sentinels of {address.name} do not say where the primary is: {why}")


def _place(found: Any) -> tuple[str, int]:
    """Read a Sentinel's answer, whichever way the driver hands it on."""
    host, port = found
    return (host.decode() if isinstance(host, bytes) else str(host)), int(port)
