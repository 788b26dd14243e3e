"""How the brokers are reached: one address says it all.

    kafka://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?SETTING=VALUE&...]

`kafka://` is plain; `kafkas://` (or `kafka+ssl://`) is TLS. Settings: `mechanism` (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; with a
login and nothing said PLAIN), `ca`, `cert`, `key`, `key_password`, `check_hostname`, `user`, `password`. Settings that are
better not in an address are set beside it: FAILSHUT_BROKER_PASSWORD and so on (`complete`). Every Kafka client of Failshut is
made with `client_options`, every consumer with `consumer_options`, and Faust's with `faust_credentials`. No error shows any of
an address but hosts, once it is understood.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Final

from failshut.network.address import LOGIN_AND_TLS, Grammar, read, settings_from, with_settings
from failshut.network.tls import tls_context
from failshut_streams.kafka import unpacking

ENVIRONMENT: Final = "FAILSHUT_BROKER"
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TLS: Final = frozenset({"kafkas", "kafka+ssl"})
_TLS_SETTINGS: Final = ("ca", "cert", "key", "key_password", "check_hostname")
_OWN_SETTINGS: Final = ("mechanism", "key_password")

GRAMMAR: Final = Grammar(
    what="broker address",
    example="kafka://HOST:PORT[,HOST:PORT] (kafkas:// for TLS)",
    schemes=_TLS | {"kafka"},
    settings={**LOGIN_AND_TLS, **{name: name for name in _OWN_SETTINGS}},
    many=_TLS | {"kafka"},
)

READ_COMMITTED: Final = "read_committed"
"""The isolation level of every consumer: records of aborted transactions are passed over, those of open ones waited for."""


@dataclass(frozen=True)
class Broker:
    """A broker address, taken apart. Neither login nor settings are in its `repr`."""

    servers: tuple[str, ...]
    username: str
    password: str
    tls: bool
    mechanism: str = ""
    """Of the login; empty without one."""
    settings: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        login = f", {self.mechanism} login" if self.username else ""
        return f"Broker({','.join(self.servers)}{login}{', TLS' if self.tls else ''})"

    @property
    def name(self) -> str:
        """The address for people: without login and settings."""
        return f"{'kafkas' if self.tls else 'kafka'}://{','.join(self.servers)}"

    @classmethod
    def parse(cls, address: str) -> Broker:
        """Take an address apart.

        Raises:
            AddressError: it cannot be meant; the text quotes nothing of it.
        """
        text = address.strip()
        found = read(text if "://" in text else f"kafka://{text}", GRAMMAR)
        if found.path.strip("/"):
            raise GRAMMAR.wrong("something stands behind the hosts that is no setting: settings begin with a ?")
        if not found.hosts or not all(port for _, port in found.hosts):
            raise GRAMMAR.wrong("every host needs a port, as in broker:9092")
        if any(":" in host for host, _ in found.hosts):
            raise GRAMMAR.wrong("a host is an IPv6 address, which Kafka's client cannot read here: use its name")
        settings, tls = found.settings, found.scheme in _TLS
        _check(settings, tls)
        user = settings.get("user", "")
        mechanism = settings.get("mechanism", "PLAIN") if user else ""
        servers = tuple(f"{host}:{port}" for host, port in found.hosts)
        return cls(servers, user, settings.get("password", ""), tls, mechanism, settings)

    def tls_context(self) -> SSLContext | None:
        """Return the TLS context, or None where the connection is plain.

        Raises:
            AddressError: a file that a setting names cannot be used.
        """
        return tls_context(self.settings, GRAMMAR) if self.tls else None

    def faust_url(self) -> str:
        """Return the address in Faust's form; the login is given beside it."""
        return ";".join(f"kafka://{server}" for server in self.servers)

    def faust_credentials(self) -> Any:
        """Return Faust's credentials, or None where there are none."""
        import faust  # not for those who only have commands to send

        class Login(faust.SASLCredentials):
            """Faust shows the user; where an address was cut in the wrong place that is part of a password."""

            def __repr__(self) -> str:
                return "<Login>"

        if self.username:
            return Login(
                username=self.username, password=self.password, mechanism=self.mechanism, ssl_context=self.tls_context()
            )
        return faust.SSLCredentials(self.tls_context()) if self.tls else None


def _check(settings: Mapping[str, str], tls: bool) -> None:
    if ("user" in settings) != ("password" in settings):
        raise GRAMMAR.wrong("a login has a user and a password: user:password@ before the hosts, or both as settings")
    if settings.get("mechanism", "PLAIN") not in MECHANISMS:
        raise GRAMMAR.wrong(f"mechanism is none of {', '.join(MECHANISMS)}")
    if "mechanism" in settings and "user" not in settings:
        raise GRAMMAR.wrong("mechanism is set without a login")
    if "key_password" in settings and "key" not in settings:
        raise GRAMMAR.wrong("key_password is set without key")
    if not tls and any(name in settings for name in _TLS_SETTINGS):
        raise GRAMMAR.wrong("ca, cert, key, key_password and check_hostname need TLS: kafkas://")


def complete(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return an address with the settings that stand beside it in the environment: `FAILSHUT_BROKER_CA` and the like.

    Raises:
        AddressError: a password's file cannot be read.
    """
    variables = os.environ if environment is None else environment
    return with_settings(text, settings_from(variables, ENVIRONMENT, _OWN_SETTINGS)) if text.strip() else ""


def shown(address: str) -> str:
    """Return an address for people; one that cannot be understood is not shown at all."""
    try:
        return Broker.parse(address).name
    except ValueError:
        return "(an address that cannot be understood)"


def client_options(address: str) -> dict[str, Any]:
    """Return how an aiokafka client reaches the brokers.

    >>> client_options("kafka://a:9092,b:9092")
    {'bootstrap_servers': ['a:9092', 'b:9092'], 'security_protocol': 'PLAINTEXT'}

    Raises:
        AddressError: not a broker address, or a file that it names cannot be used.
    """
    broker = Broker.parse(address)
    protocol = ("SASL_" if broker.username else "") + ("SSL" if broker.tls else "PLAINTEXT")
    options: dict[str, Any] = {"bootstrap_servers": list(broker.servers), "security_protocol": protocol}
    if broker.tls:
        options["ssl_context"] = broker.tls_context()
    if broker.username:
        options |= {
            "sasl_mechanism": broker.mechanism,
            "sasl_plain_username": broker.username,
            "sasl_plain_password": broker.password,
        }
    return options


def consumer_options(address: str) -> dict[str, Any]:
    """Return how an aiokafka consumer reaches the brokers, and that it reads what was committed, and nothing else.

    Kafka's own default is to read records of transactions that were aborted, or may still be. Those are no evidence.
    From here on what batches unpack to is bounded, in all of this process (unpacking.py).

    Raises:
        ValueError: not a broker address.
    """
    unpacking.install()
    return {**client_options(address), "isolation_level": READ_COMMITTED}


def _without_logins(record: logging.LogRecord) -> bool:
    """Drop what would write a login to a log: at DEBUG aiokafka logs every request as it is, PLAIN's password included."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(type(argument).__name__.startswith("SaslAuthenticate") for argument in arguments)


logging.getLogger("aiokafka.conn").addFilter(_without_logins)
