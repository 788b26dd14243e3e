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
) -> None:
    """Run a monitor on this machine: an embedded Apache Kafka, an embedded Valkey and one worker. For one machine only.

    The first start makes keys in the state folder, creates the topics and opens the first term. Other commands (gates,
    watch, lock, unlock, reset, bypass, policy) find this monitor by themselves. It prints what a service needs: FAILSHUT_STORE,
    FAILSHUT_JWKS, and where to send telemetry. A policy file that becomes invalid is activated too: its gates close and
    say why.

    The store starts empty and the log is kept in the state folder. For a cluster, run `failshut run` on each machine instead.

    Exit status: 0 ended by Ctrl-C or SIGTERM, 1 its worker ended by itself, 2 wrong usage, 3 a server did not start.
    """
    from failshut_console.local.stack import Stack, stop_on_signals
    from failshut_console.local.state import State
    from failshut_console.monitor.activation import FolderWatch, read_bundle_folder
    from failshut_console.terminal.progress import DownloadProgress

    watched = FolderWatch(policies) if policies is not None else None
    if policies is not None:
        read_bundle_folder(policies)  # a folder that is not there is a mistake to hear of now
    stop_on_signals()
    ends = time.monotonic() + seconds if seconds else float("inf")
    try:
        with Stack(State(state), _say, DownloadProgress()) as stack:
            stack.start_servers()
            if watched is not None:
                _follow(stack, watched)
            worker = stack.start_worker("worker-1")
            _hint(stack)
            reported = False
            while time.monotonic() < ends:
                time.sleep(LOOK_SECONDS)
                if not reported and worker.ready():
                    reported = True
                    _say("the worker reports: gates open as soon as their conditions hold")
                if watched is not None:
                    _follow(stack, watched)
                if not worker.running:
                    raise Trouble(
                        f"the worker ended by itself: {worker.last_words()}",
                        "nothing renews permits: every gate lapses within its ttl",
                        f"read {worker.log_path}, then start again",
                        Exit.REFUSED,
                    )
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


def _hint(stack: Any) -> None:
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
    _say(f"look with: failshut watch{folder}    stop with Ctrl-C")


def _say(line: str) -> None:
    print(line, flush=True)
