"""Several Apache Kafka nodes on one machine, for tests that kill one.

Each node is broker and controller, so that three survive the loss of one. Replicated topics have three
copies and need two in step. One machine still: this shows what a client sees when a leader dies, not that
data survives.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from failshut_servers.jars import Progress
from failshut_servers.kafka import Kafka, new_cluster_id
from failshut_servers.ports import free_port


class KafkaCluster:
    """`nodes` Apache Kafka nodes in folders `node-1`, `node-2` ... of `folder`; takes some 300 MB each.

    Args:
        folder: holds a folder for each node.
        nodes: how many; also the number of copies of a topic.
        partitions: of a topic whose creator does not say.
        settings: further lines of every node's server.properties.
        on_progress: told of each jar that is downloaded.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        *,
        partitions: int = 4,
        settings: Mapping[str, str] | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        if nodes < 1:
            raise ValueError("a cluster has at least one node")
        cluster_id = new_cluster_id()
        voters = {node: free_port() for node in range(1, nodes + 1)}
        self.nodes = [
            Kafka(
                Path(folder) / f"node-{node}",
                port=free_port(),
                node_id=node,
                partitions=partitions,
                replicas=nodes,
                settings=settings,
                voters=voters,
                cluster_id=cluster_id,
                on_progress=on_progress,
            )
            for node in voters
        ]

    @property
    def bootstrap(self) -> str:
        """Every node's host:port, with commas between them."""
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def url(self) -> str:
        """The same as a broker address of Faust."""
        return ";".join(node.url for node in self.nodes)

    def ready(self) -> bool:
        """Return whether every running node answers and all running nodes are among the live brokers of each."""
        running = [node for node in self.nodes if node.running]
        ids = {node.node_id for node in running}
        answers = [node.metadata() for node in running]
        return bool(running) and all(answer is not None and ids <= answer.node_ids for answer in answers)

    def start(self, timeout_seconds: float = 120.0) -> Self:
        """Start every node that is not running and wait for all of them.

        Raises:
            EmbeddedUnavailable: a node did not start.
        """
        try:
            self.nodes[0].prepare()  # the download, once
            with ThreadPoolExecutor(len(self.nodes), "failshut-kafka") as pool:
                list(pool.map(lambda node: node.launch(), self.nodes))
                list(pool.map(lambda node: node.wait_ready(timeout_seconds), self.nodes))
        except BaseException:
            for node in self.nodes:
                node.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop every node, all at once."""
        with ThreadPoolExecutor(len(self.nodes), "failshut-kafka") as pool:
            list(pool.map(lambda node: node.stop(), self.nodes))

    def node(self, node_id: int) -> Kafka:
        """Return the node with this id, from 1; a partition's leader, for one, is named by it."""
        return self.nodes[node_id - 1]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
