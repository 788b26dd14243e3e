"""Settings of reading: sizes, bounds and Kafka's group timeouts.

Faust has most of these under other names, and hard-codes one (the fetch wait, 1.5 s). Here each setting is one field
with its unit last in its name. All are checked at construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mode.supervisors import CrashingSupervisor

Start = Literal["earliest", "latest", "none"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a worker reads its topics.

    Raises:
        ValueError: a number is not above zero, `start` is unknown, or two timeouts exclude each other.
    """

    group: str
    """The consumer group. Workers of one group share the partitions."""
    broker: str
    """Kafka's address, `kafka://host:port`. Semicolons separate several addresses."""
    chunk_records_max: int = 500
    """The most records in one chunk."""
    chunks_in_flight_max: int = 4
    """The most chunks of one partition that are read ahead of the agent. At the bound the partition waits."""
    max_partition_fetch_bytes: int = 1_048_576
    """The most bytes, as stored, that one fetch returns for a partition. A single larger batch is still returned."""
    fetch_max_wait_ms: int = 100
    """How long the broker waits before it answers a fetch that finds nothing."""
    session_timeout_ms: int = 6_000
    """A worker that is silent for this long loses its partitions. The broker enforces a minimum."""
    heartbeat_interval_ms: int = 1_500
    """The time between two heartbeats to the group, at most a third of the session timeout."""
    rebalance_timeout_ms: int = 30_000
    """How long a rebalance waits for each member to release its partitions."""
    request_timeout_ms: int = 40_000
    """How long one request may take."""
    metadata_max_age_ms: int = 1_000
    """How soon consumer and producer see a new partition."""
    group_instance_id: str | None = None
    """The id for static membership: a restart keeps its partitions, a planned hand-over becomes slow. None: dynamic."""
    start: Start = "earliest"
    """Where reading starts if no position is known, or if it is gone. With `none` the worker stops."""
    hook_seconds_max: float = 60.0
    """A hook that takes longer stops the worker."""
    commit_seconds_max: float = 30.0
    """A commit that takes longer raises TimeoutError in the agent that requested it."""

    def __post_init__(self) -> None:
        bounds = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        for name, value in bounds.items():
            if value <= 0:
                raise ValueError(f"{name} must be above zero, not {value}")
        if self.start not in ("earliest", "latest", "none"):
            raise ValueError(f"start must be earliest, latest or none, not {self.start!r}")
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError("heartbeat_interval_ms must be at most a third of session_timeout_ms")
        if self.session_timeout_ms > self.request_timeout_ms:
            raise ValueError("session_timeout_ms must not exceed request_timeout_ms")

    def faust(self) -> dict[str, Any]:
        """Return these settings as options of `faust.App`."""
        return {
            "broker": self.broker,
            "broker_session_timeout": self.session_timeout_ms / 1000,
            "broker_heartbeat_interval": self.heartbeat_interval_ms / 1000,
            "broker_rebalance_timeout": self.rebalance_timeout_ms / 1000,
            "broker_request_timeout": self.request_timeout_ms / 1000,
            "consumer_auto_offset_reset": self.start,
            "consumer_max_fetch_size": self.max_partition_fetch_bytes,
            "consumer_metadata_max_age_ms": self.metadata_max_age_ms,
            "consumer_group_instance_id": self.group_instance_id,
            "producer_metadata_max_age_ms": self.metadata_max_age_ms,
            "producer_acks": -1,
            "agent_supervisor": CrashingSupervisor,  # an agent that raises ends the worker
            "stream_wait_empty": False,
            "topic_disable_leader": True,
            "web_enabled": False,
            "store": "memory://",
        }
