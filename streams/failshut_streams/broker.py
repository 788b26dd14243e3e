"""How the brokers are reached: one address says it all.

`kafka://host:port[,host:port]` is plain, `kafkas://` is TLS with the system's authorities;
`kafka://user:password@host:port` logs in (SASL PLAIN; percent-encode what is special in a password). Every
Kafka client of Failshut is made with `client_options`, and every consumer with `consumer_options`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext, create_default_context
from typing import Any, Final
from urllib.parse import unquote

READ_COMMITTED: Final = "read_committed"
"""The isolation level of every consumer: records of aborted transactions are passed over, those of open ones waited for."""


@dataclass(frozen=True)
class Broker:
    """A broker address, taken apart. The password is not in its `repr`."""

    servers: tuple[str, ...]
    username: str
    password: str
    tls: bool

    def __repr__(self) -> str:
        return f"Broker({','.join(self.servers)}{', with a login' if self.username else ''}{', TLS' if self.tls else ''})"

    @classmethod
    def parse(cls, address: str) -> Broker:
        """Read an address.

        Raises:
            ValueError: not kafka:// or kafkas:// with at least one host:port.
        """
        scheme, found, rest = address.partition("://")
        if not found:
            scheme, rest = "kafka", address
        login, at, hosts = rest.rpartition("@")
        username, _, password = login.partition(":")
        servers = tuple(
            host.strip().removeprefix(f"{scheme}://") for host in hosts.replace(";", ",").split(",") if host.strip()
        )
        if scheme not in ("kafka", "kafkas") or not servers or not all(":" in server for server in servers):
            raise ValueError("not a broker address: write kafka://host:port[,host:port], or kafkas:// for TLS")
        if at and not (username and password):
            raise ValueError("a broker address with @ has a user and a password before it")
        return cls(servers, unquote(username), unquote(password), scheme == "kafkas")

    def tls_context(self) -> SSLContext | None:
        """Return the TLS context, or None where the connection is plain."""
        return create_default_context() if self.tls else None

    def faust_url(self) -> str:
        """Return the address in Faust's form; the login is given beside it."""
        return ";".join(f"kafka://{server}" for server in self.servers)

    def faust_credentials(self) -> Any:
        """Return Faust's credentials, or None where there are none."""
        import faust  # not for those who only have commands to send

        if self.username:
            return faust.SASLCredentials(
                username=self.username, password=self.password, mechanism="PLAIN", ssl_context=self.tls_context()
            )
        return faust.SSLCredentials(self.tls_context()) if self.tls else None


def client_options(address: str) -> dict[str, Any]:
    """Return how an aiokafka client reaches the brokers.

    >>> client_options("kafka://a:9092,b:9092")
    {'bootstrap_servers': ['a:9092', 'b:9092'], 'security_protocol': 'PLAINTEXT'}

    Raises:
        ValueError: not a broker address.
    """
    broker = Broker.parse(address)
    protocol = ("SASL_" if broker.username else "") + ("SSL" if broker.tls else "PLAINTEXT")
    options: dict[str, Any] = {"bootstrap_servers": list(broker.servers), "security_protocol": protocol}
    if broker.tls:
        options["ssl_context"] = broker.tls_context()
    if broker.username:
        options |= {
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": broker.username,
            "sasl_plain_password": broker.password,
        }
    return options


def consumer_options(address: str) -> dict[str, Any]:
    """Return how an aiokafka consumer reaches the brokers, and that it reads what was committed, and nothing else.

    Kafka's own default is to read records of transactions that were aborted, or may still be. Those are no evidence.

    Raises:
        ValueError: not a broker address.
    """
    return {**client_options(address), "isolation_level": READ_COMMITTED}
