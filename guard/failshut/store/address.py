"""The store's address: Redis or Valkey, plain or over TLS, by a socket file, or found by asking Sentinels.

    redis://[USER:PASSWORD@]HOST[:6379][/DB]              also valkey://; rediss:// and valkeys:// are TLS
    unix://[USER:PASSWORD@]/PATH[?db=DB]
    redis+sentinel://[USER:PASSWORD@]HOST[:26379],.../SERVICE[/DB]     also rediss+sentinel:// and valkey's

Settings behind the `?`: user, password, db, ca, cert, key, check_hostname. If Sentinels have another login:
sentinel_user and sentinel_password. redis-py's names for these are understood. Its other settings are refused: they
would lift the limits that every wait for the store has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redis.credentials import UsernamePasswordCredentialProvider

from failshut.network.address import LOGIN_AND_TLS, Address, Grammar, checks_hostname, read, settings_from, with_settings
from failshut.network.tls import tls_context

ENVIRONMENT: Final = "FAILSHUT_STORE"
OUTCOMES_ENVIRONMENT: Final = "FAILSHUT_OUTCOMES_STORE"
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_ONLY_WITH_SENTINELS: Final = ("sentinel_user", "sentinel_password")
_TLS_SETTINGS: Final = ("ca", "cert", "key", "check_hostname")
_SENTINELS: Final = frozenset(f"{scheme}+sentinel" for scheme in ("redis", "rediss", "valkey", "valkeys"))

GRAMMAR: Final = Grammar(
    what="store address",
    example="redis://HOST:PORT/0 (rediss:// for TLS)",
    schemes=frozenset({"redis", "rediss", "valkey", "valkeys", "unix"}) | _SENTINELS,
    settings={**LOGIN_AND_TLS, "db": "db", "ssl_cert_reqs": "ssl_cert_reqs", **{name: name for name in _ONLY_WITH_SENTINELS}},
    many=_SENTINELS,
)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store's address, taken apart. Its login is not in its `repr`, nor in its `name`."""

    name: str
    """For people: without login and settings."""
    host: str
    port: int
    path: str
    """Of a socket file; empty otherwise."""
    db: int
    tls: bool
    sentinels: tuple[tuple[str, int], ...]
    service: str
    """The name that Sentinels know the primary by; empty without Sentinels."""
    settings: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> StoreAddress:
        """Take an address apart. Raises AddressError, which quotes nothing of it."""
        address = read(text, GRAMMAR)
        if "user" in address.settings and "password" not in address.settings:
            raise GRAMMAR.wrong("it has a user and no password: write user:password@, or :password@ for no user")
        if address.settings.get("ssl_cert_reqs", "required") != "required":
            raise GRAMMAR.wrong("certificates are always checked: name the authority of a private one with ca")
        tls = address.scheme.startswith(("rediss", "valkeys"))
        if not tls and any(name in address.settings for name in _TLS_SETTINGS):
            raise GRAMMAR.wrong("ca, cert, key and check_hostname need TLS: rediss:// or valkeys://")
        if address.scheme in _SENTINELS:
            return cls._by_sentinels(address, tls)
        if any(name in address.settings for name in _ONLY_WITH_SENTINELS):
            raise GRAMMAR.wrong("sentinel_user and sentinel_password need redis+sentinel://")
        return cls._by_socket(address) if address.scheme == "unix" else cls._by_host(address, tls)

    @classmethod
    def _by_host(cls, address: Address, tls: bool) -> StoreAddress:
        if not address.hosts:
            raise GRAMMAR.wrong("it names no host")
        (host, port), db = address.hosts[0], _db(address.path.removeprefix("/"), address.settings)
        port = port or PORT
        name = f"{address.scheme}://{_shown(host)}:{port}/{db}"
        return cls(name, host, port, "", db, tls, (), "", address.settings)

    @classmethod
    def _by_socket(cls, address: Address) -> StoreAddress:
        if address.hosts or not address.path:
            raise GRAMMAR.wrong("a socket file is written as unix:///PATH, with three slashes")
        return cls(f"unix://{address.path}", "", 0, address.path, _db("", address.settings), False, (), "", address.settings)

    @classmethod
    def _by_sentinels(cls, address: Address, tls: bool) -> StoreAddress:
        service, _, db_text = address.path.removeprefix("/").partition("/")
        if not address.hosts or not re.fullmatch(r"[\w.-]{1,128}", service):
            raise GRAMMAR.wrong("with Sentinels write redis+sentinel://HOST:26379,HOST:26379/SERVICE/0")
        if "sentinel_user" in address.settings and "sentinel_password" not in address.settings:
            raise GRAMMAR.wrong("sentinel_user is set without sentinel_password")
        sentinels = tuple((host, port or SENTINEL_PORT) for host, port in address.hosts)
        db = _db(db_text, address.settings)
        shown = ",".join(f"{_shown(host)}:{port}" for host, port in sentinels)
        return cls(f"{address.scheme}://{shown}/{service}/{db}", "", 0, "", db, tls, sentinels, service, address.settings)

    def check_files(self) -> None:
        """Try the files of the certificate settings. Raises AddressError, which names the setting.

        A key with a password is refused: OpenSSL would ask the terminal for it.
        """
        if self.tls:
            tls_context(self.settings, GRAMMAR)

    def options(self, timeout_s: float) -> dict[str, Any]:
        """Return how the store is reached as options of redis-py's connections, with a limit on every wait.

        Behind Sentinels host and port are set when a connection is made.
        """
        place = {"path": self.path} if self.path else {"host": self.host, "port": self.port}
        login = _login(self.settings.get("user"), self.settings.get("password"))
        return {"address": self, "db": self.db, **place, **_limits(timeout_s), **login, **self._tls_options()}

    def sentinel_options(self, timeout_s: float) -> dict[str, Any]:
        """Return how Sentinels are reached, but for their hosts, as options of redis-py's client."""
        login = _login(self.settings.get("sentinel_user"), self.settings.get("sentinel_password"))
        return {**_limits(timeout_s), **login, **({"ssl": True, **self._tls_options()} if self.tls else {})}

    def _tls_options(self) -> dict[str, Any]:
        if not self.tls:
            return {}
        return {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": checks_hostname(self.settings),
            "ssl_ca_certs": self.settings.get("ca"),
            "ssl_certfile": self.settings.get("cert"),
            "ssl_keyfile": self.settings.get("key"),
        }


def complete(text: str, environment: Mapping[str, str] | None = None, prefix: str = ENVIRONMENT) -> str:
    """Return a store's address with the settings that stand beside it in the environment: `FAILSHUT_STORE_CA` and the like.

    Raises:
        AddressError: a password's file cannot be read.
    """
    variables = os.environ if environment is None else environment
    return with_settings(text, settings_from(variables, prefix, _ONLY_WITH_SENTINELS)) if text.strip() else ""


def _login(user: str | None, password: str | None) -> dict[str, Any]:
    """Return the settings as an object: redis-py shows a pool with its options, in older versions with a password."""
    return {"credential_provider": UsernamePasswordCredentialProvider(user, password)} if password else {}


def _limits(timeout_s: float) -> dict[str, Any]:
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "health_check_interval": 0, "protocol": 2}


def _db(text: str, settings: Mapping[str, str]) -> int:
    if text and "db" in settings:
        raise GRAMMAR.wrong("the database is named twice: behind the / and as db")
    text = text.removesuffix("/") or settings.get("db", "") or "0"
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise GRAMMAR.wrong("the database behind the / is not a number")
    return int(text)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
