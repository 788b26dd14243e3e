"""What may be set about a worker, each with its unit, checked when it is made.

Nothing here has a default that permits: without operators' keys no command counts, without a signing key no permit is issued.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from failshut.store.address import StoreAddress
from failshut_streams.kafka.address import Broker
from failshut_streams.kafka.compression import CODEC, Codec


def _worker_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class WorkerConfig(BaseModel):
    """A worker's configuration.

    `group` is the name under which workers share partitions; a hot standby runs under another. `prefix` stands before
    every topic's name, so that several installations share a cluster. `outcomes_store` is where guards write outcomes; empty:
    to the store of the permits. `compression` is what batches are compressed with that this worker writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)  # an address holds a password

    broker: Annotated[str, Field(repr=False)]
    store: Annotated[str, Field(repr=False)]
    signing_key: Annotated[Path, Field(repr=False)]
    operators: Annotated[Path, Field(repr=False)]
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")] = "failshut"
    worker_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = Field(default_factory=_worker_id)
    evidence_partitions: Annotated[int, Field(ge=1, le=1024)] = 4
    telemetry_partitions: Annotated[int, Field(ge=1, le=1024)] = 4
    otlp_partitions: Annotated[int, Field(ge=1, le=1024)] = 4
    mark_every_ms: Annotated[int, Field(ge=20, le=60_000)] = 200
    snapshot_every_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 5_000
    commit_every_ms: Annotated[int, Field(ge=50, le=60_000)] = 1_000
    lag_every_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 1_000
    session_timeout_ms: Annotated[int, Field(ge=1_000, le=600_000)] = 6_000
    fetch_max_wait_ms: Annotated[int, Field(ge=1, le=10_000)] = 100
    chunk_records_max: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    request_timeout_ms: Annotated[int, Field(ge=1_000, le=600_000)] = 20_000
    store_timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 1_000
    group_instance_id: str | None = None
    compression: Codec = CODEC
    outcomes_store: Annotated[str, Field(repr=False)] = ""
    metrics_address: Annotated[str, Field(pattern=r"^[0-9A-Za-z.:_-]{1,255}$")] = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("broker")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        Broker.parse(address)
        return address

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, address: str) -> str:
        StoreAddress.parse(address)
        return address

    @field_validator("outcomes_store")
    @classmethod
    def _is_a_store_or_none(cls, address: str) -> str:
        return cls._is_a_store(address) if address else ""
