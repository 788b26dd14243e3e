"""Real servers on this machine, from packages alone.

A demonstration and a test need an Apache Kafka and a Redis that really run: fakes answer politely exactly where
the real ones do not. This package starts them as child processes, on free ports of 127.0.0.1. It needs neither
Docker nor Java on the machine. None of the servers outlives the process that started it.

Its limits: one machine, no TLS, no passwords, no durability worth the name. Not for production; docker/
shows a cluster.
"""

from failshut_servers.cluster import KafkaCluster
from failshut_servers.errors import EmbeddedUnavailable
from failshut_servers.jars import KAFKA_VERSION, Progress
from failshut_servers.kafka import Kafka
from failshut_servers.ports import free_port
from failshut_servers.store import Redis, Valkey

__all__ = [
    "KAFKA_VERSION",
    "EmbeddedUnavailable",
    "Kafka",
    "KafkaCluster",
    "Progress",
    "Redis",
    "Valkey",
    "free_port",
]
