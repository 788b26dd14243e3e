"""One address says how the brokers are reached."""

from __future__ import annotations

import pytest

from failshut_streams.kafka.address import Broker, client_options, consumer_options


@pytest.mark.parametrize(
    ("address", "servers"),
    [
        ("kafka://a:1", ["a:1"]),
        ("kafka://a:1,b:2", ["a:1", "b:2"]),
        ("kafka://a:1;kafka://b:2", ["a:1", "b:2"]),
        ("a:1", ["a:1"]),
    ],
)
def test_addresses_are_read(address: str, servers: list[str]) -> None:
    """Kafka's, Faust's and the command line's way to write addresses mean the same."""
    assert client_options(address) == {"bootstrap_servers": servers, "security_protocol": "PLAINTEXT"}


def test_consumers_read_what_was_committed() -> None:
    """A consumer of ours reaches the brokers as any client, and reads committed records alone."""
    assert consumer_options("kafka://a:1") == {**client_options("kafka://a:1"), "isolation_level": "read_committed"}


@pytest.mark.parametrize("address", ["kafka://", "http://a:1", "kafka://a", "kafka://user@a:1", "kafka://:pw@a:1", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    """No default broker is made up, and no login is half given."""
    with pytest.raises(ValueError, match="broker address"):
        Broker.parse(address)


def test_a_login_reaches_every_client() -> None:
    """User and password are percent-decoded, and are not shown."""
    options = client_options("kafkas://worker:p%40ss@a:1,b:2")
    assert options["security_protocol"] == "SASL_SSL"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("worker", "p@ss")
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert "p@ss" not in repr(Broker.parse("kafkas://worker:p%40ss@a:1"))
