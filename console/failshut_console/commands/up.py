"""`failshut up`: a monitor on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from failshut_console.commands.options import FOLDER, Folder
from failshut_console.exits import Exit, Trouble

LOOK_SECONDS = 0.3


def up(
    policies: Annotated[
        Path | None,
        typer.Option(
            envvar="FAILSHUT_POLICIES", help="Folder of policies (*.yaml). It is put in force now and whenever a file changes."
        ),
    ] = None,
    state: Folder = FOLDER,
    seconds: Annotated[float, typer.Option(min=0, help="End after this many seconds. 0: at Ctrl-C.")] = 0.0,
    kafka_port: Annotated[int, typer.Option(help="Port of the broker. 0: that of last time, or any free one.")] = 0,
    store_port: Annotated[int, typer.Option(help="Port of the store. 0: that of last time, or any free one.")] = 0,
    gateway_port: Annotated[int, typer.Option(help="Port of the gateway. 0: that of last time, or any free one.")] = 0,
    metrics_port: Annotated[int, typer.Option(help="Port of the worker's metrics. 0: that of last time, or any free one.")] = 0,
) -> None:
    """Run a monitor on this machine: an embedded Apache Kafka and Valkey, one worker and a gateway. For one machine only.

    The first start makes keys in the state folder, creates the topics and opens the first term. Other commands (gates,
    watch, lock, unlock, reset, bypass, policy) find this monitor by themselves. It prints what a service needs: FAILSHUT_STORE,
    FAILSHUT_JWKS, and where to send telemetry, and a link into the console that signs in once. A policy file that becomes
    invalid is activated too: its gates close and say why.

    The store starts empty. The log and the ports are kept in the state folder. If a process dies, this command starts it
    again, and says so. For a cluster, run `failshut run` on each machine instead.

    Exit status: 0 ended by Ctrl-C or SIGTERM, 1 a process ended again and again, 2 wrong usage, 3 a server did not start.
    """
    from failshut_console.local.ports import chosen
    from failshut_console.local.stack import Stack, refuse_a_second, stop_on_signals
    from failshut_console.local.state import State
    from failshut_console.monitor.activation import FolderWatch, read_bundle_folder
    from failshut_console.terminal.progress import DownloadProgress

    watched = FolderWatch(policies) if policies is not None else None
    if policies is not None:
        read_bundle_folder(policies)  # a folder that is not there is a mistake to hear of now
    stop_on_signals()
    ends = time.monotonic() + seconds if seconds else float("inf")
    try:
        home = State(state)
        refuse_a_second(home)
        ports = chosen(home.folder, kafka=kafka_port, store=store_port, gateway=gateway_port, metrics=metrics_port)
        with Stack(home, _say, DownloadProgress(), ports=ports) as stack:
            stack.start_servers()
            if watched is not None:
                _follow(stack, watched)
            worker = stack.start_worker("worker-1")
            supervisor, link = _supervised(stack, worker, ports["gateway"])
            _hint(stack, ports["metrics"])
            reported = False
            while time.monotonic() < ends:
                time.sleep(LOOK_SECONDS)
                if not reported and worker.ready():
                    reported = True
                    _say("the worker reports: gates open as soon as their conditions hold")
                supervisor.look()
                link.look()
                if watched is not None:
                    _follow(stack, watched)
    except KeyboardInterrupt:
        _say("stopped: every gate lapses within its ttl")


def _follow(stack: Any, watched: Any) -> None:
    from failshut_console.checks import check_text

    files = watched.changed()
    if files is None:
        return
    if not files:
        _say(f"{watched.folder} holds no policy now: nothing is activated, what is in force stays")
        return
    try:
        version = stack.activate(files, f"{watched.folder} changed")
    except Trouble as trouble:
        if trouble.status is not Exit.REFUSED:
            watched.forget()
        _say("\n".join(trouble.lines()))
        return
    _say(f"activated version {version}: {', '.join(sorted(files))}")
    for file, text in sorted(files.items()):
        for fault in check_text(file, text).faults:
            _say(f"  {file}:{fault.line}: {fault.where}: {fault.why}: its gate is closed (bad_policy)")


def _supervised(stack: Any, worker: Any, port: int) -> tuple[Any, Any]:
    """Return who looks after what runs, and who tells the way to the console. Without a gateway nobody tells it."""
    from failshut_console.local.console_link import ConsoleLink, NoLink, gateway_installed
    from failshut_console.local.supervision import Supervisor

    supervisor = Supervisor(_say)
    supervisor.watch(stack.kafka, "without evidence every permit runs out within its ttl")
    supervisor.watch(stack.valkey, "guards read no permits, and deny when those that they hold run out")
    supervisor.watch(worker, "nothing renews permits: every gate lapses within its ttl", worker.last_words)
    if not gateway_installed():
        _say("no gateway is started: pip install 'failshut[gateway]'")
        return supervisor, NoLink()
    gateway = stack.start_gateway(port)
    supervisor.watch(gateway, "nobody can ask over HTTP, and who asks gets no answer", gateway.last_words)
    _say(f"gateway: http://127.0.0.1:{port} (a link into its console follows)")
    return supervisor, ConsoleLink(gateway, port, stack.state, _say)


def _hint(stack: Any, metrics_port: int) -> None:
    kafka = stack.kafka.bootstrap
    _say(f"the worker starts (log: {stack.workers[0].log_path}). Guards and producers need:")
    _say(f"  export FAILSHUT_STORE={stack.valkey.url} FAILSHUT_JWKS={stack.state.jwks}")
    _say(f"  (that file names the installation, {stack.installation})")
    _say(f"  telemetry: topic `telemetry` on {kafka}, for instance:")
    _say(
        """  echo '{"service":"refund-agent","metric":"amount_eur","value":48.0}' """
        f"| kcat -P -b {kafka} -t telemetry -k refund-agent/amount_eur"
    )
    folder = "" if str(stack.state.folder) == str(FOLDER.absolute()) else f" --state {stack.state.folder}"
    _say(f"metrics: http://127.0.0.1:{metrics_port}/metrics")
    _say(f"look with: failshut watch{folder}    stop with Ctrl-C")


def _say(line: str) -> None:
    print(line, flush=True)
