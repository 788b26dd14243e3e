"""`failshut demo`: everything by itself, and trouble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failshut_console.commands.options import FOLDER
from failshut_console.exits import Exit


def demo(
    seconds: Annotated[
        int,
        typer.Option(
            envvar="DEMO_SECONDS",
            min=0,
            help="One round of all troubles in at most this many seconds, then a table and an exit status. 0: until Ctrl-C.",
        ),
    ] = 0,
    detector: Annotated[
        str,
        typer.Option(
            envvar="DEMO_DETECTOR", help="Another detector for the refund amounts; `failshut detectors` lists them all."
        ),
    ] = "",
    state: Annotated[
        Path,
        typer.Option(
            "--state", envvar="FAILSHUT_DEMO_STATE", help="The demonstration's own state folder. It is emptied at each start."
        ),
    ] = FOLDER / "demo",
) -> None:
    """See it work: a monitor, three services behind guards, and six kinds of trouble, one at a time.

    It starts everything by itself. An agent that pays refunds, a payment router and an autoscaler ask their gates many
    times a second. Refund amounts drift, a heartbeat stops, a consumer group falls behind, a policy file turns invalid,
    the store is flushed, the monitor is killed. Each time a line says how long the gate took to close, as the guard in
    the service saw it, and what its bound was. It also says that nothing slipped through. Then the gate opens again when
    its policy allows it.

    The first start downloads Apache Kafka (45 MB); later ones take seconds. To watch the gates from a second terminal:
    `failshut watch --state .failshut/demo`.

    Exit status: 0 ended by Ctrl-C, or with --seconds every closing was seen within its bound and nothing slipped
    through; 1 something was missed (it says what); 2 wrong usage; 3 a server did not start.
    """
    from failshut_console.demo.conductor import Conductor
    from failshut_console.local.stack import stop_on_signals
    from failshut_console.local.state import State

    stop_on_signals()
    try:
        status = Conductor(State(state), seconds, detector).run()
    except KeyboardInterrupt:
        typer.echo("stopped")
        status = Exit.DONE if not seconds else Exit.REFUSED
    raise typer.Exit(int(status))
