"""Why no broker could be reached: asked once more, for the person who must change a setting.

Kafka's client logs the reason and raises "unable to bootstrap". After such an error this module tries one connection to each of
the first hosts. Its error names the setting that is wrong. Nothing is decided by it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from failshut_streams.kafka.address import Broker, client_options

HOSTS_MAX: Final = 3
SECONDS_MAX: Final = 3.0


async def why_unreachable(address: str) -> str:
    """Return why the brokers of an address cannot be reached, or an empty text where one can be now. Raises AddressError."""
    broker = Broker.parse(address)
    options = client_options(address)
    del options["bootstrap_servers"]
    reasons = []
    for server in broker.servers[:HOSTS_MAX]:
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(SECONDS_MAX):
                connection = await create_conn(host, int(port), request_timeout_ms=int(SECONDS_MAX * 1000), **options)
                try:
                    await connection.send(MetadataRequest([]))  # a door that wants a login shuts at the first real request
                finally:
                    connection.close()
        except (OSError, KafkaError, TimeoutError) as error:
            reasons.append(f"{server} {_reason(error, broker)}")
        else:
            return ""
    return "; ".join(reasons)


def _reason(error: BaseException, broker: Broker) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not believed ({error.verify_message}): settings ca and check_hostname"
    if isinstance(error, ssl.SSLError):
        return f"and this client do not agree on TLS ({error.reason}): kafkas:// for TLS, kafka:// without; cert and key"
    if isinstance(error, SaslAuthenticationFailed):
        return f"refuses the login ({broker.mechanism}): settings user, password and mechanism"
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return f"takes no login by {broker.mechanism}: setting mechanism, or no login at all"
    if isinstance(error, ConnectionRefusedError):
        return "does not listen"
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, KafkaError | ConnectionError):
        return f"ends the connection: {_wants(broker)}"
    return f"cannot be reached: {error.strerror if isinstance(error, OSError) else type(error).__name__}"


def _wants(broker: Broker) -> str:
    """Return what a broker may want that ends connections without a word."""
    wanted = (
        "it may speak no TLS (kafka://), or want a client certificate (cert and key)"
        if broker.tls
        else "it may want TLS (kafkas://)"
    )
    return wanted if broker.username else f"{wanted}, or a login (user and password)"
