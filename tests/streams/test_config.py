"""A worker's configuration is refused where it is wrong, before anything is started."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from failshut_streams.config import WorkerConfig

NEEDED: dict[str, Any] = {
    "broker": "kafka://127.0.0.1:9092",
    "store": "redis://127.0.0.1:6379",
    "signing_key": "signing.pem",
    "operators": "operators.jwks",
}


def test_what_is_needed_is_enough() -> None:
    """The rest has defaults; the worker's id names host and process."""
    config = WorkerConfig(**NEEDED)
    assert config.worker_id.rpartition("-")[2].isdigit()
    assert config.group == "failshut"


@pytest.mark.parametrize("name", NEEDED)
def test_nothing_that_permits_has_a_default(name: str) -> None:
    """Without a broker, a store, a signing key and operators' keys there is no worker."""
    with pytest.raises(ValidationError):
        WorkerConfig(**{key: value for key, value in NEEDED.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker", "127.0.0.1"),
        ("broker", "http://127.0.0.1:80"),
        ("store", "127.0.0.1:6379"),
        ("store", "http://127.0.0.1"),
        ("prefix", "a b"),
        ("group", ""),
        ("worker_id", "a/b"),
        ("evidence_partitions", 0),
        ("mark_every_ms", 0),
        ("mark_every_ms", 10**9),
        ("snapshot_every_ms", 1),
        ("session_timeout_ms", 10),
        ("metrics_port", 70_000),
        ("chunk_records_max", 0),
        ("mark_evry_ms", 200),
    ],
)
def test_a_wrong_setting_is_refused(name: str, value: object) -> None:
    """A value out of bounds, a malformed address, a misspelt name."""
    with pytest.raises(ValidationError):
        WorkerConfig(**{**NEEDED, name: value})


def test_a_password_is_not_shown() -> None:
    """The broker's address may hold one, so it is not in the representation."""
    config = WorkerConfig(**{**NEEDED, "broker": "kafka://user:secret@127.0.0.1:9092"})
    assert "secret" not in repr(config)


def test_the_stores_password_is_not_shown() -> None:
    """Nor is the store's."""
    config = WorkerConfig(**{**NEEDED, "store": "redis://user:secret@127.0.0.1:6379"})
    assert "secret" not in repr(config)
