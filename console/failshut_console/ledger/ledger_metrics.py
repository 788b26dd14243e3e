"""A ledger and its witnesses for Prometheus: how many leaves, how many of them cosigned, how old each cosignature is.

Each scrape reads the ledger's files and verifies what they say (witness_status.py): it shows what a stranger would see, and
asks no process. What cannot be believed is no number: `failshut_ledger_readable` is 0 then, and every other series is absent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily

from failshut_console.exits import Trouble
from failshut_console.ledger.witness_status import status
from failshut_ledger.notes.policy import Policy

LOOPBACK: Final = "127.0.0.1"


class LedgerMetrics:
    """Collects what there is to say of one ledger, under one trust policy."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self._folder, self._policy = folder, policy

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics, as the files are now."""
        try:
            found = status(self._folder, self._policy)
        except Trouble:
            yield _one("readable", "Whether the ledger and its cosigned checkpoint can be believed", 0)
            return
        yield _one("readable", "Whether the ledger and its cosigned checkpoint can be believed", 1)
        yield _one("leaves", "Leaves under the newest checkpoint", found["size"])
        yield _one("cosigned_leaves", "Leaves under the checkpoint that a quorum has cosigned", found["cosigned_size"] or 0)
        yield _one("quorum_met", "Whether the quorum of the trust policy has cosigned this tree", int(found["quorum_met"]))
        yield _one("forked", "Whether a fork was proven: the ledger's key has signed another tree", int(bool(found["fork"])))
        ages = GaugeMetricFamily(
            "failshut_ledger_cosignature_age_seconds", "Age of a witness's newest cosignature of this tree", labels=["witness"]
        )
        asked = GaugeMetricFamily(
            "failshut_ledger_witness_answers", "Whether a witness cosigned when it was asked last", labels=["witness"]
        )
        for name, one in found["witnesses"].items():
            if one["cosigned_seconds"] is not None:
                ages.add_metric([name], float(one["cosigned_seconds"]))
            asked.add_metric([name], float(one["said"] == "cosigned"))
        yield ages
        yield asked


def serve_metrics(folder: Path, policy: Policy, address: str, port: int) -> Callable[[], None]:
    """Answer Prometheus until the function that this returns is called.

    Raises:
        Trouble: nobody can listen there.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerMetrics(folder, policy))
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except (OSError, socket.gaierror) as error:
        do = "name another --metrics-port or --metrics-address"
        raise Trouble(
            f"{address}:{port}: {error.strerror or error}", "no metrics are served, and nothing was started", do
        ) from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5.0)

    return end


def _one(name: str, what: str, value: Any) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"failshut_ledger_{name}", what, value=float(value))
