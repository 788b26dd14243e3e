"""`failshut run`: one worker of many, on servers that are there already."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from failshut_console.commands.options import FOLDER, Folder, LogFormat
from failshut_console.exits import Exit, Trouble, unreachable


# Long: one parameter for each option of the command line.
def run(
    broker: Annotated[str, typer.Option(envvar="FAILSHUT_BROKER", help="Kafka: kafka://HOST:PORT[,HOST:PORT].")],
    store: Annotated[str, typer.Option(envvar="FAILSHUT_STORE", help="Redis or Valkey: redis://HOST:PORT/0.")],
    signing_key: Annotated[
        Path | None, typer.Option(envvar="FAILSHUT_SIGNING_KEY", help="The monitor's private key (PEM), which signs permits.")
    ] = None,
    operators: Annotated[
        Path | None, typer.Option(envvar="FAILSHUT_OPERATORS", help="Public keys (JWKS) of those who may command.")
    ] = None,
    prefix: Annotated[str, typer.Option(envvar="FAILSHUT_PREFIX", help="Prefix of every topic's name.")] = "",
    group: Annotated[
        str,
        typer.Option(envvar="FAILSHUT_GROUP", help="Workers of one group share the partitions. A standby has another group."),
    ] = "failshut",
    worker_id: Annotated[
        str, typer.Option(envvar="FAILSHUT_WORKER_ID", help="This worker's name. Default: host-process.")
    ] = "",
    outcomes_store: Annotated[
        str,
        typer.Option(
            envvar="FAILSHUT_OUTCOMES_STORE",
            help="Where guards write outcomes, if that is another store. Then outcomes take no memory from closings.",
        ),
    ] = "",
    compression: Annotated[
        str,
        typer.Option(
            envvar="FAILSHUT_COMPRESSION", help="How this worker's records are compressed in Kafka: zstd, lz4, gzip or none."
        ),
    ] = "zstd",
    metrics_port: Annotated[
        int, typer.Option(envvar="FAILSHUT_METRICS_PORT", min=-1, max=65_535, help="Port of the Prometheus metrics. -1: none.")
    ] = -1,
    metrics_address: Annotated[
        str,
        typer.Option(
            envvar="FAILSHUT_METRICS_ADDRESS",
            help="Address of the metrics. Whoever reaches it can read them, without a password.",
        ),
    ] = "127.0.0.1",
    evidence_partitions: Annotated[
        int, typer.Option(envvar="FAILSHUT_EVIDENCE_PARTITIONS", help="Partitions of a new evidence topic.")
    ] = 4,
    telemetry_partitions: Annotated[
        int, typer.Option(envvar="FAILSHUT_TELEMETRY_PARTITIONS", help="Partitions of a new telemetry topic.")
    ] = 4,
    otlp_partitions: Annotated[
        int, typer.Option(envvar="FAILSHUT_OTLP_PARTITIONS", help="Partitions of a new otlp_metrics topic.")
    ] = 4,
    mark_every_ms: Annotated[
        int, typer.Option(envvar="FAILSHUT_MARK_EVERY_MS", help="Milliseconds between two time marks.")
    ] = 200,
    snapshot_every_ms: Annotated[
        int, typer.Option(envvar="FAILSHUT_SNAPSHOT_EVERY_MS", help="Milliseconds between two snapshots of a governor.")
    ] = 5_000,
    lag_every_ms: Annotated[
        int, typer.Option(envvar="FAILSHUT_LAG_EVERY_MS", help="Milliseconds between two samples of a watched consumer group.")
    ] = 1_000,
    session_timeout_ms: Annotated[
        int,
        typer.Option(envvar="FAILSHUT_SESSION_TIMEOUT_MS", help="A worker that is silent for so many ms loses its partitions."),
    ] = 6_000,
    store_timeout_ms: Annotated[
        int, typer.Option(envvar="FAILSHUT_STORE_TIMEOUT_MS", help="Milliseconds that one write to the store may take.")
    ] = 1_000,
    instance_id: Annotated[
        str, typer.Option(envvar="FAILSHUT_INSTANCE_ID", help="Static membership: a restart keeps its partitions.")
    ] = "",
    log_level: Annotated[str, typer.Option(envvar="FAILSHUT_LOG_LEVEL", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    log_format: LogFormat = "text",
    state: Folder = FOLDER,
) -> None:
    """Run one worker of many: router and governor in one process, on a Kafka and a store of your own.

    Start as many as you like with the same --group: they share the partitions, and if one dies the others take over.
    A second set with another --group is a hot standby. Keys are those of --signing-key and --operators; the default
    is the state folder's. Before the first worker: `failshut keys create`, `failshut term open`, `failshut policy
    activate DIR`. Every option may also be set by its environment variable.

    The log goes to standard error, one line for each thing that happened. A trouble has a line at its beginning, and one at its
    end that says how long it lasted. Repeated lines of libraries are counted.

    Exit status: 0 told to stop (SIGTERM, at any time), 1 the worker had to stop (its log says why; its gates lapse unless
    another takes over), or the topics or the store do not fit, 2 wrong usage, 3 Kafka did not answer.
    """
    from failshut_streams.logs import beginning

    try:
        beginning.begin(log_format, log_level)
    except ValueError as error:
        raise Trouble(f"--log-format and --log-level: {error}", "no worker was started", "failshut run --help") from error
    # Only now what takes a second or two to import: whoever waits has seen a line, and may stop it.
    from pydantic import ValidationError

    from failshut_breakers.store.client import StoreUnfit
    from failshut_console.local.state import State
    from failshut_streams import worker
    from failshut_streams.config import WorkerConfig
    from failshut_streams.kafka.topics import BrokerUnreachable, TopicsUnfit

    logging.getLogger("aiokafka").setLevel(logging.NOTSET)  # a worker's log tells what its client sees
    home = State(state)
    given: dict[str, Any] = {
        "broker": broker,
        "store": store,
        "signing_key": signing_key or home.signing_key,
        "operators": operators or home.operators,
        "prefix": prefix,
        "group": group,
        "evidence_partitions": evidence_partitions,
        "telemetry_partitions": telemetry_partitions,
        "otlp_partitions": otlp_partitions,
        "mark_every_ms": mark_every_ms,
        "snapshot_every_ms": snapshot_every_ms,
        "lag_every_ms": lag_every_ms,
        "session_timeout_ms": session_timeout_ms,
        "store_timeout_ms": store_timeout_ms,
        "compression": compression,
        "outcomes_store": outcomes_store,
        "metrics_address": metrics_address,
        "metrics_port": None if metrics_port < 0 else metrics_port,
        "group_instance_id": instance_id or None,
        "log_level": log_level,
        "log_format": log_format,
        **({"worker_id": worker_id} if worker_id else {}),
    }
    try:
        config = WorkerConfig(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "--" + str(first["loc"][0]).replace("_", "-")
        hidden = name in ("--broker", "--store", "--outcomes-store")  # an address may hold a password
        quoted = "" if hidden else f": {first['input']!r}"
        raise Trouble(f"{name}: {first['msg']}{quoted}", "no worker was started", "failshut run --help") from error
    try:
        status = worker.run(config)
    except StoreUnfit as error:
        do = "name a store that is a primary by itself: --store (docs/connecting.md)"
        raise Trouble(str(error), "no worker was started", do, Exit.REFUSED) from error
    except TopicsUnfit as error:
        raise Trouble(str(error), "no worker was started", "repair the topics", Exit.REFUSED) from error
    except BrokerUnreachable as error:
        raise unreachable(f"Kafka does not answer: {error}", "start it, or name it with --broker") from error
    except (OSError, ValueError) as error:
        raise Trouble(
            f"a key cannot be used: {error}", "no worker was started", "failshut keys create, or --signing-key and --operators"
        ) from error
    sys.exit(Exit.DONE if status == 0 else Exit.REFUSED)
